"""How many handshakes a listener has under way at a time, and who they count for."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """What a listener allows before a handshake is done; both times run from the accept."""

    hello_timeout_s: float = 5.0
    handshake_timeout_s: float = 10.0
    max_handshakes: int = 2048
    max_handshakes_per_address: int = 512
    gives_way_after_s: float = 1.0
    """When all places are taken, a handshake that is older than this and of the address with the most of them is
    dropped for a newcomer of another: slow peers do not keep honest ones out."""


PROXIED: Final = "through a proxy"
"""Counts the connections whose address is not known yet."""


def address_block(address: str) -> str:
    """What counts as one address: an IPv6 /64, which one subscriber usually owns, or the address itself."""
    if ":" in address and not address.startswith("::"):
        try:
            return socket.inet_pton(socket.AF_INET6, address)[:8].hex()
        except OSError:
            pass  # a link-local address with its interface
    return address
