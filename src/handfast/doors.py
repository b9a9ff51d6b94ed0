"""What the TLS doors ask of the rest: whose certificate is shown, who speaks on an open connection, what is kept."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from handfast.core.identity.caller import Caller
from handfast.core.identity.domains import ApplicationProtocol
from handfast.core.identity.ids import Scope
from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.errors import ForbiddenError
from handfast.ports import Meter
from handfast.seam import ListenerKind, TLSFacts
from handfast.services.endpoints import EndpointDirectory
from handfast.services.recording import HalfOpen, Recorder
from handfast.services.standing import NOT_BUILT, not_built
from handfast.services.verdict import normal_name
from handfast.tls.chain import ChainKind
from handfast.tls.client_hello import ClientHello
from handfast.tls.contexts import ALPN_HTTPS, ALPN_MQTT
from handfast.tls.failures import TLSFailure
from handfast.tls.serving import Amender, Decider, Serving
from handfast.tls.transport import TLSTransport
from handfast.wire.sigv4 import Refused

COUNTED_GROUPS = frozenset({"X25519MLKEM768", "x25519", "secp256r1", "secp384r1", "secp521r1", "ffdhe2048", "none"})
"""The key-exchange groups that are configured, in OpenSSL's words; none of static RSA."""

Speaker = Callable[[TLSFacts], asyncio.Protocol]
ProtocolOf = Callable[[TLSFacts], ApplicationProtocol | None]
Objection = Callable[[str, TLSFacts, ApplicationProtocol], Reason | None]
"""Name, facts and protocol of a signed request to why it is not let in by that name."""


class Doors:
    """`tls.door.DoorPlane` of every TLS listener."""

    def __init__(
        self,
        endpoints: EndpointDirectory,
        region: str,
        recorder: Recorder,
        meter: Meter,
        *,
        mqtt: Speaker,
        https: Speaker,
        signed: Speaker,
        api: Speaker,
        deciders: Sequence[Decider] = (),
        protocol_of: ProtocolOf = lambda _: None,
        amend: Amender | None = None,
        preferred: Mapping[str, ChainKind] | None = None,
    ) -> None:
        """
        Args:
            endpoints: Knows the regions of the names that clients ask for.
            region: The server's own.
            recorder: Keeps the handshakes that failed.
            meter: Counts those that did not.
            mqtt: Speaks MQTT with a device that showed a certificate.
            https: The HTTPS data plane for such a device.
            signed: The data plane for requests that are signed, on the ALPN port.
            api: The API port.
            protocol_of: What a client with a certificate speaks on the ALPN port where its ALPN leaves it open.
            deciders: Asked in this order what a client is served; where none says, its region's certificates.
            amend: Has the last word, for some connections: a rehearsal of other chains.
            preferred: By server name, the kind of chain for a client that can verify both.
        """
        self._endpoints = endpoints
        self._region = region
        self._recorder = recorder
        self._meter = meter
        self._deciders = tuple(deciders)
        self._protocol_of = protocol_of
        self._by_name: Mapping[ApplicationProtocol | None, Speaker] = {
            ApplicationProtocol.SECURE_MQTT: mqtt,
            ApplicationProtocol.HTTPS: https,
        }
        self._amend = amend
        self._preferred = preferred or {}
        self._at_alpn_port: Mapping[str | None, Speaker] = {ALPN_MQTT: mqtt, ALPN_HTTPS: https}
        self._speakers: Mapping[ListenerKind, Speaker] = {
            ListenerKind.MQTT: mqtt,
            ListenerKind.HTTPS: https,
            ListenerKind.ALPN: signed,
            ListenerKind.API: api,
        }

    def serving(self, sni: str | None, hello: ClientHello, address: str) -> Serving:
        """What the first decider says that has something to say, else the leaf of the endpoint's region; amended."""
        serving = self._decided(sni, hello, address)
        if self._preferred and sni is not None:
            prefer = self._preferred.get(normal_name(sni))
            if prefer is not None:
                serving = dataclasses.replace(serving, prefer=prefer)
        return serving if self._amend is None else self._amend(serving, sni, hello, address)

    def _decided(self, sni: str | None, hello: ClientHello, address: str) -> Serving:
        for decide in self._deciders:
            serving = decide(sni, hello, address)
            if serving is not None:
                return serving
        scope = self._endpoints.resolve_sni(sni) if sni else None
        return Serving(certificates=scope.region if scope is not None else self._region)

    def opened(self, facts: TLSFacts, transport: TLSTransport) -> asyncio.Protocol:
        """The application protocol of a connection whose handshake is done."""
        group = facts.group or "none"
        self._meter.count(
            "handfast_tls_handshakes_total",
            labels={
                "group": group if group in COUNTED_GROUPS else "other",
                "hybrid_offered": "yes" if facts.hybrid_offered else "no",
            },
        )
        speaker = self._speakers[facts.listener]
        if facts.listener is ListenerKind.ALPN:
            speaker = self._at_alpn_port.get(facts.alpn) or self._by_name.get(self._protocol_of(facts), speaker)
        return speaker(facts)

    def failed(self, failure: TLSFailure) -> None:
        """A handshake that failed is recorded; it belongs to no account."""
        self._recorder.record_handshake(
            failure.reasons,
            HalfOpen(
                listener=str(failure.listener),
                address=failure.address,
                port=failure.port,
                sni=failure.sni,
                alpn=failure.alpn,
                certificate_der=failure.certificate_der,
                offered=failure.offered,
            ),
        )


