"""The topics that begin with `$`: what a device may do with them."""

from __future__ import annotations

from enum import StrEnum

from handfast.core.topics.name import RULES_PREFIX


class TopicClass(StrEnum):
    """Whose topic it is."""

    ORDINARY = "ordinary"  # the account's own: publish, subscribe, retain
    INGEST = "ingest"  # $aws/rules/<rule>/<topic>: publish only, nobody can subscribe
    RESERVED = "reserved"  # everything else that begins with $


def classify_topic(topic: str) -> TopicClass:
    """The class of a legal Topic Name as a publisher meets it."""
    if not topic.startswith("$"):
        return TopicClass.ORDINARY
    if topic.startswith(RULES_PREFIX):
        rule, slash, rest = topic[len(RULES_PREFIX) :].partition("/")
        if rule and slash and rest:
            return TopicClass.INGEST
    return TopicClass.RESERVED


def filter_reserved(plain: str) -> bool:
    """True when nobody may subscribe to the legal filter `plain`: names with `$` that AWS IoT does not offer."""
    if not plain.startswith("$"):
        return False
    if not plain.startswith("$aws/"):
        return True
    # Basic ingest has no broker behind it: a filter below $aws/rules could never match.
    return plain == "$aws/rules" or plain.startswith((RULES_PREFIX, "$aws/+", "$aws/#"))
