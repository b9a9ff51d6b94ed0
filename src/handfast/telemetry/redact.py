"""Secrets leave every log event before it is written."""

from __future__ import annotations

import re
from typing import Any

from handfast.printable import printable

HIDDEN = "[redacted]"
_SECRET_KEY = re.compile(
    r"secret|passw|passphrase|authorization|private[_-]?key|credential|cookie|token|signature$",
    re.IGNORECASE,
)
_PEM_PRIVATE = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)
_IN_TEXT = (
    # an Authorization header, whole or in pieces: the signature goes, the credential scope stays readable
    re.compile(r"(?P<keep>\bSignature\s*=\s*)[0-9A-Za-z/+=%]{8,}", re.IGNORECASE),
    re.compile(r"(?P<keep>X-Amz-(?:Signature|Security-Token)\s*[=:]\s*)[^\s&\"',;]+", re.IGNORECASE),
    re.compile(r"(?P<keep>\b(?:Bearer|Basic)\s+)[0-9A-Za-z._~+/=-]{6,}", re.IGNORECASE),
    re.compile(
        r"(?P<keep>\b(?:aws_)?(?:secret(?:_?access_?key)?|session_?token|password|passphrase)[\"']?\s*[=:]\s*[\"']?)"
        r"[^\s\"',;&]+",
        re.IGNORECASE,
    ),
    # user:password@ in a URL
    re.compile(r"(?P<keep>[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)", re.IGNORECASE),
)
_DEPTH = 6


def redacted_text(text: str) -> str:
    """The text without private keys in PEM, signatures, bearer tokens and passwords."""
    if "PRIVATE KEY-----" in text:
        text = _PEM_PRIVATE.sub(HIDDEN, text)
    for pattern in _IN_TEXT:
        text = pattern.sub(lambda found: found["keep"] + HIDDEN, text)
    return text


def safe(key: str, value: Any, *, multiline: bool = False, _depth: int = 0) -> Any:
    """
    A value as it may stand in a log event under `key`: no secret, no control character, any depth.

    Bytes are never written out, only their number; an object becomes its text first. `multiline` keeps line
    feeds and tabs, for tracebacks alone.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value)} bytes)"
    if isinstance(value, dict) or hasattr(value, "items"):
        if _depth >= _DEPTH:
            return "(too deep)"
        return {_text(str(name)): safe(str(name), part, _depth=_depth + 1) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        if _depth >= _DEPTH:
            return "(too deep)"
        return [safe("", part, _depth=_depth + 1) for part in value]
    return _text(str(value), multiline=multiline)


def _text(text: str, *, multiline: bool = False) -> str:
    text = redacted_text(text)
    if multiline:
        return "\n".join("\t".join(printable(part) for part in line.split("\t")) for line in text.split("\n"))
    return printable(text)
