"""Deny beats Allow beats nothing, in every order; a device's own strings never widen what it may do."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import policy_reference as reference

from handfast.core.policy.actions import Action
from handfast.core.policy.document import parse_document
from handfast.core.policy.evaluate import Outcome, Policy, StatementRef, compile_policies
from handfast.core.policy.variables import CLIENT_ID, THING_NAME

HERE = Path(__file__).parent
VECTORS = json.loads((HERE.parents[1] / "vectors/policy/decisions.json").read_text())
ARN = "arn:aws:iot:us-east-1:123456789012:"

Statements = list[dict[str, Any]]
Variables = dict[str, list[str]]


def policy(document: Any, name: str = "p0") -> Policy:
    return Policy(name, "1", parse_document(json.dumps(document, ensure_ascii=False)))


def document(statements: Statements) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def statement(effect: str, action: str, resource: str) -> dict[str, Any]:
    return {"Effect": effect, "Action": [action], "Resource": [resource]}


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_table_of_decisions(case: dict[str, Any]) -> None:
    policies = [policy(each, f"p{number}") for number, each in enumerate(case["policies"])]
    variables = {name: tuple(values) for name, values in case.get("variables", {}).items()}
    compiled = compile_policies(policies, variables)
    for ask in case["asks"]:
        decision = compiled.decide(Action(ask["action"]), ARN + ask["on"])
        assert (ask["answer"], ask.get("by", [])) == (
            decision.outcome,
            [f"{each.policy}:{each.number}" for each in decision.statements],
        ), ask


def test_a_document_that_cannot_be_read_denies_everything() -> None:
    everything = policy({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    decision = compile_policies([everything, Policy("bad", "7", None)], {}).decide(Action.CONNECT, ARN + "client/c")
    assert Outcome.EXPLICIT_DENY == decision.outcome
    assert (StatementRef("bad", "7", None, None),) == decision.statements


def test_variables_without_a_value_are_named() -> None:
    statements = [
        statement("Allow", "iot:Connect", ARN + "client/${iot:Connection.Thing.ThingName}"),
        statement("Allow", "iot:Publish", ARN + "topic/${iot:ClientId}"),
    ]
    compiled = compile_policies([policy(document(statements))], {CLIENT_ID: ("c",)})
    assert (THING_NAME,) == compiled.missing(Action.CONNECT)
    assert () == compiled.missing(Action.PUBLISH)


# --- properties ---------------------------------------------------------------------------------------------------

_VARIABLES = [CLIENT_ID, THING_NAME]
_UNITS = "iot:Certificate.Subject.OrganizationalUnit"
_names = st.text("ab/*?", min_size=1, max_size=5)
_templates = st.lists(
    st.sampled_from(["a", "b", "/", "*", "?", "${*}", "${?}", *(f"${{{name}}}" for name in _VARIABLES)]),
    min_size=1,
    max_size=5,
).map("".join)
_resources = _templates.map(lambda text: ARN + "topic/" + text)
_operators = st.builds(
    lambda quantifier, base, exists: quantifier + base + exists,
    st.sampled_from(["", "ForAllValues:", "ForAnyValue:"]),
    st.sampled_from(["StringEquals", "StringNotEquals", "StringLike", "StringNotLike"]),
    st.sampled_from(["", "IfExists"]),
)
_keys = st.sampled_from([*_VARIABLES, f"{_UNITS}.List"])
_conditions = st.dictionaries(
    _operators, st.dictionaries(_keys, st.lists(_templates, min_size=1, max_size=2), min_size=1, max_size=2), max_size=2
) | st.dictionaries(
    st.just("Null"), st.dictionaries(_keys, st.sampled_from([["true"], ["false"]]), min_size=1, max_size=1), max_size=1
)
_actions = st.lists(st.sampled_from(["iot:Publish", "iot:Receive"]), min_size=1, max_size=2)
_statement = st.builds(
    lambda effect, action, resource, condition: {"Effect": effect, **action, **resource, "Condition": condition},
    st.sampled_from(["Allow", "Deny"]),
    st.one_of(st.builds(lambda x: {"Action": x}, _actions), st.builds(lambda x: {"NotAction": x}, _actions)),
    st.builds(
        lambda member, patterns: {member: patterns},
        st.sampled_from(["Resource", "Resource", "NotResource"]),
        st.lists(_resources, min_size=1, max_size=2),
    ),
    _conditions,
)
_statements = st.lists(_statement, min_size=1, max_size=5)
_values = st.text("ab*?+#${}", min_size=1, max_size=3)
_variables = st.builds(
    lambda single, units: {**{name: [value] for name, value in single.items()}, **({_UNITS: units} if units else {})},
    st.dictionaries(st.sampled_from(_VARIABLES), _values),
    st.lists(st.text("ab", min_size=1, max_size=2), max_size=3),
)


def decide(statements: Statements, variables: Variables, topic: str) -> Outcome:
    values = {name: tuple(found) for name, found in variables.items()}
    # Every second statement in a policy of its own: whether they share a document must not matter.
    policies = [policy(document(part), f"p{n}") for n, part in enumerate((statements[::2], statements[1::2])) if part]
    return compile_policies(policies, values).decide(Action.PUBLISH, ARN + "topic/" + topic).outcome


@given(_statements, _variables, _names)
@settings(max_examples=400, deadline=None)
def test_it_agrees_with_the_reference(statements: Statements, variables: Variables, topic: str) -> None:
    seen = {**variables, f"{_UNITS}.List": variables.get(_UNITS, [])}
    expected = reference.decide(statements, seen, "iot:Publish", ARN + "topic/" + topic)
    assert expected == decide(statements, variables, topic)


@given(_statements, _variables, _names, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_of_statements_never_matters(
    statements: Statements, variables: Variables, topic: str, chance: random.Random
) -> None:
    shuffled = list(statements)
    chance.shuffle(shuffled)
    assert decide(statements, variables, topic) == decide(shuffled, variables, topic)


@given(_statements, _statement, _variables, _names)
@settings(max_examples=300, deadline=None)
def test_another_deny_never_allows_more(
    statements: Statements, added: dict[str, Any], variables: Variables, topic: str
) -> None:
    before = decide(statements, variables, topic)
    after = decide([*statements, {**added, "Effect": "Deny"}], variables, topic)
    assert after == before or after is Outcome.EXPLICIT_DENY


_PLAIN = "QZ"  # a client id that no policy, topic or other value below can spell


@given(
    _statements,
    st.text("+#*?${}", min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "/", "CLIENT"]), min_size=1, max_size=4),
)
@settings(max_examples=250, deadline=None)
def test_a_client_id_of_special_characters_never_widens(
    statements: Statements, client_id: str, topic: list[str]
) -> None:
    """What a client id of special characters may do, a plain one may do too, about topics that name it alike."""
    without_conditions = [{name: each for name, each in s.items() if name != "Condition"} for s in statements]
    odd = decide(without_conditions, {CLIENT_ID: [client_id]}, "".join(topic).replace("CLIENT", client_id))
    plain = decide(without_conditions, {CLIENT_ID: [_PLAIN]}, "".join(topic).replace("CLIENT", _PLAIN))
    if "?" not in json.dumps(without_conditions).replace("${?}", ""):  # `?` counts characters: names of other lengths
        literal = any(mark in json.dumps(without_conditions) for mark in ("${*}", "${?}"))
        assert literal or odd is not Outcome.ALLOWED or plain is Outcome.ALLOWED


@given(st.text("+#*?${}ab/\\", min_size=1, max_size=8), _names)
@settings(max_examples=400, deadline=None)
def test_a_client_id_never_reaches_beyond_its_own_name(client_id: str, topic: str) -> None:
    """`${iot:ClientId}` allows at most the resource that spells the client id out."""
    compiled = compile_policies(
        [policy(document([statement("Allow", "iot:Publish", ARN + "topic/x/${iot:ClientId}/y")]))],
        {CLIENT_ID: (client_id,)},
    )
    if compiled.decide(Action.PUBLISH, f"{ARN}topic/x/{topic}/y").allowed:
        assert client_id == topic
    if set(client_id) & set("*$+?#"):
        assert not compiled.decide(Action.PUBLISH, f"{ARN}topic/x/{client_id}/y").allowed


def test_a_value_of_more_than_1024_characters_is_not_put_in() -> None:
    name = "iot:Certificate.Subject.CommonName"
    long = policy(document([statement("Allow", "iot:Publish", f"{ARN}topic/${{{name}}}")]))
    assert compile_policies([long], {name: ("a" * 1024,)}).decide(Action.PUBLISH, ARN + "topic/" + "a" * 1024).allowed
    assert (
        not compile_policies([long], {name: ("a" * 1025,)}).decide(Action.PUBLISH, ARN + "topic/" + "a" * 1025).allowed
    )


def test_a_decision_under_a_policy_of_2048_characters_takes_microseconds() -> None:
    resources = [f"{ARN}topic/*/{number}?/x" for number in range(34)]
    full = policy(
        {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Publish", "Resource": resources}}
    )
    compiled = compile_policies([full], {})
    compiled.decide(Action.PUBLISH, ARN + "topic/a")
    best = float("inf")
    for _ in range(20):
        started = time.process_time()
        for _ in range(50):
            compiled.decide(Action.PUBLISH, ARN + "topic/building/7/y")
        best = min(best, (time.process_time() - started) / 50)
    assert best < 200e-6  # about 15 µs on an idle machine; the target is 60
