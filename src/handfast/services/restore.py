"""
A data directory made from a backup: the whole of it, or nothing.

The archive is read strictly: plain members under names of `backup_format.RULES`,
as many bytes as the manifest says with the digests that it says, and nothing
else. Only then is something written, beside the data directory; and only when
that is whole and on the disk do the two change places.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from handfast.errors import ConfigurationError
from handfast.printable import printable
from handfast.services.backup import Watch, megabytes
from handfast.services.backup_format import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_MEMBERS,
    REQUIRED,
    Databases,
    Kind,
    Manifest,
    Member,
    rule_of,
)
from handfast.services.pki_folder import sync_folder
from handfast.services.renaming import exchange, rename_new

_CHUNK = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_RESERVE = 32 * 1024 * 1024
_MARK = ".incomplete"
"""In the folder that is being unpacked, until all of it is there: only what bears it is ever deleted."""

Lock = Callable[[Path], AbstractContextManager[object]]
"""Exclusive use of a data directory; ConfigurationError while a server runs on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done: `aside` is where the directory that stood there before is now."""

    data_dir: Path
    manifest: Manifest
    aside: Path | None


class _Place(NamedTuple):
    member: Member
    offset: int


def restore(
    archive: Path,
    data_dir: Path,
    databases: Databases,
    *,
    force: bool,
    lock: Lock,
    version: str,
    now: dt.datetime,
    watch: Watch,
) -> Restored:
    """
    `data_dir` is what the archive holds (0700, files 0600). Blocking.

    Killed at any instant, it is what it was or all of the archive. A directory
    that is not empty is moved aside with `force`, and never deleted.

    Raises:
        ConfigurationError: The archive is damaged, no backup, or of a newer
            version; a server runs on the directory; it is not empty and
            `force` is not given; no room. Nothing has changed.
    """
    data_dir = data_dir.resolve()
    try:
        with archive.open("rb") as file:
            watch.doing(f"verifying {archive.name}")
            manifest, places = _verified(_Reader(file, archive, watch), databases, version)
            with _reserved(data_dir, force, lock) as occupied:
                _require_room(data_dir.parent, sum(place.member.size for place in places))
                aside = _put(_Reader(file, archive, watch), places, data_dir, databases, occupied, now, watch)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or archive}: {error.strerror}. {data_dir} is as it was.") from error
    return Restored(data_dir=data_dir, manifest=manifest, aside=aside)


def read_manifest(archive: Path, watch: Watch, databases: Databases, version: str) -> Manifest:
    """The manifest of an archive that is whole, verified as `restore` does it."""
    with archive.open("rb") as file:
        return _verified(_Reader(file, archive, watch), databases, version)[0]


# --- reading --------------------------------------------------------------------------------------------------


class _Reader:
    """Plain tar headers and the bytes behind them; anything that this version does not write is refused."""

    def __init__(self, file: IO[bytes], archive: Path, watch: Watch) -> None:
        self._file = file
        self._archive = archive
        self._watch = watch
        self._length = os.fstat(file.fileno()).st_size

    def members(self) -> Iterator[tuple[str, int, int]]:
        """Name, size and offset of each member, in order, to the end of the archive."""
        position = count = 0
        while True:
            self._file.seek(position)
            block = self._file.read(_BLOCK)
            if len(block) == _BLOCK and not block.strip(b"\0"):
                return
            if len(block) < _BLOCK:
                raise self.damaged("it ends too early")
            try:
                info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
            except (tarfile.HeaderError, ValueError) as error:
                raise self.damaged("it is not a tar archive that `handfast backup` wrote") from error
            if info.type != tarfile.REGTYPE or info.linkname:
                raise self.damaged(f"member '{printable(info.name, limit=120)}' is not a plain file")
            position += _BLOCK
            if not 0 <= info.size <= self._length - position:
                raise self.damaged(f"member '{printable(info.name, limit=120)}' is longer than the archive")
            count += 1
            if count > MAX_MEMBERS:
                raise self.damaged(f"it has more than {MAX_MEMBERS} members")
            yield info.name, info.size, position
            position += -(-info.size // _BLOCK) * _BLOCK

    def chunks(self, place: _Place) -> Iterator[bytes]:
        """The member's bytes; ConfigurationError at the end when their digest is not the manifest's."""
        self._file.seek(place.offset)
        left, digest = place.member.size, hashlib.sha256()
        while left:
            self._watch.look()
            data = self._file.read(min(left, _CHUNK))
            if not data:
                raise self.damaged("it ends too early")
            left -= len(data)
            digest.update(data)
            yield data
        if digest.hexdigest() != place.member.sha256:
            raise self.damaged(f"{place.member.name} is not what the manifest says (SHA-256)")

    def manifest(self, offset: int, size: int) -> Manifest:
        """The manifest at the offset."""
        if size > MAX_MANIFEST_BYTES:
            raise self.damaged(f"its {MANIFEST} is too long")
        self._file.seek(offset)
        return Manifest.decoded(self._file.read(size), self._archive)

    def damaged(self, why: str) -> ConfigurationError:
        """The error for an archive that is not to be trusted."""
        return ConfigurationError(f"{self._archive} cannot be restored: {why}. Nothing was changed.")


def _verified(reader: _Reader, databases: Databases, version: str) -> tuple[Manifest, list[_Place]]:
    """The manifest, and where each of its members lies; every byte was compared with its digest."""
    found: dict[str, tuple[int, int]] = {}
    manifest: Manifest | None = None
    for name, size, offset in reader.members():
        if manifest is not None:
            raise reader.damaged(f"something follows its {MANIFEST}")
        if name == MANIFEST:
            manifest = reader.manifest(offset, size)
        elif rule_of(name) is None:
            raise reader.damaged(f"member '{printable(name, limit=120)}' does not belong into a data directory")
        elif name in found:
            raise reader.damaged(f"member {name} is there twice")
        else:
            found[name] = (size, offset)
    if manifest is None:
        raise reader.damaged(f"it has no {MANIFEST}: it is no backup, or only the beginning of one")
    if not databases.knows(manifest.schema):
        raise reader.damaged(
            f"handfast {manifest.version} made it (schema {manifest.schema}), and this is {version}: install "
            f"handfast {manifest.version} or newer"
        )
    listed = {member.name: member for member in manifest.members}
    if len(listed) != len(manifest.members) or listed.keys() != found.keys():
        raise reader.damaged(f"its members are not those that its {MANIFEST} lists")
    for name in REQUIRED:
        if name not in listed:
            raise reader.damaged(f"{name} is missing")
    places = []
    for name, (size, offset) in found.items():
        if size != listed[name].size:
            raise reader.damaged(f"{name} has {size} bytes, the manifest says {listed[name].size}")
        places.append(_Place(listed[name], offset))
    for place in places:
        for _ in reader.chunks(place):
            pass
    return manifest, places


# --- writing --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reserved(data_dir: Path, force: bool, lock: Lock) -> Iterator[bool]:
    """Nobody else uses the directory; whether there is something in it."""
    if not data_dir.exists():
        yield False
    elif not data_dir.is_dir():
        raise ConfigurationError(f"{data_dir} is not a directory: choose another --data-dir")
    elif data_dir.is_mount():
        raise ConfigurationError(
            f"{data_dir} is a mount point, which cannot be replaced in one step: restore to a directory inside it"
        )
    elif not any(data_dir.iterdir()):
        yield False  # a server that starts there meanwhile makes files, and the rename is refused
    elif not force:
        raise ConfigurationError(
            f"{data_dir} is not empty: choose another --data-dir, or give --force to move it aside"
        )
    else:
        with lock(data_dir):
            yield True


def _put(
    reader: _Reader,
    places: list[_Place],
    data_dir: Path,
    databases: Databases,
    occupied: bool,
    now: dt.datetime,
    watch: Watch,
) -> Path | None:
    """The members stand in `data_dir`; what stood there is at the path returned."""
    fresh = data_dir.with_name(f".{data_dir.name}.restoring")
    aside = _free_name(data_dir, now)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with _unpacking(fresh, aside):
        try:
            watch.doing("unpacking")
            for place in places:
                _unpack(reader, place, fresh)
            for place in places:
                rule = rule_of(place.member.name)
                if rule is not None and rule.kind is Kind.DATABASE:
                    watch.doing(f"checking {place.member.name}")
                    databases.check(fresh / place.member.name, watch.look)
            for folder, _, _ in os.walk(fresh):
                sync_folder(Path(folder))
        except BaseException:
            _empty(fresh)
            (fresh / _MARK).unlink()
            fresh.rmdir()
            raise
        (fresh / _MARK).unlink()
        sync_folder(fresh)
        if not occupied:
            fresh.rename(data_dir)  # over an empty directory, or none
            sync_folder(data_dir.parent)
            return None
        if exchange(fresh, data_dir):
            rename_new(fresh, aside)
        else:
            rename_new(data_dir, aside)
            fresh.rename(data_dir)
        sync_folder(data_dir.parent)
        return aside


@contextlib.contextmanager
def _unpacking(fresh: Path, aside: Path) -> Iterator[None]:
    """`fresh` is empty but for its mark, and ours alone; what a killed restore left is deleted, or kept if whole."""
    descriptor = _claimed(fresh)
    try:
        if not (fresh / _MARK).exists() and any(fresh.iterdir()):
            # Killed between the last two steps: it is a whole directory, the new one or the one that was replaced.
            rename_new(fresh, aside.with_name(f"{aside.name}-unfinished"))
            os.close(descriptor)
            descriptor = _claimed(fresh)
        (fresh / _MARK).touch(mode=0o600)
        _empty(fresh)
        sync_folder(fresh)
        yield
    finally:
        os.close(descriptor)


def _claimed(fresh: Path) -> int:
    fresh.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConfigurationError(f"Another restore is writing {fresh}: wait for it, or stop it") from None
    return descriptor


def _empty(fresh: Path) -> None:
    """Nothing but the mark is left in the folder."""
    for entry in list(fresh.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _MARK:
            entry.unlink()


def _unpack(reader: _Reader, place: _Place, fresh: Path) -> None:
    path = fresh / place.member.name
    for folder in (*list(path.relative_to(fresh).parents)[-2::-1],):
        (fresh / folder).mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for data in reader.chunks(place):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _free_name(data_dir: Path, now: dt.datetime) -> Path:
    wanted = data_dir.with_name(f"{data_dir.name}.before-restore-{now:%Y%m%dT%H%M%SZ}")
    found, number = wanted, 1
    while os.path.lexists(found):
        number += 1
        found = wanted.with_name(f"{wanted.name}-{number}")
    return found


def _require_room(folder: Path, size: int) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size + _RESERVE:
        raise ConfigurationError(
            f"{folder} has {megabytes(free)} free, restoring needs {megabytes(size + _RESERVE)}: free space, or choose "
            "another --data-dir"
        )
