"""A Gateway without TLS and without a registry: a plane that says what the test wants, an in-memory transport."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.refusal import Reason, Stage
from handfast.core.mqtt import codec
from handfast.core.mqtt.connection import frames
from handfast.core.mqtt.packets import ConnAck, Connect, Packet, Publish, SubAck, Subscribe, Subscription, Will
from handfast.core.mqtt.properties import Properties
from handfast.gateway.gateway import Gateway
from handfast.gateway.limits import GatewayLimits
from handfast.ports import Retained, RetainOp
from handfast.seam import (
    Admitted,
    Awaiting,
    ConnectionObserver,
    ConnectRequest,
    ListenerKind,
    Refused,
    TLSFacts,
)

SCOPE = Scope(AccountId("123456789012"), "us-east-1")
OTHER_SCOPE = Scope(AccountId("210987654321"), "us-east-1")
TRACE = "5f0c1d9e-0000-4000-8000-000000000001"


class FakeAuthorizer:
    """Allows everything but what `denied` names as (action, topic)."""

    def __init__(self, denied: set[tuple[str, str]]) -> None:
        self.version = 1
        self.last_trace_id: str | None = None
        self.denied = denied
        self.asked: list[tuple[str, str]] = []

    def _may(self, action: str, topic: str) -> bool:
        self.asked.append((action, topic))
        return (action, topic) not in self.denied

    def publish(self, topic: str) -> bool:
        return self._may("publish", topic)

    def retain(self, topic: str) -> bool:
        return self._may("retain", topic)

    def subscribe(self, topic_filter: str) -> bool:
        return self._may("subscribe", topic_filter)

    def receive(self, topic: str) -> bool:
        return self._may("receive", topic)


class FakePlane:
    """`seam.Plane`: admits by the certificate id's last character, records every question and refusal."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()
        self.refuse_identity = False
        self.refuse_connect = False
        self.will_allowed = True
        self.scope = SCOPE
        self.not_after = 4e9
        self.identifying: asyncio.Future[Admitted | Awaiting | Refused] | None = None
        self.provisioning: asyncio.Future[Admitted | Refused] | None = None
        self.provisioned: list[tuple[Awaiting, ConnectRequest]] = []
        self.requests: list[ConnectRequest] = []
        self.refusals: list[tuple[Stage, tuple[Reason, ...], dict[str, Any]]] = []
        self.gone: list[str] = []
        self.named: tuple[str, str] | None = None
        self.authorizers: list[FakeAuthorizer] = []

    def verdict(self, facts: TLSFacts) -> Admitted | Refused:
        if self.refuse_identity:
            return Refused(TRACE)
        return Admitted(self.scope, facts.certificate_id, "localhost", self.not_after)

    def refused_client(self, refused: Refused, client_id: str) -> None:
        self.named = (refused.trace_id, client_id)

    def identify_now(self, facts: TLSFacts) -> Admitted | Refused | None:
        return None if self.identifying is not None else self.verdict(facts)

    def identify(self, facts: TLSFacts) -> Awaitable[Admitted | Awaiting | Refused]:
        assert self.identifying is not None
        return asyncio.shield(self.identifying)

    def provision(self, facts: TLSFacts, awaiting: Awaiting, request: ConnectRequest) -> Awaitable[Admitted | Refused]:
        assert self.provisioning is not None
        self.provisioned.append((awaiting, request))
        return asyncio.shield(self.provisioning)

    def connect(self, facts: TLSFacts, admitted: Admitted, request: ConnectRequest) -> FakeAuthorizer | Refused:
        self.requests.append(request)
        if self.refuse_connect:
            return Refused(TRACE)
        authorizer = FakeAuthorizer(self.denied)
        self.authorizers.append(authorizer)
        return authorizer

    def http(self, facts: TLSFacts, admitted: Admitted) -> FakeAuthorizer:
        return FakeAuthorizer(self.denied)

    def disconnected(self, admitted: Admitted, authorizer: Any, reason: str) -> None:
        self.gone.append(reason)

    def may_publish_will(self, admitted: Admitted, authorizer: Any, topic: str, retain: bool) -> bool:
        return self.will_allowed

    def refuse(
        self,
        stage: Stage,
        reasons: tuple[Reason, ...],
        facts: TLSFacts | None,
        admitted: Admitted | None = None,
        *,
        address: str = "",
        client_id: str | None = None,
        resource: str | None = None,
        details: Mapping[str, str] | None = None,
    ) -> str:
        self.refusals.append((stage, reasons, {"client_id": client_id, "resource": resource, "address": address}))
        return TRACE

    @property
    def refusal_codes(self) -> list[str]:
        return [reasons[0].code.value for _stage, reasons, _facts in self.refusals]


class FakeSessions:
    """`ports.Sessions` in memory. With `gate` set, commits wait for it."""

    def __init__(self) -> None:
        self.stored: dict[tuple[Scope, str], Retained] = {}
        self.gate: asyncio.Event | None = None
        self.reads: asyncio.Event | None = None
        self.full = False
        self.broken = False
        self.commits: list[int] = []

    async def commit(self, ops: Sequence[RetainOp]) -> list[bool]:
        self.commits.append(len(ops))
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise OSError("disk")
        for op in ops:
            if op.message is None:
                self.stored.pop((op.scope, op.topic), None)
            elif not self.full:
                self.stored[op.scope, op.topic] = op.message
        return [not self.full or op.message is None for op in ops]

    async def retained(self, keys: Sequence[tuple[Scope, str]]) -> list[Retained | None]:
        found = [self.stored.get(key) for key in keys]
        if self.reads is not None:
            await self.reads.wait()
        return found

    async def close(self) -> None: ...


