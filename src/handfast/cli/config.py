"""`handfast config show`: each setting and where it came from."""

from __future__ import annotations

import typer

from handfast.cli.options import AsJson, with_settings
from handfast.cli.output import print_json, print_table
from handfast.config.setting import shown
from handfast.config.settings import Settings
from handfast.config.table import SETTINGS

config_app = typer.Typer(help="The settings: what holds and where it came from.")


@config_app.callback()
def group() -> None:
    """The settings: what holds and where it came from."""


@config_app.command("show")
@with_settings
def show(settings: Settings, origins: dict[str, str], as_json: AsJson = False) -> None:
    """
    Print each setting, its value and where it came from.

    Takes the flags of 'handfast serve', so that a command line can be tried without starting anything.
    """
    rows = [(setting, shown(setting, getattr(settings, setting.name))) for setting in SETTINGS]
    if as_json:
        print_json({setting.key: {"value": value, "origin": origins[setting.name]} for setting, value in rows})
        return
    print_table(
        ("setting", "value", "from"),
        [(setting.key, _text(value, setting.default_text), origins[setting.name]) for setting, value in rows],
        empty="",
    )


def _text(value: object, default_text: str) -> str:
    if value is None or value == []:
        return f"({default_text})"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(value)
    return str(value)
