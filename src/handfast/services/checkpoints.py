"""
The checkpoints of the audit trail as files of the data directory: appended, rotated, read back.

The newest lie in `audit-checkpoints`, those before in `audit-checkpoints.1`; what is older is dropped. Nothing is
lost by that: each checkpoint vouches for every row before it, and a file begins with the heads of all chains.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from handfast.core.identity.checkpoint import MAX_LINE_BYTES
from handfast.errors import ConfigurationError

FILE = "audit-checkpoints"
MAX_FILE_BYTES = 8 * 1024 * 1024
"""A file that has grown beyond this is rotated: at 300 bytes for each checkpoint, at least seven hours of changes."""


class CheckpointFile:
    """
    The file to append to. Blocking: every method belongs into a thread, one at a time.

    `open_tail` before the first `append`.
    """

    def __init__(self, data_dir: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path = data_dir / FILE
        self._older = older(self.path)
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._size = 0

    def open_tail(self) -> list[bytes]:
        """
        The lines of the newest file, which is open for appending afterwards; a last line without end is cut off.

        Raises:
            OSError: It cannot be read or written.
        """
        self.close()
        self._descriptor = os.open(
            self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        _sync_folder(self.path.parent)
        lines, torn = read_lines(self.path)
        self._size = sum(len(line) + 1 for line in lines)
        if torn:
            os.ftruncate(self._descriptor, self._size)
        return lines

    @property
    def is_full(self) -> bool:
        """Whether the next line should begin a file, with the heads of all chains."""
        return self._size >= self._max_bytes

    def begin(self) -> None:
        """The next line begins a file."""
        if self._size:
            self.close()
            os.replace(self.path, self._older)
            self.open_tail()

    def append(self, line: bytes) -> None:
        """
        The line is durable.

        Raises:
            OSError: It is not, and nothing of it is left behind; or the file is not the one that was opened.
        """
        descriptor = self._descriptor
        if descriptor is None or not self._is_ours(descriptor):
            self.close()
            raise OSError(f"{self.path} was removed, replaced or edited")
        try:
            written = 0
            data = line + b"\n"
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            raise
        self._size += len(data)

    def _is_ours(self, descriptor: int) -> bool:
        opened = os.fstat(descriptor)
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return (opened.st_dev, opened.st_ino, self._size) == (there.st_dev, there.st_ino, there.st_size)

    def close(self) -> None:
        """Nothing is open any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def older(path: Path) -> Path:
    """Where the checkpoints before those of `path` lie."""
    return path.with_name(path.name + ".1")


def read_lines(path: Path) -> tuple[list[bytes], bool]:
    """The lines of a file that have an end, and whether there is one more that has none; nothing where no file is."""
    try:
        with path.open("rb") as file:
            lines = list(_bounded_lines(file))
    except FileNotFoundError:
        return [], False
    torn = bool(lines) and not lines[-1].endswith(b"\n")
    return [line.rstrip(b"\n") for line in (lines[:-1] if torn else lines)], torn


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        yield line


def read_all(path: Path) -> tuple[list[bytes], bool]:
    """
    Every line that is kept, the oldest first, and whether a file ends in a line without end.

    Raises:
        ConfigurationError: A file cannot be read.
    """
    try:
        before, before_torn = read_lines(older(path))
        newest, torn = read_lines(path)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from error
    if before and newest and before[0] == newest[0]:
        # Copied while the file was rotated: the same lines twice, and one copy of them longer.
        return max(before, newest, key=len), torn or before_torn
    return [*before, *newest], torn or before_torn


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
