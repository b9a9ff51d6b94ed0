"""Which device the start screen speaks of: its lines work on the first start and on every later one."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final

from handfast.cli.kit import Kit
from handfast.cli.screens import FIRST_DEVICE
from handfast.core.identity.ids import Scope, ThingName
from handfast.errors import ConfigurationError
from handfast.ports import Store

_TRIED: Final = 20


async def next_device(store: Store, scope: Scope, endpoint: str, mqtt_port: int, *, folder: Path) -> tuple[str, bool]:
    """
    A name, and whether `device create` has made it already.

    Args:
        scope: The account and the region that `device create` works in.
        folder: Where the lines are pasted.

    Either `folder` holds a kit of that name with which its device gets to this server, or neither `folder` nor the
    registry has anything of that name, so that it can be made.
    """
    for number in range(1, _TRIED + 1):
        name = FIRST_DEVICE if number == 1 else f"{FIRST_DEVICE}-{number}"
        known = await store.thing(scope, ThingName(name)) is not None
        if known and await asyncio.to_thread(_leads_to, folder / name, name, endpoint, mqtt_port):
            return name, True
        if not known and not (folder / name).exists() and not (folder / name).is_symlink():
            return name, False
    return f"{FIRST_DEVICE}-{secrets.token_hex(3)}", False


def _leads_to(folder: Path, name: str, endpoint: str, mqtt_port: int) -> bool:
    try:
        kit = Kit.read(folder)
        whole = all((folder / file).is_file() for file in ("certificate.pem", "private.key", "root-ca.pem"))
    except (ConfigurationError, OSError):
        return False
    return whole and (kit.thing_name, kit.endpoint, kit.mqtt_port) == (name, endpoint, mqtt_port)
