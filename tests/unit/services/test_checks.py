"""Checks as tasks: over a real store, in a real process of their own."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeClock,
    FakeEntropy,
    cause,
    certificate,
    pem_id,
    sqlite_store,
    with_accounts,
)
from tests.support.weak import certificate_over, pem_of, primes

from handfast.core.identity.checks import CheckName
from handfast.core.identity.ids import Scope
from handfast.core.identity.observations import Observation, Sighting
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.errors import InvalidRequestError, LimitExceededError, ResourceNotFoundError
from handfast.services import checks as module
from handfast.services.check_uploads import LIFETIME_S, MAX_BYTES_PER_SCOPE, Uploads
from handfast.services.checks import CheckOptions, Checks, CheckTask, Phase, TaskStatus
from handfast.storage.sql import SQLStore

EXPIRING = CheckOptions(checks=frozenset({CheckName.DEVICE_CERTIFICATE_EXPIRING}))


class Seen:
    """What gateways saw."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []

    async def __call__(self, scope: Scope) -> Sequence[Observation]:
        return [each for each in self.observations if each.scope == scope]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as made:
        await with_accounts(made)
        yield made


@pytest.fixture
async def checks(store: SQLStore) -> AsyncIterator[Checks]:
    made = Checks(store, Seen(), FakeClock(), FakeEntropy())
    yield made
    await made.close()


def record(modulus: int, number: int = 1, scope: Scope = SCOPE, **changes: Any) -> CertificateRecord:
    validity = {"not_before": NOW - dt.timedelta(days=1), "not_after": NOW + dt.timedelta(days=300)}
    pem = pem_of(certificate_over(modulus, **{**validity, **changes}))
    made = certificate(number, scope=scope, status=CertificateStatus.ACTIVE)
    return dataclasses.replace(made, pem=pem, certificate_id=pem_id(pem))


async def ended(task: CheckTask) -> CheckTask:
    assert task.job is not None
    await task.job
    return task


async def test_a_fleet_with_a_shared_prime_is_found_out(store: SQLStore, checks: Checks) -> None:
    p, q, r, s, t, _ = primes()
    one, two, fine = record(p * q, 1), record(p * r, 2), record(s * t, 3)
    theirs = record(q * r, 4, OTHER_ACCOUNT)
    await store.insert_certificates([one, two, fine, theirs], cause())
    task = await ended(checks.start(SCOPE, CheckOptions()))
    assert (TaskStatus.COMPLETED, Phase.DONE, None) == (task.status, task.phase, task.error)
    assert (3, 3) == (task.tally["certificates"], task.tally["moduli"])
    page, token = checks.findings(SCOPE, task.task_id, check=None, limit=10, token=None)
    assert None is token
    assert {one.certificate_id, two.certificate_id} == {
        each["non_compliant_resource"]["resource_identifier"]["device_certificate_id"] for each in page
    }
    assert {"HANDFAST_CERTIFICATE_KEY_SHARES_FACTOR"} == {each["reason_for_non_compliance_code"] for each in page}
    assert {"CRITICAL": 2} == task.severities


