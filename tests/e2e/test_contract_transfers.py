"""Transfers between accounts as the model and the documentation have them, from both sides and from beside."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.device import ALLOW_ALL
from tests.support.server import Server
from tests.support.strict import (
    COMPLETED,
    INVALID,
    NOT_FOUND,
    STATE,
    TRANSFER_CONFLICT,
    Tenant,
    body_of,
    items,
    leaf,
    refusal,
    refused,
    tenant,
)


@pytest.fixture(scope="module")
def source(server: Server) -> Tenant:
    return tenant(server)


@pytest.fixture(scope="module")
def target(server: Server) -> Tenant:
    return tenant(server)


@pytest.fixture(scope="module")
def stranger(server: Server) -> Tenant:
    return tenant(server)


def registered(owner: Tenant, **members: Any) -> str:
    return str(owner.iot.register_certificate_without_ca(certificatePem=leaf(), **members)["certificateId"])


def offered(source: Tenant, target: Tenant, **members: Any) -> str:
    made = registered(source)
    source.iot.transfer_certificate(certificateId=made, targetAwsAccount=target.account, **members)
    return made


def described(side: Tenant, certificate_id: str) -> dict[str, Any]:
    return dict(side.iot.describe_certificate(certificateId=certificate_id)["certificateDescription"])


def outgoing(side: Tenant) -> dict[str, dict[str, Any]]:
    listed = side.iot.list_outgoing_certificates(pageSize=250)["outgoingCertificates"]
    return {item["certificateId"]: item for item in listed}


def listed(side: Tenant) -> dict[str, dict[str, Any]]:
    return {item["certificateId"]: item for item in side.iot.list_certificates(pageSize=250)["certificates"]}


def test_an_offer_as_both_sides_and_nobody_else_see_it(source: Tenant, target: Tenant, stranger: Tenant) -> None:
    made = registered(source)
    before = described(source, made)
    answer = source.iot.transfer_certificate(
        certificateId=made, targetAwsAccount=target.account, transferMessage="für dich"
    )
    assert {"transferredCertificateArn": target.arn(made)} == body_of(answer)
    found = described(source, made)
    assert ("PENDING_TRANSFER", source.account, before["customerVersion"]) == (
        found["status"],
        found["ownedBy"],
        found["customerVersion"],
    )
    assert {"transferMessage", "transferDate"} == found["transferData"].keys()
    assert "für dich" == found["transferData"]["transferMessage"]
    assert found["transferData"]["transferDate"] == found["lastModifiedDate"]
    assert {
        "certificateArn": source.arn(made),
        "certificateId": made,
        "transferredTo": target.account,
        "transferDate": found["transferData"]["transferDate"],
        "transferMessage": "für dich",
        "creationDate": before["creationDate"],
    } == outgoing(source)[made]
    assert "PENDING_TRANSFER" == listed(source)[made]["status"]
    assert ("PENDING_TRANSFER", target.arn(made)) == (
        listed(target)[made]["status"],
        listed(target)[made]["certificateArn"],
    )
    theirs = described(target, made)
    assert found | {"certificateArn": target.arn(made)} == theirs
    assert made not in outgoing(target)
    for side in (stranger.iot, source.elsewhere(), target.elsewhere()):
        refused(NOT_FOUND, side.describe_certificate, certificateId=made)
        assert made not in items(side.list_certificates(pageSize=250))


def test_an_offer_without_a_message_has_none(source: Tenant, target: Tenant) -> None:
    made = offered(source, target)
    assert {"transferDate"} == described(source, made)["transferData"].keys()
    assert "transferMessage" not in outgoing(source)[made]


@pytest.mark.parametrize("active", [True, False, None])
def test_an_acceptance(source: Tenant, target: Tenant, active: bool | None) -> None:
    made = offered(source, target, transferMessage="m")
    before = described(source, made)
    members: dict[str, Any] = {} if active is None else {"setAsActive": active}
    assert {} == body_of(target.iot.accept_certificate_transfer(certificateId=made, **members))
    found = described(target, made)
    assert found["transferData"].pop("acceptDate") >= before["transferData"]["transferDate"]
    assert before["transferData"] == found["transferData"]
    assert (
        "ACTIVE" if active else "INACTIVE",
        target.account,
        source.account,
        target.arn(made),
        2,
        before["creationDate"],
        before["certificatePem"],
    ) == (
        found["status"],
        found["ownedBy"],
        found["previousOwnedBy"],
        found["certificateArn"],
        found["customerVersion"],
        found["creationDate"],
        found["certificatePem"],
    )
    assert made not in outgoing(source)
    assert made not in listed(source)
    refused(NOT_FOUND, source.iot.describe_certificate, certificateId=made)
    refused(NOT_FOUND, source.iot.update_certificate, certificateId=made, newStatus="REVOKED")
    refused(COMPLETED, source.iot.cancel_certificate_transfer, certificateId=made)
    refused(COMPLETED, target.iot.accept_certificate_transfer, certificateId=made)
    refused(COMPLETED, target.iot.reject_certificate_transfer, certificateId=made)


@pytest.mark.parametrize("reason", ["nicht meins", None])
def test_a_rejection(source: Tenant, target: Tenant, reason: str | None) -> None:
    made = offered(source, target)
    members: dict[str, Any] = {} if reason is None else {"rejectReason": reason}
    assert {} == body_of(target.iot.reject_certificate_transfer(certificateId=made, **members))
    found = described(source, made)
    assert ("INACTIVE", source.account, 1) == (found["status"], found["ownedBy"], found["customerVersion"])
    assert "previousOwnedBy" not in found
    assert {"transferDate", "rejectDate"} | ({"rejectReason"} if reason else set()) == found["transferData"].keys()
    assert reason == found["transferData"].get("rejectReason")
    for side in (source, target):
        assert made not in outgoing(side)
    refused(NOT_FOUND, target.iot.describe_certificate, certificateId=made)
    refused(COMPLETED, target.iot.reject_certificate_transfer, certificateId=made)
    refused(COMPLETED, target.iot.accept_certificate_transfer, certificateId=made)
    refused(COMPLETED, source.iot.cancel_certificate_transfer, certificateId=made)
    source.iot.transfer_certificate(certificateId=made, targetAwsAccount=target.account, transferMessage="again")
    assert {"transferDate", "transferMessage"} == described(source, made)["transferData"].keys(), "a new transfer"
    target.iot.accept_certificate_transfer(certificateId=made)


def test_a_cancellation(source: Tenant, target: Tenant) -> None:
    made = offered(source, target, transferMessage="m")
    assert {} == body_of(source.iot.cancel_certificate_transfer(certificateId=made))
    found = described(source, made)
    assert ("INACTIVE", source.account, 1) == (found["status"], found["ownedBy"], found["customerVersion"])
    assert made not in listed(target)
    refused(COMPLETED, source.iot.cancel_certificate_transfer, certificateId=made)
    refused(COMPLETED, target.iot.accept_certificate_transfer, certificateId=made)
    refused(COMPLETED, target.iot.reject_certificate_transfer, certificateId=made)
    source.iot.update_certificate(certificateId=made, newStatus="ACTIVE")
    source.iot.update_certificate(certificateId=made, newStatus="INACTIVE")
    source.iot.delete_certificate(certificateId=made)
    refused(NOT_FOUND, target.iot.accept_certificate_transfer, certificateId=made)


def test_preconditions_in_the_order_listed(source: Tenant, target: Tenant) -> None:
    iot = source.iot
    made = registered(source, status="ACTIVE")
    thing, policy = f"thing-{uuid.uuid4().hex}", f"policy-{uuid.uuid4().hex}"
    iot.create_thing(thingName=thing)
    iot.create_policy(policyName=policy, policyDocument=json.dumps(ALLOW_ALL))
    iot.attach_thing_principal(thingName=thing, principal=source.arn(made))
    iot.attach_policy(policyName=policy, target=source.arn(made))
    offer = {"certificateId": made, "targetAwsAccount": target.account}
    refused(STATE, iot.transfer_certificate, **offer)
    iot.update_certificate(certificateId=made, newStatus="INACTIVE")
    assert "policies" in refused(TRANSFER_CONFLICT, iot.transfer_certificate, **offer).message.lower()
    iot.detach_policy(policyName=policy, target=source.arn(made))
    assert "things" in refused(TRANSFER_CONFLICT, iot.transfer_certificate, **offer).message.lower()
    iot.detach_thing_principal(thingName=thing, principal=source.arn(made))
    iot.transfer_certificate(**offer)
    refused(STATE, iot.transfer_certificate, **offer)
    # and while it is pending nothing else happens to it
    refused(INVALID, iot.attach_policy, policyName=policy, target=source.arn(made))
    refused(INVALID, iot.attach_thing_principal, thingName=thing, principal=source.arn(made))
    for force in (True, False):
        refused(STATE, iot.delete_certificate, certificateId=made, forceDelete=force)
    for wanted in ("ACTIVE", "INACTIVE", "REVOKED"):
        refused(STATE, iot.update_certificate, certificateId=made, newStatus=wanted)
        refused(NOT_FOUND, target.iot.update_certificate, certificateId=made, newStatus=wanted)
    refused(NOT_FOUND, target.iot.delete_certificate, certificateId=made)
    assert "PENDING_TRANSFER" == described(source, made)["status"]


def test_a_revoked_certificate_is_not_transferred_and_does_not_come_back(source: Tenant, target: Tenant) -> None:
    made = registered(source, status="REVOKED")
    refused(STATE, source.iot.transfer_certificate, certificateId=made, targetAwsAccount=target.account)
    assert "REVOKED" == described(source, made)["status"]


def test_targets_that_are_none(source: Tenant) -> None:
    made = registered(source)
    for text in (source.account, "000000000000"):
        refused(INVALID, source.iot.transfer_certificate, certificateId=made, targetAwsAccount=text)
    for text in ("", "1", "1" * 13, "12345678901x", "\u0661" * 12):
        refused(INVALID, source.lax.transfer_certificate, certificateId=made, targetAwsAccount=text)
    refused(INVALID, source.lax.transfer_certificate, certificateId=made)
    long = {"certificateId": made, "targetAwsAccount": "000000000000", "transferMessage": "x" * 129}
    refused(INVALID, source.lax.transfer_certificate, **long)
    assert "INACTIVE" == described(source, made)["status"]
    assert {} == described(source, made)["transferData"]


def test_messages_are_bounded_by_the_model(source: Tenant, target: Tenant) -> None:
    message = "x" * 127 + "\n"
    made = offered(source, target, transferMessage=message)
    assert message == described(target, made)["transferData"]["transferMessage"]
    refused(INVALID, target.lax.reject_certificate_transfer, certificateId=made, rejectReason="x" * 129)
    target.iot.reject_certificate_transfer(certificateId=made, rejectReason=message)
    assert message == described(source, made)["transferData"]["rejectReason"]


def test_only_the_target_settles_and_only_the_source_cancels(source: Tenant, target: Tenant, stranger: Tenant) -> None:
    made = offered(source, target)
    before = described(source, made)
    for side in (source.iot, stranger.iot, target.elsewhere()):
        refused(NOT_FOUND, side.accept_certificate_transfer, certificateId=made)
        refused(NOT_FOUND, side.reject_certificate_transfer, certificateId=made)
    for side in (target.iot, stranger.iot, source.elsewhere()):
        refused(NOT_FOUND, side.cancel_certificate_transfer, certificateId=made)
    assert before == described(source, made)


def test_what_came_of_a_certificate_is_not_told_to_who_has_no_part_in_it_any_more(
    source: Tenant, target: Tenant
) -> None:
    """The side that let go asks again after each change on the other side, and always hears the same."""
    gone = offered(source, target)
    target.iot.accept_certificate_transfer(certificateId=gone)
    kept = offered(source, target)
    target.iot.reject_certificate_transfer(certificateId=kept)
    answers: dict[str, set[str]] = {gone: set(), kept: set()}
    for wanted in ("INACTIVE", "ACTIVE", "REVOKED"):
        target.iot.update_certificate(certificateId=gone, newStatus=wanted)
        answers[gone].add(refused(COMPLETED, source.iot.cancel_certificate_transfer, certificateId=gone).message)
        source.iot.update_certificate(certificateId=kept, newStatus=wanted)
        answers[kept].add(refused(COMPLETED, target.iot.accept_certificate_transfer, certificateId=kept).message)
        answers[kept].add(refused(COMPLETED, target.iot.reject_certificate_transfer, certificateId=kept).message)
    assert [1, 1] == [len(texts) for texts in answers.values()]


def test_there_and_back_again(source: Tenant, target: Tenant) -> None:
    made = offered(source, target)
    target.iot.accept_certificate_transfer(certificateId=made)
    target.iot.transfer_certificate(certificateId=made, targetAwsAccount=source.account, transferMessage="back")
    assert made in listed(source)
    source.iot.accept_certificate_transfer(certificateId=made, setAsActive=True)
    found = described(source, made)
    assert ("ACTIVE", source.account, target.account, 3) == (
        found["status"],
        found["ownedBy"],
        found["previousOwnedBy"],
        found["customerVersion"],
    )
    assert dt.timedelta() <= found["transferData"]["acceptDate"] - found["transferData"]["transferDate"]


def test_of_everything_that_settles_at_once_one_wins(source: Tenant, target: Tenant) -> None:
    for _ in range(5):
        made = offered(source, target)
        calls = [
            (target.iot.accept_certificate_transfer, {"setAsActive": True}),
            (target.iot.accept_certificate_transfer, {}),
            (target.iot.reject_certificate_transfer, {}),
            (source.iot.cancel_certificate_transfer, {}),
        ]

        def attempt(call: tuple[Any, dict[str, Any]], made: str = made) -> str:
            try:
                call[0](certificateId=made, **call[1])
            except call[0].__self__.exceptions.TransferAlreadyCompletedException:
                return "completed"
            return "won"

        with ThreadPoolExecutor(len(calls)) as pool:
            outcomes = list(pool.map(attempt, calls))
        assert ["completed"] * 3 + ["won"] == sorted(outcomes)
        winner = outcomes.index("won")
        owner = target if winner < 2 else source
        assert ("ACTIVE" if winner == 0 else "INACTIVE") == described(owner, made)["status"]
        assert NOT_FOUND == tuple(
            refusal((source if owner is target else target).iot.describe_certificate, certificateId=made)
        )
