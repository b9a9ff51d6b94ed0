"""
The seam between the data plane and everything else.

The data plane (accept, ClientHello, TLS, framing, codec, cached route and
decision, write) asks upward only for what stands in `Plane`; it takes the
commands of `DataPlane` downward. A compiled data plane can stand behind the
same two interfaces.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.refusal import Reason, Stage
from handfast.core.topics.reserved import RequestTopic


class ListenerKind(StrEnum):
    """Which door a connection came through."""

    MQTT = "mqtt"  # --mqtt-port
    HTTPS = "https"  # --https-port
    ALPN = "alpn"  # --alpn-port
    API = "api"  # --api-port, where it speaks TLS


@dataclass(frozen=True, slots=True)
class SignedBy:
    """An account's access key signed for the connection (MQTT over WebSocket); the signature is verified."""

    access_key_id: str
    scope: Scope  # the key's account, in the region that it signed for


@dataclass(slots=True, kw_only=True)
class TLSFacts:
    """
    What a completed handshake proved: the peer holds the key of `certificate_der`.

    Where no certificate was asked for, `certificate_der` is b"" and `certificate_id` "".
    `offered` says what the ClientHello offered, as bounded text for the refusal
    record; connections that offered the same share it. Of a WebSocket connection
    `signed` says who it is; without TLS, on loopback, `version`, `cipher` and
    `chain_kind` are "" then.
    """

    listener: ListenerKind
    peer_address: str
    peer_port: int
    local_address: str
    certificate_der: bytes
    certificate_id: CertificateId
    sni: str | None
    alpn: str | None
    version: str  # "TLSv1.2" | "TLSv1.3"
    cipher: str
    group: str | None
    chain_kind: str  # "rsa" | "ecdsa"
    hybrid_offered: bool = False  # a post-quantum hybrid group was offered, ours or another
    offered: Mapping[str, str] = field(default_factory=dict)
    signed: SignedBy | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """
    Steps 2 and 3 of the verdict passed. `domain_name` is the endpoint that the client connected to.

    `certificate_id` names the principal: of a connection that was signed for it is the access key id.
    """

    scope: Scope
    certificate_id: CertificateId
    domain_name: str
    not_after: float  # epoch seconds, exclusive: the session ends then
    ends_with: str = "AUTH_ERROR"  # AWS's disconnectReason when it ends then


@dataclass(frozen=True, slots=True)
class Awaiting:
    """
    Not registered yet, or waiting for its activation since an earlier connection, and a registered CA vouches for it.

    Nothing was written: a handshake alone changes nothing. `Plane.provision` settles it on the MQTT CONNECT packet.
    """

    scope: Scope
    certificate_id: CertificateId
    domain_name: str
    ca_certificate_id: CertificateId
    registered: bool = False  # by an earlier connection; False says nothing about what happened since


@dataclass(frozen=True, slots=True)
class Refused:
    """
    Refused and recorded under `trace_id`, which is all that the peer may learn.

    But for `unsupported_version`: a certificate that was let in speaks a version of MQTT that its endpoint does not.
    """

    trace_id: str
    unsupported_version: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """What step 4 of the verdict judges of a CONNECT packet."""

    client_id: str
    protocol_version: int  # 4 or 5
    persistent: bool  # Clean Session 0, or Session Expiry Interval above 0
    will_topic: str | None
    will_retain: bool
    username: str | None


class Authorizer(Protocol):
    """
    What one MQTT connection may do; asked once per (connection, topic) and remembered by the caller
    while `version` stays the same. `version` changes whenever any answer may have changed.

    Every False is recorded as a refusal by the callee (bounded), except `receive`, whose denials are
    recorded once per topic.
    """

    @property
    def version(self) -> int: ...
    @property
    def last_trace_id(self) -> str | None: ...  # of the last denial that was recorded
    def publish(self, topic: str) -> bool: ...
    def retain(self, topic: str) -> bool: ...
    def subscribe(self, topic_filter: str) -> bool: ...
    def receive(self, topic: str) -> bool: ...


