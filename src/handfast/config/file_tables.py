"""
The tables of handfast.toml, which are in no flag and no environment variable: what runs on the server's machine.

    [hooks.vet]
    command = ["/usr/local/lib/handfast/vet", "--strict"]
    accounts = ["123456789012"]  # for these alone; left out: for every account
    timeout = 5                  # seconds, 0.1 to 5

    [bulk-input.incoming]
    directory = "/srv/handfast/incoming"
    accounts = ["123456789012"]  # for these; left out: for the first account alone; ["*"]: for every account

    [bulk-input.archive]
    endpoint-url = "https://s3.example.net"
    bucket = "devices"
    region = "us-east-1"
    credentials-file = "/etc/handfast/archive-credentials"
    profile = "default"
"""

from __future__ import annotations

import configparser
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from handfast.core.identity.ids import AccountId
from handfast.core.provisioning.hooks import MAX_TIMEOUT_S, MIN_TIMEOUT_S, Command, HookName, check_hook_name
from handfast.core.provisioning.inputs import EVERY_ACCOUNT, Bucket, DirectoryBucket, S3Bucket
from handfast.errors import ConfigurationError, InvalidRequestError
from handfast.printable import printable

HOOKS_MAX = 100
_MAX_ARGUMENTS = 64
BULK_INPUTS_MAX = 100
_BUCKET_NAME = re.compile(r"[a-zA-Z0-9._-]{3,256}")
"""The model's, of `inputFileBucket`."""
_DIRECTORY_KEYS = {"directory", "accounts"}
_S3_KEYS = {"endpoint-url", "bucket", "region", "credentials-file", "profile", "ca-bundle", "accounts"}
_HOOK_KEYS = {"command", "accounts", "timeout"}


def read_hooks(file: Path) -> Mapping[HookName, Command]:
    """
    The commands of `[hooks.NAME]`, by name.

    Raises:
        ConfigurationError: One that cannot be used, by its form; whether the programs exist is not looked at.
    """
    with file.open("rb") as stream:  # read before, by `file.read_file`
        tables = tomllib.load(stream).get("hooks", {})
    if not isinstance(tables, dict) or len(tables) > HOOKS_MAX:
        raise ConfigurationError(f"{file} has hooks that are no tables, or more than {HOOKS_MAX}: write [hooks.NAME]")
    return {hook.name: hook for hook in (_hook(file, name, table) for name, table in tables.items())}


def _hook(file: Path, name: str, table: Any) -> Command:
    where = f"[hooks.{printable(name, limit=80)}] in {file}"
    try:
        checked = check_hook_name(name)
    except InvalidRequestError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    if not isinstance(table, dict) or not table.keys() <= _HOOK_KEYS or "command" not in table:
        raise ConfigurationError(f"{where} has other keys than command, accounts and timeout, or no command")
    command, accounts, timeout = table["command"], table.get("accounts", []), table.get("timeout", MAX_TIMEOUT_S)
    if not _texts(command) or not 1 <= len(command) <= _MAX_ARGUMENTS or not command[0].startswith("/"):
        raise ConfigurationError(
            f"{where}: command must be a list of texts that begins with an absolute path, such as "
            '["/usr/local/lib/handfast/vet", "--strict"]; it is run without a shell'
        )
    if not _texts(accounts) or not all(_is_account(each) for each in accounts):
        raise ConfigurationError(f'{where}: accounts must be a list of account ids, such as ["123456789012"]')
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        timeout = 0
    if not MIN_TIMEOUT_S <= timeout <= MAX_TIMEOUT_S:
        raise ConfigurationError(f"{where}: timeout must lie between {MIN_TIMEOUT_S:g} and {MAX_TIMEOUT_S:g} seconds")
    return Command(
        name=checked,
        argv=tuple(command),
        accounts=tuple(AccountId(each) for each in dict.fromkeys(accounts)),
        timeout_s=float(timeout),
    )


