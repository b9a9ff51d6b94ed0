"""A passphrase or token that stands in a file, never in a setting itself."""

from __future__ import annotations

from pathlib import Path

from handfast.errors import ConfigurationError


def secret_from_file(path: Path, flag: str) -> str:
    """The first line of a file that holds a passphrase or token; never empty. ConfigurationError names `flag`."""
    try:
        with path.open(encoding="utf-8") as lines:
            first = lines.readline(4097)
    except OSError as error:
        raise ConfigurationError(
            f"{flag} {path} cannot be read ({error.strerror}): give a file that this user can read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{flag} {path} is not UTF-8 text: put the secret on its first line") from None
    secret = first.rstrip("\r\n")
    if not secret:
        raise ConfigurationError(f"{flag} {path} has an empty first line: put the secret there")
    if len(first) > 4096:
        raise ConfigurationError(f"{flag} {path} has a first line over 4096 characters: expected a passphrase or token")
    return secret


def private_secret(path: Path | None, flag: str) -> bytes | None:
    """The first line of a file that must be ours alone; None without a file. ConfigurationError names `flag`."""
    if path is None:
        return None
    if path.exists() and path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{flag} {path} can be read by others: chmod 600 {path}")
    return secret_from_file(path, flag).encode()
