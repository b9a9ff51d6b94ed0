"""Hooks, and the certificate providers that ask them, put together: a composition root of its own, for the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from handfast.config.file_tables import read_hooks
from handfast.core.provisioning.hooks import Command, HookName
from handfast.errors import ConfigurationError
from handfast.hooks.command import unsafe, unusable
from handfast.hooks.runner import ThreadedHooks
from handfast.ports import Clock, Entropy, Meter, Notify, Store
from handfast.services.certificate_providers import CertificateProviders
from handfast.services.commit import Committer
from handfast.services.hooks import Hooks, PreProvisioningHooks


class Hooking:
    """The hooks of the registry and of the configuration file, until `close`."""

    def __init__(self, store: Store, clock: Clock, hooks: Hooks, runner: ThreadedHooks, commit: Committer) -> None:
        self.hooks = hooks
        self.pre_provisioning = PreProvisioningHooks(hooks)
        self.certificate_providers = CertificateProviders(store, hooks, clock, commit)
        self._runner = runner
        self._commit = commit

    @classmethod
    async def open(
        cls, file: Path | None, store: Store, clock: Clock, entropy: Entropy, meter: Meter, notify: Notify
    ) -> Hooking:
        """
        Every command of the file can be run.

        Raises:
            ConfigurationError: One cannot, or has the name of a webhook; or others can write the file that names them.
        """
        commands = _runnable(file) if file is not None else {}
        for webhook in await store.hooks() if commands else ():
            if webhook.name in commands:
                raise ConfigurationError(
                    f"[hooks.{webhook.name}] in {file} has the name of a webhook: give the command another name, or "
                    f"take it out, start the server and 'handfast hook remove {webhook.name}'"
                )
        runner = ThreadedHooks()
        commit = Committer(notify)
        return cls(store, clock, Hooks(store, runner, entropy, clock, meter, commit, commands=commands), runner, commit)

    async def close(self) -> None:
        """No hook is called any more, and what was changed is announced."""
        await self._runner.close()
        await self._commit.settle()


def _runnable(file: Path) -> Mapping[HookName, Command]:
    commands = read_hooks(file)
    problem = unsafe(file.absolute()) if commands else None
    if problem:
        raise ConfigurationError(f"{file} names commands to be run, so nobody else may change it: {problem}")
    for command in commands.values():
        problem = unusable(Path(command.argv[0]))
        if problem:
            raise ConfigurationError(f"[hooks.{command.name}] in {file}: {problem}")
    return commands
