"""A restore is all of a verified archive or nothing, and deletes nothing that was there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.data_directory import (
    PLAIN_FILES,
    back_up,
    bring_back,
    files_below,
    make_directory,
    manifest_of,
    marker_of,
    read_archive,
    write_archive,
)
from tests.support.server import clean_environment

from handfast.errors import ConfigurationError
from handfast.services import renaming
from handfast.services import restore as restore_module
from handfast.services.backup_format import MANIFEST

Members = list[tuple[str, bytes]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return back_up(make_directory(tmp_path / "source"), tmp_path / "out.tar").path


def untouched(folder: Path) -> bool:
    """Nothing was made in it but what the test put there."""
    return {"source", "out.tar"} >= {path.name for path in folder.iterdir()}


# --- archives that are not what they say --------------------------------------------------------------------------


def lying(change: Callable[[Members], list[tuple[object, bytes]]]) -> Callable[[Path], None]:
    """The archive written anew with a manifest that fits, its members changed."""

    def rewrite(archive: Path) -> None:
        members = read_archive(archive)[:-1]
        write_archive(archive, [*change(members), (MANIFEST, manifest_of(members))])

    return rewrite


def with_manifest(**changes: object) -> Callable[[Path], None]:
    def rewrite(archive: Path) -> None:
        members = read_archive(archive)[:-1]
        write_archive(archive, [*members, (MANIFEST, manifest_of(members, **changes))])

    return rewrite


def with_raw_manifest(data: bytes) -> Callable[[Path], None]:
    def rewrite(archive: Path) -> None:
        write_archive(archive, [*read_archive(archive)[:-1], (MANIFEST, data)])

    return rewrite


def with_extra(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    """A further member, honestly listed."""

    def rewrite(archive: Path) -> None:
        members = [*read_archive(archive)[:-1], (name, data)]
        write_archive(archive, [*members, (MANIFEST, manifest_of(members))])

    return rewrite


def special(kind: bytes, target: str = "") -> Callable[[Path], None]:
    """The file `credentials` as something else."""
    info = tarfile.TarInfo("credentials")
    info.type, info.linkname = kind, target
    return lying(lambda members: [(info, b"") if name == "credentials" else (name, data) for name, data in members])


def without(gone: str) -> Callable[[Path], None]:
    def rewrite(archive: Path) -> None:
        members = [(name, data) for name, data in read_archive(archive)[:-1] if name != gone]
        write_archive(archive, [*members, (MANIFEST, manifest_of(members))])

    return rewrite


def damaged_registry(archive: Path) -> None:
    """Digests that fit, of a database that does not."""
    members = [
        (name, data[:4096] + b"\xff" * 100 + data[4196:] if name == "handfast.db" else data)
        for name, data in read_archive(archive)[:-1]
    ]
    write_archive(archive, [*members, (MANIFEST, manifest_of(members))])


def bytes_changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda archive: archive.write_bytes(change(archive.read_bytes())) and None


def first_size(value: bytes) -> Callable[[Path], None]:
    """Another size in the first header, its checksum made to fit."""

    def change(data: bytes) -> bytes:
        header = data[:124] + value + data[136:148] + b" " * 8 + data[156:512]
        return data[:124] + value + data[136:148] + b"%06o\0 " % sum(header) + data[156:]

    return bytes_changed(change)


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "a flipped byte": (bytes_changed(lambda d: d.replace(b"leaf key", b"leaf kez")), "not what the manifest says"),
    "half of it": (bytes_changed(lambda d: d[: len(d) // 2]), "longer than the archive|ends too early"),
    "without its last member": (lying(lambda m: [*m, (MANIFEST + "x", b"")]), "does not belong"),
    "only the end is missing": (bytes_changed(lambda d: d[:-1024]), "ends too early"),
    "empty": (bytes_changed(lambda _: b""), "ends too early"),
    "nothing but zeros": (bytes_changed(lambda _: bytes(10240)), f"no {MANIFEST}"),
    "no tar": (bytes_changed(lambda _: b"PK\3\4" + b"x" * 2000), "not a tar archive"),
    "gzip": (bytes_changed(lambda d: b"\x1f\x8b" + d), "not a tar archive"),
    "a path upwards": (with_extra("../evil"), "does not belong"),
    "a path upwards inside": (with_extra("pki/../../evil.pem"), "does not belong"),
    "an absolute path": (with_extra("/tmp/evil.pem"), "does not belong"),
    "an unknown name": (with_extra("authorized_keys"), "does not belong"),
    "a file of the running process": (with_extra("serve.json"), "does not belong"),
    "a journal": (with_extra("handfast.db-wal"), "does not belong"),
    "a control character": (with_extra("pki/a\x1b[2J.pem"), r"a\\x1b\[2J"),
    "a name of other letters": (with_extra("pki/schlüssel.pem"), "does not belong|not a tar archive"),
    "a symbolic link": (special(tarfile.SYMTYPE, "/etc/passwd"), "not a plain file"),
    "a hard link": (special(tarfile.LNKTYPE, "handfast.json"), "not a plain file"),
    "a device": (special(tarfile.CHRTYPE), "not a plain file"),
    "a pipe": (special(tarfile.FIFOTYPE), "not a plain file"),
    "a folder": (special(tarfile.DIRTYPE), "not a plain file"),
    "an extension header": (with_extra("pki/" + "a" * 200 + ".pem"), "not a plain file"),
    "a name twice": (lying(lambda m: [*m, m[0]]), "is there twice"),
    "a size beyond the end": (first_size(b"77777777777\0"), "longer than the archive"),
    "a negative size": (first_size(b"\xff" * 12), "longer than the archive"),
    "another size": (lying(lambda m: [(n, d + b"x" if n == "credentials" else d) for n, d in m]), "manifest says"),
    "a member that is not listed": (lying(lambda m: [*m, ("pki/x.pem", b"x")]), "not those that its"),
    "a listed member that is not there": (lying(lambda m: list(m[1:])), "not those that its"),
    "something behind the manifest": (
        lambda a: write_archive(a, [*read_archive(a), ("pki/late.pem", b"x")]) and None,
        "something follows",
    ),
    "two manifests": (lambda a: write_archive(a, [*read_archive(a), (MANIFEST, b"{}")]) and None, "something follows"),
    "no registry": (without("handfast.db"), "handfast.db is missing"),
    "no marker": (without("handfast.json"), "handfast.json is missing"),
    "a damaged registry": (damaged_registry, "damaged|not a sound database"),
    "a manifest that is no JSON": (with_raw_manifest(b"{"), "manifest.json cannot be read"),
    "a manifest of another kind": (with_raw_manifest(b"[]"), "manifest.json cannot be read"),
    "a deep manifest": (with_raw_manifest(b"[" * 100_000), "manifest.json cannot be read"),
    "an endless manifest": (with_raw_manifest(b" " * (8 * 1024 * 1024 + 1)), "too long"),
    "members that are none": (with_manifest(members=[{"name": 1}]), "manifest.json cannot be read"),
    "a digest that is none": (
        with_manifest(members=[{"name": "credentials", "size": 1, "sha256": "no"}]),
        "manifest.json cannot be read",
    ),
    "an instant that is none": (with_manifest(created="yesterday"), "manifest.json cannot be read"),
    "a newer format": (with_manifest(format=2, version="9.0.0"), "install handfast 9.0.0"),
    "a newer schema": (with_manifest(schema="9999", version="9.0.0"), "install handfast 9.0.0"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("force", [True, False])
def test_a_broken_or_malicious_archive_changes_nothing(archive: Path, tmp_path: Path, case: str, force: bool) -> None:
    damage, reason = BROKEN[case]
    damage(archive)
    if force:
        target = make_directory(tmp_path / "deep" / "data", marker="old")
        before = files_below(target)
        with pytest.raises(ConfigurationError, match=reason):
            bring_back(archive, target, force=True)
        assert before == files_below(target)
        assert [target] == list(target.parent.iterdir())
    else:
        with pytest.raises(ConfigurationError, match=reason):
            bring_back(archive, tmp_path / "data")
    assert untouched(tmp_path) or force


# --- the directory --------------------------------------------------------------------------------------------------


def test_an_empty_directory_is_filled(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert bring_back(archive, tmp_path / "data").aside is None
    assert "first" == marker_of(tmp_path / "data")


def test_a_directory_that_is_not_empty_is_refused_without_force(archive: Path, tmp_path: Path) -> None:
    target = make_directory(tmp_path / "data", marker="old")
    before = files_below(target)
    with pytest.raises(ConfigurationError, match=r"is not empty: .*--force"):
        bring_back(archive, target)
    assert before == files_below(target)


@pytest.mark.parametrize("exchanging", [True, False])
def test_force_moves_the_old_directory_aside_whole(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanging: bool
) -> None:
    if not exchanging:  # a filesystem that knows no renameat2
        monkeypatch.setattr(renaming, "_renameat2", lambda *_: False)
    target = make_directory(tmp_path / "data", marker="old")
    before = files_below(target)
    for number in ("", "-2"):
        done = bring_back(archive, target, force=True)
        assert tmp_path / f"data.before-restore-20300102T030405Z{number}" == done.aside
        assert "first" == marker_of(target)
    assert before == files_below(tmp_path / "data.before-restore-20300102T030405Z")
    names = {"data", "source", "out.tar", *(path.name for path in tmp_path.glob("data.before-restore-*"))}
    assert names == {path.name for path in tmp_path.iterdir()}


def test_a_directory_in_use_is_refused(archive: Path, tmp_path: Path) -> None:
    from handfast.backups import directory_lock

    target = make_directory(tmp_path / "data", marker="old")
    with (
        directory_lock(target),
        pytest.raises(ConfigurationError, match="Another handfast is running"),
    ):
        bring_back(archive, target, force=True, lock=directory_lock)
    assert "old" == marker_of(target)


def test_a_file_in_place_of_the_directory_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("precious")
    with pytest.raises(ConfigurationError, match="is not a directory"):
        bring_back(archive, tmp_path / "data", force=True)
    assert "precious" == (tmp_path / "data").read_text()


def test_a_link_to_a_directory_stays_a_link(archive: Path, tmp_path: Path) -> None:
    make_directory(tmp_path / "real", marker="old")
    (tmp_path / "data").symlink_to("real")
    bring_back(archive, tmp_path / "data", force=True)
    assert (tmp_path / "data").is_symlink()
    assert "first" == marker_of(tmp_path / "real")


def test_a_mount_point_is_refused(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "data")
    with pytest.raises(ConfigurationError, match="mount point"):
        bring_back(archive, tmp_path / "data")


def test_too_little_room_is_said_before_anything_is_written(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(restore_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigurationError, match=r"1\.0 MB free, restoring needs"):
        bring_back(archive, tmp_path / "data")
    assert untouched(tmp_path)


def test_two_restores_at_once_do_not_mix(archive: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    class Second:
        def doing(self, text: str) -> None:
            if text == "unpacking":
                with pytest.raises(ConfigurationError) as caught:
                    bring_back(archive, tmp_path / "data")
                refused.append(str(caught.value))

        def look(self) -> None:
            pass

    bring_back(archive, tmp_path / "data", watch=Second())
    assert ["Another restore is writing"] == [text[:26] for text in refused]
    assert "first" == marker_of(tmp_path / "data")


# --- killed at every step -------------------------------------------------------------------------------------------

KILLED = """
import ctypes, json, os, shutil, signal, sys
from pathlib import Path
from tests.support.data_directory import bring_back, files_below, make_directory
from handfast.services import renaming

