"""The audit table and the change rows: written with the change or not at all, and never rewritten."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    access_key,
    cause,
    certificate,
    certificate_id,
    policy,
    sqlite_store,
    thing,
    with_accounts,
)

from handfast.core.identity.ids import PolicyName, ThingName
from handfast.core.identity.records import AccountStatus, CertificateStatus, ThingPrincipalType
from handfast.errors import StoreConflict, StoreUnavailable
from handfast.ports import Cause, Cursor
from handfast.storage import journal
from handfast.storage.sql import SQLStore
from handfast.storage.tables import audit

ID = certificate_id(1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        await with_accounts(opened)
        yield opened


async def rows(store: SQLStore) -> list[Any]:
    return list(await store._database.read(lambda c: c.execute(select(audit).order_by(audit.c.sequence)).all()))


async def test_an_audit_row_says_who_did_what_when_from_where_and_what_it_was_before(store: SQLStore) -> None:
    await store.insert_certificate(certificate(1), cause())
    by = Cause(actor="arn:someone", address="2001:db8::1", operation="UpdateCertificate", request_id="r-7", at=NOW)
    await store.set_certificate_status(
        SCOPE, ID, expected=CertificateStatus.INACTIVE, new=CertificateStatus.ACTIVE, cause=by
    )
    row = (await rows(store))[-1]
    assert ("arn:someone", "2001:db8::1", "UpdateCertificate", "r-7", NOW) == (
        row.actor,
        row.address,
        row.operation,
        row.request_id,
        row.at,
    )
    assert (SCOPE.account, SCOPE.region, "certificate", ID) == (row.account_id, row.region, row.what, row.subject)
    assert {"status": "INACTIVE"} == json.loads(row.before)
    assert {"status": "ACTIVE"} == json.loads(row.after)


async def test_every_changing_operation_is_audited(store: SQLStore) -> None:
    lamp, allow = ThingName("lamp"), PolicyName("allow")
    shared = ThingPrincipalType.NON_EXCLUSIVE_THING
    key = access_key(1)
    steps = {
        "account": lambda: store.set_account_status(OTHER_ACCOUNT.account, AccountStatus.DISABLED, cause()),
        "key": lambda: store.add_access_key(key, cause()),
        "key revoked": lambda: store.revoke_access_key(key.access_key_id, cause()),
        "endpoint": lambda: store.ensure_endpoint(SCOPE, "aaa", cause()),
        "certificate": lambda: store.insert_certificate(certificate(1), cause()),
        "thing": lambda: store.create_thing(thing(), cause()),
        "policy": lambda: store.create_policy(policy(), cause()),
        "thing attached": lambda: store.attach_thing(SCOPE, lamp, ID, shared, cause()),
        "policy attached": lambda: store.attach_policy(SCOPE, allow, ID, limit=10, cause=cause()),
        "thing detached": lambda: store.detach_thing(SCOPE, lamp, ID, cause()),
        "policy detached": lambda: store.detach_policy(SCOPE, allow, ID, cause()),
        "thing deleted": lambda: store.delete_thing(SCOPE, lamp, expected_version=None, cause=cause()),
        "certificate deleted": lambda: store.delete_certificate(SCOPE, ID, force=False, cause=cause()),
        "policy deleted": lambda: store.delete_policy(SCOPE, allow, cause()),
    }
    for name, step in steps.items():
        before = len(await rows(store))
        await step()
        assert before + 1 == len(await rows(store)), name


async def test_forced_deletion_audits_each_policy_that_it_detached(store: SQLStore) -> None:
    await store.insert_certificate(certificate(1), cause())
    for name in ("a", "b"):
        await store.create_policy(policy(name), cause())
        await store.attach_policy(SCOPE, PolicyName(name), ID, limit=10, cause=cause())
    before = len(await rows(store))
    await store.delete_certificate(SCOPE, ID, force=True, cause=cause())
    assert [
        ("principal_policies", {"policy": "a"}),
        ("principal_policies", {"policy": "b"}),
        ("certificate", {"status": "INACTIVE", "mode": "DEFAULT"}),
    ] == [(row.what, json.loads(row.before)) for row in (await rows(store))[before:]]


async def test_what_changes_nothing_or_is_refused_leaves_no_row(store: SQLStore) -> None:
    await store.insert_certificate(certificate(1), cause())
    before = len(await rows(store))
    for refused in (
        store.insert_certificate(certificate(1), cause()),
        store.create_account((await store.accounts())[0], cause()),
        store.set_certificate_status(
            SCOPE, ID, expected=CertificateStatus.ACTIVE, new=CertificateStatus.REVOKED, cause=cause()
        ),
    ):
        with pytest.raises(StoreConflict):
            await refused
    await store.detach_policy(SCOPE, PolicyName("none"), ID, cause())
    assert before == len(await rows(store))


async def test_no_change_is_kept_when_its_audit_row_cannot_be_written(
    store: SQLStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    block = "CREATE TRIGGER block BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END"
    await store._database.write(lambda c: c.execute(text(block)))
    with pytest.raises(StoreUnavailable):
        await store.insert_certificate(certificate(1), cause())
    assert await store.certificate(SCOPE, ID) is None


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
async def test_the_audit_table_is_append_only(
    store: SQLStore, statement: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    before = await rows(store)
    with pytest.raises(StoreUnavailable):
        await store._database.write(lambda c: c.execute(text(statement)))
    assert before == await rows(store)


async def test_no_secret_and_no_certificate_text_stands_in_the_audit(store: SQLStore) -> None:
    await store.add_access_key(access_key(1), cause())
    await store.insert_certificate(certificate(1), cause())
    told = str(await rows(store))
    assert "secret-1" not in told
    assert "pem of" not in told


async def test_a_follower_that_was_away_too_long_is_told_to_start_over(
    store: SQLStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHANGES_KEPT", 20)
    monkeypatch.setattr(journal, "_PRUNE_EVERY", 10)
    old = await store.head_cursor()
    for number in range(60):
        await store.insert_certificate(certificate(number), cause())
    with pytest.raises(StoreConflict) as caught:
        await store.changes_since(old, 10)
    assert "cursor" == caught.value.kind
    head = int((await store.head_cursor()).removeprefix("c"))
    changes, _ = await store.changes_since(Cursor(f"c{head - 15}"), 100)
    assert [certificate_id(number) for number in range(45, 60)] == [change.subject for change in changes]
