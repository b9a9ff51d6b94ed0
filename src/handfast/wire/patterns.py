r"""
The model's patterns as Python regular expressions.

The models are written for Java, where `\w`, `\d` and `\s` are ASCII and
`\p{…}` names a POSIX class (ASCII) or a Unicode category. Matching is always
of the whole string. Patterns come from the models only, never from a peer;
inputs are bounded before they are matched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
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


_STANDS_FOR: Final = {"C": "\x80", "L": "ª", "M": "\u0300", "N": "²", "P": "¡", "S": "¢", "Z": "\xa0"}
"""
A character beyond ASCII for each general category of Unicode.

No pattern tells characters beyond ASCII apart but by their category, so one of each is enough: for the patterns, and
for the strings that they are held against. Classes of all the letters there are would take a tenth of a server's start.
"""
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]|\\(?:u|x[89a-fA-F]|x\{|0|N)")


def _category(name: str) -> str:
    """A general category (`L`, `N`, `C` …) as the inside of a character class."""
    try:
        stands_for = _STANDS_FOR[name]
    except KeyError:
        raise ValueError(f"unknown character property {name}") from None
    ascii_ones = (point for point in range(0x80) if unicodedata.category(chr(point))[0] == name)
    return "".join(f"\\x{point:02x}" for point in ascii_ones) + stands_for


def _by_category(text: str) -> str:
    """The text with each character beyond ASCII as the one that stands for its category."""
    if text.isascii():
        return text
    return "".join(each if each < "\x80" else _STANDS_FOR[unicodedata.category(each)[0]] for each in text)


def translate(pattern: str) -> str:
    r"""
    A Java pattern of a model as a Python one.

    Raises:
        ValueError: It uses a class that is not known here, `\P{…}`, or a category beside characters beyond ASCII.

    Where it has a category, it is for text in which `_STANDS_FOR` stands for what is beyond ASCII.
    """
    if _NEGATED_PROPERTY.search(pattern):
        raise ValueError(f"\\P is not supported in {pattern!r}")
    if _has_category(pattern) and _BEYOND_ASCII.search(pattern):
        raise ValueError(f"a category beside characters beyond ASCII is not supported in {pattern!r}")

    def expand(found: re.Match[str]) -> str:
        ranges = _POSIX.get(found[1]) or _category(found[1])
        before = pattern[: found.start()]
        # Inside a class only the ranges are wanted. The models' classes do not nest, and they escape a literal "[".
        inside = before.count("[") - before.count("\\[") > before.count("]") - before.count("\\]")
        return ranges if inside else f"[{ranges}]"

    return _PROPERTY.sub(expand, pattern)


def _has_category(pattern: str) -> bool:
    return any(name not in _POSIX for name in _PROPERTY.findall(pattern))


@cache
def compile_pattern(pattern: str) -> Callable[[str], bool] | None:
    """Whether a text matches as a whole; None where every text does that the lengths allow."""
    if pattern in _ANYTHING:
        return None
    fullmatch = re.compile(translate(pattern), re.ASCII).fullmatch
    if _has_category(pattern):
        return lambda text: fullmatch(_by_category(text)) is not None
    return lambda text: fullmatch(text) is not None


def matches(pattern: str, text: str, limit: float | None) -> bool:
    """True if the whole text matches; a text longer than `limit` (by default `MAX_UNBOUNDED_CHARS`) never does."""
    compiled = compile_pattern(pattern)
    if compiled is None:
        return True
    if len(text) > (MAX_UNBOUNDED_CHARS if limit is None else limit):
        return False
    return compiled(text)
