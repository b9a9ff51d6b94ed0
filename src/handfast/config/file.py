"""handfast.toml: which one is read, and the settings in it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handfast.config.table import BY_KEY
from handfast.errors import ConfigurationError
from handfast.printable import printable

CONFIG_FILE = "handfast.toml"
CONFIG_VARIABLE = "HANDFAST_CONFIG"
FILE_TABLES = frozenset({"hooks", "bulk-input"})
"""What stands in handfast.toml alone, because it says what runs on this machine: never a flag, never in the API."""


def config_file(flag: str | Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read: `--config`, else HANDFAST_CONFIG, else ./handfast.toml where it exists, else none."""
    named = flag or env.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    found = Path(CONFIG_FILE)
    return found if found.exists() else None


def read_file(file: Path) -> dict[str, Any]:
    """The values of a handfast.toml by key, not parsed; `FILE_TABLES` are left out. ConfigurationError: it is none."""
    try:
        with file.open("rb") as stream:
            read = tomllib.load(stream)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}): give an existing file to --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not TOML: {printable(str(error))}; correct that place") from None
    values: dict[str, Any] = {}
    for written, value in read.items():
        key = written.replace("_", "-")
        if key in FILE_TABLES:
            continue
        if key not in BY_KEY:
            known = sorted(BY_KEY.keys() | FILE_TABLES)
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigurationError(
                f"{file} has the unknown key '{printable(written, limit=60)}': expected one of {', '.join(known)}; "
                + (f"did you mean {near[0]}?" if near else "remove it")
            )
        if key in values:
            raise ConfigurationError(f"{file} has '{key}' twice, with - and with _: keep one")
        values[key] = value
    return values
