"""Options that several commands share; those of `config.SETTINGS` are made from the table."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from handfast.config.environment import unknown_variables
from handfast.config.file import config_file
from handfast.config.resolving import resolve
from handfast.config.setting import Setting
from handfast.config.table import SETTINGS
from handfast.errors import ConfigurationError
from handfast.printable import printable

Rank = TypeVar("Rank", bound=IntEnum)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", help="The server's data directory.", show_default="./handfast-data"),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        help="A server elsewhere, reached with the usual AWS credentials, region and profile.",
        show_default="the server that runs on the data directory",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Profile of the credentials file.", show_default=False),
]
Region = Annotated[
    str | None, typer.Option("--region", metavar="NAME", help="Region to work in.", show_default="the server's")
]

CertificateId = Annotated[str, typer.Argument(metavar="CERTIFICATE_ID", help="64 hexadecimal digits.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", metavar="N", min=1, max=1_000_000_000, help="At most so many.", show_default="200; with --json all"
    ),
]
Status = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only those of this status; repeatable.", show_default="every one"),
]

CONFIG_HELP = "File with settings."


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """
    `command(settings, origins, …)` as a command with an option for each row of the table and `--config`.

    The other parameters of `command` stay as they are. Variables that look like settings and are none are warned of on
    standard error.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name not in _GIVEN]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        for line in unknown_variables(os.environ):
            print(f"handfast: warning: {line}", file=sys.stderr, flush=True)
        flags = {setting.name: given.pop(setting.name) for setting in SETTINGS}
        file = config_file(given.pop("config"), os.environ)
        settings, origins = resolve(flags, os.environ, file)
        command(settings=settings, origins=origins, **given)

    config = typer.Option("--config", metavar="FILE", help=CONFIG_HELP, show_default="handfast.toml where it exists")
    settings = [_parameter(setting) for setting in SETTINGS]
    return presented_with(wrapper, [*settings, keyword("config", Annotated[str | None, config]), *own])


def presented_with(wrapper: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """The wrapper of a command, showing typer these parameters, in their order and by keyword."""
    shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    del wrapper.__wrapped__  # type: ignore[attr-defined]  # else inspect looks through to the command
    wrapper.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in shown}
    return wrapper


def keyword(name: str, annotation: Any, *, default: Any = None) -> inspect.Parameter:
    """An option that a decorator adds to a command."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def data_directory(flag: str | None) -> Path:
    """The data directory of a command: its flag, else environment, else handfast.toml, else the default."""
    settings, _ = resolve({"data_dir": flag}, os.environ, config_file(None, os.environ))
    return settings.data_dir


def fail_on_severity(given: str | None, severities: type[Rank]) -> Rank | None:
    """
    What `--fail-on` names, in either case; None where it is not given.

    Raises:
        ConfigurationError: None of the severities.
    """
    if given is None:
        return None
    try:
        return severities[given.upper()]
    except KeyError:
        known = ", ".join(each.name.lower() for each in severities)
        raise ConfigurationError(f"--fail-on is {printable(given, limit=80)!r}: expected one of {known}") from None


_GIVEN = frozenset({"settings", "origins"})


def _parameter(setting: Setting) -> inspect.Parameter:
    if setting.switch:
        option = typer.Option(
            f"{setting.flag}/--no-{setting.key}", help=setting.help, show_default=setting.default_text
        )
        return keyword(setting.name, Annotated[bool | None, option])
    option = typer.Option(setting.flag, metavar=setting.metavar, help=setting.help, show_default=setting.default_text)
    kind: Any = list[str] | None if setting.repeatable else str | None
    return keyword(setting.name, Annotated[kind, option])
