"""
The HTTPS device port: `POST /topics/{topic}` with a client certificate.

The verdict of the contract, per request: the connection's certificate is
judged (steps 2 and 3), then the policy for the topic. Every refusal, whatever
its cause, is the same 403 with a trace id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.data.publish import PAYLOAD_LIMIT_BYTES, Publication, ReservedTopicError, read_publication
from handfast.errors import (
    ForbiddenError,
    InternalFailureError,
    InvalidRequestError,
    ResourceNotFoundError,
    ServiceError,
    ServiceUnavailableError,
    StoreUnavailable,
    ThrottlingError,
)
from handfast.seam import Admitted, Awaiting, DataPlane, Plane, Refused, TLSFacts
from handfast.wire.errors import (
    MethodNotAllowedError,
    NotImplementedOperationError,
    RequestEntityTooLargeError,
    RequestTimeoutError,
    Response,
    error_response,
)
from handfast.wire.http import (
    Disconnected,
    Receive,
    RequestBody,
    Scope,
    Send,
    answer_lifespan,
    read_head,
    send_response,
)
from handfast.wire.parser import HttpRequest, parse
from handfast.wire.router import BadPath, Match, Router
from handfast.wire.spec import Service, load_service

log = logging.getLogger(__name__)

_OK: Final = b'{"message":"OK","traceId":"%s"}'
_CLOSING: Final = (RequestEntityTooLargeError, RequestTimeoutError)


class Entropy(Protocol):
    """Randomness as the plane sees it."""

    def uuid(self) -> str: ...


class _Forbidden(Exception):
    """Refused and recorded under `trace_id`."""

    def __init__(self, trace_id: str) -> None:
        super().__init__(trace_id)
        self.trace_id = trace_id


@dataclass(frozen=True, slots=True)
class _Answer:
    response: Response
    trace_id: str
    close: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpsApplication:
    """
    The ASGI application behind the HTTPS door.

    The door puts the handshake's `TLSFacts` into `scope["state"]["tls"]`; a
    request without them is refused.
    """

    def __init__(
        self,
        plane: Plane,
        data_plane: DataPlane,
        entropy: Entropy,
        *,
        model: Service | None = None,
        payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES,
    ) -> None:
        self._plane = plane
        self._data_plane = data_plane
        self._entropy = entropy
        self._model = model if model is not None else load_service("iot-data")
        self._router = Router(self._model.operations.values())
        self._payload_limit = payload_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        body: RequestBody | None = None
        try:
            head = read_head(scope)
            body = RequestBody(head, receive)
            answer = await self._answer(scope, head, body)
            if answer.close:
                await body.drop()
        except Disconnected:
            return
        except InvalidRequestError as error:
            # The head itself cannot be read.
            answer = self._error(error, self._entropy.uuid(), close=True)
        headers = {"x-amzn-requestid": answer.trace_id, **answer.headers}
        only_head = scope["method"] == "HEAD"
        await send_response(send, answer.response, headers, close=answer.close, head_only=only_head)

    async def _answer(self, scope: Scope, head: HttpRequest, body: RequestBody) -> _Answer:
        try:
            facts, admitted = await self._admit(scope)
        except _Forbidden as refused:
            return self._error(ForbiddenError("Forbidden"), refused.trace_id, close=True)
        try:
            await self._publish(head, body, facts, admitted)
        except _Forbidden as refused:
            return self._error(ForbiddenError("Forbidden"), refused.trace_id, close=True)
        except _CLOSING as error:
            return self._error(error, self._record(error, facts, admitted), close=True)
        except InvalidRequestError as error:
            return self._error(error, self._record(error, facts, admitted))
        except MethodNotAllowedError as error:
            allow = {"allow": str(error.members.pop("allow"))}
            return self._error(error, self._entropy.uuid(), headers=allow)
        except ServiceError as error:
            return self._error(error, self._entropy.uuid())
        except StoreUnavailable:
            trace_id = self._entropy.uuid()
            log.warning("the store did not answer", exc_info=True, extra={"trace_id": trace_id})
            return self._error(ServiceUnavailableError("Service Unavailable"), trace_id)
        except Disconnected:
            raise
        except Exception:
            # The peer learns nothing but the trace id; the log has the rest under it.
            trace_id = self._entropy.uuid()
            log.exception("an HTTPS publish failed", extra={"trace_id": trace_id})
            return self._error(InternalFailureError("Internal Failure"), trace_id, close=True)
        trace_id = self._entropy.uuid()
        return _Answer(Response(200, {"content-type": "application/json"}, _OK % trace_id.encode()), trace_id)

    def _error(
        self, error: ServiceError, trace_id: str, *, close: bool = False, headers: Mapping[str, str] | None = None
    ) -> _Answer:
        response = error_response(error, self._model, {"traceId": trace_id})
        return _Answer(response, trace_id, close, headers or {})

    async def _admit(self, scope: Scope) -> tuple[TLSFacts, Admitted]:
        """Steps 2 and 3 of the verdict; a raise refuses."""
        state: Mapping[str, object] = scope.get("state") or {}
        facts = state.get("tls")
        if not isinstance(facts, TLSFacts):
            log.error("an HTTPS request came without the facts of its handshake")
            raise _Forbidden(self._entropy.uuid())
        try:
            verdict = self._plane.identify_now(facts) or await self._plane.identify(facts)
        except Exception:
            log.exception("the verdict on an HTTPS request failed")
            trace_id = self._plane.refuse(
                Stage.CERTIFICATE, (Reason(ReasonCode.INTERNAL),), facts, address=facts.peer_address
            )
            raise _Forbidden(trace_id) from None
        if isinstance(verdict, Refused):
            raise _Forbidden(verdict.trace_id)
        if isinstance(verdict, Awaiting):
            reason = Reason(ReasonCode.FIRST_CONNECTION_OVER_HTTPS, "devices are registered over MQTT only")
            raise _Forbidden(self._plane.refuse(Stage.CERTIFICATE, (reason,), facts, verdict))
        return facts, verdict

    async def _publish(self, head: HttpRequest, body: RequestBody, facts: TLSFacts, admitted: Admitted) -> None:
        match = self._route(head.method, head.raw_path)
        request = replace(head, body=await body.read(self._payload_limit))
        try:
            message = read_publication(**parse(match, request))
        except ReservedTopicError as error:
            raise _Forbidden(self._refuse_topic(error.topic, facts, admitted)) from error
        authorizer = self._plane.http(facts, admitted)
        if not authorizer.publish(message.topic) or (message.retain and not authorizer.retain(message.topic)):
            raise _Forbidden(authorizer.last_trace_id or self._entropy.uuid())
        await self._route_message(message, admitted)

    async def _route_message(self, message: Publication, admitted: Admitted) -> None:
        accepted = await self._data_plane.publish(
            admitted.scope,
            message.topic,
            message.payload,
            qos=message.qos,
            retain=message.retain,
            properties=message.properties,
        )
        if not accepted:
            raise ThrottlingError("Too Many Requests")

    def _route(self, method: str, raw_path: str) -> Match:
        try:
            match = self._router.match(method, raw_path)
            if match is None:
                allowed = self._router.methods(raw_path)
        except BadPath as error:
            raise InvalidRequestError(str(error)) from error
        if match is None:
            if allowed:
                raise MethodNotAllowedError("Method Not Allowed", allow=", ".join(allowed))
            raise ResourceNotFoundError("Not Found")
        if match.operation.name != "Publish":
            raise NotImplementedOperationError(f"{match.operation.name} is not implemented by handfast.")
        return match

    def _refuse_topic(self, topic: str, facts: TLSFacts, admitted: Admitted) -> str:
        reason = Reason(ReasonCode.TOPIC_NOT_VALID, "the topic is reserved: nothing can be published to it")
        return self._plane.refuse(Stage.PUBLISH, (reason,), facts, admitted, address=facts.peer_address, resource=topic)

    def _record(self, error: ServiceError, facts: TLSFacts, admitted: Admitted) -> str:
        code = ReasonCode.PACKET_TOO_LARGE if isinstance(error, _CLOSING) else ReasonCode.PROTOCOL_ERROR
        return self._plane.refuse(
            Stage.PROTOCOL, (Reason(code, error.message),), facts, admitted, address=facts.peer_address
        )
