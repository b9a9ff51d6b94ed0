"""Connections whose verdict is not in memory: asked for while the CONNECT is on its way, or because of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.seam import Admitted, Awaiting, ConnectRequest, Refused

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection

_V = TypeVar("_V")


async def identify(connection: MQTTConnection) -> None:
    """Steps 2 and 3 of the verdict are done."""
    gateway = connection.gateway
    connection.identified(await _settled(connection, "identify", lambda: gateway.plane.identify(connection.facts)))


def provision(connection: MQTTConnection, awaited: Awaiting, request: ConnectRequest) -> None:
    """The certificate is not registered, or not activated, and its CONNECT is there: the plane decides what to do."""
    connection.verdict = None
    if connection.transport is not None:
        connection.transport.pause_reading()  # what a hasty client sends stays bounded
    connection.gateway.spawn(_provision(connection, awaited, request))


async def _provision(connection: MQTTConnection, awaited: Awaiting, request: ConnectRequest) -> None:
    gateway = connection.gateway
    verdict: Admitted | Awaiting | Refused
    try:
        gateway.identifying[connection] = False
        verdict = await gateway.plane.provision(connection.facts, awaited, request)
    except Exception:
        verdict = gateway.broken("provision", connection.facts)
    if isinstance(verdict, Admitted) and gateway.identifying.get(connection, False):
        # Something changed while the answer was on its way, and may have made it wrong.
        verdict = await _settled(connection, "identify", lambda: gateway.plane.identify(connection.facts))
    gateway.identifying.pop(connection, None)
    if isinstance(verdict, Awaiting):
        # One CONNECT is one attempt.
        text = "its registration changed during its first connection"
        reason = Reason(ReasonCode.CERTIFICATE_PENDING_ACTIVATION, text)
        verdict = Refused(gateway.record(connection, Stage.CERTIFICATE, reason))
    connection.identified(verdict)


async def _settled(connection: MQTTConnection, what: str, ask: Callable[[], Awaitable[_V]]) -> _V | Refused:
    """The plane's answer, asked again while something changed that may have made it wrong."""
    gateway = connection.gateway
    answer: _V | Refused
    while True:
        gateway.identifying[connection] = False
        try:
            answer = await ask()
        except Exception:
            answer = gateway.broken(what, connection.facts)
        if not gateway.identifying.get(connection, False):
            break
    gateway.identifying.pop(connection, None)
    return answer
