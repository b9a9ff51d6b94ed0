"""
What clients offered, kept for as long as their connections live: a filter may be denied days after the handshake.

The devices of a fleet have few TLS stacks, so that connections which offered the same share one record of it. A
connection's own is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from handfast.tls.client_hello import ClientHello, Offered
from handfast.tls.iana import GREASE

MAX_SHARED: Final = 256
"""Different offers that later connections can share; the oldest makes room."""
MAX_NUMBERS: Final = 400
"""Suites, groups, schemes and extensions of an offer that is kept as it came; a real one has about 60."""

_Key = tuple[object, ...]


class Offers:
    """The offers of one listener. Belongs to its event loop."""

    __slots__ = ("_shared",)

    def __init__(self) -> None:
        self._shared: dict[_Key, Offered] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def of(self, hello: ClientHello) -> Mapping[str, str]:
        """`ClientHello.summary()`, made when somebody looks; of an unusually long hello at once, cut to its bounds."""
        numbers = (
            hello.cipher_suites,
            hello.extensions,
            hello.versions,
            hello.groups,
            hello.signature_schemes,
            hello.signature_schemes_cert,
        )
        if sum(map(len, filter(None, numbers))) + len(hello.alpn) > MAX_NUMBERS:
            return hello.summary()
        key = (*map(_without_grease, numbers), hello.legacy_version, hello.alpn, bool(hello.session_id))
        known = self._shared.get(key)
        if known is None:
            if len(self._shared) >= MAX_SHARED:
                del self._shared[next(iter(self._shared))]
            known = self._shared[key] = Offered(hello)
        return known


def _without_grease(numbers: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Without the values that a client chooses anew for every connection (RFC 8701)."""
    if numbers is None or GREASE.isdisjoint(numbers):
        return numbers
    return tuple([number for number in numbers if number not in GREASE])
