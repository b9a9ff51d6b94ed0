"""The first start: account, keys and credentials file agree, wherever an earlier start was killed."""

from __future__ import annotations

import configparser
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from tests.support.registry import FakeClock, FakeEntropy, cause, sqlite_store

from handfast.core.identity.records import AccountStatus
from handfast.errors import ConfigurationError
from handfast.services import credentials_file
from handfast.services.accounts import Accounts
from handfast.services.first_run import FirstRun, ensure_first_run
from handfast.storage.sql import SQLStore


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credentials"


class Starter:
    """Starts again and again, with entropy that never repeats itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entropy = FakeEntropy()

    async def __call__(self, store: Any) -> FirstRun:
        return await ensure_first_run(store, self.path, FakeClock(), self.entropy)


@pytest.fixture
def start(path: Path) -> Starter:
    return Starter(path)


def profiles(path: Path) -> dict[str, tuple[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    return {
        name: (parser[name]["aws_access_key_id"], parser[name]["aws_secret_access_key"]) for name in parser.sections()
    }


async def check_agreement(store: SQLStore, path: Path, run: FirstRun) -> None:
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert run.account_key is not None
    account_entry = (run.account_key.access_key_id, run.account_key.secret)
    operator_entry = (run.operator_key.access_key_id, run.operator_key.secret)
    assert {"default": account_entry, "handfast": account_entry, "handfast-operator": operator_entry} == profiles(path)
    assert [run.account_key] == await store.access_keys(run.account.account_id)
    assert [run.operator_key] == await store.access_keys(None)
    assert [run.account] == await store.accounts()
    assert run.account.account_id == run.account_key.account_id


async def test_the_first_start_makes_everything_and_the_next_changes_nothing(
    store: SQLStore, path: Path, start: Starter
) -> None:
    first = await start(store)
    assert first.created
    await check_agreement(store, path, first)
    text = path.read_text()
    second = await start(store)
    assert not second.created
    assert text == path.read_text()
    assert (first.account, first.account_key, first.operator_key) == (
        second.account,
        second.account_key,
        second.operator_key,
    )


async def test_the_aws_tools_read_the_file(
    store: SQLStore, path: Path, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await start(store)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    for profile, key in {None: run.account_key, "handfast-operator": run.operator_key}.items():
        found = botocore.session.Session(profile=profile).get_credentials()
        assert key is not None
        assert (key.access_key_id, key.secret) == (found.access_key, found.secret_key)


STEPS = ["write", "create_account", "add_access_key 1", "add_access_key 2"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
async def test_a_start_killed_at_any_step_is_completed_by_the_next(
    store: SQLStore, path: Path, start: Starter, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    calls: dict[str, int] = {}

    def reached(name: str) -> bool:
        calls[name] = calls.get(name, 0) + 1
        return step in (name, f"{name} {calls[name]}")

    class Dying:
        def __getattr__(self, name: str) -> Any:
            real = getattr(store, name)
            if not step.startswith(name):
                return real

            async def dying(*arguments: Any) -> Any:
                now = reached(name)
                if now and not after:
                    raise Killed
                result = await real(*arguments)
                if now:
                    raise Killed
                return result

            return dying

    real_write = credentials_file.write

    def dying_write(*arguments: Any) -> None:
        now = reached("write")
        if not now or after:
            real_write(*arguments)
        if now:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(credentials_file, "write", dying_write)
        with pytest.raises(Killed):
            await start(Dying())
    await check_agreement(store, path, await start(store))


async def test_a_deleted_file_is_written_anew_with_the_same_keys(store: SQLStore, path: Path, start: Starter) -> None:
    first = await start(store)
    path.unlink()
    second = await start(store)
    assert first.account_key == second.account_key
    await check_agreement(store, path, second)


async def test_a_leftover_of_a_killed_write_is_in_nobodys_way(store: SQLStore, path: Path, start: Starter) -> None:
    path.with_name(".credentials.new").write_text("half a")
    await check_agreement(store, path, await start(store))
    assert not path.with_name(".credentials.new").exists()


async def test_profiles_of_others_stay_and_keys_that_do_not_count_are_replaced(
    store: SQLStore, path: Path, start: Starter
) -> None:
    run = await start(store)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    parser["mine"] = {"aws_access_key_id": "AKIAMINE", "aws_secret_access_key": "100%mine"}
    parser["default"]["aws_secret_access_key"] = "edited"
    parser["handfast-operator"]["aws_access_key_id"] = "AKIAFORGED"
    with path.open("w") as file:
        parser.write(file)
    again = await start(store)
    found = profiles(path)
    assert ("AKIAMINE", "100%mine") == found.pop("mine")
    assert run.account_key is not None
    assert (run.account_key.access_key_id, run.account_key.secret) == found["default"]
    assert (run.operator_key.access_key_id, run.operator_key.secret) == found["handfast-operator"]
    # Writing a key into the file makes no key.
    assert [run.operator_key] == await store.access_keys(None)
    assert again.operator_key == run.operator_key


async def test_the_file_follows_a_rotation_and_a_full_revocation_is_not_undone(
    store: SQLStore, path: Path, start: Starter
) -> None:
    async def silent(_: object) -> None: ...

    run = await start(store)
    assert run.account_key is not None
    accounts = Accounts(store, start.entropy, FakeClock(), silent)
    rotated = await accounts.create_key(cause(), run.account.account_id)
    await accounts.revoke_key(cause(), run.account_key.access_key_id)
    assert rotated == (await start(store)).account_key
    assert (rotated.access_key_id, rotated.secret) == profiles(path)["handfast"]
    await accounts.revoke_key(cause(), rotated.access_key_id)
    last = await start(store)
    assert last.account_key is None
    assert not last.created
    assert 2 == len(await store.access_keys(run.account.account_id))


async def test_without_an_active_operator_key_a_start_makes_one(store: SQLStore, path: Path, start: Starter) -> None:
    run = await start(store)
    await store.revoke_access_key(run.operator_key.access_key_id, cause())
    again = await start(store)
    assert again.operator_key.active
    assert again.operator_key != run.operator_key
    assert again.operator_key.access_key_id == profiles(path)["handfast-operator"][0]


async def test_a_disabled_first_account_stays_first_and_disabled(store: SQLStore, start: Starter) -> None:
    run = await start(store)
    await store.set_account_status(run.account.account_id, AccountStatus.DISABLED, cause())
    assert AccountStatus.DISABLED is (await start(store)).account.status


async def test_no_key_is_taken_from_the_file(store: SQLStore, path: Path, start: Starter) -> None:
    path.write_text("[default]\naws_access_key_id = AKIAFORGED\naws_secret_access_key = known\n")
    path.chmod(0o600)
    run = await start(store)
    await check_agreement(store, path, run)
    assert await store.access_key("AKIAFORGED") is None


async def test_a_file_that_others_may_read_stops_the_start(store: SQLStore, path: Path, start: Starter) -> None:
    await start(store)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        await start(store)


@pytest.mark.parametrize("content", [b"aws_secret_access_key = hunter2\n", b"[default]\nhunter2\n", b"\xff\xfehunter2"])
async def test_a_damaged_file_stops_the_start_without_showing_what_is_in_it(
    store: SQLStore, path: Path, start: Starter, content: bytes
) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        await start(store)
    assert "hunter2" not in str(caught.value)
    assert [] == await store.accounts()