archive, folder, force = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "force"
ctypes.CDLL(None).renameat2
before = make_directory(folder / "before", marker="old").rename(folder.with_name("before"))
counted = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "ctypes.dlsym", "fcntl.flock"}
outcomes = []
for step in range(1, 10_000):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if force:
        shutil.copytree(before, folder / "data")
    child = os.fork()
    if child == 0:
        left = step
        def hook(event, _):
            global left
            if event in counted:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        bring_back(archive, folder / "data", force=force)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    found = {
        name.name: {file: data.decode("latin-1") for file, data in files_below(name).items() if file == "credentials"
                    or file.endswith(".db")}
        for name in folder.iterdir()
    }
    data = found.get("data")
    state = "none" if data is None else "new" if "first" in data.get("handfast.db", "") else "old"
    old_somewhere = sum("old" in each.get("handfast.db", "") for each in found.values())
    # The next one, not killed, must succeed whatever was left.
    bring_back(archive, folder / "data", force=True)
    after = [name.name for name in folder.iterdir()]
    old_after = sum(b"old" in files_below(name).get("handfast.db", b"") for name in folder.iterdir())
    outcomes.append([killed, state, sorted(data or ()), old_somewhere, old_after, after])
    if not killed:
        break
print(json.dumps(outcomes))
"""


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where flushing costs nothing: kill -9 is tried here, not a power cut."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("force", ["force", "plain"])
def test_killed_at_any_step_it_is_the_old_directory_or_the_new_one(archive: Path, in_memory: Path, force: str) -> None:
    environment = clean_environment()
    environment["PYTHONPATH"] += f":{Path(__file__).parents[3]}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(archive), str(in_memory / "place"), force],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    outcomes = json.loads(done.stdout)
    whole = ["credentials", "handfast.db", "sessions.db"]
    states = [state for _, state, *_ in outcomes]
    assert len(outcomes) > 30  # every file that is made, flushed or renamed is a step
    assert [False] == [killed for killed, *_ in outcomes if not killed]
    before = "old" if force == "force" else "none"
    first_new = states.index("new")
    assert [before] * first_new + ["new"] * (len(states) - first_new) == states
    for _, state, files, old, old_after, after in outcomes:
        assert state == "none" or whole == files
        assert (1 if force == "force" else 0) == old == old_after  # never deleted
        assert not [name for name in after if name.startswith(".")]


def test_every_plain_file_is_in_the_archive_that_the_kills_are_tried_with(archive: Path) -> None:
    assert set(PLAIN_FILES) < {name for name, _ in read_archive(archive)}
