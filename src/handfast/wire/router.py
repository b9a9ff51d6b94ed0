"""
Which operation a request asks for, and its path labels.

Works on the raw path, so that an encoded slash inside a label (`arn%3A…%2F…`)
stays inside it. Literal segments win over labels, labels over greedy labels.
One trailing slash more or less is tolerated, since botocore's model has both
forms (`GET /authorizers/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from handfast.wire.spec import LABEL, Operation

MAX_SEGMENTS: Final = 32
"""No path of the models has more, but a topic with raw slashes may; further ones cannot match."""

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class BadPath(ValueError):
    """The path's percent-encoding is broken, or is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Match:
    """An operation with its labels, decoded; keys are the labels' names on the wire."""

    operation: Operation
    labels: dict[str, str]


@dataclass(slots=True, eq=False)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    operation: Operation | None = None
    names: tuple[str, ...] = ()
    greedy: Operation | None = None
    greedy_names: tuple[str, ...] = ()


def decode_segment(segment: str) -> str:
    """
    Undo percent-encoding once; `+` stays a plus sign, as it is in a path.

    Raises:
        BadPath: An incomplete escape, or bytes that are not UTF-8.
    """
    if "%" not in segment:
        return segment
    if _BAD_ESCAPE.search(segment):
        raise BadPath("the path holds an incomplete percent-escape")
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadPath("the path is not UTF-8 once decoded") from error


class Router:
    """A tree of segments per method, built from the operations' `requestUri`."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        """
        Raises:
            ValueError: Two operations share method and path, or a path cannot be told apart by the rules above.
        """
        self._roots: dict[str, _Node] = {}
        for operation in operations:
            self._add(operation)

    def _add(self, operation: Operation) -> None:
        if "?" in operation.uri:
            # None of the models tells operations apart by a query literal; refuse rather than misroute.
            raise ValueError(f"{operation.name}: query literals in {operation.uri} are not supported")
        node = self._roots.setdefault(operation.method, _Node())
        names: list[str] = []
        segments = operation.uri.strip("/").split("/")
        for position, segment in enumerate(segments):
            label = LABEL.fullmatch(segment)
            if label is None:
                if "{" in segment:
                    raise ValueError(f"{operation.name}: a label must be a whole segment in {operation.uri}")
                node = node.literals.setdefault(segment, _Node())
                continue
            names.append(label["name"])
            if label["greedy"]:
                if position != len(segments) - 1:
                    raise ValueError(f"{operation.name}: a greedy label must be the last segment in {operation.uri}")
                if node.greedy is not None:
                    raise ValueError(f"{operation.name} and {node.greedy.name} share {operation.uri}")
                node.greedy, node.greedy_names = operation, tuple(names)
                return
            if node.label is None:
                node.label = _Node()
            node = node.label
        if node.operation is not None:
            raise ValueError(f"{operation.name} and {node.operation.name} share {operation.method} {operation.uri}")
        node.operation, node.names = operation, tuple(names)

    def match(self, method: str, raw_path: str) -> Match | None:
        """
        The operation for a method and a raw path (no query), or None.

        Raises:
            BadPath: The path cannot be decoded.
        """
        root = self._roots.get(method)
        if root is None or not raw_path.startswith("/"):
            return None
        segments = raw_path[1:].split("/", MAX_SEGMENTS)
        return self._walk(root, [decode_segment(s) for s in segments], 0, ())

    def methods(self, raw_path: str) -> list[str]:
        """The methods under which the path is known, sorted: for `Allow`."""
        return sorted(method for method in self._roots if self.match(method, raw_path) is not None)

    def _walk(self, node: _Node, segments: list[str], at: int, values: tuple[str, ...]) -> Match | None:
        rest = len(segments) - at
        if node.operation is not None and (rest == 0 or (rest == 1 and not segments[at])):
            return Match(node.operation, dict(zip(node.names, values, strict=True)))
        if rest == 0:
            return None
        segment = segments[at]
        following = node.literals.get(segment)
        if following is not None:
            found = self._walk(following, segments, at + 1, values)
            if found is not None:
                return found
        if node.label is not None and segment:
            found = self._walk(node.label, segments, at + 1, (*values, segment))
            if found is not None:
                return found
        if node.greedy is not None and (rest > 1 or segment):
            return Match(node.greedy, dict(zip(node.greedy_names, (*values, "/".join(segments[at:])), strict=True)))
        return None
