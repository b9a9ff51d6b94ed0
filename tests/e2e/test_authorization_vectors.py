"""
The tables of `tests/vectors/policy/`, asked of TestAuthorization by boto3: the engine that guards the gateway.

What TestAuthorization has no member for cannot be asked; `unaskable` says of which rows, and a test below lists them.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.policy_vectors import Ask, Case, load_cases, load_examples
from tests.support.server import Server
from tests.support.strict import Tenant, tenant

from handfast.core.identity.ids import AccountId, Scope

CASES = load_cases() + load_examples()
ACTION_TYPES = {"CONNECT", "PUBLISH", "SUBSCRIBE", "RECEIVE"}
ASKED_AT_ONCE = 10
ANOTHER_ACTION = "TestAuthorization has no such actionType"
CONNECT_PACKET = "TestAuthorization has no member for a persistent session or a Will"
CONNECTION = "TestAuthorization has no member for the peer's address or the endpoint's name"


def unaskable(case: Case, ask: Ask) -> str | None:
    """Why the answer to this row cannot be had from TestAuthorization; None: it can."""
    text = str(case.policies)
    if ask.action not in ACTION_TYPES:
        return ANOTHER_ACTION
    beyond_plain = case.persistent or case.will is not None
    if ask.action == "CONNECT" and beyond_plain and ("iot:ConnectAttributes" in text or "iot:LastWillTopic" in text):
        return CONNECT_PACKET
    if "aws:SourceIp" in text or "iot:DomainName" in text:
        return CONNECTION
    return None


def unasked(cases: list[Case]) -> Counter[tuple[str, str]]:
    return Counter((case.name, why) for case in cases for ask in case.asks if (why := unaskable(case, ask)) is not None)


def test_the_rows_that_cannot_be_asked_are_these() -> None:
    """One that joins them is looked at, not skipped in silence."""
    assert {
        ("a plain connect only, asked with persistence", CONNECT_PACKET): 1,
        ("a Will is allowed, persistence is not", CONNECT_PACKET): 1,
        ("a Will is allowed, both were asked", CONNECT_PACKET): 1,
        ("persistence denied", CONNECT_PACKET): 1,
        ("the Will's topic", CONNECT_PACKET): 1,
        ("another Will's topic", CONNECT_PACKET): 1,
        ("the address of the peer", CONNECTION): 2,
    } == unasked(load_cases())
    by_page: Counter[tuple[str, str]] = Counter()
    for (name, why), rows in unasked(load_examples()).items():
        by_page[name.partition(":")[0], why] += rows
    assert {
        ("connect-policy", CONNECT_PACKET): 31,
        ("retained-message-policy-examples", CONNECT_PACKET): 2,
        ("retained-message-policy-examples", ANOTHER_ACTION): 6,
        ("device-shadow-rest-api", ANOTHER_ACTION): 4,
    } == by_page


ASKABLE = [case for case in CASES if any(unaskable(case, ask) is None for ask in case.asks)]


@pytest.fixture(scope="module")
def account(server: Server) -> Tenant:
    """An account of its own: the cases name their things as others do."""
    return tenant(server)


@pytest.mark.parametrize("case", ASKABLE, ids=lambda case: case.name)
def test_it_answers_as_the_table_says(account: Tenant, case: Case) -> None:
    iot = account.iot
    scope = Scope(AccountId(account.account), "us-east-1")
    arn = f"arn:aws:iot:{scope.region}:{scope.account}:"
    asks = [ask for ask in case.asks if unaskable(case, ask) is None]
    certificate, _ = case.certificate(dt.datetime.now(dt.UTC))
    pem = certificate.public_bytes(Encoding.PEM).decode()
    made = iot.register_certificate_without_ca(certificatePem=pem)
    names = []
    for document in case.documents(scope):
        names.append(f"vector-{uuid.uuid4().hex}")
        iot.create_policy(policyName=names[-1], policyDocument=document)
        iot.attach_policy(policyName=names[-1], target=made["certificateArn"])
    _attach_thing(iot, case, made["certificateArn"])
    results = []
    for start in range(0, len(asks), ASKED_AT_ONCE):
        infos = [
            {
                "actionType": ask.action,
                "resources": [arn + ask.resource.replace("CERTIFICATE_ID", made["certificateId"])],
            }
            for ask in asks[start : start + ASKED_AT_ONCE]
        ]
        answer = iot.test_authorization(principal=made["certificateArn"], clientId=case.client, authInfos=infos)
        assert infos == [result["authInfo"] for result in answer["authResults"]]
        results += answer["authResults"]
    for ask, result in zip(asks, results, strict=True):
        deciding = sorted({names[policy] for policy, _ in ask.by})
        lists = {
            "ALLOWED": result["allowed"]["policies"],
            "EXPLICIT_DENY": result["denied"]["explicitDeny"]["policies"],
            "IMPLICIT_DENY": [],
        }
        said = sorted(policy["policyName"] for policy in lists[ask.answer])
        assert (ask.answer, deciding) == (result["authDecision"], said), ask
        everyone = [*lists["ALLOWED"], *lists["EXPLICIT_DENY"], *result["denied"]["implicitDeny"]["policies"]]
        assert sorted(names) == sorted(policy["policyName"] for policy in everyone), ask


def _attach_thing(iot: Any, case: Case, certificate_arn: str) -> None:
    thing = case.thing
    if thing is None:
        return
    # Cases share names of things, and a name has one configuration: each case makes and takes away its own.
    _forget_thing(iot, thing.name)
    options = {}
    if thing.type is not None:
        iot.create_thing_type(thingTypeName=thing.type)
        options["thingTypeName"] = thing.type
    iot.create_thing(thingName=thing.name, attributePayload={"attributes": thing.attributes}, **options)
    if thing.attached != "no":
        kind = "EXCLUSIVE_THING" if thing.attached == "exclusive" else "NON_EXCLUSIVE_THING"
        iot.attach_thing_principal(thingName=thing.name, principal=certificate_arn, thingPrincipalType=kind)


def _forget_thing(iot: Any, name: str) -> None:
    try:
        principals = iot.list_thing_principals(thingName=name)["principals"]
    except iot.exceptions.ResourceNotFoundException:
        return
    for principal in principals:
        iot.detach_thing_principal(thingName=name, principal=principal)
    iot.delete_thing(thingName=name)
