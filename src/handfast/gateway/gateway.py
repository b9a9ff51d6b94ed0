"""The MQTT data plane behind `seam.DataPlane`: accepts connections, routes between them, obeys the services."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Mapping, Sequence
from itertools import islice
from typing import Any

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.mqtt.properties import Where, decode_block
from handfast.core.mqtt.reasons import Code
from handfast.core.topics.name import name_problem
from handfast.gateway import awaiting
from handfast.gateway.connection import MQTTConnection
from handfast.gateway.farewells import Farewell, Farewells
from handfast.gateway.keepalive import TICKS_PER_SECOND, Wheel, ticks
from handfast.gateway.limits import GatewayLimits
from handfast.gateway.messages import Message, forwarded_properties
from handfast.gateway.quotas import Quotas
from handfast.gateway.receiver import OPEN, Receiver
from handfast.gateway.requests import RequestDesk
from handfast.gateway.retained import RetainedGate
from handfast.gateway.router import NO_LOCAL, QOS, RETAIN_AS_PUBLISHED, Plan, ScopeRouter
from handfast.gateway.throttled import ThrottledConnection
from handfast.ports import Clock, Entropy, Meter, Sessions
from handfast.printable import printable
from handfast.seam import Admitted, Authorizer, ConnectionObserver, ConnectRequest, Plane, Refused, Requests, TLSFacts

_log = logging.getLogger(__name__)


class Gateway:
    """
    All MQTT connections of this process.

    Everything runs on one event loop; only `Sessions` may do work elsewhere.
    Nothing that a peer sends raises out of here.
    """

    __slots__ = (
        "_all_gone",
        "_connection",
        "_connections",
        "_dropped",
        "_entropy",
        "_lingering",
        "_loop",
        "_meter",
        "_metered_at",
        "_observer",
        "_principals",
        "_quotas",
        "_random",
        "_retained",
        "_routers",
        "_started_at",
        "_tasks",
        "_timer",
        "clock",
        "closing",
        "dirty",
        "explain",
        "farewells",
        "identifying",
        "limits",
        "plane",
        "received0",
        "received1",
        "requests",
        "scheduled",
        "sent0",
        "sent1",
        "sessions",
        "subscription_count",
        "turn_bytes",
        "turn_limit",
        "wheel",
    )

    def __init__(
        self,
        plane: Plane,
        sessions: Sessions,
        *,
        clock: Clock,
        entropy: Entropy,
        meter: Meter,
        limits: GatewayLimits | None = None,
        explain: bool = True,
        observer: ConnectionObserver | None = None,
    ) -> None:
        self.plane = plane
        self.clock = clock
        self.explain = explain
        self.limits = limits or GatewayLimits()
        self._quotas = Quotas() if self.limits.quotas else None
        self._connection = ThrottledConnection if self.limits.quotas else MQTTConnection
        self.wheel = Wheel()
        self.dirty: list[Receiver] = []
        self.scheduled = False
        self.turn_bytes = 0
        self.turn_limit = self.limits.turn_bytes
        self.received0 = self.received1 = self.sent0 = self.sent1 = 0
        self.subscription_count = 0
        self.requests: RequestDesk | None = None
        self._observer = observer
        self._entropy = entropy
        self._meter = meter
        self._random = random.Random(entropy.token_bytes(16))  # noqa: S311 (picks members of shared groups)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started_at = clock.monotonic()
        self._metered_at = 0
        self.closing = False
        self.farewells = Farewells()
        self.sessions = {4: 0, 5: 0}  # open connections by Protocol Level
        self._lingering: set[MQTTConnection] = set()
        self._all_gone = asyncio.Event()
        self._routers: dict[Scope, ScopeRouter] = {}
        self._principals: dict[tuple[Scope, CertificateId], set[MQTTConnection]] = {}
        self._connections: set[MQTTConnection] = set()
        self.identifying: dict[MQTTConnection, bool] = {}  # True: something changed meanwhile, ask again
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped: dict[str, int] = {}
        self._retained = RetainedGate(sessions, clock, meter, self.spawn)

    def serve_requests(self, requests: Requests) -> None:
        """From now on the request topics are answered by `requests`; before, they are reserved like others."""
        self.requests = RequestDesk(self, requests)

    # the door

    def accept(self, facts: TLSFacts) -> MQTTConnection:
        """
        The protocol for a connection whose handshake, or upgrade to WebSocket, is done.

        Steps 2 and 3 of the verdict begin at once; their answer goes out after the CONNECT.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._tick()
        connection = self._connection(self, facts)
        self._connections.add(connection)
        verdict: Admitted | Refused | None
        try:
            verdict = self.plane.identify_now(facts)
        except Exception:
            verdict = self.broken("identify_now", facts)
        if verdict is not None:
            connection.identified(verdict)
        else:
            self.spawn(awaiting.identify(connection))
        return connection

    def broken(self, what: str, facts: TLSFacts) -> Refused:
        """A raise of the plane refuses; the log has everything, the peer nothing."""
        _log.exception("the plane raised", extra={"call": what})
        try:
            reason = Reason(ReasonCode.INTERNAL, f"{what} failed")
            return Refused(self.plane.refuse(Stage.CERTIFICATE, (reason,), facts, address=facts.peer_address))
        except Exception:
            _log.exception("the plane raised", extra={"call": "refuse"})
            return Refused("")

    def ask_connect(
        self, connection: MQTTConnection, admitted: Admitted, request: ConnectRequest
    ) -> Authorizer | Refused:
        """Step 4 of the verdict; a raise refuses."""
        try:
            return self.plane.connect(connection.facts, admitted, request)
        except Exception:
            return self.broken("connect", connection.facts)

    def may_connect(self, scope: Scope, client_id: str) -> bool:
        """Whether the quota of CONNECT packets per client id leaves room for this one."""
        return self._quotas is None or self._quotas.connects.admit((scope, client_id), self.clock.monotonic())

    def may_retain(self, scope: Scope, topic: str) -> bool:
        """Whether the quota of retained messages per topic leaves room for this one."""
        return self._quotas is None or self._quotas.retained.admit((scope, topic), self.clock.monotonic())

    def withdraw(self, admitted: Admitted, authorizer: Authorizer, reason: str) -> None:
        """The connection that the plane allowed does not come about."""
        try:
            self.plane.disconnected(admitted, authorizer, reason)
        except Exception:
            _log.exception("the plane raised", extra={"call": "disconnected"})

    def assigned_client_id(self) -> str:
        """A Client Identifier for a client that leaves it to the server."""
        return self._entropy.uuid()

    def joined(self, connection: MQTTConnection, admitted: Admitted) -> None:
        """The connection has an identity: from now on its certificate's fate is its own."""
        self._principals.setdefault((admitted.scope, admitted.certificate_id), set()).add(connection)

    def take_over(self, connection: MQTTConnection, admitted: Admitted) -> None:
        """The client id belongs to this connection; an older one with it is closed [MQTT-3.1.4-3]."""
        router = self._routers.get(admitted.scope)
        if router is None:
            router = self._new_router(admitted.scope)
        older = router.clients.get(connection.client_id)
        if self._observer is not None:
            self._observe(self._observer, connection, admitted, older)
        if older is not None:
            older.cut(Code.SESSION_TAKEN_OVER, "DUPLICATE_CLIENTID")
        self._routers[admitted.scope] = router  # closing the older one may have dropped the empty scope
        router.clients[connection.client_id] = connection
        connection.router = router

    def _observe(
        self, observer: ConnectionObserver, connection: MQTTConnection, admitted: Admitted, older: MQTTConnection | None
    ) -> None:
        """Tell what this connection has in common with others; `older` has its client id."""
        if connection.facts.signed is not None or (older is not None and older.facts.signed is not None):
            return  # an account's key is shared on purpose, and is no device's identity
        scope, certificate_id, address = admitted.scope, admitted.certificate_id, connection.facts.peer_address
        if older is not None and older.admitted is not None and older.admitted.certificate_id != certificate_id:
            certificates = (older.admitted.certificate_id, certificate_id)
            observer.client_id_taken(scope, connection.client_id, certificates, (older.facts.peer_address, address))
        # One example is enough, and the first few will do: a certificate may have thousands of connections.
        for other in islice(self._principals.get((scope, certificate_id), ()), 8):
            if other.state == OPEN and other is not older and other is not connection:
                client_ids = (other.client_id, connection.client_id)
                observer.certificate_shared(scope, certificate_id, client_ids, (other.facts.peer_address, address))
                return

    def _new_router(self, scope: Scope) -> ScopeRouter:
        router = self._routers[scope] = ScopeRouter(scope, self.limits.topics_remembered_per_scope)
        return router

    def left(self, connection: MQTTConnection, was_open: bool, reason: str) -> None:
        """The connection is over: out of every table, its Will where policy still allows it."""
        self._connections.discard(connection)
        if self.identifying:
            self.identifying.pop(connection, None)
        admitted = connection.admitted
        if admitted is None:
            return
        key = (admitted.scope, admitted.certificate_id)
        live = self._principals.get(key)
        if live is not None:
            live.discard(connection)
            if not live:
                del self._principals[key]
        router = connection.router
        authorizer = connection.authorizer
        if not was_open or router is None or authorizer is None:
            return
        self.sessions[connection.version] -= 1
        for parsed, _options in connection.subscriptions.values():
            router.unsubscribe(connection, parsed)
        self.subscription_count -= len(connection.subscriptions)
        connection.subscriptions = {}
        if router.clients.get(connection.client_id) is connection:
            del router.clients[connection.client_id]
        will = connection.will
        try:
            if will is not None and self.plane.may_publish_will(admitted, authorizer, will.topic, will.retain):
                properties, expires_at = forwarded_properties(will.properties, self.clock.monotonic())
                message = Message(will.topic.encode(), will.payload, will.qos, will.retain, properties, expires_at)
                if will.retain:
                    self.retain(router, will.topic, message, None, 0)
                self.deliver(router.plan(will.topic), message, connection)
            self.plane.disconnected(admitted, authorizer, reason)
        except Exception:
            _log.exception("the plane raised", extra={"call": "disconnected"})
        self._meter.count("handfast_mqtt_disconnects_total", labels={"reason": reason})
        if router.empty:
            self._routers.pop(router.scope, None)

    def record(self, connection: MQTTConnection, stage: Stage, reason: Reason, *, resource: str | None = None) -> str:
        """Record a refusal that was decided here; its trace id, empty when even that failed."""
        details: dict[str, str] = {}
        if connection.version:
            details["mqtt_version"] = "5" if connection.version == 5 else "3.1.1"
        client_id = connection.client_id
        if not client_id and connection.connect is not None:
            client_id = connection.connect.client_id
        try:
            return self.plane.refuse(
                stage,
                (reason,),
                connection.facts,
                connection.admitted,
                address=connection.facts.peer_address,
                client_id=printable(client_id, limit=128) if client_id else None,
                resource=resource,
                details=details,
            )
        except Exception:
            _log.exception("the plane raised", extra={"call": "refuse"})
            return ""

    # routing

    def deliver(self, plan: Plan, message: Message, source: MQTTConnection | None, done: int = 0) -> None:
        """
        To everyone in the plan. `done` is the version whose receivers got the
        message as it came: at QoS 0 all of them, at QoS 1 those granted QoS 1.
        """
        now = self.clock.monotonic() if message.expires_at is not None else 0.0
        if message.qos:
            if plan.zero4:
                self._send_plain(plan.zero4, message, 4, now)
            if plan.zero5:
                self._send_plain(plan.zero5, message, 5, now)
            for receiver in plan.one4 if done != 4 else ():
                receiver.deliver(message, 1, False)
            for receiver in plan.one5 if done != 5 else ():
                receiver.deliver(message, 1, False)
            self.sent1 += len(plan.one4) * (done != 4) + len(plan.one5) * (done != 5)
        else:
            if plan.all4 and done != 4:
                self._send_plain(plan.all4, message, 4, now)
            if plan.all5 and done != 5:
                self._send_plain(plan.all5, message, 5, now)
        if plan.odd:
            for receiver, options in plan.special:
                if options & NO_LOCAL and receiver is source:  # [MQTT-3.8.3-3]
                    continue
                self._send_odd(receiver, options, message)
            for members in plan.groups:
                # Any live member will do; a choice by weight or turn is promised nowhere.
                receiver, options = members[int(self._random.random() * len(members))]
                self._send_odd(receiver, options, message)
        if self.turn_bytes > self.turn_limit:
            self.flush()

    def _send_plain(self, receivers: Sequence[Receiver], message: Message, version: int, now: float) -> None:
        packet = message.plain_packet(version, now)
        for receiver in receivers:
            receiver.enqueue(packet)
        self.sent0 += len(receivers)
        self.turn_bytes += len(packet) * len(receivers)

    def _send_odd(self, receiver: Receiver, options: int, message: Message) -> None:
        qos = min(message.qos, options & QOS)
        receiver.deliver(message, qos, message.retain and bool(options & RETAIN_AS_PUBLISHED))
        self.count_sent(qos)

    def wake(self, connection: Receiver) -> None:
        """The connection has something to write at the end of this turn."""
        self.dirty.append(connection)
        if not self.scheduled:
            self.schedule()

    def schedule(self) -> None:
        """One flush for everything that this turn of the loop brings."""
        self.scheduled = True
        assert self._loop is not None
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """One write per connection for all that gathered."""
        self.scheduled = False
        self.turn_bytes = 0
        dirty, self.dirty = self.dirty, []
        for connection in dirty:
            if connection.blocked:
                connection.flush_blocked()
                continue
            out = connection.out
            transport = connection.transport
            if transport is None or not out:
                continue
            connection.out = []
            connection.unflushed = 0
            connection.send(out[0] if len(out) == 1 else b"".join(out))

    def drop(self, reason: str) -> None:
        """A message that a subscriber does not get."""
        self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def count_received(self, qos: int) -> None:
        """A message that came in outside a run."""
        if qos:
            self.received1 += 1
        else:
            self.received0 += 1

    def count_sent(self, qos: int) -> None:
        """A message that went out beside the router."""
        if qos:
            self.sent1 += 1
        else:
            self.sent0 += 1

    # retained messages

    def retain(
        self,
        router: ScopeRouter,
        topic: str,
        message: Message,
        publisher: MQTTConnection | None,
        packet_id: int,
    ) -> None:
        """Store the topic's retained message, or clear it; the publisher hears when that is durable."""
        self._retained.store(router.scope, topic, message, publisher, packet_id)

    def send_retained(self, connection: MQTTConnection, wanted: Sequence[tuple[str, int]]) -> None:
        """Deliver the retained messages of exact topics to a new subscriber, where it may receive them."""
        assert connection.router is not None
        allowed = [(topic, qos) for topic, qos in wanted if connection.may_receive(topic)]
        if allowed:
            self._retained.load(connection, connection.router.scope, allowed)

    # seam.DataPlane

    def disconnect_principal(self, scope: Scope, certificate_id: CertificateId, reason: str) -> int:
        """Every session of the certificate is cut; how many there were, those before their CONNECT included."""
        for connection in self.identifying:
            if connection.facts.certificate_id == certificate_id:
                self.identifying[connection] = True
        live = list(self._principals.get((scope, certificate_id), ()))
        self.farewells.cut((scope, certificate_id), live)
        for connection in live:
            connection.cut(Code.NOT_AUTHORIZED, reason)
        self.flush()
        return len(live)

    def disconnect_domain(self, domain_name: str, reason: str) -> int:
        """Every session that came by this name is cut; how many there were, those before their CONNECT included."""
        for connection in self.identifying:
            self.identifying[connection] = True
        live = [each for each in self._connections if each.admitted and each.admitted.domain_name == domain_name]
        for connection in live:
            connection.cut(Code.NOT_AUTHORIZED, reason)
        self.flush()
        return len(live)

    def disconnect_client(self, scope: Scope, client_id: str, *, will: bool) -> bool:
        """The session with this client id is cut by the API, without its Will unless `will`. False: nobody has it."""
        router = self._routers.get(scope)
        connection = None if router is None else router.clients.get(client_id)
        if connection is None:
            return False
        if not will:
            connection.will = None
        connection.cut(Code.ADMINISTRATIVE_ACTION, "API_INITIATED_DISCONNECT")
        self.flush()
        return True

    def watch_principal(self, scope: Scope, certificate_id: CertificateId) -> Farewell:
        """A watch over the certificate's connections, to be entered before they are cut."""
        return Farewell(self.farewells, (scope, certificate_id), self.clock)

    async def publish(
        self, scope: Scope, topic: str, payload: bytes, *, qos: int, retain: bool, properties: bytes
    ) -> bool:
        """
        Route a message that came by another way than MQTT; authorized by the caller.

        `properties` is an MQTT 5 property block without its length. Done when
        what must be durable is; False: the retained store of the scope is full, or
        the topic had a retained message less than a second ago (with quotas).
        Raises ValueError for a topic that is not legal, ProtocolViolation for a
        property block that is not.
        """
        problem = name_problem(topic)
        if problem is not None:
            raise ValueError(f"the topic is refused: {problem}")
        block, expires_at = forwarded_properties(decode_block(properties, Where.PUBLISH), self.clock.monotonic())
        message = Message(topic.encode(), payload, qos, retain, block, expires_at)
        if retain and not self.may_retain(scope, topic):
            self.drop("quota")
            return False
        self.count_received(qos)
        stored = self._retained.store(scope, topic, message, None, 0) if retain else None
        router = self._routers.get(scope)
        if router is not None:
            self.deliver(router.plan(topic), message, None)
        return await stored if stored is not None else True

    def announce(self, scope: Scope, topic: str, payload: bytes) -> None:
        """The plane's own message on a reserved topic, where no peer can publish."""
        router = self._routers.get(scope)
        if router is not None:
            self.deliver(router.plan(topic), Message(topic.encode(), payload, 1, False, b"", None), None)

    def live_principals(self) -> set[tuple[Scope, CertificateId]]:
        """Everyone who is connected, or past the identity and before the CONNECT."""
        return set(self._principals)

    def authorizations_changed(self) -> None:
        """Every plan is made anew; publishers notice by their Authorizer's version."""
        for router in self._routers.values():
            router.forget_plans()
        for connection in self.identifying:
            self.identifying[connection] = True

    # time

    def seconds_until(self, instant: float) -> float:
        """Seconds from now to an instant given in epoch seconds."""
        return instant - self.clock.now().timestamp()

    def _tick(self) -> None:
        assert self._loop is not None
        if self.closing:
            return
        self._timer = self._loop.call_later(1 / TICKS_PER_SECOND, self._tick)
        self.advance()

    def advance(self) -> None:
        """Let time pass: what the timer does four times a second."""
        tick = 1 + int((self.clock.monotonic() - self._started_at) * TICKS_PER_SECOND)
        self.wheel.advance(tick)
        if tick - self._metered_at >= TICKS_PER_SECOND:
            self._metered_at = tick
            self._report()

    def _report(self) -> None:
        counts: Mapping[tuple[str, str], int] = {
            ("in", "0"): self.received0,
            ("in", "1"): self.received1,
            ("out", "0"): self.sent0,
            ("out", "1"): self.sent1,
        }
        self.received0 = self.received1 = self.sent0 = self.sent1 = 0
        for (direction, qos), count in counts.items():
            if count:
                labels = {"direction": direction, "qos": qos}
                self._meter.count("handfast_mqtt_messages_total", count, labels)
        dropped, self._dropped = self._dropped, {}
        for reason, count in dropped.items():
            self._meter.count("handfast_mqtt_messages_dropped_total", count, {"reason": reason})
        self._meter.gauge("handfast_mqtt_subscriptions", self.subscription_count)
        for version, count in self.sessions.items():
            self._meter.gauge("handfast_mqtt_sessions", count, {"protocol": str(version)})

    # the end

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end; kept alive here."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def linger(self, connection: MQTTConnection) -> None:
        """A closed connection has a while to flush, then it is aborted."""
        if connection.transport is not None:
            self._lingering.add(connection)
            self.wheel.add(connection, self.wheel.tick + ticks(self.limits.linger_s))

    def forget(self, connection: MQTTConnection) -> None:
        """The transport is gone."""
        self.wheel.remove(connection)
        self._lingering.discard(connection)
        self.farewells.gone(connection)
        if not self._lingering:
            self._all_gone.set()

    async def close(self) -> None:
        """
        Tell MQTT 5 clients (0x8B), publish the Wills that policy allows, wait until what must be durable is
        and what was written has left; at most `linger_s` for each.
        """
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._connections):
            connection.cut(Code.SERVER_SHUTTING_DOWN, "SERVER_INITIATED_DISCONNECT")
        self.flush()
        self._retained.hand_over()
        if self._tasks:
            _done, late = await asyncio.wait(self._tasks, timeout=self.limits.linger_s)
            for task in late:
                task.cancel()
        if self._lingering:
            self._all_gone.clear()
            try:
                await asyncio.wait_for(self._all_gone.wait(), self.limits.linger_s)
            except TimeoutError:
                for connection in list(self._lingering):
                    connection.due(self.wheel.tick)
