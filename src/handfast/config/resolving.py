"""From what was written to the validated settings: which value wins, and the rules that span settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handfast.config.file import read_file
from handfast.config.hosts import MAX_NAME_OCTETS
from handfast.config.setting import Written
from handfast.config.settings import Settings
from handfast.config.table import BY_NAME, SETTINGS
from handfast.errors import ConfigurationError

ENDPOINT_PREFIX_OCTETS = 14
"""Length of the prefix that an account's endpoints carry."""
LONGEST_ENDPOINT_INFIX = ".credentials.iot."
"""Of the endpoint forms, `{prefix}.credentials.iot.{region}.{domain}` is the longest."""


def resolve(
    flags: Mapping[str, Any], env: Mapping[str, str], file: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """
    The validated settings, and for each field where its value came from.

    Args:
        flags: By field name; None and the empty list mean "not given".
        env: The environment; an empty variable means "not given".
        file: A handfast.toml that must exist; None reads none (see `config_file`).

    Returns:
        The settings and the origins: "flag", "environment VARIABLE", "file PATH" or "default".

    Raises:
        ConfigurationError: One line: what was seen, what was expected, what to do.

    A flag beats the environment, the environment beats the file. Relative paths in the file are relative to its
    directory, others to the working directory.
    """
    unknown = set(flags) - set(BY_NAME)
    if unknown:
        raise ConfigurationError(f"no such setting: {', '.join(sorted(unknown))}")
    in_file = read_file(file) if file is not None else {}
    here = Path.cwd()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        flag = flags.get(setting.name)
        if flag is not None and not (setting.repeatable and not flag):
            written = Written(value=flag, setting=setting, origin="flag", base=here)
            origin = "flag"
        elif env.get(setting.env):
            written = Written(value=env[setting.env], setting=setting, origin="environment", base=here)
            origin = f"environment {setting.env}"
        elif file is not None and setting.key in in_file:
            written = Written(value=in_file[setting.key], setting=setting, origin=str(file), base=file.parent)
            origin = f"file {file}"
        else:
            origin = "default"
            default = setting.default
            values[setting.name] = here / default if setting.name == "data_dir" else default
            origins[setting.name] = origin
            continue
        values[setting.name] = setting.parse(written)
        origins[setting.name] = origin
    settings = Settings(**values, file=file)
    _check_together(settings, origins)
    return settings, origins


def _check_together(settings: Settings, origins: Mapping[str, str]) -> None:
    """Rules that span settings."""
    longest = ENDPOINT_PREFIX_OCTETS + len(f"{LONGEST_ENDPOINT_INFIX}{settings.region}.{settings.domain}")
    if longest > MAX_NAME_OCTETS:
        raise ConfigurationError(
            f"--region and --domain make endpoint names of {longest} octets: expected at most {MAX_NAME_OCTETS}; "
            f"choose a domain that is {longest - MAX_NAME_OCTETS} octets shorter"
        )
    ports: dict[int, str] = {}
    for name in ("api_port", "mqtt_port", "https_port", "alpn_port"):
        port = getattr(settings, name)
        flag = BY_NAME[name].flag
        if port and port in ports:
            raise ConfigurationError(f"{ports[port]} and {flag} are both {port}: expected different ports; change one")
        ports[port] = flag
    if settings.dev and not settings.is_loopback:
        raise ConfigurationError(
            f"--dev with --host {settings.host}: expected a loopback address, because --dev accepts any secret; "
            "use --host 127.0.0.1, or leave --dev out"
        )
