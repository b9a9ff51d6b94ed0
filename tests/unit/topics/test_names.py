"""What is a legal Topic Name or Topic Filter."""

from __future__ import annotations

import pytest

from handfast.core.topics.filter import ParsedFilter, filter_matches, parse_filter
from handfast.core.topics.name import forbidden_character, name_problem
from handfast.core.topics.reserved import TopicClass, classify_topic, filter_reserved


@pytest.mark.parametrize(
    "topic",
    [
        "a",
        "/",
        "/a",
        "a/",
        "a//b",
        "sensor/温度",
        "a b",
        "*",
        "?",
        "a/b/c/d/e/f/g/h",
        "x" * 256,
        "é" * 128,
        "$aws/rules/r/a/b/c/d/e/f/g/h",
        "$aws/rules/r/" + "x" * 256,
        "$aws/rules/" + "r" * 128 + "/" + "x" * 256,
    ],
)
def test_legal_names(topic: str) -> None:
    assert None is name_problem(topic)


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("", "empty"),
        ("a/+", "wildcard"),
        ("a#", "wildcard"),
        ("x" * 257, "longer than 256"),
        ("é" * 129, "longer than 256"),
        ("a/b/c/d/e/f/g/h/i", "slashes"),
        ("$aws/rules/r/a/b/c/d/e/f/g/h/i", "slashes"),
        ("$aws/rules/r/" + "x" * 257, "longer"),
        # the memory of a scope's topics could be filled with names of 64 KB each
        ("$aws/rules/" + "r" * 60_000 + "/x", "longer"),
        ("a\0b", "U+0000"),
        ("a\x1b[31mb", "U+001B"),
        ("a\x7fb", "U+007F"),
        ("a\x9bb", "U+009B"),
        ("a\ufdd0b", "U+FDD0"),
        ("a\uffffb", "U+FFFF"),
        ("a\U0001fffeb", "U+1FFFE"),
    ],
)
def test_illegal_names_say_why(topic: str, word: str) -> None:
    problem = name_problem(topic)
    assert problem is not None
    assert word in problem


def test_the_first_forbidden_character_is_named() -> None:
    assert "\x01" == forbidden_character("ab\x01\x02")
    assert None is forbidden_character("plain text, ünïcode, 漢字")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a/b", (None, "a/b")),
        ("#", (None, "#")),
        ("+", (None, "+")),
        ("a/+/b/#", (None, "a/+/b/#")),
        ("/", (None, "/")),
        ("$share/g/a/+", ("g", "a/+")),
        ("$share/group 1/#", ("group 1", "#")),
        ("$share/g//a", ("g", "/a")),
        ("$aws/events/#", (None, "$aws/events/#")),
        ("$share/g/a/b/c/d/e/f/g/h", ("g", "a/b/c/d/e/f/g/h")),
        ("$share/g/" + "x" * 256, ("g", "x" * 256)),
        ("$share/" + "n" * 128 + "/a", ("n" * 128, "a")),
    ],
)
def test_legal_filters_and_their_parts(text: str, parsed: tuple[str | None, str]) -> None:
    assert ParsedFilter(text, *parsed) == parse_filter(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+",
        "a/b+/c",
        "+a",
        "a#",
        "a/#/b",
        "#/a",
        "##",
        "a/b/c/d/e/f/g/h/i",
        "x" * 257,
        "a\0",
        "a/\x1b]0;x\x07",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/a#b/a",
        "$share/" + "n" * 129 + "/a",
        "$share/g/$share/h/a",
        "$share/g/a/b/c/d/e/f/g/h/i",
    ],
)
def test_illegal_filters(text: str) -> None:
    assert isinstance(parse_filter(text), str)


@pytest.mark.parametrize(
    ("plain", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("+", "a", True),
        ("+/+", "/a", True),
        ("#", "a/b/c", True),
        ("#", "/", True),
        ("sensor/#", "sensor/", True),
        ("sensor/#", "sensor/x/y", True),
        ("sensor/#", "sensor", False),  # AWS IoT, against [MQTT-4.7.1-2]
        ("sensor/+/#", "sensor/x", False),
        ("#", "$aws/events/x", False),
        ("+/events/x", "$aws/events/x", False),
        ("$aws/events/#", "$aws/events/x", True),
        ("$aws/+/x", "$aws/events/x", True),
        ("A", "a", False),
    ],
)
def test_which_filter_matches_which_topic(plain: str, topic: str, matches: bool) -> None:
    assert matches is filter_matches(plain, topic)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("a/$b", TopicClass.ORDINARY),
        ("$aws/rules/r/t", TopicClass.INGEST),
        ("$aws/rules/r/t/u", TopicClass.INGEST),
        ("$aws/rules/r", TopicClass.RESERVED),
        ("$aws/rules/r/", TopicClass.RESERVED),
        ("$aws/rules//t", TopicClass.RESERVED),
        ("$aws/things/x/shadow/update", TopicClass.RESERVED),
        ("$aws/certificates/create/json", TopicClass.REQUEST),
        ("$aws/certificates/create-from-csr/cbor", TopicClass.REQUEST),
        ("$aws/provisioning-templates/fleet_1-a/provision/json", TopicClass.REQUEST),
        ("$aws/certificates/create/json/accepted", TopicClass.RESERVED),
        ("$aws/certificates/create/JSON", TopicClass.RESERVED),
        ("$aws/certificates/create/json/", TopicClass.RESERVED),
        ("$aws/provisioning-templates/a b/provision/json", TopicClass.RESERVED),
        ("$SYS/broker", TopicClass.RESERVED),
        ("$", TopicClass.RESERVED),
    ],
)
def test_classes_of_topics(topic: str, expected: TopicClass) -> None:
    assert expected is classify_topic(topic)


@pytest.mark.parametrize(
    ("plain", "reserved"),
    [
        ("a/b", False),
        ("#", False),
        ("$aws/events/#", False),
        ("$aws/things/x/shadow/#", False),
        ("$aws/rules/r/t", True),
        ("$aws/rules/#", True),
        ("$aws/+/r/t", True),
        ("$aws/#", True),
        ("$SYS/#", True),
        ("$other", True),
        ("$share", True),
    ],
)
def test_filters_that_nobody_may_use(plain: str, reserved: bool) -> None:
    assert reserved is filter_reserved(plain)
