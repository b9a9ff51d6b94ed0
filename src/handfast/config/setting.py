"""What one setting is, and a value as it was written for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from handfast.errors import ConfigurationError
from handfast.printable import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table. `help` is the line in `--help`; `more` is the paragraph for the docs."""

    name: str  # the field of Settings
    flag: str
    metavar: str
    default: Any
    default_text: str
    help: str
    unit: str
    more: str = ""
    parse: Callable[[Written], Any]
    repeatable: bool = False
    switch: bool = False
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable's name."""
        return "HANDFAST_" + self.key.replace("-", "_").upper()

    @property
    def key(self) -> str:
        """The key in handfast.toml: the flag without its dashes at the front."""
        return self.flag.removeprefix("--")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A value as it was written, and where: what a parser needs to say what is wrong with it."""

    value: Any
    setting: Setting
    origin: str  # "flag", "environment" or the file's name
    base: Path  # relative paths are relative to this directory

    @property
    def where(self) -> str:
        """The flag, the environment variable, or the key and its file."""
        if self.origin == "flag":
            return self.setting.flag
        if self.origin == "environment":
            return self.setting.env
        return f"'{self.setting.key}' in {self.origin}"

    def wrong(self, expected: str, todo: str = "") -> NoReturn:
        """Raise ConfigurationError: where it was written, what was seen, what was expected, what to do."""
        seen = printable(str(self.value), limit=120)
        if self.setting.secret:
            seen = "(not shown)"
        raise ConfigurationError(f"{self.where} is {seen!r}: expected {expected}" + (f"; {todo}" if todo else ""))

    def text(self) -> str:
        """The value, when it is text that is not empty; else refused by `wrong`."""
        if not isinstance(self.value, str):
            self.wrong(f"text ({self.setting.unit})")
        if not self.value:
            self.wrong(self.setting.unit)
        if "\0" in self.value:
            self.wrong("text without NUL characters")
        return self.value


def shown(setting: Setting, value: Any) -> Any:
    """A value as `config show` prints it and `--json` carries it; passwords in URLs are left out."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if setting.secret and isinstance(value, str):
        return re.sub(r"(?<=://)[^/@]*@", "…@", value)
    return value
