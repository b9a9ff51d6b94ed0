"""A data directory written into one archive, consistent while a server runs on it."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from handfast.errors import ConfigurationError
from handfast.printable import printable
from handfast.services.backup_format import (
    BACKUPS,
    ENDING,
    MANIFEST,
    NOT_KEPT,
    REGISTRY,
    REQUIRED,
    RULES,
    Databases,
    Kind,
    Manifest,
    Member,
    rule_of,
)
from handfast.services.pki_folder import sync_folder
from handfast.services.renaming import rename_new

_CHUNK = 1024 * 1024
_RESERVE = 32 * 1024 * 1024
"""Bytes that must stay free besides what the backup takes: a full disk would stop the registry."""
_NAMED_AT_MOST = 5


class Watch(Protocol):
    """Told what is being done. What it raises ends the backup, and nothing of it remains."""

    def doing(self, text: str) -> None: ...
    def look(self) -> None: ...  # called every few megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """An archive that was written, and flushed to the disk: its path, size in bytes, SHA-256 in hex, and contents."""

    path: Path
    size: int
    sha256: str
    manifest: Manifest

    @property
    def warnings(self) -> list[str]:
        """What whoever keeps the archive must know, a sentence each."""
        return warnings_of(self.manifest)


def warnings_of(manifest: Manifest) -> list[str]:
    """What an archive with this manifest asks of whoever keeps it."""
    roots = ", the root keys among them" if manifest.root_keys else ""
    found = [
        f"It holds private keys and access keys{roots}: keep it as you keep the keys, and encrypt it "
        "(age, gpg) before it leaves this machine."
    ]
    if manifest.left_out:
        names = ", ".join(printable(name, limit=100) for name in manifest.left_out[:_NAMED_AT_MOST])
        more = len(manifest.left_out) - _NAMED_AT_MOST
        found.append(f"Not in it, for handfast does not know them: {names}{f' and {more} more' if more > 0 else ''}.")
    return found


def backup_name(now: dt.datetime) -> str:
    """The archive's file name."""
    return f"handfast-backup-{now:%Y%m%dT%H%M%SZ}{ENDING}"


def make_backup(
    data_dir: Path,
    target: Path,
    databases: Databases,
    *,
    version: str,
    now: dt.datetime,
    watch: Watch,
    registry: Path | None = None,
) -> Backup:
    """
    One archive of everything in the data directory that a server needs, at `target` (0600). Blocking.

    Args:
        target: A file that does not exist, in a folder that does.
        registry: The registry's file where it is not in the data directory.
        version: Of this handfast, for whoever restores.

    Raises:
        ConfigurationError: Not a data directory, no room on the disk, or a
            file that cannot be read or written. Nothing is left at `target`.

    Everything committed before the call is in it. Files are read in the order
    of `RULES`, each database at one instant of its own.
    """
    sources = _Sources(data_dir, registry)
    sources.require()
    _require_room(target.parent, sources.sizes())
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    staged = target.with_name(f".{target.name}.{os.getpid()}.db.tmp")
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(partial.unlink, missing_ok=True)
            stack.callback(staged.unlink, missing_ok=True)
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w+b") as file:
                writer = _Writer(file, now, watch)
                schema = ""
                for rule in RULES:
                    for name, source in sources.matching(rule.name.fullmatch):
                        if rule.kind is Kind.DATABASE:
                            watch.doing(f"copying {name}")
                            databases.copy(source, staged, watch.look)
                            databases.check(staged, watch.look)
                            if name == REGISTRY:
                                schema = _schema(databases, staged, source)
                            writer.add(name, staged)
                            staged.unlink()
                        else:
                            writer.add(name, source, once=rule.rotated)
                manifest = Manifest(
                    version=version,
                    schema=schema,
                    created=now,
                    members=tuple(writer.members),
                    left_out=tuple(sources.unknown()),
                )
                writer.finish(manifest)
                watch.doing("writing to the disk")
                size, digest = writer.seal()
            rename_new(partial, target)
        sync_folder(target.parent)
    except FileExistsError as error:
        raise ConfigurationError(f"{error.filename} is there already: name another file with --out") from error
    except OSError as error:
        raise ConfigurationError(
            f"The backup cannot be written: {error.filename or target}: {error.strerror}. Nothing was changed."
        ) from error
    return Backup(path=target, size=size, sha256=digest, manifest=manifest)


def _schema(databases: Databases, copy: Path, source: Path) -> str:
    found = databases.schema(copy)
    if not found:
        raise ConfigurationError(f"{source} is no registry yet: start `handfast serve` once")
    return found


