"""
MQTT over WebSocket: the signed upgrade request `GET /mqtt`.

Who signs is verified before anything else is looked at, so that nobody learns
more of this path without a key than of any other. What is refused is answered
as AWS IoT does: 403 `ForbiddenException` with the signature's error and a trace
id; the record has the rest.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from wsproto.utilities import generate_accept_token

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId, CertificateId
from handfast.core.identity.ids import Scope as OwnedScope
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.errors import (
    ForbiddenError,
    InternalFailureError,
    InvalidRequestError,
    ServiceError,
    ServiceUnavailableError,
    StoreUnavailable,
)
from handfast.ports import Entropy, Meter
from handfast.printable import printable
from handfast.seam import ListenerKind, SignedBy, TLSFacts
from handfast.services.endpoints import check_region
from handfast.services.recording import Recorder
from handfast.wire.errors import MissingAuthenticationTokenError, error_response
from handfast.wire.http import Receive, Scope, Send, read_head, send_response
from handfast.wire.http_protocol import UPGRADE, Upgrade
from handfast.wire.parser import HttpRequest
from handfast.wire.sigv4 import Authenticator, Refused, check_target, read_claim
from handfast.wire.spec import Service, load_service

log = logging.getLogger(__name__)

PATH: Final = b"/mqtt"
SUBPROTOCOLS: Final = ("mqtt", "mqttv3.1")
"""In our order: the standard's, and the only one that AWS's older device SDKs offer, whatever they speak."""
MAX_KEY_CHARS: Final = 256
SIGNING_NAMES: Final = frozenset({"iotdevicegateway", "iotdata"})
"""SigV4 service names: that of the documentation and of newer SDKs, and that of older device SDKs."""
MAX_EXPIRES_S: Final = 86_400
DEFAULT_EXPIRES_S: Final = 300
"""Of a presigned URL without X-Amz-Expires, which device SDKs send: as long as a signed header is good for."""
VERSION: Final = "13"
"""Of WebSocket: RFC 6455."""

Application = Callable[[Scope, Receive, Send], Any]
Admit = Callable[[Scope, Caller], None]


class _UpgradeNeeded(InvalidRequestError):
    """The path is for WebSocket; answered with 426."""


@dataclass(slots=True)
class _Asked:
    """What is known of who asks; the account once the signature is verified."""

    facts: TLSFacts
    access_key_id: str = ""
    account: AccountId | None = None


class WebSocketApplication:
    """The ASGI application that answers `GET /mqtt`; everything else goes to `otherwise`."""

    def __init__(
        self,
        authenticator: Authenticator,
        accept: Callable[[TLSFacts], asyncio.Protocol],
        otherwise: Application,
        *,
        recorder: Recorder,
        meter: Meter,
        entropy: Entropy,
        admit: Admit | None = None,
        model: Service | None = None,
    ) -> None:
        """
        Args:
            authenticator: Who signed.
            accept: Speaks MQTT over WebSocket on a connection that `signed` is known of, from its first frame on.
            otherwise: Answers every other request.
            recorder: Keeps the refusals.
            meter: Counts upgrades.
            entropy: Request ids.
            admit: Asked once the signature is verified; raises `Refused` where that is not enough.
        """
        self._authenticator = authenticator
        self._accept = accept
        self._otherwise = otherwise
        self._recorder = recorder
        self._meter = meter
        self._entropy = entropy
        self._admit = admit
        self._model = model if model is not None else load_service("iot-data")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope.get("raw_path") != PATH:
            await self._otherwise(scope, receive, send)
            return
        asked = _Asked(connection_facts(scope))
        try:
            headers = await self._answer(scope, asked)
        except Exception as error:
            self._meter.count("handfast_websocket_upgrades_total", labels={"outcome": "refused"})
            await self._refuse(error, asked, send)
            return
        self._meter.count("handfast_websocket_upgrades_total", labels={"outcome": "accepted"})
        upgrade: Upgrade = scope["extensions"][UPGRADE]
        upgrade.switch(headers, lambda: self._accept(asked.facts))

    async def _answer(self, scope: Scope, asked: _Asked) -> Mapping[str, str]:
        """
        The headers to answer 101 with (RFC 6455 §4.2), once it is sure who asks, and for what.

        Raises:
            Refused: Not signed so that it counts here and now.
            InvalidRequestError: What is asked for is not MQTT over WebSocket.
            _UpgradeNeeded: Not WebSocket, or another version of it.
        """
        head = read_head(scope)
        check_target(head.raw_path, head.query)
        claim = read_claim(head, max_expires_s=MAX_EXPIRES_S, default_expires_s=DEFAULT_EXPIRES_S)
        asked.access_key_id = claim.access_key_id
        pending = await self._authenticator.begin(claim, head, signing_names=SIGNING_NAMES)
        self._authenticator.finish(pending, head)
        caller = self._authenticator.caller(pending, address=asked.facts.peer_address, request_id="")
        asked.account = caller.account_id  # only now: before, it would be anybody's claim
        if caller.account_id is None:
            detail = "the operator's key has no topics; connect with an account's key"
            raise Refused(ForbiddenError("Forbidden"), ReasonCode.IMPLICIT_DENY, detail)
        if self._admit is not None:
            self._admit(scope, caller)
        upgrade = (scope.get("extensions") or {}).get(UPGRADE)
        if not isinstance(upgrade, Upgrade):
            raise _UpgradeNeeded("This path is for MQTT over WebSocket: ask for an upgrade, in a GET without a body.")
        key, subprotocol = _agree(head)
        if upgrade.sent_ahead:
            raise InvalidRequestError("The client must wait for the answer to its upgrade request.")
        owned = OwnedScope(caller.account_id, check_region(caller.region))
        asked.facts = replace(asked.facts, signed=SignedBy(caller.access_key_id, owned))
        return {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": generate_accept_token(key.encode()).decode(),
            "sec-websocket-protocol": subprotocol,
            "x-amzn-requestid": self._entropy.uuid(),
        }

    async def _refuse(self, raised: Exception, asked: _Asked, send: Send) -> None:
        """Record what the peer did, log what we did, and answer either."""
        headers = {"connection": "close"}
        error: ServiceError
        if isinstance(raised, Refused):
            error = ForbiddenError(raised.error.message)
            if isinstance(raised.error, MissingAuthenticationTokenError):
                error = ForbiddenError("Missing Authentication Token")
            trace_id = self._record(Stage.API, Reason(raised.reason, raised.detail), raised.error.code, asked)
        elif isinstance(raised, InvalidRequestError):
            error = raised
            trace_id = self._record(Stage.PROTOCOL, Reason(ReasonCode.PROTOCOL_ERROR, str(raised)), error.code, asked)
            if isinstance(raised, _UpgradeNeeded):
                headers = {"upgrade": "websocket", "connection": "upgrade, close", "sec-websocket-version": VERSION}
        else:
            # The peer learns nothing but the trace id; the log has the rest under it.
            trace_id = self._entropy.uuid()
            log.error("an upgrade to WebSocket failed", exc_info=raised, extra={"trace_id": trace_id})
            error = InternalFailureError("Internal Failure")
            if isinstance(raised, StoreUnavailable):
                error = ServiceUnavailableError("Service Unavailable")
        response = error_response(error, self._model, {"traceId": trace_id})
        if isinstance(raised, _UpgradeNeeded):
            response = replace(response, status=426)
        await send_response(send, response, {"x-amzn-requestid": trace_id, **headers})

    def _record(self, stage: Stage, reason: Reason, error_code: str, asked: _Asked) -> str:
        """Record it: the account's once the signature is verified, the operator's before."""
        return self._recorder.record(
            stage,
            (Reason(reason.code, printable(reason.detail, limit=256)),),
            asked.facts,
            None,
            account=asked.account,
            details={
                "error": error_code,
                "request": "GET /mqtt",
                **({"access_key_id": asked.access_key_id} if asked.access_key_id else {}),
            },
        )


def connection_facts(scope: Scope) -> TLSFacts:
    """What the handshake proved; without TLS, on loopback, just who is at the other end."""
    facts = (scope.get("state") or {}).get("tls")
    if isinstance(facts, TLSFacts):
        return facts
    address, port = scope.get("client") or ("", 0)
    return TLSFacts(
        listener=ListenerKind.API,
        peer_address=address,
        peer_port=port,
        local_address=(scope.get("server") or ("",))[0],
        certificate_der=b"",
        certificate_id=CertificateId(""),
        sni=None,
        alpn=None,
        version="",
        cipher="",
        group=None,
        chain_kind="",
    )


def _agree(head: HttpRequest) -> tuple[str, str]:
    """
    The key of a WebSocket handshake, and the subprotocol to speak (RFC 6455 §4.2.1).

    Raises:
        InvalidRequestError: There is no such key, or MQTT is not offered.
        _UpgradeNeeded: Another version of WebSocket.
    """
    if _only(head, "sec-websocket-version") != VERSION:
        raise _UpgradeNeeded(f"Only version {VERSION} of WebSocket is spoken here (Sec-WebSocket-Version).")
    key = _only(head, "sec-websocket-key")
    try:
        random = base64.b64decode(key, validate=True)
    except ValueError:
        random = b""
    # AWS's older device SDK for Python sends 128 bytes.
    if len(random) < 16 or len(key) > MAX_KEY_CHARS:
        raise InvalidRequestError("Sec-WebSocket-Key must be the base64 of 16 bytes.")
    offered = {name.strip() for name in (head.header("sec-websocket-protocol") or "").split(",")}
    for subprotocol in SUBPROTOCOLS:  # [MQTT-6.0.0-3]
        if subprotocol in offered:
            return key, subprotocol
    raise InvalidRequestError("The client must offer the subprotocol mqtt (Sec-WebSocket-Protocol).")


def _only(head: HttpRequest, wanted: str) -> str:
    """The header's value; "" when it is absent or comes more than once."""
    values = [value for name, value in head.headers if name == wanted]
    return values[0].strip() if len(values) == 1 else ""
