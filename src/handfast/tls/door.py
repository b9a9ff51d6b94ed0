"""
The door: one connection from its first byte to an open TLS connection, or to a refusal with a reason.

    [PROXY ─▶] HELLO ──hello complete──▶ HANDSHAKE ──done──▶ (TLSTransport takes the connection over)
      │          │                          │
      └──────────┴──── refused ─────────────┴──▶ LINGER ──FIN or 1 s──▶ closed

A balancer among the factory's proxies first says whose connection it is: from
then on the address is the device's.

Before OpenSSL sees a byte the ClientHello is read here, and decides the chain,
the context and the ALPN protocol. Handshakes under way are bounded in number,
in total and per address, in time and in bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Final, Protocol, cast

from handfast.core.identity.ids import CertificateId
from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.seam import ListenerKind, TLSFacts
from handfast.tls import client_hello as hellos
from handfast.tls.chain import Reject, choose_chain, takes_rsa_signatures
from handfast.tls.client_hello import Bad, ClientHello, ClientHelloReader, NeedMore, Offered
from handfast.tls.contexts import ALPN_CUSTOM_AUTH, ALPN_HTTP11, ALPN_HTTPS, ALPN_MQTT, Contexts
from handfast.tls.deadlines import Deadlines
from handfast.tls.failures import TLSFailure as TLSFailure
from handfast.tls.failures import classify, client_alert
from handfast.tls.offers import Offers
from handfast.tls.openssl.engine import DONE, FAILED, Engine
from handfast.tls.pacing import Pace
from handfast.tls.places import PROXIED, DoorLimits, address_block
from handfast.tls.proxy_protocol import Malformed, Proxies, ProxyHeaderReader
from handfast.tls.serving import Serving, Watch
from handfast.tls.transport import LINGER_S, TLSTransport, Turn

_log = logging.getLogger(__name__)

MAX_FLIGHT_BYTES: Final = 16 * 1024 + 4 * 1024
"""What the client may send after its hello and before the handshake is done: 16 KB of certificates and the rest."""

# ServerHello.random that makes it a HelloRetryRequest (RFC 8446 §4.1.3), and where it lies in the first record.
_RETRY_RANDOM: Final = hashlib.sha256(b"HelloRetryRequest").digest()
_RANDOM_AT: Final = slice(11, 43)

SERVED: Final[Mapping[ListenerKind, Mapping[str | None, bool]]] = {
    ListenerKind.MQTT: {None: True, ALPN_MQTT: True},
    ListenerKind.HTTPS: {None: True, ALPN_HTTPS: True, ALPN_HTTP11: True},
    ListenerKind.ALPN: {ALPN_MQTT: True, ALPN_HTTPS: True, ALPN_HTTP11: False, None: False},
    ListenerKind.API: {None: False, ALPN_HTTP11: False},
}
"""By listener: the ALPN protocols in the server's order, None for a client that offers none, and whether a client
certificate is required under it. Where it is not, none is asked for."""

LEFT_OPEN: Final[Mapping[ListenerKind, frozenset[str | None]]] = {ListenerKind.ALPN: frozenset({None, ALPN_HTTP11})}
"""The ALPN protocols, or none, under which a listener leaves it to the name asked for how clients authenticate."""

_PLAIN_HTTP_TEXT: Final = b"This port speaks HTTPS; the request came without TLS.\n"
_PLAIN_HTTP_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_PLAIN_HTTP_TEXT), _PLAIN_HTTP_TEXT)
)


class DoorPlane(Protocol):
    """What the door asks upward. A raise refuses the connection."""

    def serving(self, sni: str | None, hello: ClientHello, address: str) -> Serving:
        """Which server certificates the client gets, and how; never refuses."""
        ...

    def opened(self, facts: TLSFacts, transport: TLSTransport) -> asyncio.Protocol:
        """The handshake is done: who speaks on `transport`. Its `connection_made` is called by the door."""
        ...

    def failed(self, failure: TLSFailure) -> None:
        """The connection was refused, or lost, before that."""
        ...


class DoorFactory:
    """Makes the protocols of one listener: `loop.create_server(DoorFactory(…), host, port)`."""

    def __init__(
        self,
        contexts: Contexts,
        plane: DoorPlane,
        listener: ListenerKind,
        limits: DoorLimits | None = None,
        *,
        proxies: Proxies | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """
        Args:
            listener: Decides which ALPN protocols are served, and under which a certificate is required (`SERVED`).
            proxies: The peers from which the PROXY protocol is required; from all others it is not taken.
            loop: The running one by default.
        """
        self.contexts = contexts
        self.plane = plane
        self.listener = listener
        self.limits = limits or DoorLimits()
        self.proxies = proxies or Proxies()
        self.client_auth = SERVED[listener]
        self.alpn = tuple((name.encode(), name) for name in self.client_auth if name is not None)
        self.policy = contexts.policy.on_alpn_port if listener is ListenerKind.ALPN else contexts.policy
        self.loop = loop or asyncio.get_running_loop()
        self.turn = Turn(self.loop)
        self.offers = Offers()
        self.pace = Pace(self.loop)
        self.hello_deadlines: Deadlines[Door] = Deadlines(self.loop, self.limits.hello_timeout_s, Door.hello_expired)
        self.handshake_deadlines: Deadlines[Door] = Deadlines(
            self.loop, self.limits.handshake_timeout_s, Door.handshake_expired
        )
        self.lingering: Deadlines[Door] = Deadlines(self.loop, LINGER_S, Door.linger_expired)
        self.handshakes = 0
        """Connections in PROXY, HELLO or HANDSHAKE now."""
        self.handshakes_of: dict[str, dict[Door, None]] = {}
        """The same by address, or block of addresses, the oldest of each first."""

    def __call__(self) -> Door:
        return Door(self)

    def make_room(self, of_newcomer: int) -> None:
        """One slow handshake of the address with the most gives way, if that has more than the newcomer's would."""
        doors = max(self.handshakes_of.values(), key=len)
        oldest = next(iter(doors))
        if len(doors) > of_newcomer + 1 and self.handshake_deadlines.age_s(oldest) >= self.limits.gives_way_after_s:
            oldest.give_way(len(doors))

    def close(self) -> None:
        """Drop every connection whose handshake is not done, unrecorded; open ones are their applications' to close."""
        for door in [*self.handshake_deadlines, *self.lingering]:
            door.drop()


