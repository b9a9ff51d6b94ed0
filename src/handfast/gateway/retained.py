"""Retained messages on their way to the store and back, gathered per turn of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from handfast.core.identity.ids import Scope
from handfast.core.mqtt.reasons import Code
from handfast.gateway.messages import Message
from handfast.ports import Clock, Meter, Retained, RetainOp, Sessions

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection

_log = logging.getLogger(__name__)


class _Load:
    """Retained messages being read for one subscriber; `superseded` topics got a newer one meanwhile."""

    __slots__ = ("superseded",)

    def __init__(self) -> None:
        self.superseded: set[str] = set()


PENDING_LIMIT_BYTES = 16 * 1024 * 1024
"""Beyond this, QoS 0 messages are not retained while the store is behind; QoS 1 is bounded by Receive Maximum."""


class _Store:
    """One retained message being stored; exactly one of publisher and future hears of it, or nobody."""

    __slots__ = ("future", "op", "packet_id", "publisher")

    def __init__(
        self, op: RetainOp, publisher: MQTTConnection | None, packet_id: int, future: asyncio.Future[bool]
    ) -> None:
        self.op = op
        self.publisher = publisher
        self.packet_id = packet_id
        self.future = future


class RetainedGate:
    """
    The gateway's side of `ports.Sessions`.

    What one turn of the loop brings goes down in one `commit`; a read that
    begins later sees it, because the operations so far are handed over first.
    """

    __slots__ = ("_clock", "_loads", "_meter", "_pending_bytes", "_queue", "_sessions", "_spawn")

    def __init__(
        self, sessions: Sessions, clock: Clock, meter: Meter, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._meter = meter
        self._spawn = spawn
        self._queue: list[_Store] = []
        self._pending_bytes = 0  # payloads that are not durable yet
        self._loads: dict[tuple[Scope, str], list[_Load]] = {}

    def store(
        self, scope: Scope, topic: str, message: Message, publisher: MQTTConnection | None, packet_id: int
    ) -> asyncio.Future[bool]:
        """Store the message, or clear the topic when its payload is empty; True when that is durable."""
        loop = asyncio.get_running_loop()
        retained: Retained | None = None
        if message.payload:
            now = self._clock.now().timestamp()
            expires_at = None
            if message.expires_at is not None:
                expires_at = now + message.expires_at - self._clock.monotonic()
            retained = Retained(
                topic=topic,
                payload=message.payload,
                qos=message.qos,
                properties=message.properties,
                stored_at=now,
                expires_at=expires_at,
            )
            if message.qos == 0 and self._pending_bytes > PENDING_LIMIT_BYTES:
                # [MQTT-3.3.1-7] The earlier message is discarded; this one may be, and nobody was promised it.
                retained = None
            else:
                self._pending_bytes += len(message.payload)
        for load in self._loads.get((scope, topic), ()):
            load.superseded.add(topic)
        future: asyncio.Future[bool] = loop.create_future()
        op = RetainOp(scope=scope, topic=topic, message=retained)
        self._queue.append(_Store(op, publisher, packet_id, future))
        if len(self._queue) == 1:
            loop.call_soon(self.hand_over)
        return future

    def hand_over(self) -> None:
        """Everything that was queued is on its way to the store."""
        if self._queue:
            queue, self._queue = self._queue, []
            self._spawn(self._commit(queue))

    async def _commit(self, stores: list[_Store]) -> None:
        results: Sequence[bool | None]
        begun = self._clock.monotonic()
        try:
            results = await self._sessions.commit([store.op for store in stores])
        except Exception:
            _log.exception("retained messages could not be stored")
            results = [None] * len(stores)
        self._meter.observe("handfast_retained_commit_seconds", self._clock.monotonic() - begun)
        for store, result in zip(stores, results, strict=True):
            if store.op.message is not None:
                self._pending_bytes -= len(store.op.message.payload)
            if store.publisher is not None:
                reason = Code.SUCCESS
                if not result:
                    reason = Code.UNSPECIFIED_ERROR if result is None else Code.QUOTA_EXCEEDED
                store.publisher.settled(store.packet_id, reason)
            if not store.future.done():
                store.future.set_result(bool(result))

    def load(self, connection: MQTTConnection, scope: Scope, wanted: list[tuple[str, int]]) -> None:
        """Deliver the retained messages of these topics, at the QoS asked for at most."""
        self.hand_over()
        load = _Load()
        for topic, _qos in wanted:
            self._loads.setdefault((scope, topic), []).append(load)
        self._spawn(self._load(connection, scope, wanted, load))

    async def _load(self, connection: MQTTConnection, scope: Scope, wanted: list[tuple[str, int]], load: _Load) -> None:
        found: Sequence[Retained | None] = ()
        try:
            found = await self._sessions.retained([(scope, topic) for topic, _qos in wanted])
        except Exception:
            _log.exception("retained messages could not be read")
        finally:
            for topic, _qos in wanted:
                loads = self._loads[(scope, topic)]
                loads.remove(load)
                if not loads:
                    del self._loads[(scope, topic)]
        now = self._clock.now().timestamp()
        for (topic, qos), retained in zip(wanted, found, strict=False):
            if retained is None or topic in load.superseded or topic not in connection.subscriptions:
                continue
            if not connection.may_receive(topic):  # a policy that changed while this was read is obeyed
                continue
            expires_at = None
            if retained.expires_at is not None:
                expires_at = self._clock.monotonic() + retained.expires_at - now
            message = Message(topic.encode(), retained.payload, retained.qos, True, retained.properties, expires_at)
            connection.deliver(message, min(qos, retained.qos), True)
