"""The `credentials` file: our profiles in AWS's shared-credentials format, beside whatever else stands in it."""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from handfast.core.identity.ids import AccountId
from handfast.errors import ConfigurationError

ACCOUNT_PROFILES = ("default", "handfast")
OPERATOR_PROFILE = "handfast-operator"

_KEY_ID = "aws_access_key_id"
_SECRET = "aws_secret_access_key"  # noqa: S105  the setting's name
_ACCOUNT = "aws_account_id"
_COMMENT = "# Written by handfast. default and handfast: the first account's key. handfast-operator: the operator's.\n"


@dataclass(frozen=True, slots=True)
class FileKey:
    """One profile. `account_id` is None for the operator's."""

    access_key_id: str
    secret: str = field(repr=False)
    account_id: AccountId | None = None


def read(path: Path) -> dict[str, FileKey]:
    """
    The complete profiles of the file by name; none when there is no file.

    Raises:
        ConfigurationError: Readable by others, unreadable for us, or not in the format.
    """
    parser = _parser()
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigurationError(
                    f"{path} holds secrets and has mode {mode:04o}: make it private with `chmod 600 {path}`"
                )
            parser.read_file(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        # The parser's message would quote the line, which may be a secret.
        raise ConfigurationError(f"{path} is not a credentials file: repair it, or move it away") from error
    found = {}
    for name in parser.sections():
        section = parser[name]
        if section.get(_KEY_ID) and section.get(_SECRET):
            account = section.get(_ACCOUNT)
            found[name] = FileKey(section[_KEY_ID], section[_SECRET], AccountId(account) if account else None)
    return found


def write(path: Path, profiles: Mapping[str, FileKey]) -> None:
    """The profiles stand in the file (0600), durable, whole or not at all; other profiles are kept."""
    parser = _parser()
    with contextlib.suppress(FileNotFoundError):
        parser.read_string(path.read_text(encoding="utf-8"))
    for name, key in profiles.items():
        section = {_KEY_ID: key.access_key_id, _SECRET: key.secret}
        if key.account_id is not None:
            section[_ACCOUNT] = key.account_id
        parser[name] = section
    text = io.StringIO()
    text.write(_COMMENT)
    parser.write(text)
    temporary = path.with_name(f".{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # of a start that was killed here
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}") from error


def _parser() -> configparser.ConfigParser:
    # No section called DEFAULT with powers of its own, no %-interpolation: secrets are plain text.
    return configparser.ConfigParser(interpolation=None, default_section="\0")
