"""
Errors on the wire: the status of an error, and its response.

The status comes from the model's exception shape. What the model does not name
(front-door refusals, limits of HTTP) stands in `FRONT_DOOR_STATUS`, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from handfast.errors import ServiceError
from handfast.wire.spec import Service

FRONT_DOOR_STATUS: Final[Mapping[str, int]] = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "ForbiddenException": 403,
    "IncompleteSignatureException": 400,
    "InternalFailureException": 500,
    "InvalidRequestException": 400,
    "InvalidSignatureException": 403,
    "MethodNotAllowedException": 405,
    "MissingAuthenticationTokenException": 403,
    # 501 is retried by no current AWS SDK (they retry 500, 502, 503, 504 and throttling codes),
    # and the code is on none of their lists.
    "NotImplementedException": 501,
    "RequestEntityTooLargeException": 413,
    "RequestTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "SerializationException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnauthorizedException": 401,
    "UnrecognizedClientException": 403,
}


class SerializationError(ServiceError):
    """The body is not what the protocol allows: JSON, an object, bounded."""

    code = "SerializationException"


class NotImplementedOperationError(ServiceError):
    """The operation is in the model, and not in this handfast."""

    code = "NotImplementedException"


class RequestEntityTooLargeError(ServiceError):
    """The body is longer than the endpoint takes."""

    code = "RequestEntityTooLargeException"


class RequestTimeoutError(ServiceError):
    """The body did not arrive in time."""

    code = "RequestTimeoutException"


class MethodNotAllowedError(ServiceError):
    """The path is known, under another method."""

    code = "MethodNotAllowedException"


class MissingAuthenticationTokenError(ServiceError):
    """The request is not signed."""

    code = "MissingAuthenticationTokenException"


class UnrecognizedClientError(ServiceError):
    """The access key is unknown, revoked or comes with a session token: one answer for all."""

    code = "UnrecognizedClientException"


class InvalidSignatureError(ServiceError):
    """The signature does not verify, or not now, or not for this service."""

    code = "InvalidSignatureException"


class IncompleteSignatureError(ServiceError):
    """The Authorization header or the presigned query cannot be read."""

    code = "IncompleteSignatureException"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response to be sent: header names are lower-case, `body` is whole."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def status_of(code: str, service: Service | None) -> int:
    """The HTTP status of an error code: the service's model first, then the table above, else 400."""
    if service is not None and code in service.errors:
        return service.errors[code]
    return FRONT_DOOR_STATUS.get(code, 400)


def error_response(error: ServiceError, service: Service | None, extra: Mapping[str, Any] | None = None) -> Response:
    """
    The response for an error: `x-amzn-ErrorType`, `{"message": …}` and the shape's further members.

    AccessDeniedException spells the member `Message` too, as IAM's refusals do. `extra` joins the body
    (the data plane's `traceId`).
    """
    body: dict[str, Any] = {"message": error.message}
    if error.code == "AccessDeniedException":
        body["Message"] = error.message
    names = _wire_names(error.code, service)
    body.update({names.get(name, name): value for name, value in error.members.items() if value is not None})
    body.update(extra or {})
    return Response(
        status_of(error.code, service),
        {"content-type": "application/json", "x-amzn-errortype": error.code},
        json.dumps(body).encode(),
    )


def _wire_names(code: str, service: Service | None) -> Mapping[str, str]:
    shape = service.shapes.get(code) if service is not None else None
    return {} if shape is None else {member.snake: member.wire_name for member in shape.members.values()}
