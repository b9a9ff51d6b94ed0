"""
The API as an ASGI application: HTTP in, SigV4, operation, handler, HTTP out.

Adding an operation is adding a function to the mapping of handlers. A handler
gets the verified `Caller` and the operation's members as keyword arguments in
snake_case (only those that were given), and returns a mapping in snake_case or
None. It raises `ServiceError`s; it never sees HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import ReasonCode
from handfast.errors import (
    AccessDeniedError,
    InternalFailureError,
    InvalidRequestError,
    ResourceNotFoundError,
    ServiceError,
    ServiceUnavailableError,
    StoreUnavailable,
)
from handfast.printable import printable
from handfast.wire.errors import (
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
from handfast.wire.serializer import serialize
from handfast.wire.sigv4 import Authenticator, Claim, Clock, Pending, Refused, check_target, read_claim
from handfast.wire.spec import Operation, Service
from handfast.wire.validator import prepare

log = logging.getLogger(__name__)

Handler = Callable[..., Awaitable[Mapping[str, Any] | None]]
"""`async def update_certificate(ctx: Caller, *, certificate_id: str, new_status: str) -> dict | None`."""

BODY_LIMIT_BYTES: Final = 1024 * 1024
LARGE_BODY_BYTES: Final = 128 * 1024
"""Longer requests are read, and their answers written, in a thread. No policy, certificate or CSR is as long."""
MAX_SHOWN_CHARS: Final = 256


class Entropy(Protocol):
    """Randomness as the plane sees it."""

    def uuid(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRefusal:
    """
    A refused API call, for the record; `request_id` is what the response carried.

    Strings that the peer sent are bounded, and printable as they are.
    """

    request_id: str
    reason: ReasonCode
    detail: str
    error_code: str
    address: str
    method: str
    path: str
    operation: str | None = None
    access_key_id: str | None = None
    account_id: AccountId | None = None
    region: str | None = None


class MountedService:
    """A model with the handlers of its operations, and the SigV4 service names that reach it."""

    def __init__(
        self,
        model: Service,
        handlers: Mapping[str, Handler],
        signing_names: Collection[str] | None = None,
        *,
        body_limit_bytes: int | None = None,
        body_limits: Mapping[str, int] | None = None,
    ) -> None:
        """
        Args:
            model: From `spec.load_service`.
            handlers: By the operation's name, the model's (`CreateThing`) or its snake_case form.
            signing_names: By default the model's own.
            body_limit_bytes: By default the application's.
            body_limits: The same for single operations, by the model's name.

        Raises:
            ValueError: A handler or a limit is named like no operation.
        """
        by_name: dict[str, Handler] = {}
        snake = {operation.snake: name for name, operation in model.operations.items()}
        for name, handler in handlers.items():
            operation_name = snake.get(name, name)
            if operation_name not in model.operations or operation_name in by_name:
                raise ValueError(f"{name} is no operation of {model.name}, or is given twice")
            by_name[operation_name] = handler
            prepare(model.operations[operation_name].input)
        self.model = model
        self.handlers = by_name
        self.signing_names = frozenset(signing_names or {model.signing_name})
        self.body_limit_bytes = body_limit_bytes
        self.body_limits = dict(body_limits or {})
        if unknown := self.body_limits.keys() - model.operations.keys():
            raise ValueError(f"{', '.join(sorted(unknown))}: no operation of {model.name}")
        self.router = Router(model.operations.values())


@dataclass(slots=True)
class _Call:
    """What is known of a request so far, for the answer, the record and the log."""

    request_id: str
    address: str
    method: str
    path: str
    service: MountedService | None = None
    operation: Operation | None = None
    access_key_id: str | None = None
    account_id: AccountId | None = None
    region: str | None = None


class ApiApplication:
    """The ASGI application for every mounted service. Safe to mount as the fallback of another application."""

    def __init__(
        self,
        services: Sequence[MountedService],
        authenticator: Authenticator,
        clock: Clock,
        entropy: Entropy,
        on_refused: Callable[[ApiRefusal], None],
        body_limit_bytes: int = BODY_LIMIT_BYTES,
        *,
        signature_first: bool = False,
        admit: Callable[[Scope, Caller], None] | None = None,
    ) -> None:
        """
        Args:
            services: Where two know a path, the signature's service name decides.
            authenticator: Who signed.
            clock: The server's time.
            entropy: Request ids.
            on_refused: Told of each refused call; must not raise, block or wait.
            body_limit_bytes: Longer bodies are answered with 413.
            signature_first: Nobody learns which paths there are without a signature for the first of the services.
            admit: Asked once the signature is verified; raises a `ServiceError` or `Refused` where that is not enough.
        """
        self._services = list(services)
        self._signature_first = signature_first
        self._admit = admit
        self._authenticator = authenticator
        self._clock = clock
        self._entropy = entropy
        self._on_refused = on_refused
        self._body_limit = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope; WebSocket connections are refused, lifespan events acknowledged."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        started = time.perf_counter()
        client = scope.get("client")
        call = _Call(
            request_id=self._entropy.uuid(),
            address=client[0] if client else "",
            method=scope["method"],
            path=printable(str(scope.get("path", "")), limit=MAX_SHOWN_CHARS),
        )
        close = False
        error: ServiceError | None = None
        try:
            response = await self._answer(call, scope, receive)
        except Disconnected:
            return
        except Refused as refused:
            error = refused.error
            self._record(call, refused.reason, refused.detail, error)
        except StoreUnavailable:
            log.warning("the store did not answer", exc_info=True, extra={"request_id": call.request_id})
            error = ServiceUnavailableError("The registry did not answer. Try again.")
        except ServiceError as raised:
            error = raised
            close = isinstance(raised, RequestEntityTooLargeError | RequestTimeoutError)
            if close:
                self._record(call, ReasonCode.LIMIT_EXCEEDED, raised.message, raised)
            elif isinstance(raised, AccessDeniedError):
                self._record(call, ReasonCode.IMPLICIT_DENY, raised.message, raised)
        except Exception:
            # The peer learns nothing but the request id; the log has the rest under it.
            name = call.operation.name if call.operation else call.method
            log.exception("%s failed", name, extra={"request_id": call.request_id})
            error = InternalFailureError("An internal failure occurred.")
        if isinstance(error, ServiceUnavailableError) and not _models(call.operation, error):
            # DescribeEndpoint: what it does not model is its internal failure, which clients retry all the same.
            error = InternalFailureError(error.message)
        if error is not None:
            model = call.service.model if call.service else None
            response = error_response(error, model)
        log.debug(
            "api call",
            extra={
                "request_id": call.request_id,
                "operation": call.operation.name if call.operation else None,
                "status": response.status,
                "error": error.code if error else None,
                "account_id": call.account_id,
                "access_key_id": call.access_key_id,
                "address": call.address,
                "duration_s": time.perf_counter() - started,
            },
        )
        headers = {"x-amzn-requestid": call.request_id, "cache-control": "no-store"}
        await send_response(send, response, headers, close=close, head_only=call.method == "HEAD")

    async def _answer(self, call: _Call, scope: Scope, receive: Receive) -> Response:
        head = read_head(scope)
        check_target(head.raw_path, head.query)
        try:
            candidates = [
                (service, match)
                for service in self._services
                if (match := service.router.match(head.method, head.raw_path)) is not None
            ]
        except BadPath as error:
            raise InvalidRequestError(str(error)) from error
        if not candidates:
            if self._signature_first:
                await self._verify(call, self._services[0], frozenset(), read_claim(head), head, receive)
            raise ResourceNotFoundError(f"No operation is at {call.method} {call.path}.")
        call.service, call.operation = candidates[0][0], candidates[0][1].operation
        service, match, pending, request = await self._authenticate(call, candidates, head, receive)
        operation = match.operation
        caller = replace(
            self._authenticator.caller(pending, address=call.address, request_id=call.request_id),
            endpoint=_endpoint(request),
        )
        if self._admit is not None:
            self._admit(scope, caller)
        handler = service.handlers.get(operation.name)
        if handler is None:
            raise NotImplementedOperationError(
                f"{operation.name} is not implemented by handfast. `handfast coverage` lists the operations that are."
            )
        if len(request.body) <= LARGE_BODY_BYTES:
            return serialize(operation, await handler(caller, **parse(match, request)))
        # Tens of milliseconds, in which the devices' packets would wait.
        members = await asyncio.to_thread(parse, match, request)
        return await asyncio.to_thread(serialize, operation, await handler(caller, **members))

    async def _authenticate(
        self,
        call: _Call,
        candidates: Sequence[tuple[MountedService, Match]],
        head: HttpRequest,
        receive: Receive,
    ) -> tuple[MountedService, Match, Pending, HttpRequest]:
        claim = read_claim(head)
        service, match = next((c for c in candidates if claim.service in c[0].signing_names), candidates[0])
        call.service, call.operation = service, match.operation
        pending, request = await self._verify(call, service, match.operation.input_headers, claim, head, receive)
        return service, match, pending, request

    async def _verify(
        self,
        call: _Call,
        service: MountedService,
        must_sign: Collection[str],
        claim: Claim,
        head: HttpRequest,
        receive: Receive,
    ) -> tuple[Pending, HttpRequest]:
        """The verified claim and the request with its body, which is read for a key that exists only."""
        call.access_key_id, call.region = claim.access_key_id, claim.region
        pending = await self._authenticator.begin(claim, head, signing_names=service.signing_names, must_sign=must_sign)
        name = call.operation.name if call.operation else ""
        limit = service.body_limits.get(name) or service.body_limit_bytes or self._body_limit
        request = replace(head, body=await RequestBody(head, receive).read(limit))
        self._authenticator.finish(pending, request)
        # Only now: before, the account would be anybody's claim.
        call.account_id = pending.key.account_id
        return pending, request

    def _record(self, call: _Call, reason: ReasonCode, detail: str, error: ServiceError) -> None:
        self._on_refused(
            ApiRefusal(
                request_id=call.request_id,
                reason=reason,
                detail=printable(detail, limit=MAX_SHOWN_CHARS),
                error_code=error.code,
                address=call.address,
                method=call.method,
                path=call.path,
                operation=call.operation.name if call.operation else None,
                access_key_id=call.access_key_id,
                account_id=call.account_id,
                region=call.region,
            )
        )


_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


def _endpoint(request: HttpRequest) -> str:
    """Where the request was sent to, if its Host header is a plain name or address."""
    host = request.header("host") or ""
    return f"{'https' if request.secure else 'http'}://{host}" if _HOST.fullmatch(host) else ""


def _models(operation: Operation | None, error: ServiceError) -> bool:
    """Whether the operation has the error; before it is known, any is fine."""
    return operation is None or error.code in operation.errors


__all__ = ["ApiApplication", "ApiRefusal", "Caller", "Handler", "MountedService"]
