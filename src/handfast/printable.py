"""Text of unknown origin, made fit for a terminal, a log line or a page."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str, *, limit: int | None = None) -> str:
    r"""
    The same text with nothing in it that acts: what cannot be seen is written as an escape.

    Control characters (C0, DEL, C1), line and paragraph separators, bidirectional and zero-width format
    characters, lone surrogates, private-use and unassigned code points become `\xNN`, `\uNNNN` or
    `\UNNNNNNNN`; a backslash is doubled, so that an escape cannot be forged. With `limit`, at most so
    many characters of the input are shown, followed by how many were cut.
    """
    cut = 0
    if limit is not None and len(text) > limit:
        cut = len(text) - limit
        text = text[:limit]
    if not (text.isascii() and text.isprintable() and "\\" not in text):
        text = "".join(map(_shown, text))
    return f"{text}… ({cut} more characters)" if cut else text


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    code = ord(character)
    if code < 0x7F and code >= 0x20:
        return character
    if unicodedata.category(character) not in _HIDDEN:
        return character
    if code <= 0xFF:
        return f"\\x{code:02x}"
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
