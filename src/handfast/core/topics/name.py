"""What makes a Topic Name legal, here and on AWS IoT."""

from __future__ import annotations

MAX_TOPIC_BYTES = 256
"""UTF-8 bytes of a Topic Name or Topic Filter; a `$aws/rules/<rule>/` or `$share/<name>/` prefix is not counted."""
MAX_SLASHES = 7
"""Forward slashes of a Topic Name or Topic Filter, the same prefixes not counted."""

RULES_PREFIX = "$aws/rules/"
MAX_RULE_NAME_CHARACTERS = 128
"""AWS IoT's limit. A longer one is no rule's name, and counts: topics are remembered, so each must be short."""


def forbidden_character(text: str) -> str | None:
    """
    The first character that a Topic Name, Topic Filter or Client Identifier may not hold, or None.

    U+0000 is forbidden by [MQTT-1.5.4-2]. The control characters U+0001..U+001F and U+007F..U+009F and the
    non-characters, which MQTT 5 §1.5.4 says a Server may refuse, are refused: they reach logs and terminals.
    """
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        code = ord(character)
        if code < 0x20 or 0x7F <= code <= 0x9F or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
            return character
    return None


def counted_part(topic: str) -> str:
    """What the limits on length and levels apply to: the topic without `$aws/rules/<rule>/`."""
    if topic.startswith(RULES_PREFIX):
        rule, slash, rest = topic[len(RULES_PREFIX) :].partition("/")
        if slash and len(rule) <= MAX_RULE_NAME_CHARACTERS:
            return rest
    return topic


def structure_problem(text: str, counted: str) -> str | None:
    """Why neither a Topic Name nor a Topic Filter may look like `text`, or None. `counted` bears the limits."""
    if not text:
        return "it is empty"
    bad = forbidden_character(text)
    if bad is not None:
        return f"it holds the character U+{ord(bad):04X}"
    if len(counted) * 4 > MAX_TOPIC_BYTES and len(counted.encode()) > MAX_TOPIC_BYTES:
        return f"it is longer than {MAX_TOPIC_BYTES} bytes"
    if counted.count("/") > MAX_SLASHES:
        return f"it has more than {MAX_SLASHES} forward slashes"
    return None


def name_problem(topic: str) -> str | None:
    """Why `topic` is no legal Topic Name, as the end of a sentence about "it"; None when it is legal."""
    if "+" in topic or "#" in topic:
        return "it holds a wildcard character"  # [MQTT-3.3.2-2]
    return structure_problem(topic, counted_part(topic))
