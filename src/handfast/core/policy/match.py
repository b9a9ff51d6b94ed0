"""
Wildcard matching in time linear in the text, whatever the pattern's author wrote.

A pattern is a row of literals, `*` (any run of characters, `/` included) and
`?` (exactly one). Between two `*` stands a *segment*; taking the leftmost place
of each segment in turn is complete, so nothing is ever tried twice. A segment
without `?` is found by `str.find`; one with `?` by the Shift-And automaton,
whose state is one integer: a constant number of operations per character of
the text. `re` is not used anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, Literal, TypeAlias


class Wildcard(Enum):
    """The two wildcards of the policy language."""

    RUN = "*"
    ONE = "?"


ANY_RUN: Final = Wildcard.RUN
ANY_ONE: Final = Wildcard.ONE

Token: TypeAlias = str | Literal[Wildcard.RUN, Wildcard.ONE]
"""A literal (one or more characters, taken as they are) or a wildcard."""

_Segment: TypeAlias = tuple[str, ...]
"""Literal chunks with one `?` between neighbours: `a?b` is ("a", "b"), `??` is ("", "", "")."""


def _length(segment: _Segment) -> int:
    return sum(map(len, segment)) + len(segment) - 1


def _stands_at(text: str, position: int, segment: _Segment) -> bool:
    """Whether `segment` stands at `position`; the caller knows that it fits."""
    for chunk in segment:
        if not text.startswith(chunk, position):
            return False
        position += len(chunk) + 1
    return True


class _Finder:
    """Finds the leftmost place of a segment with `?`: Shift-And, one step per character of the text."""

    __slots__ = ("_any", "_final", "_length", "_masks")

    def __init__(self, segment: _Segment) -> None:
        self._length = _length(segment)
        self._final = 1 << (self._length - 1)
        wild = 0
        position = 0
        masks: dict[str, int] = {}
        for index, chunk in enumerate(segment):
            if index:
                wild |= 1 << position
                position += 1
            for character in chunk:
                masks[character] = masks.get(character, 0) | 1 << position
                position += 1
        self._any = wild
        self._masks = {character: mask | wild for character, mask in masks.items()}

    def end_after(self, text: str, start: int, stop: int) -> int:
        """The index after the leftmost occurrence within text[start:stop]; -1 if there is none."""
        state = 0
        masks, wild, final = self._masks, self._any, self._final
        for index in range(start, stop):
            state = ((state << 1) | 1) & masks.get(text[index], wild)
            if state & final:
                return index + 1
        return -1


class Glob:
    """
    A pattern that is ready to match.

    `literal` or `prefix` is set when it is no more than that. Every match
    begins with `head` and ends with `tail`, which tells most texts apart.
    """

    __slots__ = (
        "_finders",
        "_first",
        "_first_length",
        "_last",
        "_last_length",
        "_middle",
        "_minimum",
        "head",
        "literal",
        "prefix",
        "tail",
    )

    literal: str | None
    prefix: str | None

    def __init__(self, tokens: Iterable[Token]) -> None:
        segments = _segments(tokens)
        self.literal = None
        self.prefix = None
        self.head = segments[0][0]
        self.tail = segments[-1][-1]
        first, rest = segments[0], segments[1:]
        if not rest and len(first) == 1:
            self.literal = first[0]
        elif len(rest) == 1 and len(first) == 1 and rest[0] == ("",):
            self.prefix = first[0]
        self._first = first
        self._first_length = _length(first)
        self._last = rest[-1] if rest else None
        self._last_length = _length(rest[-1]) if rest else 0
        # Empty segments stand between neighbouring `*`: they match anywhere and are left out.
        self._middle = tuple(segment for segment in rest[:-1] if segment != ("",))
        self._finders = tuple(None if len(segment) == 1 else _Finder(segment) for segment in self._middle)
        self._minimum = _length(first) + sum(map(_length, rest))

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` matches. Case-sensitive."""
        if self.literal is not None:
            return text == self.literal
        if self.prefix is not None:
            return text.startswith(self.prefix)
        size = len(text)
        if size < self._minimum:
            return False
        if self._last is None:
            return size == self._minimum and _stands_at(text, 0, self._first)
        stop = size - self._last_length
        if not _stands_at(text, 0, self._first) or not _stands_at(text, stop, self._last):
            return False
        position = self._first_length
        for segment, finder in zip(self._middle, self._finders, strict=True):
            if finder is None:
                found = text.find(segment[0], position, stop)
                if found < 0:
                    return False
                position = found + len(segment[0])
            else:
                position = finder.end_after(text, position, stop)
                if position < 0:
                    return False
        return True


def _segments(tokens: Iterable[Token]) -> list[_Segment]:
    segments: list[_Segment] = []
    chunks: list[str] = []
    chunk: list[str] = []
    for token in tokens:
        if isinstance(token, str):
            chunk.append(token)
            continue
        chunks.append("".join(chunk))
        chunk = []
        if token is Wildcard.RUN:
            segments.append(tuple(chunks))
            chunks = []
    chunks.append("".join(chunk))
    segments.append(tuple(chunks))
    return segments
