"""Documents are accepted whole or refused with the place and what was expected; they are never half-obeyed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handfast.core.policy.actions import Action, expand
from handfast.core.policy.document import Effect, parse_document
from handfast.core.policy.reading import MAX_CHARACTERS
from handfast.errors import PolicySyntaxError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/policy/documents.json").read_text())


def text_of(case: dict[str, Any]) -> str:
    return case["text"] if "text" in case else json.dumps(case["document"])


@pytest.mark.parametrize("case", VECTORS["accepted"], ids=lambda case: case["name"])
def test_a_document_of_the_language_is_accepted(case: dict[str, Any]) -> None:
    assert parse_document(text_of(case)).statements


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_anything_else_is_refused_with_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(PolicySyntaxError) as refused:
        parse_document(text_of(case))
    assert case["path"] == refused.value.path
    assert case["says"] in str(refused.value)


def test_a_statement_is_taken_apart() -> None:
    document = parse_document(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Sid": "S", "Effect": "Deny", "Action": "iot:*Publish", "Resource": ["*"]}],
            }
        )
    )
    (statement,) = document.statements
    assert (0, "S", Effect.DENY) == (statement.index, statement.sid, statement.effect)
    assert {Action.PUBLISH, Action.RETAIN_PUBLISH} == statement.actions


def document_of(resource: str) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": resource}},
        separators=(",", ":"),
    )


def test_2048_characters_are_accepted_and_white_space_is_not_counted() -> None:
    room = MAX_CHARACTERS - len(document_of("*"))
    exact = document_of("*" + "a" * room)
    assert len(exact) == MAX_CHARACTERS
    parse_document(exact)
    parse_document(exact.replace(",", "," + " \n" * 1000))
    with pytest.raises(PolicySyntaxError, match="2049 characters"):
        parse_document(document_of("*" + "a" * (room + 1)))


def test_white_space_inside_a_string_is_counted() -> None:
    room = MAX_CHARACTERS - len(document_of("*"))
    with pytest.raises(PolicySyntaxError, match="2049 characters"):
        parse_document(document_of("*" + " " * (room + 1)))


def test_white_space_has_an_end_too() -> None:
    with pytest.raises(PolicySyntaxError, match="404600"):
        parse_document(document_of("*") + " " * 404_600)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":[', '{"Statement":['])
def test_deep_nesting_is_refused_and_costs_nothing(opening: str) -> None:
    started = time.perf_counter()
    with pytest.raises(PolicySyntaxError, match="nested deeper"):
        parse_document(opening * (2000 // len(opening)))
    assert time.perf_counter() - started < 0.5


def test_brackets_in_strings_are_not_nesting() -> None:
    parse_document(document_of("*" + "[{" * 40 + '\\"' + "[" * 20))


def test_a_peer_cannot_fill_the_error_message() -> None:
    with pytest.raises(PolicySyntaxError) as refused:
        parse_document(document_of("x" * 1500))
    assert len(str(refused.value)) < 400


def test_action_patterns_name_known_actions_without_regard_to_case() -> None:
    assert frozenset({Action.CONNECT}) == expand("IOT:connect")
    assert frozenset(Action) == expand("*")
    assert Action.START_NEXT_PENDING_JOB_EXECUTION not in expand("iot:*")
    assert frozenset({Action.RECEIVE}) == expand("iot:Rec?ive")
    assert frozenset() == expand("iot:Nothing*")


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        parse_document(text)
    except PolicySyntaxError:
        pass


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Version", "Statement", "Effect", "Action", "Resource", "Sid", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(_json)
@settings(max_examples=300, deadline=None)
def test_no_json_does_anything_but_parse_or_be_refused(value: Any) -> None:
    try:
        parse_document(json.dumps(value))
    except PolicySyntaxError:
        pass
