"""How long the connections of a certificate take to be gone, from the order to cut them to the end of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from handfast.core.identity.ids import CertificateId, Scope
from handfast.ports import Clock
from handfast.seam import Cut

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection

PATIENCE_S = 0.5
"""How long a connection may take to flush its DISCONNECT; then it is reset, so that a deaf client is gone too."""
LIMIT_S = 5.0
"""After the reset nothing can be late but the process itself."""

Key = tuple[Scope, CertificateId]


class Farewell:
    """`seam.Farewell`: one watch over one certificate, as a context."""

    __slots__ = ("_clock", "_farewells", "_key", "_none_left", "_pending", "_sessions", "_since", "_worst_s")

    def __init__(self, farewells: Farewells, key: Key, clock: Clock) -> None:
        self._farewells = farewells
        self._key = key
        self._clock = clock
        self._since = clock.monotonic()
        self._pending: set[MQTTConnection] = set()
        self._sessions = 0
        self._worst_s = 0.0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __enter__(self) -> Farewell:
        self._farewells.watches.setdefault(self._key, []).append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        watches = self._farewells.watches[self._key]
        watches.remove(self)
        if not watches:
            del self._farewells.watches[self._key]

    def cut(self, connections: Iterable[MQTTConnection]) -> None:
        """These are told to end now."""
        for connection in connections:
            self._pending.add(connection)
            self._sessions += 1
        if self._pending:
            self._none_left.clear()

    def gone(self, connection: MQTTConnection) -> None:
        """The transport of this one is closed; nothing happens when it was not among them."""
        if connection in self._pending:
            self._pending.discard(connection)
            self._worst_s = max(self._worst_s, self._clock.monotonic() - self._since)
            if not self._pending:
                self._none_left.set()

    async def last_gone(self) -> Cut:
        """Every connection that was cut is closed; those that do not flush in time are reset."""
        for patience_s in (PATIENCE_S, LIMIT_S):
            try:
                async with asyncio.timeout(patience_s):
                    await self._none_left.wait()
                break
            except TimeoutError:
                for connection in tuple(self._pending):
                    if connection.transport is not None:
                        connection.transport.abort()
        if self._pending:
            self._worst_s = max(self._worst_s, self._clock.monotonic() - self._since)
        return Cut(self._sessions, self._worst_s)


class Farewells:
    """The watches under way; costs nothing while there is none."""

    __slots__ = ("watches",)

    def __init__(self) -> None:
        self.watches: dict[Key, list[Farewell]] = {}

    def cut(self, key: Key, connections: Iterable[MQTTConnection]) -> None:
        """These connections of the certificate are told to end now."""
        for watch in self.watches.get(key, ()):
            watch.cut(connections)

    def gone(self, connection: MQTTConnection) -> None:
        """The connection's transport is closed."""
        for watches in self.watches.values():
            for watch in watches:
                watch.gone(connection)
