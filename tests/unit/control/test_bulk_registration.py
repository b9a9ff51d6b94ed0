"""RegisterCertificates: a result for each, one transaction, and the rules of the single operations."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from tests.support.own_ca import OwnCA
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, Plane, caller, certificate_id, pem_id, self_signed

from handfast.errors import AccessDeniedError, InvalidRequestError, ResourceNotFoundError, ServiceError
from handfast.ports import Change, ChangeKind
from handfast.services import judging


async def register(plane: Plane, *pems: str, status: str | None = None, **members: Any) -> list[dict[str, Any]]:
    extra = {} if status is None else {"status": status}
    entries = [{"certificate_pem": pem, **extra} for pem in pems]
    return list((await plane.call("RegisterCertificates", certificates=entries, **members))["results"])


async def described(plane: Plane, certificate: str) -> dict[str, Any]:
    return dict((await plane.call("DescribeCertificate", certificate_id=certificate))["certificate_description"])


async def with_ca(plane: Plane, ca: OwnCA, **members: Any) -> str:
    code = (await plane.call("GetRegistrationCode"))["registration_code"]
    made = await plane.call(
        "RegisterCACertificate",
        ca_certificate=ca.pem,
        verification_certificate=ca.issue(code),
        set_as_active=True,
        **members,
    )
    return str(made["certificate_id"])


async def test_each_has_a_result_in_order_and_one_that_is_refused_spoils_no_other(plane: Plane) -> None:
    good = self_signed("one")
    later = self_signed("late", not_before=NOW + dt.timedelta(days=1))
    results = await register(plane, good, "no PEM", later, good, self_signed("two"), "", status="ACTIVE")
    assert ["registered", "error", "error", "exists", "registered", "error"] == [r["outcome"] for r in results]
    assert [pem_id(good), None, pem_id(later)] == [result.get("certificate_id") for result in results[:3]]
    assert {"error_code": "CertificateValidationException"}.items() <= results[1].items()
    assert "cannot be registered" in results[2]["error_message"]
    assert "ACTIVE" == results[3]["certificate_status"]
    found = await described(plane, pem_id(good))
    assert ("ACTIVE", "SNI_ONLY", good) == (found["status"], found["certificate_mode"], found["certificate_pem"])


async def test_a_registered_certificate_is_announced_and_audited_in_one_transaction(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    write: Callable[..., Any] = plane.store._write

    def counted(operation: Any) -> Any:
        nonlocal writes
        writes += 1
        return write(operation)

    monkeypatch.setattr(plane.store, "_write", counted)
    pems = [self_signed(str(number)) for number in range(5)]
    await register(plane, *pems, "broken")
    assert 1 == writes
    assert {Change(ChangeKind.CERTIFICATE, SCOPE, pem_id(pem)) for pem in pems} == set(plane.notified)
    with sqlite3.connect(tmp_path / "handfast.db") as database:
        rows = database.execute("SELECT subject FROM audit WHERE operation = 'RegisterCertificates'").fetchall()
    assert {pem_id(pem) for pem in pems} == {row[0] for row in rows}


async def test_what_is_there_already_is_told_with_its_present_status(plane: Plane) -> None:
    pem = self_signed()
    await register(plane, pem)
    await plane.call("UpdateCertificate", certificate_id=pem_id(pem), new_status="REVOKED")
    (result,) = await register(plane, pem, status="ACTIVE")
    assert {"certificate_id": pem_id(pem), "outcome": "exists", "certificate_status": "REVOKED"} == result


async def test_that_it_is_there_comes_before_that_it_has_expired(plane: Plane) -> None:
    pem = self_signed(not_after=NOW + dt.timedelta(minutes=1))
    await register(plane, pem)
    late = dataclasses.replace(caller(), at=NOW + dt.timedelta(days=1))
    answer = await plane.call("RegisterCertificates", late, certificates=[{"certificate_pem": pem}])
    assert "exists" == answer["results"][0]["outcome"]


async def test_a_tombstone_of_a_revoked_certificate_refuses_it_and_its_neighbours_go_in(plane: Plane) -> None:
    gone, fresh = self_signed("gone"), self_signed("fresh")
    await register(plane, gone, status="REVOKED")
    await plane.call("DeleteCertificate", certificate_id=pem_id(gone))
    refused, registered = await register(plane, gone, fresh)
    assert ("error", "CertificateStateException") == (refused["outcome"], refused["error_code"])
    assert "cert forget" in refused["error_message"]
    assert "registered" == registered["outcome"]


async def test_a_certificate_that_was_transferred_away_is_registered_again_on_purpose(plane: Plane) -> None:
    pem = self_signed()
    await register(plane, pem)
    target = OTHER_ACCOUNT.account
    await plane.call("TransferCertificate", certificate_id=pem_id(pem), target_aws_account=target)
    await plane.call("AcceptCertificateTransfer", caller(OTHER_ACCOUNT), certificate_id=pem_id(pem))
    assert "registered" == (await register(plane, pem))[0]["outcome"]


async def test_the_same_certificate_in_another_account_is_another_registration(plane: Plane) -> None:
    pem = self_signed()
    await register(plane, pem)
    answer = await plane.call("RegisterCertificates", caller(OTHER_ACCOUNT), certificates=[{"certificate_pem": pem}])
    assert "registered" == answer["results"][0]["outcome"]


# --- under a CA


async def test_under_the_registered_ca_each_inherits_its_mode(plane: Plane) -> None:
    ca, stranger = OwnCA(), OwnCA("Stranger")
    ca_id = await with_ca(plane, ca)
    leaf, foreign, impostor = ca.issue("one"), stranger.issue("two"), stranger.issue("three", issuer=ca.name)
    for members in ({"require_ca": True}, {"ca_certificate_id": ca_id}):
        results = await register(plane, leaf, foreign, impostor, **members)
        assert ["error", "error"] == [result["outcome"] for result in results[1:]]
        assert {"CertificateValidationException"} == {result["error_code"] for result in results[1:]}
    assert "exists" == results[0]["outcome"]
    found = await described(plane, pem_id(leaf))
    assert ("DEFAULT", ca_id) == (found["certificate_mode"], found["ca_certificate_id"])


async def test_the_status_of_each_cas_is_its_own(plane: Plane) -> None:
    active, inactive = OwnCA("Active"), OwnCA("Inactive")
    await with_ca(plane, active)
    off = await with_ca(plane, inactive)
    await plane.call("UpdateCACertificate", certificate_id=off, new_status="INACTIVE")
    good, bad = await register(plane, active.issue("a"), inactive.issue("b"), require_ca=True)
    assert ("registered", "error") == (good["outcome"], bad["outcome"])
    assert "CertificateStateException" == bad["error_code"]


async def test_a_ca_that_is_switched_off_meanwhile_takes_in_nothing(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = OwnCA()
    ca_id = await with_ca(plane, ca)
    insert = plane.store.insert_certificates

    async def late(*args: Any, **options: Any) -> Any:
        await plane.call("UpdateCACertificate", certificate_id=ca_id, new_status="INACTIVE")
        return await insert(*args, **options)

    monkeypatch.setattr(plane.store, "insert_certificates", late)
    (result,) = await register(plane, ca.issue("late"), require_ca=True)
    assert ("error", "CertificateStateException") == (result["outcome"], result["error_code"])


async def test_weak_signatures_are_refused_as_by_the_single_operation(plane: Plane) -> None:
    ca = OwnCA()
    await with_ca(plane, ca)
    weak = ca.issue("weak", digest=hashes.SHA224())
    with pytest.raises(ServiceError) as caught:
        await plane.call("RegisterCertificate", certificate_pem=weak)
    (result,) = await register(plane, weak, require_ca=True)
    assert (caught.value.code, caught.value.message) == (result["error_code"], result["error_message"])


# --- the call as a whole


async def test_the_call_itself_is_refused(plane: Plane) -> None:
    with pytest.raises(AccessDeniedError, match="owns no resources"):
        await plane.call("RegisterCertificates", caller(None), certificates=[{"certificate_pem": self_signed()}])
    with pytest.raises(InvalidRequestError, match="500"):
        await register(plane, *["x"] * 501)
    with pytest.raises(ResourceNotFoundError, match="not registered"):
        await register(plane, self_signed(), ca_certificate_id=certificate_id(7))


async def test_a_batch_of_nothing_but_errors_writes_nothing(plane: Plane) -> None:
    before = await plane.store.head_cursor()
    assert {"error"} == {result["outcome"] for result in await register(plane, *["x"] * 500)}
    assert before == await plane.store.head_cursor()


async def test_the_loop_is_free_while_certificates_are_verified(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, answer = asyncio.get_running_loop(), judging.answer
    free = asyncio.Event()

    def held(question: dict[str, Any]) -> list[Any]:
        # Only a loop that is free runs this, and only then does the verification go on.
        asyncio.run_coroutine_threadsafe(_set(free), loop).result(10)
        return answer(question)

    monkeypatch.setattr(judging, "answer", held)
    assert "registered" == (await register(plane, self_signed()))[0]["outcome"]
    assert free.is_set()


async def _set(event: asyncio.Event) -> None:
    event.set()


async def test_statuses_are_those_of_the_scope(plane: Plane) -> None:
    pems = [self_signed(str(number)) for number in range(3)]
    await register(plane, *pems[:2])
    ids = [pem_id(pem) for pem in pems]
    assert set(ids[:2]) == set(await plane.store.certificate_statuses(SCOPE, ids))
    assert {} == await plane.store.certificate_statuses(OTHER_ACCOUNT, ids)