def move_backup(source: Path, target: Path, sha256: str) -> None:
    """
    The archive is at `target`, on the disk, and no longer at `source`; on another disk it is compared first. Blocking.

    Raises:
        ConfigurationError: It cannot be; then it is where it was.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            rename_new(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            try:
                _copy_verified(source, partial, sha256)
                rename_new(partial, target)
            finally:
                partial.unlink(missing_ok=True)
            source.unlink()
        sync_folder(target.parent)
    except OSError as error:
        raise ConfigurationError(
            f"The backup stays in {source}: {target} cannot be written ({error.strerror})"
        ) from error


def _copy_verified(source: Path, target: Path, sha256: str) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "wb") as written, source.open("rb") as read:
        while data := read.read(_CHUNK):
            digest.update(data)
            written.write(data)
        written.flush()
        os.fsync(written.fileno())
    if digest.hexdigest() != sha256:
        raise OSError(errno.EIO, "its content is not what the server wrote")


class _Sources:
    """The files of a data directory, by the names that they have in an archive."""

    def __init__(self, data_dir: Path, registry: Path | None) -> None:
        self._data_dir = data_dir
        self._registry = registry if registry is not None else data_dir / REGISTRY

    def require(self) -> None:
        """It is a data directory."""
        for name in REQUIRED:
            path = self._registry if name == REGISTRY else self._data_dir / name
            if not path.is_file():
                raise ConfigurationError(
                    f"{self._data_dir} is not the data directory of a handfast: {path} is missing; give --data-dir"
                )

    def matching(self, wanted: Callable[[str], object]) -> Iterator[tuple[str, Path]]:
        """Name and path of each regular file whose name is wanted, as of now, sorted."""
        for name in sorted(name for name in self._names() if wanted(name) and rule_of(name) is not None):
            yield name, self._registry if name == REGISTRY else self._data_dir / name

    def unknown(self) -> list[str]:
        """What no rule takes, and is not the running process's own."""
        return sorted(name for name in self._names(odd=True) if rule_of(name) is None and not NOT_KEPT.fullmatch(name))

    def sizes(self) -> list[int]:
        """Bytes of each file, the largest first; of a database with what waits in its WAL."""
        found = []
        for _, path in self.matching(lambda _: True):
            total = 0
            for part in (path, path.with_name(path.name + "-wal")):
                with contextlib.suppress(FileNotFoundError):
                    total += part.stat().st_size
            found.append(total)
        return sorted(found, reverse=True)

    def _names(self, *, odd: bool = False) -> set[str]:
        """Regular files; with `odd` also links, sockets and the like, with an ending that no rule takes."""
        names = set()
        for folder, folders, files in os.walk(self._data_dir):
            inside = Path(folder).relative_to(self._data_dir)
            if str(inside) == "." and BACKUPS in folders:
                folders.remove(BACKUPS)
            for name in [*files, *(each for each in folders if (Path(folder) / each).is_symlink())]:
                path = str(inside / name)
                try:
                    regular = stat.S_ISREG((Path(folder) / name).lstat().st_mode)
                except FileNotFoundError:
                    continue
                if regular:
                    names.add(path)
                elif odd:
                    names.add(f"{path} (not a regular file)")
        if self._registry != self._data_dir / REGISTRY:
            names.add(REGISTRY)
        return names


class _Writer:
    """A tar archive that digests what it is given, member by member, and itself."""

    def __init__(self, file: IO[bytes], now: dt.datetime, watch: Watch) -> None:
        self._file = file
        self._now = now
        self._watch = watch
        self._seen: set[tuple[int, int]] = set()
        self.members: list[Member] = []

    def add(self, name: str, source: Path, *, once: bool = False) -> None:
        """The file as long as it is now; one that has gone meanwhile is left out, with `once` also one renamed."""
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        with os.fdopen(descriptor, "rb") as opened:
            facts = os.fstat(opened.fileno())
            if once and (facts.st_dev, facts.st_ino) in self._seen:
                return
            self._seen.add((facts.st_dev, facts.st_ino))
            self.members.append(self._put(name, opened, facts.st_size))

    def finish(self, manifest: Manifest) -> None:
        """The manifest is the last member: an archive that has one was written to its end."""
        data = manifest.encoded()
        self._put(MANIFEST, io.BytesIO(data), len(data))
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))

    def _put(self, name: str, source: IO[bytes], size: int) -> Member:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(self._now.timestamp())
        # One header block: names are short, and GNU headers hold sizes of any length.
        self._file.write(info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict"))
        digest, left = hashlib.sha256(), size
        while left:
            self._watch.look()
            data = source.read(min(left, _CHUNK))
            if not data:
                raise OSError(errno.EIO, f"{name} became shorter while it was read")
            digest.update(data)
            self._file.write(data)
            left -= len(data)
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))
        return Member(name, size, digest.hexdigest())

    def seal(self) -> tuple[int, str]:
        """Everything is on the disk; the archive's size and digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        digest = hashlib.sha256()
        while data := self._file.read(_CHUNK):
            self._watch.look()
            digest.update(data)
        return self._file.tell(), digest.hexdigest()


def _require_room(folder: Path, sizes: list[int]) -> None:
    """The disk takes the archive, and beside it the copy of the largest database."""
    needed = sum(sizes) + (sizes[0] if sizes else 0) + _RESERVE
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be used: {error.strerror}") from error
    if free < needed:
        raise ConfigurationError(
            f"{folder} has {megabytes(free)} free, the backup needs {megabytes(needed)}: free space, or name another "
            "disk with --out"
        )


def megabytes(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 1e6:,.1f} MB"
