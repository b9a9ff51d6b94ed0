"""Values as written, parsed: each function is the `parse` of rows of the table, and says what is wrong."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path

from handfast.config.hosts import LABEL, name_problem
from handfast.config.setting import Written
from handfast.printable import printable

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def path(written: Written) -> Path:
    """An absolute path; `~` is the home directory, and what is relative is relative to `written.base`."""
    value = written.value
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        written.wrong("a path")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        written.wrong("a path whose ~ can be resolved", "write the path out")
    return Path(os.path.abspath(written.base / path))


def port(written: Written) -> int:
    """A TCP port; 0 for any free one."""
    value = written.value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        written.wrong("a TCP port, 0 to 65535", "0 takes any free port")
    return value


def count(written: Written) -> int:
    """A whole number from 1."""
    value = written.value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 999_999_999:
        written.wrong("a whole number, 1 or more")
    return value


def port_or_off(written: Written) -> int | None:
    """A TCP port, or None for `off` (in the file also `false`)."""
    return None if written.value == "off" or written.value is False else port(written)


def switch(written: Written) -> bool:
    """True or false, in any of the usual words."""
    value = written.value
    folded = value.lower() if isinstance(value, str) else value
    if folded is not True and folded is not False and folded not in _TRUE | _FALSE:
        written.wrong("true or false")
    return folded is True or folded in _TRUE


def choice(written: Written) -> str:
    """One of the setting's choices, as it stands there."""
    if written.value not in written.setting.choices:
        written.wrong("one of " + ", ".join(written.setting.choices))
    return str(written.value)


def host(written: Written) -> str:
    """An address without brackets, or a host name in lower case."""
    text = written.text()
    stripped = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(stripped))
    except ValueError:
        problem = name_problem(text.lower())
        if problem:
            written.wrong("an IP address or a host name of this machine", problem)
        return text.lower()


def region(written: Written) -> str:
    """One DNS label in lower case."""
    text = written.text()
    if not LABEL.fullmatch(text):
        written.wrong("one DNS label of lower-case letters, digits and inner hyphens, at most 63", "such as us-east-1")
    return text


def domain(written: Written) -> str:
    """A DNS name in lower case."""
    text = written.text().lower()
    problem = name_problem(text)
    if problem:
        written.wrong("a DNS name such as localhost or iot.example.com", problem)
    return text


def _parts(written: Written, what: str) -> Sequence[str]:
    """The parts of a comma-separated text, or of a list."""
    value = written.value
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        written.wrong(f"a list of {what}")
    return value


def server_names(written: Written) -> tuple[str, ...]:
    """Host names in lower case and addresses, each once; a comma-separated text or a list."""
    names: list[str] = []
    for part in _parts(written, "host names and IP addresses"):
        try:
            name = str(ipaddress.ip_address(part))
        except ValueError:
            name = part.lower()
            problem = name_problem(name)
            if problem:
                written.wrong("host names and IP addresses", problem)
        if name not in names:
            names.append(name)
    return tuple(names)


def preferences(written: Written) -> tuple[str, ...]:
    """NAME=rsa or NAME=ecdsa, each name once and in lower case; a comma-separated text or a list."""
    found: dict[str, str] = {}
    for part in _parts(written, "NAME=rsa and NAME=ecdsa"):
        name, separator, kind = part.lower().partition("=")
        problem = name_problem(name)
        if problem or not separator or kind not in ("rsa", "ecdsa"):
            written.wrong("NAME=rsa or NAME=ecdsa, with the name of an endpoint", problem or "rsa or ecdsa behind it")
        if found.setdefault(name, kind) != kind:
            written.wrong("one preference for a name", f"{name} has two")
    return tuple(f"{name}={kind}" for name, kind in found.items())


def networks(written: Written) -> tuple[str, ...]:
    """Networks in CIDR form, each once, none of them everything; a comma-separated text or a list."""
    networks: list[str] = []
    for part in _parts(written, "addresses and networks in CIDR form"):
        try:
            network = ipaddress.ip_network(part)
        except ValueError as error:
            written.wrong("addresses and networks in CIDR form, such as 10.0.0.0/24", printable(str(error), limit=120))
        if not network.prefixlen:
            written.wrong("networks of your own", "every address is no network: name those that are meant")
        if str(network) not in networks:
            networks.append(str(network))
    return tuple(networks)


def database_url(written: Written) -> str:
    """A sqlite:/// URL that names a file."""
    text = written.text()
    scheme, separator, rest = text.partition("://")
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        written.wrong("a sqlite:/// URL", "PostgreSQL is not supported by this version yet; leave it out to use SQLite")
    if scheme != "sqlite" or not separator or not rest.startswith("/") or len(rest) < 2:
        written.wrong("sqlite:/// followed by a file's path", "leave it out to keep the registry in the data directory")
    return text


def public_url(written: Written) -> str:
    """An http URL, as certificates can name it."""
    # Here: it needs cryptography, which commands that only read the settings can do without.
    from handfast.core.pki.pointers import public_base

    try:
        return public_base(written.text())
    except ValueError as error:
        written.wrong("the http URL below which others reach this server's API port", str(error))
