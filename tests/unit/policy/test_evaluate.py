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
from handfast.core.policy.variables import CLIENT_ID, THING_NAME, Variable

HERE = Path(__file__).parent
VECTORS = json.loads((HERE.parents[1] / "vectors/policy/decisions.json").read_text())
ARN = "arn:aws:iot:us-east-1:123456789012:"

Statements = list[tuple[str, str, str]]


def policy(document: Any, name: str = "p0") -> Policy:
    return Policy(name, "1", parse_document(json.dumps(document)))


def document(statements: Statements) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": e, "Action": a, "Resource": r} for e, a, r in statements]}


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
        ("Allow", "iot:Connect", ARN + "client/${iot:Connection.Thing.ThingName}"),
        ("Allow", "iot:Publish", ARN + "topic/${iot:ClientId}"),
    ]
    compiled = compile_policies([policy(document(statements))], {CLIENT_ID: ("c",)})
    assert (Variable(THING_NAME),) == compiled.unresolved(Action.CONNECT)
    assert () == compiled.unresolved(Action.PUBLISH)


# --- properties ---------------------------------------------------------------------------------------------------

_names = st.text("ab/*?", min_size=1, max_size=5)
_resources = st.builds(
    lambda parts: ARN + "topic/" + "".join(parts),
    st.lists(
        st.sampled_from(["a", "b", "/", "*", "?", "${*}", "${?}", f"${{{CLIENT_ID}}}", f"${{{THING_NAME}}}"]),
        min_size=1,
        max_size=5,
    ),
)
_statements = st.lists(
    st.tuples(st.sampled_from(["Allow", "Deny"]), st.sampled_from(["iot:Publish", "iot:Receive"]), _resources),
    min_size=1,
    max_size=6,
)
_variables = st.dictionaries(st.sampled_from([CLIENT_ID, THING_NAME]), st.text("ab*?+#${}", min_size=1, max_size=3))


def decide(statements: Statements, variables: dict[str, str], topic: str) -> Outcome:
    values = {name: (value,) for name, value in variables.items()}
    # Every second statement in a policy of its own: whether they share a document must not matter.
    policies = [policy(document(part), f"p{n}") for n, part in enumerate((statements[::2], statements[1::2])) if part]
    return compile_policies(policies, values).decide(Action.PUBLISH, ARN + "topic/" + topic).outcome


@given(_statements, _variables, _names)
@settings(max_examples=600, deadline=None)
def test_it_agrees_with_the_reference(statements: Statements, variables: dict[str, str], topic: str) -> None:
    expected = reference.decide(statements, variables, "iot:Publish", ARN + "topic/" + topic)
    assert expected == decide(statements, variables, topic)


@given(_statements, _variables, _names, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_order_of_statements_never_matters(
    statements: Statements, variables: dict[str, str], topic: str, chance: random.Random
) -> None:
    shuffled = list(statements)
    chance.shuffle(shuffled)
    assert decide(statements, variables, topic) == decide(shuffled, variables, topic)


@given(_statements, _resources, _variables, _names)
@settings(max_examples=200, deadline=None)
def test_another_deny_never_allows_more(
    statements: Statements, resource: str, variables: dict[str, str], topic: str
) -> None:
    before = decide(statements, variables, topic)
    after = decide([*statements, ("Deny", "iot:Publish", resource)], variables, topic)
    assert after == before or after is Outcome.EXPLICIT_DENY


@given(st.text("+#*?${}ab/\\", min_size=1, max_size=8), _names)
@settings(max_examples=400, deadline=None)
def test_a_client_id_never_reaches_beyond_its_own_name(client_id: str, topic: str) -> None:
    """`${iot:ClientId}` allows at most the resource that spells the client id out."""
    compiled = compile_policies(
        [policy(document([("Allow", "iot:Publish", ARN + "topic/x/${iot:ClientId}/y")]))], {CLIENT_ID: (client_id,)}
    )
    if compiled.decide(Action.PUBLISH, f"{ARN}topic/x/{topic}/y").allowed:
        assert client_id == topic
    if set(client_id) & set("*$+?#"):
        assert not compiled.decide(Action.PUBLISH, f"{ARN}topic/x/{client_id}/y").allowed


def test_a_value_of_more_than_1024_characters_is_not_put_in() -> None:
    name = "iot:Certificate.Subject.CommonName"
    long = policy(document([("Allow", "iot:Publish", f"{ARN}topic/${{{name}}}")]))
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
