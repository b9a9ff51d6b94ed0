"""The table of connections and the published examples, against the engine alone."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.policy_vectors import ACTIONS, Case, load_cases, load_examples

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.policy.actions import Action
from handfast.core.policy.document import parse_document
from handfast.core.policy.evaluate import Policy, compile_policies
from handfast.services.policy_values import ConnectContext, connection_values

SCOPE = Scope(AccountId("123456789012"), "us-east-1")
ARN = f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:"


@pytest.mark.parametrize("case", load_cases() + load_examples(), ids=lambda case: case.name)
def test_the_engine_answers_as_the_table_says(case: Case) -> None:
    policies = [Policy(f"p{n}", "1", parse_document(text)) for n, text in enumerate(case.documents(SCOPE))]
    certificate, _ = case.certificate(dt.datetime.now(dt.UTC))
    der = certificate.public_bytes(Encoding.DER)
    values = connection_values(
        frozenset[str]().union(*(policy.names for policy in policies)),
        client_id=case.client,
        thing=case.associated,
        source_ip="127.0.0.1",
        domain_name="a-ats.iot.us-east-1.localhost",
        certificate_der=der,
    )
    connecting = dict(values)
    ConnectContext(
        persistent=case.persistent, last_will_topic=None if case.will is None else f"{ARN}topic/{case.will}"
    ).add_to(connecting)
    for ask in case.asks:
        compiled = compile_policies(policies, connecting if ask.action == "CONNECT" else values)
        resource = ask.resource.replace("CERTIFICATE_ID", hashlib.sha256(der).hexdigest())
        decision = compiled.decide(Action(ACTIONS[ask.action]), ARN + resource)
        decided = tuple((int(each.policy[1:]), each.number) for each in decision.statements)
        assert (ask.answer, ask.by) == (decision.outcome, decided), ask
