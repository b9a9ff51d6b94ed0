"""Commands that talk to a server: the options they share, once, and what those say."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from handfast.cli.connection import ServerAddress, calling, find_server, handfast_api, iot_api
from handfast.cli.options import AsJson, DataDir, EndpointUrl, Profile, Region, keyword, presented_with
from handfast.cli.output import print_json, print_line
from handfast.printable import printable

Command: TypeAlias = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    What the shared options of a command say.

    `operator`: the command needs the operator's key, which is what it signs with unless `--profile` names another.
    """

    data_dir: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    as_json: bool = False
    operator: bool = False

    def server(self) -> ServerAddress:
        """The server and the key; ConfigurationError says what is missing."""
        return find_server(
            self.data_dir, self.endpoint_url, profile=self.profile, region=self.region, operator=self.operator
        )

    @contextlib.contextmanager
    def iot(self) -> Iterator[Any]:
        """A client of the control plane; its errors leave as `CallFailed`."""
        server = self.server()
        with calling(server):
            yield iot_api(server)

    @contextlib.contextmanager
    def handfast(self, *, patience_s: float | None = None) -> Iterator[Any]:
        """A client of /handfast/v1; its errors leave as `CallFailed`. `patience_s` as `handfast_api` has it."""
        server = self.server()
        with calling(server):
            yield handfast_api(server, patience_s=patience_s)

    def answer(self, document: Any, *lines: str) -> None:
        """What was done: the document with `--json`, else the lines, each escaped."""
        if self.as_json:
            print_json(document)
            return
        for line in lines:
            print(printable(line, limit=2000))

    def answer_facts(self, document: Any, facts: tuple[tuple[str, Any], ...]) -> None:
        """One thing: the document with `--json`, else a line for each fact that has a value."""
        if self.as_json:
            print_json(document)
            return
        for label, value in facts:
            if value is not None:
                print_line(label, value)


def calls_server(
    *, operator: bool = False, region: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    `command(call, …)` as a command with the options of a `Call`, after those of its own.

    Args:
        operator: The command needs the operator's key.
        region: False leaves `--region` out, where the answer is the same in every region.
    """
    shared = {"data_dir": DataDir, "endpoint_url": EndpointUrl, "profile": Profile, "region": Region}
    if not region:
        del shared["region"]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            said = {name: given.pop(name) for name in (*shared, "as_json")}
            command(Call(**said, operator=operator), **given)

        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        options = [keyword(name, annotation) for name, annotation in shared.items()]
        return presented_with(wrapper, [*own, *options, keyword("as_json", AsJson, default=False)])

    return decorate