class Plane(Protocol):
    """Upward: what the data plane asks. Nothing here raises to the data plane except by a bug; a raise refuses."""

    def identify_now(self, facts: TLSFacts) -> Admitted | Refused | None:
        """Steps 2 and 3 from memory; None: not cached, await `identify`."""
        ...

    def identify(self, facts: TLSFacts) -> Awaitable[Admitted | Awaiting | Refused]:
        """Steps 2 and 3. Awaiting only over MQTT."""
        ...

    def provision(self, facts: TLSFacts, awaiting: Awaiting, request: ConnectRequest) -> Awaitable[Admitted | Refused]:
        """Step 3 of a certificate that is awaited, now that its CONNECT is there: what is to be registered is."""
        ...

    def connect(self, facts: TLSFacts, admitted: Admitted, request: ConnectRequest) -> Authorizer | Refused:
        """Step 4. The Authorizer lives until `disconnected`."""
        ...

    def refused_client(self, refused: Refused, client_id: str) -> None:
        """A connection refused in steps 2 or 3 has now told its Client Identifier: the record names it."""
        ...

    def http(self, facts: TLSFacts, admitted: Admitted) -> Authorizer:
        """For one HTTPS request: no client id, no Connect check, no thing variables."""
        ...

    def disconnected(self, admitted: Admitted, authorizer: Authorizer, reason: str) -> None:
        """The connection is gone; `reason` is AWS's disconnectReason."""
        ...

    def may_publish_will(self, admitted: Admitted, authorizer: Authorizer, topic: str, retain: bool) -> bool:
        """Asked again at the moment the Will would be published."""
        ...

    def refuse(
        self,
        stage: Stage,
        reasons: tuple[Reason, ...],
        facts: TLSFacts | None,
        admitted: Admitted | Awaiting | None = None,
        *,
        address: str = "",
        client_id: str | None = None,
        resource: str | None = None,
        details: Mapping[str, str] | None = None,
    ) -> str:
        """Record a refusal that the data plane itself decided (TLS failure, malformed packet …); its trace id."""
        ...


class ConnectionObserver(Protocol):
    """Upward, for the record: what two devices should not have in common. Called at a CONNECT; cheap, never raises."""

    def certificate_shared(
        self, scope: Scope, certificate_id: CertificateId, client_ids: tuple[str, str], addresses: tuple[str, str]
    ) -> None:
        """Another connection is open with this certificate; the older one is named first."""
        ...

    def client_id_taken(
        self,
        scope: Scope,
        client_id: str,
        certificates: tuple[CertificateId, CertificateId],
        addresses: tuple[str, str],
    ) -> None:
        """A connection with another certificate closes the older one of this client id; the older is named first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    A PUBLISH on a request topic that policy allowed; it went to no subscriber.

    `waiting` says whether the connection that asked is still there to get the reply.
    """

    scope: Scope
    certificate_id: CertificateId
    client_id: str
    address: str
    topic: str
    wanted: RequestTopic
    payload: bytes = field(repr=False)
    waiting: Callable[[], bool]
    facts: TLSFacts | None = field(default=None, repr=False)  # of the connection, for the record of a rejection


@dataclass(frozen=True, slots=True)
class Reply:
    """What answers a request, on `topic`. It may hold a private key: never logged, kept nowhere."""

    topic: str
    payload: bytes = field(repr=False)


class Unanswered(StrEnum):
    """Why the data plane does not hand a request on."""

    CROWDED = "crowded"  # too many of this connection's requests are under way
    NOT_RECEIVABLE = "not receivable"  # policy does not allow iot:Receive on the topic where success would be told


class Requests(Protocol):
    """Upward: the service behind the request topics."""

    def answer(self, request: Request) -> Awaitable[Reply | None]:
        """Carried out, or rejected. None: nobody waits for it any more. Raises only by a bug."""
        ...

    def refuse(self, request: Request, why: Unanswered) -> Reply:
        """The reply to a request that is not looked at."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """Sessions that were ended, and how long after the order the last of them was gone; 0.0 where there was none."""

    sessions: int
    worst_delay_s: float


class Farewell(Protocol):
    """A watch over the connections of one certificate, from `__enter__` on; the delay runs from when it was made."""

    def __enter__(self) -> Farewell: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def last_gone(self) -> Awaitable[Cut]:
        """Every connection that was cut since `__enter__` is closed; one that does not flush in time is reset."""
        ...


class Farewells(Protocol):
    """Downward: see connections go."""

    def watch_principal(self, scope: Scope, certificate_id: CertificateId) -> Farewell: ...


class DataPlane(Protocol):
    """Downward: what the services command."""

    def disconnect_principal(self, scope: Scope, certificate_id: CertificateId, reason: str) -> int:
        """Every session of the certificate is cut (MQTT 5 DISCONNECT 0x87); how many there were."""
        ...

    def disconnect_domain(self, domain_name: str, reason: str) -> int:
        """Every session that came by this name is cut, as `disconnect_principal` does; how many there were."""
        ...

    def disconnect_client(self, scope: Scope, client_id: str, *, will: bool) -> bool:
        """The session with this client id is cut (0x98), without its Will unless `will`. False: nobody has it."""
        ...

    def publish(
        self, scope: Scope, topic: str, payload: bytes, *, qos: int, retain: bool, properties: bytes
    ) -> Awaitable[bool]:
        """Routed to live subscribers; done when what must be durable is. False: refused for quota."""
        ...

    def announce(self, scope: Scope, topic: str, payload: bytes) -> None:
        """
        The account's own message on a reserved topic, to live subscribers whose policy allows it, with QoS 1.

        No limit on the topic's length or levels applies: its names are the registry's.
        """
        ...

    def live_principals(self) -> set[tuple[Scope, CertificateId]]: ...

    def authorizations_changed(self) -> None:
        """Decisions that were remembered are forgotten where the Authorizer's version moved; routes are rebuilt."""
        ...
