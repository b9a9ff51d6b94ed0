"""/handfast/v1: what only the operator may do, and what every key may ask about its own."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, Plane, access_key, caller, cause

from handfast.core.identity.refusal import Reason, ReasonCode, Refusal, Stage
from handfast.errors import AccessDeniedError, InvalidRequestError, ResourceNotFoundError, ThrottlingError
from handfast.ports import ChangeKind
from handfast.services.endpoints import EndpointService
from handfast.wire.spec import load_service, raw_model

OPERATOR = caller(None)
OPERATOR_ONLY: dict[str, dict[str, Any]] = {
    "CreateAccount": {},
    "ListAccounts": {},
    "UpdateAccount": {"account_id": SCOPE.account, "status": "DISABLED"},
    "CreateAccessKey": {"account_id": SCOPE.account},
    "ListAccessKeys": {"account_id": SCOPE.account},
    "ForgetCertificate": {"account_id": SCOPE.account, "certificate_id": "ab" * 32},
    "RevokeAccessKey": {"account_id": SCOPE.account, "access_key_id": "AKIATESTTESTTEST0001"},
}


@pytest.mark.parametrize("operation", OPERATOR_ONLY)
async def test_an_accounts_key_administers_nothing_not_even_its_own(plane: Plane, operation: str) -> None:
    before = await plane.store.head_cursor()
    with pytest.raises(AccessDeniedError, match="operator's key"):
        await plane.call(operation, caller(), **OPERATOR_ONLY[operation])
    assert before == await plane.store.head_cursor()


async def test_every_operation_of_the_model_has_its_handler_and_its_members(plane: Plane) -> None:
    model = load_service("handfast")
    for name, operation in model.operations.items():
        handler = plane.handlers[name]
        parameters = set(inspect.signature(handler).parameters)
        members = {member.snake for member in operation.input.members.values()} if operation.input else set()
        assert members <= parameters, name


async def test_an_account_and_its_keys_from_birth_to_end(plane: Plane) -> None:
    made = await plane.call("CreateAccount", OPERATOR, name="lab")
    assert {"account_id": made["account_id"], "name": "lab", "status": "ENABLED", "creation_date": NOW} == made
    assert made in (await plane.call("ListAccounts", OPERATOR))["accounts"]

    key = await plane.call("CreateAccessKey", OPERATOR, account_id=made["account_id"])
    assert 40 == len(key["secret_access_key"])
    (listed,) = (await plane.call("ListAccessKeys", OPERATOR, account_id=made["account_id"]))["access_keys"]
    assert key["access_key_id"] == listed["access_key_id"]
    assert "ACTIVE" == listed["status"]
    assert key["secret_access_key"] not in str(listed)

    members = {"account_id": made["account_id"], "access_key_id": key["access_key_id"]}
    assert {} == await plane.call("RevokeAccessKey", OPERATOR, **members)
    (listed,) = (await plane.call("ListAccessKeys", OPERATOR, account_id=made["account_id"]))["access_keys"]
    assert "INACTIVE" == listed["status"]

    changed = await plane.call("UpdateAccount", OPERATOR, account_id=made["account_id"], status="DISABLED")
    assert "DISABLED" == changed["status"]
    with pytest.raises(InvalidRequestError):
        await plane.call("UpdateAccount", OPERATOR, account_id=made["account_id"], status="GONE")


@pytest.mark.parametrize("operation", ["UpdateAccount", "CreateAccessKey", "ListAccessKeys", "RevokeAccessKey"])
async def test_what_does_not_exist_is_not_found(plane: Plane, operation: str) -> None:
    members = OPERATOR_ONLY[operation] | {"account_id": "000000000000"}
    with pytest.raises(ResourceNotFoundError):
        await plane.call(operation, OPERATOR, **members)


async def test_endpoints_are_listed_for_their_account_and_all_for_the_operator(plane: Plane) -> None:
    for scope in (SCOPE, OTHER_ACCOUNT):
        await plane.call("DescribeEndpoint", caller(scope), endpoint_type="iot:Data-ATS")
    mine = (await plane.call("ListEndpoints", caller()))["endpoints"]
    assert [
        {
            "account_id": SCOPE.account,
            "region": "us-east-1",
            "endpoint_address": plane.endpoints.endpoint_name(SCOPE),
            "credential_endpoint_address": plane.endpoints.name(SCOPE, EndpointService.CREDENTIALS),
            "jobs_endpoint_address": plane.endpoints.name(SCOPE, EndpointService.JOBS),
            "domain_names": [],
        }
    ] == mine
    assert 2 == len((await plane.call("ListEndpoints", OPERATOR))["endpoints"])


async def test_explain_asks_for_the_callers_own_and_says_each_reason_in_words(plane: Plane) -> None:
    plane.refusals.kept.append(
        Refusal(
            trace_id="trace-1",
            at=NOW,
            stage=Stage.CERTIFICATE,
            reasons=(Reason(ReasonCode.CERTIFICATE_INACTIVE, "it is INACTIVE"),),
            account=SCOPE.account,
            region=SCOPE.region,
            certificate_id="ab" * 32,
            facts={"cipher": "TLS_AES_128_GCM_SHA256"},
        )
    )
    (found,) = (await plane.call("Explain", caller(), query="trace-1"))["refusals"]
    assert ("trace-1", "certificate", SCOPE.account) == (found["trace_id"], found["stage"], found["account_id"])
    (reason,) = found["reasons"]
    assert ("CERTIFICATE_INACTIVE", "it is INACTIVE", "DEVICE_CERTIFICATE_INACTIVE") == (
        reason["code"],
        reason["detail"],
        reason["aws_log_reason"],
    )
    assert reason["explanation"]
    assert reason["fix"]
    assert "sni" not in found
    await plane.call("Explain", OPERATOR, max_results=7)
    assert [("trace-1", SCOPE.account, 20), ("", None, 7)] == plane.refusals.asked


@pytest.mark.parametrize(
    "operation", [*sorted(OPERATOR_ONLY.keys() - {"ForgetCertificate"}), "ListEndpoints", "Explain"]
)
async def test_the_operators_operations_are_independent_of_a_region(plane: Plane, operation: str) -> None:
    await plane.store.add_access_key(access_key(1), cause())
    await plane.call(operation, caller(None, region="anything"), **OPERATOR_ONLY.get(operation, {}))


async def test_the_trail_is_an_accounts_own_and_the_operators_whole(plane: Plane) -> None:
    await plane.call("CreateThing", thing_name="lamp")
    own = await plane.call("ListAuditEvents")
    assert {SCOPE.account} == {event["account_id"] for event in own["events"]}
    newest = own["events"][0]
    assert ("CreateThing", "thing", "lamp", 2) == tuple(
        newest[name] for name in ("operation", "kind", "subject", "number")
    )
    assert (NOW, "192.0.2.1", "request-1") == (newest["at"], newest["address"], newest["request_id"])
    everything = await plane.call("ListAuditEvents", OPERATOR)
    assert {SCOPE.account, OTHER_ACCOUNT.account} == {event["account_id"] for event in everything["events"]}
    theirs = await plane.call("ListAuditEvents", OPERATOR, account_id=OTHER_ACCOUNT.account)
    assert [OTHER_ACCOUNT.account] == [event["account_id"] for event in theirs["events"]]
    for account_id in (OTHER_ACCOUNT.account, "operator"):
        for operation in ("ListAuditEvents", "VerifyAudit"):
            with pytest.raises(AccessDeniedError, match="own account"):
                await plane.call(operation, account_id=account_id)
    with pytest.raises(InvalidRequestError, match="kind must be one of"):
        await plane.call("ListAuditEvents", kinds=["thingy"])
    with pytest.raises(InvalidRequestError, match="nextToken"):
        await plane.call("ListAuditEvents", next_token="AAAA")


def test_every_kind_of_change_can_be_asked_for() -> None:
    kinds = raw_model("handfast")["shapes"]["AuditKind"]["enum"]
    assert set(ChangeKind) == set(kinds)


async def test_a_verification_is_of_the_callers_chain_and_only_one_at_a_time(plane: Plane) -> None:
    first, second = await asyncio.gather(
        plane.call("VerifyAudit", OPERATOR), plane.call("VerifyAudit"), return_exceptions=True
    )
    assert isinstance(second, ThrottlingError)
    assert isinstance(first, dict)
    assert 2 == first["events"]
    assert ["CHECKPOINT"] == [finding["kind"] for finding in first["findings"]], "nothing was sealed in this plane"
    own = await plane.call("VerifyAudit")
    assert (1, 1) == (own["events"], own["chains"])
    key = await plane.call("DescribeAuditKey")
    assert own["key_fingerprint"] == key["fingerprint"]
    assert key["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