def read_bulk_inputs(file: Path) -> Mapping[str, Bucket]:
    """
    The buckets of `[bulk-input.NAME]`, by name. Relative paths are relative to the file.

    Raises:
        ConfigurationError: One that cannot be used, by its form; or its directory or credentials cannot be read.
    """
    with file.open("rb") as stream:  # read before, by `file.read_file`
        read = tomllib.load(stream)
    tables = read.get("bulk-input", read.get("bulk_input", {}))
    if not isinstance(tables, dict) or len(tables) > BULK_INPUTS_MAX:
        raise ConfigurationError(
            f"{file} has a bulk-input that is no table, or more than {BULK_INPUTS_MAX}: write [bulk-input.NAME]"
        )
    return {name: _bulk_input(file, name, table) for name, table in tables.items()}


def _bulk_input(file: Path, name: str, table: Any) -> Bucket:
    where = f"[bulk-input.{printable(name, limit=80)}] in {file}"
    if not _BUCKET_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where}: a bucket's name has 3 to 256 letters, digits, dots, underscores and hyphens"
        )
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} is no table")
    table = {key.replace("_", "-"): value for key, value in table.items()}
    accounts = table.get("accounts", [])
    if not _texts(accounts) or not all(each == EVERY_ACCOUNT or _is_account(each) for each in accounts):
        raise ConfigurationError(
            f'{where}: accounts must be a list of account ids, such as ["123456789012"], or ["{EVERY_ACCOUNT}"]'
        )
    texts = {key: value for key, value in table.items() if key != "accounts"}
    if not all(isinstance(value, str) and value and "\0" not in value for value in texts.values()):
        raise ConfigurationError(f"{where}: every value but accounts must be a text")
    base = file.absolute().parent
    if table.keys() <= _DIRECTORY_KEYS and "directory" in table:
        directory = base / Path(texts["directory"]).expanduser()
        if not directory.is_dir():
            raise ConfigurationError(f"{where}: {directory} is not a directory: make it, or correct the path")
        return DirectoryBucket(directory=str(directory), accounts=tuple(accounts))
    if not table.keys() <= _S3_KEYS or not {"endpoint-url", "bucket", "credentials-file"} <= table.keys():
        raise ConfigurationError(
            f"{where} needs either directory, or endpoint-url, bucket and credentials-file (beside them region, "
            "profile, ca-bundle); accounts with both; and nothing else"
        )
    url = urlsplit(texts["endpoint-url"])
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or "@" in url.netloc:
        raise ConfigurationError(f"{where}: endpoint-url must be http(s)://HOST[:PORT]")
    key_id, secret = _credentials(
        where, base / Path(texts["credentials-file"]).expanduser(), texts.get("profile", "default")
    )
    return S3Bucket(
        endpoint_url=texts["endpoint-url"],
        bucket=texts["bucket"],
        region=texts.get("region", "us-east-1"),
        access_key_id=key_id,
        secret=secret,
        ca_bundle=str(base / texts["ca-bundle"]) if "ca-bundle" in texts else None,
        accounts=tuple(accounts),
    )


def _credentials(where: str, path: Path, profile: str) -> tuple[str, str]:
    """The key of a profile of an AWS shared-credentials file, which must be ours alone."""
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise ConfigurationError(f"{where}: {path} can be read by others: chmod 600 {path}")
            parser.read_file(stream)
        return parser[profile]["aws_access_key_id"], parser[profile]["aws_secret_access_key"]
    except OSError as error:
        raise ConfigurationError(f"{where}: {path} cannot be read: {error.strerror}") from None
    except (configparser.Error, KeyError, UnicodeDecodeError):
        raise ConfigurationError(
            f"{where}: {path} has no profile {printable(profile, limit=60)} with aws_access_key_id and "
            "aws_secret_access_key"
        ) from None


def _is_account(text: str) -> bool:
    return len(text) == 12 and text.isascii() and text.isdigit()


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and "\0" not in each for each in value)
