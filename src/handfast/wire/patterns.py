r"""
The model's patterns as Python regular expressions.

The models are written for Java, where `\w`, `\d` and `\s` are ASCII and
`\p{…}` names a POSIX class (ASCII) or a Unicode category. Matching is always
of the whole string. Patterns come from the models only, never from a peer;
inputs are bounded before they are matched.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from array import array
from collections.abc import Mapping
from functools import cache
from typing import Final

MAX_UNBOUNDED_CHARS: Final = 4096
"""Longer strings are refused unmatched where the model gives a pattern but no length: some patterns are quadratic."""

# java.util.regex.Pattern, "POSIX character classes (US-ASCII only)"
_POSIX: Final = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": "\\x00-\\x7f",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": "!-/:-@\\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": " \\t",
    "Cntrl": "\\x00-\\x1f\\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": " \\t\\n\\x0b\\f\\r",
}
_ANYTHING: Final = frozenset({r"[\s\S]*", r"^[\s\S]*$", r"[\s\S]+"})
_PROPERTY: Final = re.compile(r"\\p\{(\w+)\}")
_NEGATED_PROPERTY: Final = re.compile(r"\\P\{")


# Planes 4 to 13 hold nothing in any version of Unicode, 15 and 16 are for private use: with the surrogates category C.
_ASSIGNED: Final = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xF0000))
_CATEGORY_C: Final = ((0xD800, 0xDFFF), (0x40000, 0xDFFFF), (0xF0000, 0x10FFFF))
_ROW: Final = 256
_RUN: Final = re.compile("C+|L+|M+|N+|P+|S+|Z+")


@cache
def _categories() -> Mapping[str, str]:
    """Every general category (`L`, `N`, `C` …) as the inside of a character class, from one pass over Unicode."""
    ranges: dict[str, list[tuple[int, int]]] = {"C": list(_CATEGORY_C)}
    for block in _ASSIGNED:
        letters = _first_letters(block)
        for run in _RUN.finditer(letters):
            ranges.setdefault(run[0][0], []).append((block[run.start()], block[run.end() - 1]))
    return {name: "".join(_written(*each) for each in sorted(found)) for name, found in ranges.items()}


def _first_letters(block: range) -> str:
    """The general category's first letter of each point. Rows of letters alone are half of all: asked at once."""
    order = "le" if sys.byteorder == "little" else "be"
    text = array("I", block).tobytes().decode(f"utf-32-{order}")
    rows = (text[start : start + _ROW] for start in range(0, len(text), _ROW))
    # str.isalpha: of the categories Lu, Ll, Lt, Lm and Lo
    return "".join("L" * len(row) if row.isalpha() else "".join(map(unicodedata.category, row))[::2] for row in rows)


def _written(first: int, last: int) -> str:
    """A range of a character class; beyond ASCII as itself, which is read faster than an escape."""
    return "-".join(chr(point) if point > 0x7F else f"\\x{point:02x}" for point in (first, last))


def _category(name: str) -> str:
    try:
        return _categories()[name]
    except KeyError:
        raise ValueError(f"unknown character property {name}") from None


def translate(pattern: str) -> str:
    r"""
    A Java pattern of a model as a Python one.

    Raises:
        ValueError: It uses a class that is not known here, or `\P{…}`.
    """
    if _NEGATED_PROPERTY.search(pattern):
        raise ValueError(f"\\P is not supported in {pattern!r}")

    def expand(found: re.Match[str]) -> str:
        ranges = _POSIX.get(found[1]) or _category(found[1])
        before = pattern[: found.start()]
        # Inside a class only the ranges are wanted. The models' classes do not nest, and they escape a literal "[".
        inside = before.count("[") - before.count("\\[") > before.count("]") - before.count("\\]")
        return ranges if inside else f"[{ranges}]"

    return _PROPERTY.sub(expand, pattern)


@cache
def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """The pattern ready to `fullmatch`, or None when it matches everything that the lengths allow."""
    if pattern in _ANYTHING:
        return None
    return re.compile(translate(pattern), re.ASCII)


def matches(pattern: str, text: str, limit: float | None) -> bool:
    """True if the whole text matches; a text longer than `limit` (by default `MAX_UNBOUNDED_CHARS`) never does."""
    compiled = compile_pattern(pattern)
    if compiled is None:
        return True
    if len(text) > (MAX_UNBOUNDED_CHARS if limit is None else limit):
        return False
    return compiled.fullmatch(text) is not None
