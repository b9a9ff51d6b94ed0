"""
A file below a directory that the operator configured.

The key is walked one component at a time, each opened relative to the one
before and never through a link, so that no name leads out of the directory,
whoever renames what meanwhile.
"""

from __future__ import annotations

import os
import stat

from handfast.errors import InputUnavailable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not make the opening wait


class FileInput:
    """`ports.registration_tasks.TaskInput` of a regular file."""

    def __init__(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self.size = found.st_size
        self.version = f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"
        self._descriptor = descriptor
        self._left = found.st_size

    def skip(self, offset: int) -> None:
        """Reading begins at this byte."""
        self._left = self.size - os.lseek(self._descriptor, min(offset, self.size), os.SEEK_SET)

    def read(self, limit: int) -> bytes:
        """The next bytes, b"" at the end that the file had when it was opened."""
        try:
            data = os.read(self._descriptor, min(limit, self._left))
        except OSError as error:
            raise InputUnavailable(f"The input file cannot be read: {error.strerror}") from error
        self._left -= len(data)
        if not data and self._left:
            raise InputUnavailable("The input file became shorter while it was read")
        return data

    def close(self) -> None:
        os.close(self._descriptor)


def open_below(directory: str, key: str) -> FileInput:
    """
    The file that the key names below the directory.

    Raises:
        InputUnavailable: There is none; it is a link, or has another name too; or the key is no plain path.
    """
    parts = key.split("/")
    if "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise InputUnavailable("inputFileKey must be a path of plain names, without a leading slash, . and ..")
    try:
        place = os.open(directory, _DIRECTORY)
    except OSError as error:
        raise InputUnavailable(f"The bucket's directory cannot be opened: {error.strerror}") from error
    try:
        for part in parts[:-1]:
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = below
        descriptor = os.open(parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=place)
    except OSError:
        raise _no_file() from None
    finally:
        os.close(place)
    found = os.fstat(descriptor)
    # A second name of a file may lead to it from anywhere in the file system.
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise _no_file()
    return FileInput(descriptor)


def _no_file() -> InputUnavailable:
    return InputUnavailable("inputFileKey names no regular file below the bucket's directory; links are not followed")
