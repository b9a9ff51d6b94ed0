"""A backup holds what a server needs, at one instant, and says what it does not hold."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from tests.support.data_directory import (
    PLAIN_FILES,
    Quiet,
    back_up,
    bring_back,
    files_below,
    make_directory,
    marker_of,
    read_archive,
)

from handfast.errors import ConfigurationError
from handfast.services import backup as backup_module
from handfast.services import renaming
from handfast.services.backup import move_backup
from handfast.services.backup_format import MANIFEST, rule_of


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_directory(tmp_path / "data")


def test_an_archive_is_plain_tar_of_mode_0600_that_lists_its_members_last(directory: Path, tmp_path: Path) -> None:
    made = back_up(directory, tmp_path / "out.tar")
    members = read_archive(made.path)
    assert 0o600 == stat.S_IMODE(made.path.stat().st_mode)
    assert MANIFEST == members[-1][0]
    assert {*PLAIN_FILES, "handfast.db", "sessions.db"} == {name for name, _ in members[:-1]}
    assert [(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in members[:-1]] == [
        tuple(member) for member in made.manifest.members
    ]
    assert hashlib.sha256(made.path.read_bytes()).hexdigest() == made.sha256
    assert made.path.stat().st_size == made.size
    assert ["out.tar"] == [path.name for path in tmp_path.iterdir() if path != directory]


def test_what_was_committed_while_another_connection_writes_is_in_it(directory: Path, tmp_path: Path) -> None:
    writer = sqlite3.connect(directory / "handfast.db", isolation_level=None)
    writer.execute("UPDATE settings SET value = 'committed'")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE settings SET value = 'not committed'")
    made = back_up(directory, tmp_path / "out.tar")
    writer.execute("COMMIT")
    writer.close()
    bring_back(made.path, tmp_path / "restored")
    assert "committed" == marker_of(tmp_path / "restored")


def test_checkpoints_are_read_before_the_registry_and_certificates_before_their_keys(
    directory: Path, tmp_path: Path
) -> None:
    (directory / "audit-checkpoints").write_text("{}\n")
    names = [member.name for member in back_up(directory, tmp_path / "out.tar").manifest.members]
    assert names.index("audit-checkpoints") < names.index("handfast.db")
    assert names.index("pki/leaves/us-east-1-rsa.pem") < names.index("pki/leaves/us-east-1-rsa-0123456789abcdef.key")


def test_checkpoints_that_are_rotated_meanwhile_are_in_it_once(directory: Path, tmp_path: Path) -> None:
    newest, older = directory / "audit-checkpoints", directory / "audit-checkpoints.1"
    newest.write_text("2\n")
    older.write_text("1\n")

    class Rotating(Quiet):
        def look(self) -> None:
            if "2\n" == newest.read_text():  # from now on the full one is called as that one was
                newest.rename(older)
                newest.write_text("3\n")

    (directory / "handfast.json").write_bytes(b"")  # the first member that is looked at is `audit-checkpoints`
    members = dict(read_archive(back_up(directory, tmp_path / "out.tar", Rotating()).path))
    assert b"2\n" == members["audit-checkpoints"]
    assert "audit-checkpoints.1" not in members


def test_what_is_not_known_is_left_out_and_named(directory: Path, tmp_path: Path) -> None:
    (directory / "notes.txt").write_text("mine")
    (directory / "pki" / "link.pem").symlink_to("/etc/hostname")
    (directory / "pki" / "elsewhere").symlink_to("/etc")
    for own in ("serve.json", "handfast.lock", "credentials.tmp", ".serve.json.1.tmp"):
        (directory / own).write_text("")
    made = back_up(directory, tmp_path / "out.tar")
    left_out = [
        "credentials.tmp",
        "notes.txt",
        "pki/elsewhere (not a regular file)",
        "pki/link.pem (not a regular file)",
    ]
    assert left_out == list(made.manifest.left_out)
    assert "notes.txt" in made.warnings[1]


@pytest.mark.parametrize(("with_root_keys", "said"), [(True, True), (False, False)])
def test_the_warning_names_the_root_keys_only_where_they_are(
    directory: Path, tmp_path: Path, with_root_keys: bool, said: bool
) -> None:
    if not with_root_keys:
        shutil.rmtree(directory / "pki" / "offline")
    (warning,) = back_up(directory, tmp_path / "out.tar").warnings
    assert "private keys" in warning
    assert said is ("root keys" in warning)


def test_earlier_backups_are_not_backed_up(directory: Path, tmp_path: Path) -> None:
    (directory / "backups").mkdir()
    first = back_up(directory, directory / "backups" / "one.tar")
    second = back_up(directory, directory / "backups" / "two.tar")
    assert first.manifest.members == second.manifest.members
    assert () == tuple(second.manifest.left_out)


def test_too_little_room_is_said_before_anything_is_written(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(backup_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigurationError, match=r"has 1\.0 MB free, the backup needs .*--out"):
        back_up(directory, tmp_path / "out.tar")
    assert [directory] == list(tmp_path.iterdir())


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_file_of_that_name_stays_as_it_is(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool
) -> None:
    if not exclusive:  # a filesystem that knows no renameat2
        monkeypatch.setattr(renaming, "_renameat2", lambda *_: False)
    (tmp_path / "out.tar").write_text("precious")
    with pytest.raises(ConfigurationError, match="is there already"):
        back_up(directory, tmp_path / "out.tar")
    assert "precious" == (tmp_path / "out.tar").read_text()
    assert {directory, tmp_path / "out.tar"} == set(tmp_path.iterdir())


def test_a_backup_that_is_stopped_leaves_nothing(directory: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    class Watch(Quiet):
        def look(self) -> None:
            if "copying handfast.db" in self.told:
                raise Stopped

    with pytest.raises(Stopped):
        back_up(directory, tmp_path / "out.tar", Watch())
    assert [directory] == list(tmp_path.iterdir())


def test_a_damaged_registry_is_not_backed_up(directory: Path, tmp_path: Path) -> None:
    path = directory / "handfast.db"
    data = bytearray(path.read_bytes())
    data[4096:4196] = b"\xff" * 100
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigurationError, match=r"damaged|sound|cannot be copied"):
        back_up(directory, tmp_path / "out.tar")
    assert [directory] == list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["handfast.json", "handfast.db"])
def test_what_is_no_data_directory_is_refused(directory: Path, tmp_path: Path, missing: str) -> None:
    (directory / missing).unlink()
    with pytest.raises(ConfigurationError, match=f"{missing} is missing; give --data-dir"):
        back_up(directory, tmp_path / "out.tar")


def test_a_registry_that_lies_elsewhere_is_found(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.sqlite"
    (directory / "handfast.db").rename(elsewhere)
    made = back_up(directory, tmp_path / "out.tar", registry=elsewhere)
    bring_back(made.path, tmp_path / "restored")
    assert "first" == marker_of(tmp_path / "restored")


def test_a_backup_on_another_disk_is_copied_and_compared(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = back_up(directory, tmp_path / "out.tar")
    content = made.path.read_bytes()
    real = renaming.rename_new

    def other_disk(source: Path, target: Path) -> None:
        if source == made.path:
            raise OSError(18, os.strerror(18))
        real(source, target)

    monkeypatch.setattr(backup_module, "rename_new", other_disk)
    with pytest.raises(ConfigurationError, match="stays in"):
        move_backup(made.path, tmp_path / "stick.tar", "00" * 32)
    assert {"data", "out.tar"} == {path.name for path in tmp_path.iterdir()}
    move_backup(made.path, tmp_path / "stick.tar", made.sha256)
    assert {"data", "stick.tar"} == {path.name for path in tmp_path.iterdir()}
    assert content == (tmp_path / "stick.tar").read_bytes()
    assert 0o600 == stat.S_IMODE((tmp_path / "stick.tar").stat().st_mode)


@pytest.mark.parametrize(
    "name",
    [
        "../credentials",
        "/etc/passwd",
        "pki/../credentials",
        "pki/leaves/../../x.pem",
        "trust/.hidden.pem",
        "trust/a/b.pem",
        "credentials\n",
        "handfast.db-wal",
        "backups/x.tar",
        "pki/" + "a" * 100 + ".pem",
        "pki/a.pem\0",
        "",
    ],
)
def test_names_that_no_rule_takes(name: str) -> None:
    assert rule_of(name) is None


def test_a_round_trip_brings_back_every_byte_with_safe_modes(directory: Path, tmp_path: Path) -> None:
    made = back_up(directory, tmp_path / "out.tar")
    old_umask = os.umask(0)
    try:
        bring_back(made.path, tmp_path / "restored")
    finally:
        os.umask(old_umask)
    restored = files_below(tmp_path / "restored")
    assert PLAIN_FILES == {name: data for name, data in restored.items() if not name.endswith(".db")}
    assert {*PLAIN_FILES, "handfast.db", "sessions.db"} == set(restored)
    for path in (tmp_path / "restored", *(tmp_path / "restored").rglob("*")):
        assert (0o700 if path.is_dir() else 0o600) == stat.S_IMODE(path.stat().st_mode), path
