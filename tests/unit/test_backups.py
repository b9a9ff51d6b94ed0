"""CreateBackup in the server: one at a time, off the loop, ended by a shutdown, refused in the model's words."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.data_directory import make_directory
from tests.support.registry import FakeClock, caller

from handfast import backups as module
from handfast.backups import Backups, backup_without_server, directory_lock
from handfast.cli.main import run
from handfast.control.backups import BackupHandlers
from handfast.errors import AccessDeniedError, ConfigurationError, LimitExceededError

NAME = "handfast-backup-20300102T030405Z.tar"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_directory(tmp_path / "data")


@pytest.fixture
def backups(directory: Path) -> Backups:
    return Backups(directory, directory / "handfast.db", FakeClock())


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """A backup waits in its thread: set when it has begun, and to be set for it to go on."""
    begun, free = threading.Event(), threading.Event()
    real = module.make_backup

    def waiting(*args: Any, **options: Any) -> Any:
        begun.set()
        assert free.wait(20)
        return real(*args, **options)

    monkeypatch.setattr(module, "make_backup", waiting)
    return begun, free


async def test_the_answer_names_the_file_and_every_member(directory: Path, backups: Backups) -> None:
    answer = await BackupHandlers(backups).handlers["CreateBackup"](caller(None))
    assert str(directory / "backups" / NAME) == answer["path"]
    assert (directory / "backups" / NAME).stat().st_size == answer["size"]
    assert {"handfast.db", "credentials"} < {member["name"] for member in answer["members"]}
    assert [] == answer["left_out"]
    assert "private keys" in answer["warnings"][0]


async def test_an_accounts_key_is_refused_before_anything_is_written(directory: Path, backups: Backups) -> None:
    with pytest.raises(AccessDeniedError):
        await BackupHandlers(backups).handlers["CreateBackup"](caller())
    assert not (directory / "backups").exists()


async def test_one_at_a_time_and_a_caller_that_leaves_does_not_end_it(
    directory: Path, backups: Backups, held: tuple[threading.Event, threading.Event]
) -> None:
    begun, free = held
    first = asyncio.create_task(backups.create())
    await asyncio.to_thread(begun.wait, 20)
    with pytest.raises(LimitExceededError, match="being made already"):
        await backups.create()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    running = backups._running
    assert running is not None
    free.set()
    made = await running
    assert made.path.is_file()
    with pytest.raises(LimitExceededError, match="is there already"):  # the clock stands: it would have the same name
        await backups.create()


async def test_a_shutdown_ends_it_and_nothing_remains(
    directory: Path, backups: Backups, held: tuple[threading.Event, threading.Event]
) -> None:
    begun, free = held
    asked = asyncio.create_task(backups.create())
    await asyncio.to_thread(begun.wait, 20)
    closing = asyncio.create_task(backups.close())
    await asyncio.sleep(0)
    free.set()
    await closing
    with pytest.raises(LimitExceededError, match="server stops"):
        await asked
    assert [] == list((directory / "backups").iterdir())


async def test_what_stands_in_the_way_is_told(directory: Path, backups: Backups) -> None:
    (directory / "backups").write_text("in the way")
    with pytest.raises(LimitExceededError, match="backups"):
        await backups.create()


def test_without_a_server_the_directory_is_locked(directory: Path) -> None:
    with directory_lock(directory), pytest.raises(ConfigurationError, match="Another handfast is running"):
        backup_without_server(directory, None, None, lambda _: None)
    assert not (directory / "backups").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup", "--data-dir", "{tmp}/nowhere"], "holds no registry"),
        (["backup", "--data-dir", "{data}", "--out", "{tmp}/no/where.tar"], "is not a directory"),
        (["backup", "--data-dir", "{data}", "--out", "{data}/credentials"], "not overwritten"),
        (
            ["backup", "--endpoint-url", "https://iot.example.com", "--out", "x"],
            "--out is for a server on this machine",
        ),
        (["restore", "{tmp}/nothing.tar", "--data-dir", "{tmp}/new"], "is not a file"),
        (["restore", "{data}/credentials", "--data-dir", "{tmp}/new"], "cannot be restored"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    given = [word.format(tmp=tmp_path, data=directory) for word in arguments]
    assert 2 == run(given)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [directory] == list(tmp_path.iterdir())
