"""Regular expressions of AWS's model, said to people in words. The API itself answers them as AWS does."""

from __future__ import annotations

import re

_WORDS = {
    "[a-zA-Z0-9:_-]+": "letters, digits and any of : _ -",
    r"[\w+=,.@-]+": "letters, digits and any of _ + = , . @ -",
    r"[\w=,@-]+": "letters, digits and any of _ = , @ -",
    r"[\w.-]+": "letters, digits and any of _ . -",
    "^[0-9A-Za-z_-]+$": "letters, digits and any of _ -",
    "(0x)?[a-fA-F0-9]+": "hexadecimal digits",
    "[0-9]+": "digits",
}
_CONSTRAINT = re.compile(
    "satisfy regular expression pattern: (" + "|".join(re.escape(pattern) for pattern in _WORDS) + r")(?=; |\]|$)"
)


def in_words(message: str) -> str:
    """A server's message with the patterns of names and ids in words; others stay as they are."""
    return _CONSTRAINT.sub(lambda found: f"be {_WORDS[found[1]]}", message)
