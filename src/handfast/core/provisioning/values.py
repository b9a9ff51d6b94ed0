"""What the registry takes as names and values (AWS IoT model: patterns and lengths of the shapes)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from handfast.core.policy.reading import shorten


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of value: what it is called, its length and its characters; `said` is the character class in words."""

    what: str
    minimum: int
    maximum: int
    pattern: re.Pattern[str]
    said: str

    def problem(self, text: str) -> str | None:
        """What is wrong with the text, or None."""
        if self.minimum <= len(text) <= self.maximum and self.pattern.fullmatch(text):
            return None
        return f"{shown(text)} is not {self.what}; expected {self.minimum} to {self.maximum} of {self.said}"


def shown(text: str) -> str:
    """The text in quotation marks, shortened, for a message."""
    return json.dumps(shorten(text), ensure_ascii=False)


_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]+")
_NAME_SAID: Final = "a-z A-Z 0-9 : _ -"
THING_NAME: Final = Rule("a thing name", 1, 128, _NAME, _NAME_SAID)
THING_TYPE_NAME: Final = Rule("the name of a thing type", 1, 128, _NAME, _NAME_SAID)
THING_GROUP_NAME: Final = Rule("the name of a thing group", 1, 128, _NAME, _NAME_SAID)
BILLING_GROUP_NAME: Final = Rule("the name of a billing group", 1, 128, _NAME, _NAME_SAID)
POLICY_NAME: Final = Rule(
    "the name of a policy", 1, 128, re.compile(r"[\w+=,.@-]+", re.ASCII), "a-z A-Z 0-9 _ + = , . @ -"
)
ATTRIBUTE_NAME: Final = Rule(
    "the name of an attribute", 1, 128, re.compile(r"[a-zA-Z0-9_.,@/:#-]+"), "a-z A-Z 0-9 _ . , @ / : # -"
)
ATTRIBUTE_VALUE: Final = Rule(
    "the value of an attribute",
    0,
    800,
    re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]*"),
    "a-z A-Z 0-9 _ . , @ / : # = [ ] -, which leaves out spaces",
)
CERTIFICATE_ID: Final = Rule("a certificateId", 64, 64, re.compile(r"[a-fA-F0-9]+"), "hexadecimal digits")
