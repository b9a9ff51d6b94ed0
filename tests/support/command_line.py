"""The command line in this process, against the real API over a registry in a temporary directory, with no socket."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from tests.support import inprocess
from tests.support.registry import (
    OTHER_ACCOUNT,
    SCOPE,
    Plane,
    make_plane,
    sqlite_store,
    with_accounts,
)

from handfast.app import IOT_SIGNING_NAMES
from handfast.cli.main import run
from handfast.services import credentials_file
from handfast.services.credentials_file import FileKey
from handfast.storage.sql import SQLStore
from handfast.wire import client as wire_client
from handfast.wire.sigv4 import Authenticator, SigningKey
from handfast.wire.skeleton import ApiApplication, MountedService
from handfast.wire.spec import ServiceName, load_service

T = TypeVar("T")
PROFILES = {
    "default": FileKey("AKIATESTFIRST0000001", "secret-1", SCOPE.account),
    "other": FileKey("AKIATESTOTHER0000001", "secret-2", OTHER_ACCOUNT.account),
    "handfast-operator": FileKey("AKIATESTOPERATOR0001", "secret-3", None),
}


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass
class CommandLine:
    """`handfast ARGUMENTS` for the first account. `asked` lists method and path of every request so far."""

    data_dir: Path
    plane: Plane
    asked: list[str] = field(default_factory=list)

    @property
    def store(self) -> SQLStore:
        return self.plane.store

    def __call__(self, *arguments: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run([*arguments, "--data-dir", str(self.data_dir)])
        return Ran(status, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str) -> Ran:
        """The same, where nothing may go wrong."""
        ran = self(*arguments)
        assert (0, "") == (ran.status, ran.err), ran
        return ran

    def refused(self, *arguments: str) -> str:
        """The one line on standard error of a command that the server, or the command itself, refuses."""
        ran = self(*arguments)
        assert ran.status in (1, 2), ran
        assert "" == ran.out
        (line,) = ran.err.splitlines()
        return line

    @staticmethod
    def wait(awaitable: Coroutine[Any, Any, T]) -> T:
        """The result of a call of the store or the plane, in the loop that they live in."""
        return inprocess._runner().run(awaitable)


def _mounted(name: ServiceName, plane: Plane, *signing_names: Sequence[str]) -> MountedService:
    service = load_service(name)
    handlers = {operation: plane.handlers[operation] for operation in service.operations if operation in plane.handlers}
    return MountedService(service, handlers, *signing_names)


_serving: list[inprocess.Application] = []


async def _served(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await _serving[-1](scope, receive, send)


@functools.cache
def _client(service: str, region: str, key_id: str, secret: str) -> Any:
    """One client for every test: botocore takes longer to make one than most tests take."""
    return inprocess.client(service, _served, key_id=key_id, secret=secret, region=region)


@contextlib.contextmanager
def command_line(directory: Path) -> Iterator[CommandLine]:
    """A command line over an empty registry with two accounts; the data directory is as a running server leaves it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = {
        "pid": os.getpid(),
        "api": "http://iot.test",
        "mqtt": {"host": "127.0.0.1", "port": 1},
        "https": {"host": "127.0.0.1", "port": 1},
        "endpoint": f"abc-ats.iot.{SCOPE.region}.localhost",
        "trust_dir": str(directory / "trust"),
    }
    (directory / "serve.json").write_text(json.dumps(facts))
    credentials_file.write(directory / "credentials", PROFILES)
    keys = {key.access_key_id: SigningKey(key.secret, key.account_id) for key in PROFILES.values()}

    async def known(access_key_id: str) -> SigningKey | None:
        return keys.get(access_key_id)

    opened = sqlite_store(directory)
    store = CommandLine.wait(opened.__aenter__())
    try:
        CommandLine.wait(with_accounts(store))
        plane = CommandLine.wait(make_plane(store))
        line = CommandLine(directory, plane)
        clock = inprocess.SystemClock()

        application = ApiApplication(
            [_mounted("iot", plane, IOT_SIGNING_NAMES), _mounted("handfast", plane)],
            Authenticator(known, clock),
            clock,
            inprocess.CountingEntropy(),
            lambda _refused: None,
        )

        async def answering(scope: dict[str, Any], receive: Any, send: Any) -> None:
            line.asked.append(f"{scope['method']} {scope['path']}")
            await application(scope, receive, send)

        def client(service: str, _url: str, region: str, key_id: str, secret: str, _bundle: str | None) -> Any:
            return _client(service, region, key_id, secret)

        _serving.append(answering)
        with patch.object(wire_client, "_client", client):
            yield line
    finally:
        _serving.clear()
        CommandLine.wait(opened.__aexit__(None, None, None))