async def test_more_certificates_than_a_page_are_all_looked_at(
    store: SQLStore, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    soon = NOW + dt.timedelta(days=3)
    modulus = primes()[0] * primes()[1]
    await store.insert_certificates([record(modulus, n, not_after=soon) for n in range(7)], cause())
    task = await ended(checks.start(SCOPE, EXPIRING))
    assert (7, 7, {"DEVICE_CERTIFICATE_EXPIRING_CHECK": 7}) == (task.sent, task.tally["certificates"], task.counts)
    found: list[Any] = []
    token: str | None = None
    for expected in (3, 3, 1):
        page, token = checks.findings(SCOPE, task.task_id, check=None, limit=3, token=token)
        assert expected == len(page)
        found += page
    assert None is token
    assert 7 == len({str(each["non_compliant_resource"]["resource_identifier"]) for each in found})


async def test_findings_beyond_the_bound_are_counted_and_not_kept(
    store: SQLStore, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FINDINGS_PER_CHECK", 2)
    soon = NOW + dt.timedelta(days=3)
    modulus = primes()[0] * primes()[1]
    await store.insert_certificates([record(modulus, n, not_after=soon) for n in range(5)], cause())
    task = await ended(checks.start(SCOPE, EXPIRING))
    assert (2, 5) == (len(task.findings), task.severities["MEDIUM"])


async def test_what_gateways_saw_reaches_the_process(store: SQLStore) -> None:
    seen = Seen()
    mine = record(primes()[0] * primes()[1])
    await store.insert_certificates([mine], cause())
    shared = Observation(
        scope=SCOPE,
        sighting=Sighting.SHARED_CERTIFICATE,
        subject=mine.certificate_id,
        first_seen=NOW,
        last_seen=NOW,
        count=1,
        parties=("a\n", "b\u202e"),
        addresses=("::1",),
    )
    seen.observations = [shared, dataclasses.replace(shared, scope=OTHER_ACCOUNT, sighting=Sighting.CLIENT_ID_TAKEN)]
    checks = Checks(store, seen, FakeClock(), FakeEntropy())
    task = await ended(checks.start(SCOPE, CheckOptions()))
    (found,) = task.findings
    assert "DEVICE_CERTIFICATE_SHARED_CHECK" == found["check_name"]
    assert [{"client_id": "a\n"}, {"client_id": "b\u202e"}] == [
        each["resource_identifier"] for each in found["related_resources"]
    ]


async def test_a_registration_that_cannot_be_read_is_counted_and_stops_nothing(store: SQLStore, checks: Checks) -> None:
    broken = dataclasses.replace(certificate(1), status=CertificateStatus.ACTIVE)
    await store.insert_certificates([broken, record(primes()[0] * primes()[1], 2)], cause())
    task = await ended(checks.start(SCOPE, CheckOptions()))
    assert (TaskStatus.COMPLETED, 1, 1) == (task.status, task.tally["unreadable"], task.tally["certificates"])


async def test_a_file_that_is_no_list_fails_the_task_with_its_reason(checks: Checks) -> None:
    task = await ended(checks.start(SCOPE, CheckOptions(files=(b"no list",))))
    assert TaskStatus.FAILED is task.status
    assert "Revocation list 1: This is not DER of a certificate revocation list." == task.error


async def test_an_account_has_one_check_at_a_time_and_one_is_kept(checks: Checks) -> None:
    first = checks.start(SCOPE, EXPIRING)
    with pytest.raises(LimitExceededError, match=first.task_id):
        checks.start(SCOPE, EXPIRING)
    other = checks.start(OTHER_ACCOUNT, EXPIRING)
    await ended(first)
    second = checks.start(SCOPE, EXPIRING)
    with pytest.raises(ResourceNotFoundError):
        checks.task(SCOPE, first.task_id)
    await ended(second)
    await ended(other)


async def test_a_task_is_its_accounts_alone(checks: Checks) -> None:
    task = await ended(checks.start(SCOPE, EXPIRING))
    for stranger in (OTHER_ACCOUNT, Scope(SCOPE.account, "eu-west-1")):
        with pytest.raises(ResourceNotFoundError):
            checks.task(stranger, task.task_id)
        with pytest.raises(ResourceNotFoundError):
            checks.findings(stranger, task.task_id, check=None, limit=1, token=None)
        with pytest.raises(ResourceNotFoundError):
            await checks.cancel(stranger, task.task_id)


async def test_tokens_of_other_listings_are_refused(checks: Checks) -> None:
    task = await ended(checks.start(SCOPE, EXPIRING))
    for token in ("x", "0", f"{task.task_id}.", f"{task.task_id}.-1", f"{task.task_id}.9999999999", "other.1"):
        with pytest.raises(InvalidRequestError):
            checks.findings(SCOPE, task.task_id, check=None, limit=1, token=token)


async def test_canceling_ends_it_and_frees_the_place(checks: Checks) -> None:
    running = checks.start(SCOPE, EXPIRING)
    waiting = checks.start(OTHER_ACCOUNT, EXPIRING)
    await checks.cancel(OTHER_ACCOUNT, waiting.task_id)
    await checks.cancel(SCOPE, running.task_id)
    assert (TaskStatus.CANCELED, TaskStatus.CANCELED) == (running.status, waiting.status)
    assert TaskStatus.COMPLETED is (await ended(checks.start(SCOPE, EXPIRING))).status


async def test_a_process_that_dies_fails_its_task(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    task = await ended(checks.start(SCOPE, EXPIRING))
    assert TaskStatus.FAILED is task.status
    assert task.error is not None
    assert "ended early" in task.error


def test_uploads_are_put_together_used_once_and_forgotten() -> None:
    clock = FakeClock()
    uploads = Uploads(clock, FakeEntropy())
    upload = uploads.add(SCOPE, None, b"one ")
    assert upload == uploads.add(SCOPE, upload, b"two")
    with pytest.raises(ResourceNotFoundError):
        uploads.take(OTHER_ACCOUNT, upload)
    assert b"one two" == uploads.take(SCOPE, upload)
    with pytest.raises(ResourceNotFoundError):
        uploads.take(SCOPE, upload)
    old = uploads.add(SCOPE, None, b"old")
    clock.instant += dt.timedelta(seconds=LIFETIME_S + 1)
    with pytest.raises(ResourceNotFoundError):
        uploads.add(SCOPE, old, b"more")


def test_uploads_are_bounded() -> None:
    uploads = Uploads(FakeClock(), FakeEntropy())
    upload = uploads.add(SCOPE, None, bytes(MAX_BYTES_PER_SCOPE))
    with pytest.raises(LimitExceededError):
        uploads.add(SCOPE, upload, b"x")
    with pytest.raises(LimitExceededError):
        uploads.add(SCOPE, None, b"x")
    assert uploads.add(OTHER_ACCOUNT, None, b"x")
