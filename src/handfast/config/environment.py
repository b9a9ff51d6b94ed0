"""Environment variables that look like settings and are none: a typing error would be obeyed by nobody, unsaid."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final

from handfast.config.file import CONFIG_VARIABLE
from handfast.config.table import SETTINGS
from handfast.printable import printable

PREFIX: Final = "HANDFAST_"
OTHER_VARIABLES: Final = frozenset(
    {
        CONFIG_VARIABLE,
        "HANDFAST_TLS_ENGINE",  # tls.openssl.choice
        "HANDFAST_HOOK",  # these two are set for commands of hooks, which may call handfast
        "HANDFAST_EVENT",
        "HANDFAST_PROPERTIES",  # these three steer the tests
        "HANDFAST_FUZZ_INPUTS",
        "HANDFAST_FUZZ_SEED",
    }
)
"""What the project reads or sets besides the settings."""

_SERVICE_LINK: Final = re.compile(
    r"HANDFAST(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Kubernetes sets these in every pod beside a service whose name begins with `handfast`."""
_LINKED_TO: Final = ("tcp://", "udp://", "sctp://")
_AT_MOST: Final = 10


def unknown_variables(env: Mapping[str, str]) -> list[str]:
    """
    One line for each variable that begins with HANDFAST_, has a value and is read by nobody; at most ten lines.

    Warnings, no refusals: other programs may have such names. Values are never told, they may be secrets.
    """
    settings = {setting.env.removeprefix(PREFIX) for setting in SETTINGS}
    lines = []
    for name in sorted(env):
        wanted = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or not env[name] or name in OTHER_VARIABLES or wanted in settings:
            continue
        if _SERVICE_LINK.fullmatch(name) or env[name].startswith(_LINKED_TO):
            continue
        near = difflib.get_close_matches(wanted, sorted(settings), n=1)
        hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        lines.append(f"the environment variable {printable(name, limit=80)} is no setting and is ignored{hint}")
    if len(lines) > _AT_MOST:
        lines[_AT_MOST:] = [f"{len(lines) - _AT_MOST} more variables that begin with {PREFIX} are ignored"]
    return lines
