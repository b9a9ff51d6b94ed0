"""What makes a Topic Filter legal, and what its parts are."""

from __future__ import annotations

from typing import NamedTuple

from handfast.core.topics.name import counted_part, structure_problem

SHARE_PREFIX = "$share/"
MAX_SHARE_NAME_CHARACTERS = 128


class ParsedFilter(NamedTuple):
    """A legal Topic Filter. `share_name` is None unless the subscription is shared; `plain` is what topics meet."""

    text: str
    share_name: str | None
    plain: str

    @property
    def has_wildcard(self) -> bool:
        """True when more than the one topic spelled like it can match."""
        return has_wildcard(self.plain)


def has_wildcard(plain: str) -> bool:
    """True when the filter (without a share prefix) holds `+` or `#`."""
    return "+" in plain or "#" in plain


def parse_filter(text: str) -> ParsedFilter | str:
    """
    The parts of a Topic Filter; or, when it is not legal, the reason as the end of a sentence about "it".

    Wildcards must fill a whole level and `#` must be last [MQTT-4.7.1-1], [MQTT-4.7.1-2].
    """
    share_name: str | None = None
    plain = text
    if text.startswith(SHARE_PREFIX):
        share_name, slash, plain = text[len(SHARE_PREFIX) :].partition("/")
        # [MQTT-4.8.2-1], [MQTT-4.8.2-2]: at least one character, none of / + #, and a filter after it.
        if not slash or not plain:
            return "it names a share but no topic filter after it"
        if not share_name or "+" in share_name or "#" in share_name:
            return "its share name is empty or holds a wildcard"
        if len(share_name) > MAX_SHARE_NAME_CHARACTERS:
            return f"its share name is longer than {MAX_SHARE_NAME_CHARACTERS} characters"
        if plain.startswith(SHARE_PREFIX):
            return "it shares a shared subscription"
    problem = structure_problem(text, counted_part(plain))
    if problem is not None:
        return problem
    if has_wildcard(plain):
        levels = plain.split("/")
        for level in levels:
            if len(level) > 1 and has_wildcard(level):
                return "a wildcard shares its level with other characters"
        if "#" in levels[:-1]:
            return "levels follow the # wildcard"
    return ParsedFilter(text, share_name, plain)


def filter_matches(plain: str, topic: str) -> bool:
    """
    True when the legal filter `plain` (no share prefix) matches the legal Topic Name `topic`.

    As on AWS IoT `a/#` does not match `a`; a wildcard in the first level does not match a topic that
    begins with `$` [MQTT-4.7.2-1].
    """
    if topic.startswith("$") and plain[0] in "+#":
        return False
    wanted = plain.split("/")
    levels = topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return len(levels) > at
        if at >= len(levels) or (level != "+" and level != levels[at]):
            return False
    return len(wanted) == len(levels)
