"""
The data directory: made 0700, checked at every start, never half-trusted.

A file that holds a secret and that others may read stops the start: a key that
was readable may have been read. The public `trust/` folder is exempt.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from handfast.errors import ConfigurationError

MARKER = "handfast.json"
FORMAT = 1
PUBLIC = frozenset({"trust"})


def prepare(data_dir: Path, *, dev: bool) -> bool:
    """
    The directory exists, is ours alone, and is of this version and kind.

    Returns:
        True when it was made now.

    Raises:
        ConfigurationError: it cannot be made or read; a mode is looser than it must be; it was made by a newer
            version; it was made with `--dev` and is opened without, or the other way.
    """
    try:
        made = not data_dir.exists()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_modes(data_dir)
        _check_marker(data_dir, dev=dev)
    except PermissionError as error:
        raise ConfigurationError(
            f"{error.filename or data_dir} cannot be read or written: {error.strerror}; "
            "run handfast as the directory's owner or choose another --data-dir"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"{data_dir} is not a directory; choose another --data-dir or move the file away"
        ) from error
    except OSError as error:  # no space, a file system that is read-only or makes no directories
        raise ConfigurationError(
            f"{error.filename or data_dir} cannot be made: {error.strerror}; choose another --data-dir"
        ) from error
    return made


def check_modes(data_dir: Path) -> None:
    """The directory is ours alone, and so is every file in it outside `trust/`; ConfigurationError names the first."""
    own = data_dir.stat()
    if own.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{data_dir} belongs to user {own.st_uid}, this process runs as {os.geteuid()}: run handfast as its owner"
        )
    if own.st_mode & 0o077:
        raise ConfigurationError(
            f"{data_dir} has mode {stat.S_IMODE(own.st_mode):04o}, expected 0700: chmod 700 {data_dir}"
        )
    for folder, folders, files in os.walk(data_dir):
        if Path(folder) == data_dir:
            folders[:] = [name for name in folders if name not in PUBLIC]
        for name in files:
            path = Path(folder) / name
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # a journal that another process of ours just removed
                continue
            if stat.S_ISREG(mode) and mode & 0o077:
                raise ConfigurationError(
                    f"{path} has mode {stat.S_IMODE(mode):04o}, expected 0600: others may have read it; "
                    f"chmod 600 {path}, and replace the secret if others could reach the directory"
                )


def _check_marker(data_dir: Path, *, dev: bool) -> None:
    path = data_dir / MARKER
    try:
        made_with, version = read_marker(data_dir)
    except FileNotFoundError:
        if any(data_dir.glob("*.db")):
            raise ConfigurationError(
                f"{data_dir} holds a registry but no {MARKER}: restore the file from a backup"
            ) from None
        write_atomically(path, json.dumps({"format": FORMAT, "dev": dev}).encode() + b"\n")
        return
    if version > FORMAT:
        raise ConfigurationError(
            f"{data_dir} is of format {version}, this handfast reads formats up to {FORMAT}: install a newer handfast"
        )
    if made_with != dev:
        has, lacks = ("with --dev", "add --dev") if made_with else ("without --dev", "leave --dev out")
        raise ConfigurationError(f"{data_dir} was made {has} and stays so: {lacks}, or choose another --data-dir")


def read_marker(data_dir: Path) -> tuple[bool, int]:
    """
    Whether the directory was made with `--dev`, and its format.

    FileNotFoundError: there is no marker. ConfigurationError: it is damaged.
    """
    path = data_dir / MARKER
    try:
        marker = json.loads(path.read_text())
        return bool(marker["dev"]), int(marker["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not readable as JSON ({error}): restore it from a backup") from error


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`path` holds `data`, whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
