"""Commands come from handfast.toml alone, and only ones that nobody else can replace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.hooks import QUESTION, targeting, webhook
from tests.support.registry import SCOPE, FakeEntropy, cause, sqlite_store

from handfast.config.resolving import resolve
from handfast.errors import ConfigurationError
from handfast.hooking import Hooking
from handfast.ports import Change
from handfast.storage.sql import SQLStore
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.metrics import PrometheusMeter


async def nobody(changes: Sequence[Change]) -> None:
    """Nobody listens."""


def program(directory: Path) -> Path:
    path = directory / "vet"
    path.write_text(
        """#!/bin/sh\necho "{\\"allowProvisioning\\": true, \\"parameterOverrides\\": {\\"Room\\": \\"$1\\"}}"\n"""
    )
    path.chmod(0o700)
    return path


def toml(directory: Path, text: str, *, mode: int = 0o600) -> Path:
    path = directory / "handfast.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


async def opened(file: Path, store: SQLStore) -> Hooking:
    settings, _ = resolve({}, {}, file)
    assert file == settings.file
    return await Hooking.open(settings.file, store, SystemClock(), FakeEntropy(), PrometheusMeter(), nobody)


async def test_a_command_of_the_file_is_asked(tmp_path: Path) -> None:
    command = f'mqtt-port = 1\n[hooks.vet]\ncommand = ["{program(tmp_path)}", "7"]\naccounts = ["{SCOPE.account}"]\n'
    async with sqlite_store(tmp_path) as store:
        hooking = await opened(toml(tmp_path, command), store)
        assert {"Room": "7"} == await hooking.pre_provisioning.ask(SCOPE, targeting("vet"), **QUESTION)
        (state,) = await hooking.hooks.list_all()
        assert 5.0 == state.hook.timeout_s
        await hooking.close()


async def test_no_file_and_a_file_without_hooks_are_none(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        hooking = await opened(toml(tmp_path, "mqtt-port = 1\n", mode=0o666), store)
        assert [] == await hooking.hooks.list_all()
        await Hooking.open(None, store, SystemClock(), FakeEntropy(), PrometheusMeter(), nobody)


async def test_a_file_or_program_that_others_can_change_and_a_name_that_is_taken_stop_the_start(tmp_path: Path) -> None:
    path = program(tmp_path)
    text = f'[hooks.vet]\ncommand = ["{path}"]\n'
    async with sqlite_store(tmp_path) as store:
        with pytest.raises(ConfigurationError, match="nobody else may change it"):
            await opened(toml(tmp_path, text, mode=0o666), store)
        file = toml(tmp_path, text)
        path.chmod(0o777)
        with pytest.raises(ConfigurationError, match=r"\[hooks.vet\].*chmod go-w"):
            await opened(file, store)
        path.chmod(0o700)
        await store.add_hook(webhook("vet"), limit=10, cause=cause())
        with pytest.raises(ConfigurationError, match="has the name of a webhook"):
            await opened(file, store)
        path.unlink()
        with pytest.raises(ConfigurationError, match="cannot be found"):
            await opened(file, store)


async def test_what_the_file_may_not_say_of_a_hook(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        for text, said in [
            ('hooks = ["vet"]', "no tables"),
            ('[hooks."a b"]\ncommand = ["/bin/true"]', "name"),
            ("[hooks]\nvet = 1", "no command"),
            ("[hooks.vet]\n", "no command"),
            ('[hooks.vet]\ncommand = ["/bin/true"]\nurl = "https://x"', "other keys"),
            ('[hooks.vet]\ncommand = "/bin/true; rm -r /"', "list of texts"),
            ("[hooks.vet]\ncommand = []", "list of texts"),
            ('[hooks.vet]\ncommand = ["true"]', "absolute path"),
            ('[hooks.vet]\ncommand = ["/bin/true", 1]', "list of texts"),
            ('[hooks.vet]\ncommand = ["/bin/true", "\\u0000"]', "list of texts"),
            ('[hooks.vet]\ncommand = ["/bin/true"]\naccounts = ["12"]', "account ids"),
            ('[hooks.vet]\ncommand = ["/bin/true"]\ntimeout = 6', "0.1 and 5"),
            ('[hooks.vet]\ncommand = ["/bin/true"]\ntimeout = nan', "0.1 and 5"),
            ('[hooks.vet]\ncommand = ["/bin/true"]\ntimeout = "1"', "0.1 and 5"),
        ]:
            with pytest.raises(ConfigurationError, match=said) as caught:
                await opened(toml(tmp_path, text), store)
            assert "\n" not in str(caught.value)
