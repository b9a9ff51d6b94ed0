"""Accounts and keys: made, disabled, revoked, and looked up for signatures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.support.registry import SCOPE, FakeClock, FakeEntropy, account, cause, sqlite_store

from handfast.core.identity.records import AccountStatus
from handfast.errors import (
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
)
from handfast.ports import Change, ChangeKind
from handfast.services.accounts import ACCESS_KEYS_MAX, Accounts, Signer, is_account_id
from handfast.storage.sql import SQLStore

DISABLED, ENABLED = AccountStatus.DISABLED, AccountStatus.ENABLED


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def notified() -> list[Change]:
    return []


@pytest.fixture
def accounts(store: SQLStore, notified: list[Change]) -> Accounts:
    async def notify(changes: Sequence[Change]) -> None:
        notified.extend(changes)

    return Accounts(store, FakeEntropy(), FakeClock(), notify)


async def test_a_new_account_has_a_number_of_twelve_digits(accounts: Accounts, notified: list[Change]) -> None:
    made = await accounts.create(cause(), name="Zoë's lab")
    assert is_account_id(made.account_id)
    assert "0" != made.account_id[0]
    assert made == await accounts.describe(made.account_id)
    assert [Change(ChangeKind.ACCOUNT, None, made.account_id)] == notified


async def test_an_account_may_choose_its_number_once(accounts: Accounts) -> None:
    made = await accounts.create(cause(), name="", account_id="000000000042")
    assert "000000000042" == made.account_id
    with pytest.raises(ResourceAlreadyExistsError):
        await accounts.create(cause(), name="", account_id="000000000042")
    assert 1 == len(await accounts.list_all())


@pytest.mark.parametrize("text", ["", "1", "1" * 13, "12345678901a", "\u0661" * 12, "-12345678901", "1" * 11 + "\n"])
async def test_what_is_no_account_id_is_refused(accounts: Accounts, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        await accounts.create(cause(), name="", account_id=text)
    with pytest.raises(ResourceNotFoundError):
        await accounts.describe(text)
    with pytest.raises(InvalidRequestError):
        await accounts.dev_signer(text)


@pytest.mark.parametrize("name", ["a" * 129, "bell\a", "esc\x1b[31m", "line\nfeed", "\ud800"])
async def test_names_that_would_harm_a_terminal_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        await accounts.create(cause(), name=name)


async def test_a_key_has_the_form_that_aws_tools_expect_and_signs_for_its_account(accounts: Accounts) -> None:
    made = await accounts.create(cause(), name="")
    key = await accounts.create_key(cause(), made.account_id)
    assert 20 == len(key.access_key_id)
    assert key.access_key_id.startswith("AKIA")
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") >= set(key.access_key_id)
    assert 40 == len(key.secret)
    assert key.secret not in repr(key)
    assert Signer(key) == await accounts.signer(key.access_key_id)
    assert await accounts.signer("AKIAUNKNOWN") is None


async def test_a_revoked_key_is_inactive_and_a_disabled_accounts_key_is_told_apart(accounts: Accounts) -> None:
    made = await accounts.create(cause(), name="")
    revoked, kept = [await accounts.create_key(cause(), made.account_id) for _ in range(2)]
    await accounts.revoke_key(cause(), revoked.access_key_id, made.account_id)
    await accounts.revoke_key(cause(), revoked.access_key_id, made.account_id)

    async def seen() -> list[tuple[bool, bool]]:
        signers = [await accounts.signer(key.access_key_id) for key in (revoked, kept)]
        return [(signer.key.active, signer.account_disabled) for signer in signers if signer is not None]

    assert [(False, False), (True, False)] == await seen()
    assert DISABLED is (await accounts.set_status(cause(), made.account_id, DISABLED)).status
    assert [(False, True), (True, True)] == await seen()
    await accounts.set_status(cause(), made.account_id, ENABLED)
    assert [(False, False), (True, False)] == await seen()


async def test_a_key_of_another_account_is_not_revoked_by_the_way(accounts: Accounts) -> None:
    one, two = [await accounts.create(cause(), name="") for _ in range(2)]
    key = await accounts.create_key(cause(), one.account_id)
    with pytest.raises(ResourceNotFoundError):
        await accounts.revoke_key(cause(), key.access_key_id, two.account_id)
    assert [key] == await accounts.list_keys(one.account_id)


async def test_the_operators_last_key_stays(accounts: Accounts) -> None:
    first = await accounts.create_key(cause(), None)
    with pytest.raises(InvalidRequestError, match="only key"):
        await accounts.revoke_key(cause(), first.access_key_id)
    second = await accounts.create_key(cause(), None)
    await accounts.revoke_key(cause(), first.access_key_id)
    with pytest.raises(InvalidRequestError):
        await accounts.revoke_key(cause(), second.access_key_id)


async def test_keys_of_an_account_are_bounded(accounts: Accounts) -> None:
    made = await accounts.create(cause(), name="")
    for _ in range(ACCESS_KEYS_MAX):
        last = await accounts.create_key(cause(), made.account_id)
    with pytest.raises(LimitExceededError):
        await accounts.create_key(cause(), made.account_id)
    await accounts.revoke_key(cause(), last.access_key_id)
    await accounts.create_key(cause(), made.account_id)


async def test_what_does_not_exist_is_not_found(accounts: Accounts) -> None:
    unknown = "000000000000"
    for call in (
        accounts.describe(unknown),
        accounts.set_status(cause(), unknown, DISABLED),
        accounts.create_key(cause(), unknown),
        accounts.list_keys(unknown),
        accounts.revoke_key(cause(), "AKIAUNKNOWN"),
    ):
        with pytest.raises(ResourceNotFoundError):
            await call


async def test_in_dev_mode_an_account_is_made_by_its_first_use(accounts: Accounts, notified: list[Change]) -> None:
    for _ in range(2):
        signer = await accounts.dev_signer("000000000007")
        assert ("000000000007", True, False) == (signer.key.account_id, signer.key.active, signer.account_disabled)
    assert [Change(ChangeKind.ACCOUNT, None, "000000000007")] == notified
    assert [] == await accounts.list_keys("000000000007")
    await accounts.set_status(cause(), "000000000007", DISABLED)
    assert (await accounts.dev_signer("000000000007")).account_disabled


async def test_two_first_uses_at_once_make_one_account(store: SQLStore, accounts: Accounts) -> None:
    await store.create_account(account(SCOPE), cause())
    assert SCOPE.account == (await accounts.dev_signer(SCOPE.account)).key.account_id
    assert 1 == len(await accounts.list_all())