class FakeClock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(1.7e9 + self.time, dt.UTC)

    def monotonic(self) -> float:
        return self.time


class FakeEntropy:
    """Counts."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def token_bytes(self, n: int) -> bytes:
        return next(self._numbers).to_bytes(n, "big")

    def uuid(self) -> str:
        return f"assigned-{next(self._numbers)}"


class FakeMeter:
    """Adds up."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self.gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def count(self, name: str, by: int = 1, labels: Mapping[str, str] | None = None) -> None:
        key = (name, tuple(sorted((labels or {}).items())))
        self.counts[key] = self.counts.get(key, 0) + by

    def gauge(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        self.gauges[name, tuple(sorted((labels or {}).items()))] = value

    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None: ...


def facts(certificate: str = "a") -> TLSFacts:
    """What a handshake with the certificate of that name proved."""
    return TLSFacts(
        listener=ListenerKind.MQTT,
        peer_address="127.0.0.1",
        peer_port=50000,
        local_address="127.0.0.1",
        certificate_der=b"",
        certificate_id=CertificateId(certificate.encode().hex().rjust(64, "0")),
        sni=None,
        alpn=None,
        version="TLSv1.3",
        cipher="TLS_AES_128_GCM_SHA256",
        group=None,
        chain_kind="ecdsa",
        offered={"versions": "TLSv1.3"},
    )


class MemoryTransport(asyncio.Transport):
    """Collects what is written; `connection_lost` comes when the loop next turns after a close."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = b""
        self.writes = 0
        self.closing = False
        self.aborted = False
        self.reading = True
        self.lingers = False  # a peer that does not read: close() never completes

    def write(self, data: Any) -> None:
        assert not self.closing
        self.written += bytes(data)
        self.writes += 1

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.lingers:
                asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.closing = True
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Device:
    """The other end of one in-memory connection."""

    def __init__(self, world: World, certificate: str, version: int) -> None:
        self.world = world
        self.version = version
        self.protocol = world.gateway.accept(facts(certificate))
        self.transport = MemoryTransport(self.protocol)
        self.protocol.connection_made(self.transport)
        self._rest = b""

    def send(self, *packets: Packet) -> None:
        """Several packets in one read."""
        self.send_raw(b"".join(codec.encode(self.version, packet) for packet in packets))

    def send_raw(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def received(self) -> list[Packet]:
        """Everything that came since the last call, once the gateway has nothing more to do."""
        await settle()
        data, self.transport.written = self._rest + self.transport.written, b""
        whole, self._rest = frames(data)
        return [codec.decode(self.version, first, body) for first, body in whole]

    async def connect(
        self, client_id: str = "client", *, keep_alive: int = 60, will: Will | None = None, **properties: Any
    ) -> Packet:
        """Send a CONNECT; the answer."""
        self.send(
            Connect(
                version=self.version,
                client_id=client_id,
                keep_alive=keep_alive,
                will=will,
                properties=properties.get("properties", Properties()),
            )
        )
        (answer,) = await self.received()
        return answer

    async def subscribe(self, topic_filter: str, qos: int = 0, **options: Any) -> SubAck:
        """Subscribe to one filter; the SUBACK, which must be all that came."""
        wanted = Subscription(topic_filter=topic_filter, qos=qos, **options)
        self.send(Subscribe(packet_id=7, subscriptions=(wanted,)))
        (answer,) = await self.received()
        assert isinstance(answer, SubAck)
        return answer

    async def messages(self) -> list[tuple[str, bytes, int]]:
        """(topic, payload, QoS) of everything that came; nothing else may have come."""
        packets = await self.received()
        out = []
        for packet in packets:
            assert isinstance(packet, Publish), packet
            out.append((packet.topic, packet.payload, packet.qos))
        return out

    @property
    def closed(self) -> bool:
        return self.transport.closing


class World:
    """A gateway with its surroundings."""

    def __init__(
        self,
        *,
        explain: bool = True,
        limits: GatewayLimits | None = None,
        observer: ConnectionObserver | None = None,
    ) -> None:
        self.plane = FakePlane()
        self.sessions = FakeSessions()
        self.clock = FakeClock()
        self.meter = FakeMeter()
        self.gateway = Gateway(
            self.plane,
            self.sessions,
            clock=self.clock,
            entropy=FakeEntropy(),
            meter=self.meter,
            limits=limits,
            explain=explain,
            observer=observer,
        )

    def device(self, version: int = 4, certificate: str = "a") -> Device:
        """A TCP connection with a finished handshake and no CONNECT."""
        return Device(self, certificate, version)

    async def client(self, client_id: str, version: int = 4, *, certificate: str = "a", **options: Any) -> Device:
        """A connected client."""
        device = self.device(version, certificate)
        answer = await device.connect(client_id, **options)
        assert isinstance(answer, ConnAck)
        assert 0 == answer.reason
        return device

    def pass_time(self, seconds: float) -> None:
        """Time goes by, in steps of a quarter of a second."""
        for _ in range(int(seconds * 4)):
            self.clock.time += 0.25
            self.gateway.advance()


async def settle() -> None:
    """Let everything run that is ready, and what that makes ready."""
    for _ in range(12):
        await asyncio.sleep(0)


def message(topic: str = "t", payload: bytes = b"x", qos: int = 0, packet_id: int = 1, **more: Any) -> Publish:
    """A PUBLISH; at QoS 0 without a Packet Identifier."""
    return Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id if qos else 0, **more)