class Door(asyncio.Protocol):
    """One connection until it is open. See the module."""

    __slots__ = (
        "_client_auth",
        "_counted_as",
        "_engine",
        "_factory",
        "_fed",
        "_flight_sent",
        "_held",
        "_hello",
        "_kind",
        "_local",
        "_next",
        "_peer",
        "_proxy",
        "_quiet",
        "_raw",
        "_reader",
        "_selected",
        "_watch",
    )

    def __init__(self, factory: DoorFactory) -> None:
        self._factory = factory
        self._raw: asyncio.Transport | None = None
        self._peer: tuple[str, int] = ("", 0)
        self._local: str | None = None  # where the client connected to, if not here
        self._proxy: ProxyHeaderReader | None = None  # None: not waiting for a PROXY header
        self._quiet = False  # a balancer's own connection, until it says something
        self._counted_as: str | None = None
        self._reader: ClientHelloReader | None = None  # None: not waiting for a hello
        self._hello: ClientHello | None = None
        self._engine: Engine | None = None  # None: before the handshake, or LINGER
        self._kind = ""
        self._selected: str | None = None
        self._client_auth = True
        self._watch: Watch | None = None
        self._flight_sent = False
        self._fed = 0
        self._next: tuple[bytes, bool] | None = None  # what the handshake goes on with when it is its turn
        self._held = b""  # what came behind that

    # --- HELLO ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        factory = self._factory
        self._raw = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer:
            self._peer = (peer[0], peer[1])
        through_proxy = bool(factory.proxies) and self._peer[0] in factory.proxies
        if not self._count(PROXIED if through_proxy else address_block(self._peer[0])):
            return
        if through_proxy:
            self._proxy = ProxyHeaderReader()
        else:
            self._reader = ClientHelloReader()
        factory.hello_deadlines.add(self)
        factory.handshake_deadlines.add(self)

    def _count(self, block: str) -> bool:
        """Counted as under way from `block`, and from no other; False: refused, there are too many."""
        factory = self._factory
        raw = self._raw
        assert raw is not None
        if self._counted_as is not None:
            self._discount(self._counted_as)
        limits = factory.limits
        of_address = len(factory.handshakes_of.get(block, ()))
        too_many = of_address >= limits.max_handshakes_per_address and block != PROXIED
        if not too_many and factory.handshakes >= limits.max_handshakes:
            factory.make_room(of_address)
        if factory.handshakes >= limits.max_handshakes or too_many:
            factory.hello_deadlines.discard(self)
            factory.handshake_deadlines.discard(self)
            if too_many:
                detail = f"{of_address} handshakes of this address are under way, as many as are taken"
            else:
                detail = f"{factory.handshakes} handshakes are under way, as many as are taken"
            self._report(Reason(ReasonCode.TOO_MANY_HANDSHAKES, detail), None)
            raw.abort()
            return False
        factory.handshakes += 1
        factory.handshakes_of.setdefault(block, {})[self] = None
        self._counted_as = block
        return True

    def give_way(self, of_address: int) -> None:
        """Dropped for a newcomer of an address that has fewer of all the places, which are taken."""
        raw = self._raw
        self._uncount()
        detail = f"all places were taken, {of_address} of them by this address, and this handshake was slow"
        self._report(Reason(ReasonCode.TOO_MANY_HANDSHAKES, detail), None)
        self._reader = self._engine = self._proxy = None
        if raw is not None:
            raw.abort()

    def _discount(self, block: str) -> None:
        factory = self._factory
        self._counted_as = None
        factory.handshakes -= 1
        of_block = factory.handshakes_of[block]
        del of_block[self]
        if not of_block:
            del factory.handshakes_of[block]

    def _read_proxy_header(self, proxy: ProxyHeaderReader, data: bytes) -> None:
        """What comes before the ClientHello from a balancer; the times go on running."""
        header = proxy.feed(data)
        if header is None:
            return
        self._proxy = None
        if isinstance(header, Malformed):
            reason = Reason(ReasonCode.PROXY_HEADER_INVALID, f"no PROXY header that is taken: {header.detail}")
            self._refuse(reason, None, b"")
            return
        if header.source is None or header.destination is None:
            self._quiet = True
        else:
            self._peer = (header.source.host, header.source.port)
            self._local = header.destination.host
        if not self._count(address_block(self._peer[0])):
            return
        self._reader = ClientHelloReader()
        if header.rest:
            self._take(header.rest)

    def data_received(self, data: bytes) -> None:
        raw = self._raw
        try:
            self._take(data)
        except BaseException as exc:
            self._internal_failure(exc, raw)

    def _take(self, data: bytes) -> None:
        if self._next is not None:
            if not self._held and self._raw is not None:
                self._raw.pause_reading()  # what a hasty client sends stays bounded
            self._held += data
            return
        reader = self._reader
        if reader is None:
            if self._engine is not None:
                self._go_on(data)
            elif self._proxy is not None:
                self._read_proxy_header(self._proxy, data)
            return  # LINGER discards
        result = reader.feed(data)
        if isinstance(result, NeedMore):
            return
        if isinstance(result, Bad):
            http = self._factory.listener is not ListenerKind.MQTT and result.code is ReasonCode.NOT_TLS
            answer = _PLAIN_HTTP_ANSWER if http and 0x41 <= data[0] <= 0x5A else _alert(result.alert)
            self._refuse(Reason(result.code, result.detail), result.alert, answer)
            return
        self._reader = None
        if self._hello is None:
            self._factory.hello_deadlines.discard(self)
            self._hello = result
            if not self._choose(result):
                return
        elif (result.sni, result.alpn) != (self._hello.sni, self._hello.alpn):
            changed = "SNI" if result.sni != self._hello.sni else "ALPN"
            detail = f"the second ClientHello, after a HelloRetryRequest, has another {changed}"
            self._refuse(Reason(ReasonCode.HELLO_CHANGED, detail), hellos.ALERT_ILLEGAL_PARAMETER)
            return
        self._fed = 0
        hello, rest = reader.take()
        self._go_on(hello, of_hello=True)
        if rest:
            self._take(rest)

    def _choose(self, hello: ClientHello) -> bool:
        """Decide everything that the first hello decides and make the engine; False: refused."""
        factory = self._factory
        selected = None
        if hello.alpn:
            for wanted, name in factory.alpn:
                if wanted in hello.alpn:
                    selected = name
                    break
            else:
                self._refuse_alpn(hello)
                return False
        contexts = factory.contexts
        serving = factory.plane.serving(hello.sni, hello, self._peer[0])
        self._watch = serving.watch
        policy = factory.policy
        if serving.policy is not None:
            policy = serving.policy.on_alpn_port if factory.listener is ListenerKind.ALPN else serving.policy
        kind = choose_chain(hello, serving.prefer or contexts.prefer, policy, only=serving.only)
        if isinstance(kind, Reject):
            self._refuse(Reason(kind.code, kind.detail), kind.alert)
            return False
        name = serving.certificates
        whole = kind == "rsa" or takes_rsa_signatures(hello)
        client_auth = factory.client_auth[selected]
        if serving.client_certificate is not None and selected in LEFT_OPEN.get(factory.listener, ()):
            client_auth = serving.client_certificate
        context = contexts.get(name, kind, client_auth, selected, policy, whole=whole)
        if context is None:
            raise LookupError(f"no {kind} server certificate is installed for {name!r}")
        self._engine = contexts.engine(context)
        self._kind = kind
        self._selected = selected
        self._client_auth = client_auth
        return True

    def _refuse_alpn(self, hello: ClientHello) -> None:
        offered = hello.alpn_text()
        served = self._factory.client_auth
        if ALPN_CUSTOM_AUTH.encode() in hello.alpn and ALPN_MQTT in served:
            code = ReasonCode.CUSTOM_AUTH_UNSUPPORTED
            detail = f"ALPN {ALPN_CUSTOM_AUTH} asks for a custom authorizer, which is not supported; use {ALPN_MQTT}"
        else:
            code = ReasonCode.UNKNOWN_ALPN
            known = " or ".join(name for name in served if name is not None)
            detail = f"ALPN {offered} is not served on this port; offer none, or {known}"
        self._refuse(Reason(code, detail), hellos.ALERT_NO_APPLICATION_PROTOCOL)

    # --- HANDSHAKE -----------------------------------------------------------------------------------------------

    def _go_on(self, data: bytes, of_hello: bool = False) -> None:
        self._next = (data, of_hello)
        self._factory.pace.ask(self)

    def take_turn(self) -> None:
        """The handshake goes on with what came, unless the connection is gone."""
        raw = self._raw
        try:
            self._take_turn(raw)
        except BaseException as exc:
            self._internal_failure(exc, raw)

    def _take_turn(self, raw: asyncio.Transport | None) -> None:
        wanted = self._next
        self._next = None
        held, self._held = self._held, b""
        if wanted is None or raw is None or self._engine is None:
            return
        self._handshake(self._engine, raw, *wanted)
        if held and not raw.is_closing():
            raw.resume_reading()
            # To the door, or to who has taken the connection over from it.
            cast(asyncio.Protocol, raw.get_protocol()).data_received(held)

    def _handshake(self, engine: Engine, raw: asyncio.Transport, data: bytes, of_hello: bool) -> None:
        rest = b""
        if not of_hello:
            allowed = MAX_FLIGHT_BYTES - self._fed
            if len(data) > allowed:
                data, rest = data[:allowed], data[allowed:]
            self._fed += len(data)
        status = engine.handshake(data)
        if status == DONE:
            self._open(engine, raw, rest)
            return
        out = engine.drain()
        if status == FAILED:
            alert = out[6] if len(out) == 7 and out[0] == 21 else None  # an encrypted one is longer
            self._refuse(classify(engine.errors), alert, out, client_alert(engine.errors))
            return
        if rest or self._fed >= MAX_FLIGHT_BYTES:
            detail = f"more than {MAX_FLIGHT_BYTES} bytes before the handshake was done; certificates take up to 16 KB"
            self._refuse(Reason(ReasonCode.CLIENT_CERTIFICATE_TOO_LARGE, detail), None, b"")
            return
        if out:
            raw.write(out)
            if of_hello and out[_RANDOM_AT] == _RETRY_RANDOM:
                self._reader = ClientHelloReader(after_retry=True)
            else:
                self._flight_sent = True

    def _open(self, engine: Engine, raw: asyncio.Transport, rest: bytes) -> None:
        factory = self._factory
        hello = self._hello
        assert hello is not None
        self._engine = None
        self._uncount()
        try:
            der = engine.peer_certificate()
            local = raw.get_extra_info("sockname")
            facts = TLSFacts(
                listener=factory.listener,
                peer_address=self._peer[0],
                peer_port=self._peer[1],
                local_address=self._local or (local[0] if local else ""),
                certificate_der=der,
                certificate_id=CertificateId(hashlib.sha256(der).hexdigest() if der else ""),
                sni=hello.sni,
                alpn=self._selected,
                version=engine.version(),
                cipher=engine.cipher(),
                group=engine.group(),
                chain_kind=self._kind,
                hybrid_offered=hello.offers_hybrid,
                offered=factory.offers.of(hello),
            )
            if self._client_auth and not der:
                raise RuntimeError("a handshake without a client certificate was completed")
            transport = TLSTransport(raw, engine, facts, factory.turn)
            raw.set_protocol(transport)
            application = factory.plane.opened(facts, transport)
            if self._watch is not None:
                application = self._watch.opened(facts, application)
                self._watch = None
        except BaseException as exc:
            raw.set_protocol(self)
            self._internal_failure(exc, raw)
            return
        self._raw = None
        self._hello = None
        transport.start(application)
        if rest:
            transport.data_received(rest)

    # --- Refusals ------------------------------------------------------------------------------------------------

    def _internal_failure(self, exc: BaseException, raw: asyncio.Transport | None) -> None:
        """An exception of any kind refuses; it goes on where it is none of a connection's, as KeyboardInterrupt is."""
        if raw is not None and raw is not self._raw:
            _log.error("an application failed on a connection from %s", self._peer[0], exc_info=exc)
            raw.abort()  # the connection was handed over, or is lost
        elif self not in self._factory.lingering:
            _log.error("the door failed on a connection from %s", self._peer[0], exc_info=exc)
            reason = Reason(ReasonCode.INTERNAL, type(exc).__name__)
            if self._engine is None and not self._fed:
                self._refuse(reason, hellos.ALERT_INTERNAL_ERROR)
            else:
                self._refuse(reason, None, b"")  # an alert would have to be the engine's
        if not isinstance(exc, Exception):
            raise exc

    def _refuse(self, reason: Reason, alert: int | None, answer: bytes | None = None, said: str | None = None) -> None:
        """Record, answer (an alert record in plain text by default), and let the peer read it."""
        raw = self._raw
        if raw is None:
            return
        self._reader = None
        self._proxy = None
        self._uncount()
        try:
            self._report(reason, alert, said)
        finally:
            self._engine = None
            self._hello = None
            if not raw.is_closing():
                if answer is None and alert is not None:
                    answer = _alert(alert)
                if answer:
                    raw.write(answer)
                raw.write_eof()
                self._factory.lingering.add(self)

    def _report(self, reason: Reason, alert: int | None, said: str | None = None) -> None:
        hello, engine = self._hello, self._engine
        watch, self._watch = self._watch, None
        try:
            failure = TLSFailure(
                listener=self._factory.listener,
                reasons=(reason,),
                address=self._peer[0],
                port=self._peer[1],
                sni=hello.sni if hello is not None else None,
                alpn=hello.alpn_text() or None if hello is not None else None,
                alert=alert,
                client_alert=said,
                flight_sent=self._flight_sent,
                chain_kind=self._kind,
                offered=Offered(hello, "offered_") if hello is not None else {},
                certificate_der=engine.peer_certificate() if engine is not None else b"",
            )
            if watch is not None:
                watch.failed(failure)
            self._factory.plane.failed(failure)
        except Exception:
            _log.exception("a refused handshake could not be recorded")

    def _uncount(self) -> None:
        factory = self._factory
        block = self._counted_as
        if block is None:
            return
        self._discount(block)
        factory.hello_deadlines.discard(self)
        factory.handshake_deadlines.discard(self)

    def hello_expired(self) -> None:
        seconds = self._factory.limits.hello_timeout_s
        if self._proxy is not None:
            detail = f"{self._proxy.held_bytes} bytes of a PROXY header in {seconds:g} s"
            self._refuse(Reason(ReasonCode.PROXY_HEADER_INVALID, detail), None, b"")
            return
        got = self._reader.held_bytes if self._reader is not None else 0
        detail = f"{got} bytes of a ClientHello in {seconds:g} s"
        self._refuse(Reason(ReasonCode.CLIENT_HELLO_TIMEOUT, detail), None, b"")

    def handshake_expired(self) -> None:
        detail = f"the handshake was not done after {self._factory.limits.handshake_timeout_s:g} s"
        self._refuse(Reason(ReasonCode.HANDSHAKE_TIMEOUT, detail), None, b"")

    def drop(self) -> None:
        """Reset the connection without a record."""
        self._uncount()
        self.linger_expired()

    def linger_expired(self) -> None:
        if self._raw is not None:
            self._raw.abort()

    # --- The raw transport ---------------------------------------------------------------------------------------

    def eof_received(self) -> bool:
        self.take_turn()  # what was said before the end counts: it may say why
        return False  # uvloop closes; connection_lost says what was lost

    def connection_lost(self, exc: Exception | None) -> None:
        self.take_turn()
        self._factory.lingering.discard(self)
        if self._counted_as is not None:
            code = ReasonCode.CONNECTION_LOST_IN_HANDSHAKE
            got = self._reader.held_bytes if self._reader is not None else 0
            if self._proxy is not None:
                got = self._proxy.held_bytes
                code = ReasonCode.PROXY_HEADER_INVALID
                detail = f"the balancer closed the connection after {got} bytes of a PROXY header"
            elif self._hello is not None:
                detail = "the client closed the connection during the handshake without an alert"
                detail += ", as some do that do not trust the server's certificate"
            else:
                detail = f"the client closed the connection after {got} bytes, before a whole ClientHello"
            # A balancer that connects, or says that it is itself, and goes: a health check.
            health_check = not got and self._hello is None and (self._quiet or self._proxy is not None)
            self._uncount()
            if not health_check:
                self._report(Reason(code, detail), None)
        self._raw = None
        self._proxy = None
        self._reader = None
        self._engine = None
        self._hello = None


def _alert(code: int) -> bytes:
    """A fatal alert record in plain text, valid in every version as long as no keys are set."""
    return bytes((21, 3, 1, 0, 2, 2, code))
