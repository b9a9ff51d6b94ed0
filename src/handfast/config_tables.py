"""
The tables of handfast.toml, which are in no flag and no environment variable: what runs on the server's machine.

    [hooks.vet]
    command = ["/usr/local/lib/handfast/vet", "--strict"]
    accounts = ["123456789012"]  # for these alone; left out: for every account
    timeout = 5                  # seconds, 0.1 to 5
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handfast.core.identity.ids import AccountId
from handfast.core.provisioning.hooks import MAX_TIMEOUT_S, MIN_TIMEOUT_S, Command, HookName, check_hook_name
from handfast.errors import ConfigurationError, InvalidRequestError
from handfast.printable import printable

HOOKS_MAX = 100
_MAX_ARGUMENTS = 64
_HOOK_KEYS = {"command", "accounts", "timeout"}


def read_hooks(file: Path) -> Mapping[HookName, Command]:
    """
    The commands of `[hooks.NAME]`, by name.

    Raises:
        ConfigurationError: One that cannot be used, by its form; whether the programs exist is not looked at.
    """
    with file.open("rb") as stream:  # read before, by `config`
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
    if not _texts(accounts) or not all(len(each) == 12 and each.isascii() and each.isdigit() for each in accounts):
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


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and "\0" not in each for each in value)