def preferences(written: Iterable[str]) -> dict[str, ChainKind]:
    """Server name to kind of chain, from `NAME=KIND` as the settings have it."""
    found: dict[str, ChainKind] = {}
    for name, _, kind in (each.partition("=") for each in written):
        found[normal_name(name)] = "ecdsa" if kind == "ecdsa" else "rsa"
    return found


def named_endpoints(
    endpoints: EndpointDirectory, local_names: Iterable[str], lenient: bool, objection: Objection
) -> tuple[NamedEndpoint, NamedEndpoint]:
    """Step 2 of the verdict for signed HTTPS requests, and for MQTT over WebSocket."""
    names = tuple(local_names)
    https, websocket = (
        NamedEndpoint(endpoints, names, lenient=lenient, spoken=spoken, objection=objection)
        for spoken in (ApplicationProtocol.HTTPS, ApplicationProtocol.MQTT_WSS)
    )
    return https, websocket


class NamedEndpoint:
    """
    Step 2 of the verdict for a signed request: the endpoint that the client names (SNI) is of the signer's account,
    in the region that it signed for.

    No SNI, and where stand-ins are allowed a local name, stands for the signer's own endpoint.
    """

    def __init__(
        self,
        endpoints: EndpointDirectory,
        local_names: Iterable[str],
        *,
        lenient: bool,
        spoken: ApplicationProtocol = ApplicationProtocol.HTTPS,
        objection: Objection = lambda _name, _facts, _protocol: None,
    ) -> None:
        """
        Args:
            spoken: What the requests are.
            objection: Asked of a name that is the signer's own.
        """
        self._endpoints = endpoints
        self._spoken = spoken
        self._objection = objection
        self._local_names = frozenset(map(normal_name, local_names)) if lenient else frozenset()

    def __call__(self, scope: Mapping[str, Any], caller: Caller) -> None:
        """
        Raises:
            Refused: An endpoint of nobody, or of another account or region: the peer cannot tell which.
        """
        facts = scope["state"]["tls"]
        assert isinstance(facts, TLSFacts)
        if facts.sni is None:
            return
        name = normal_name(facts.sni)
        if name in self._local_names:
            return
        owner = self._endpoints.resolve_sni(name)
        service = self._endpoints.service_of(name)
        if service in NOT_BUILT:
            reason = not_built(service)
            raise Refused(ForbiddenError("Forbidden"), reason.code, reason.detail)
        if owner is None:
            detail = f"the connection names {name} (SNI), which is no endpoint of this server"
            raise Refused(ForbiddenError("Forbidden"), ReasonCode.ENDPOINT_UNKNOWN, detail)
        if caller.account_id is None or owner != Scope(caller.account_id, caller.region):
            detail = f"the connection names {name} (SNI), the endpoint of another account or region than signed for"
            raise Refused(ForbiddenError("Forbidden"), ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT, detail)
        objection = self._objection(name, facts, self._spoken)
        if objection is not None:
            raise Refused(ForbiddenError("Forbidden"), objection.code, objection.detail)
