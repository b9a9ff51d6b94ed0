"""A rehearsal at the TLS doors: which certificates a connection gets, and what its end says about them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from handfast.core.identity.refusal import ReasonCode
from handfast.errors import ProtocolViolation
from handfast.ports import Clock, Entropy, Meter, Notify
from handfast.ports.roots import RootAuditStore
from handfast.seam import TLSFacts
from handfast.services.authorities import ServerAuthority, ServerChain
from handfast.services.endpoints import EndpointDirectory
from handfast.services.rehearsal import Choice, Key, Rehearsal
from handfast.services.rehearsal_report import Failure, How
from handfast.services.rollover import BEFORE, NEXT, Rollover
from handfast.services.verdict import normal_name
from handfast.tls.client_hello import ClientHello
from handfast.tls.contexts import Contexts
from handfast.tls.failures import TLSFailure, client_alert
from handfast.tls.fingerprint import fingerprint
from handfast.tls.serving import Serving

_WORDLESS: Final = {
    ReasonCode.CONNECTION_LOST_IN_HANDSHAKE: How.CLOSED,
    ReasonCode.HANDSHAKE_TIMEOUT: How.SILENT,
}
_NOT_A_COMPLAINT: Final = frozenset({"user_canceled", "close_notify", "no_renegotiation"})


async def start_rollover(
    authority: ServerAuthority,
    contexts: Contexts,
    store: RootAuditStore,
    endpoints: EndpointDirectory,
    *,
    clock: Clock,
    entropy: Entropy,
    meter: Meter,
    notify: Notify,
    present: Callable[[ServerChain], None],
    serves_cross: bool,
    stack: AsyncExitStack,
) -> Rollover:
    """Root changes and their rehearsals; ended with the stack. ConfigurationError: what was found before is damaged."""
    made = Rollover(
        authority,
        contexts,
        store,
        clock=clock,
        entropy=entropy,
        meter=meter,
        notify=notify,
        present=present,
        serves_cross=serves_cross,
        is_endpoint=lambda name: endpoints.resolve_sni(name) is not None,
    )
    await made.open()
    stack.push_async_callback(made.close)
    return made


class Rehearsing:
    """`tls.serving.Amender`: nothing but an attribute is looked at while there is no rehearsal."""

    def __init__(self, rollover: Rollover) -> None:
        self._rollover = rollover

    def __call__(self, serving: Serving, sni: str | None, hello: ClientHello, address: str) -> Serving:
        rehearsal = self._rollover.rehearsal
        if rehearsal is None or not rehearsal.watching:
            return serving
        region = serving.certificates
        if ":" in region:
            return serving  # an operator's own certificates, or another endpoint's
        report = rehearsal.report
        name = "" if sni is None else normal_name(sni)
        canary = report.name is not None and name == report.name
        if not (canary or report.share):
            return serving
        key = Key(address, name, fingerprint(hello))
        choice, failure = rehearsal.choose(key, canary=canary)
        certificates = region
        if choice is Choice.NEXT:
            certificates = f"{NEXT}{region}"
        elif canary and rehearsal.running:
            certificates = f"{BEFORE}{region}"
        if choice is Choice.PLAIN:
            return serving if certificates == region else dataclasses.replace(serving, certificates=certificates)
        kinds = frozenset(each.kind for each in report.chains)
        watch = _Attempt(rehearsal, key, kinds) if choice is Choice.NEXT else _Return(rehearsal, key, failure)
        return dataclasses.replace(serving, certificates=certificates, watch=watch)


class _Attempt:
    """A connection that was sent the next chain."""

    def __init__(self, rehearsal: Rehearsal, key: Key, kinds: frozenset[str]) -> None:
        self._rehearsal = rehearsal
        self._key = key
        self._kinds = kinds

    def opened(self, facts: TLSFacts, application: asyncio.Protocol) -> asyncio.Protocol:
        if facts.chain_kind not in self._kinds:
            self._rehearsal.released(self._key)
            return application
        return _FirstWord(self._rehearsal, self._key, facts, application)

    def failed(self, failure: TLSFailure) -> None:
        how = None
        alert = failure.client_alert if failure.client_alert not in _NOT_A_COMPLAINT else None
        if failure.flight_sent and failure.chain_kind in self._kinds:
            how = How.ALERT if alert is not None else _WORDLESS.get(failure.reasons[0].code)
        if how is None:
            self._rehearsal.released(self._key)  # whatever it was, not the chain
        else:
            self._rehearsal.failed(self._key, failure.chain_kind, how, alert)


class _Return:
    """A connection on the old chain from where another failed."""

    def __init__(self, rehearsal: Rehearsal, key: Key, failure: Failure | None) -> None:
        self._rehearsal = rehearsal
        self._key = key
        self._failure = failure

    def opened(self, facts: TLSFacts, application: asyncio.Protocol) -> asyncio.Protocol:
        self._rehearsal.came_back(self._key, self._failure, str(facts.certificate_id))
        return application

    def failed(self, failure: TLSFailure) -> None:
        """Whatever it has now, the next chain is not the cause."""


class _FirstWord(asyncio.Protocol):
    """
    Stands before the application until the client has said something.

    Some stacks finish the handshake, their certificate shown, and judge the server's afterwards: only who goes on to
    speak has verified it.
    """

    def __init__(self, rehearsal: Rehearsal, key: Key, facts: TLSFacts, application: asyncio.Protocol) -> None:
        self._rehearsal = rehearsal
        self._key = key
        self._certificate_id = str(facts.certificate_id)
        self._kind = facts.chain_kind
        self._application = application
        self._transport: asyncio.BaseTransport | None = None
        self._left = False
        self._told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._application.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not data:
            self._application.data_received(data)
            return
        if not self._told:
            self._told = True
            self._rehearsal.verified(self._key, self._kind, self._certificate_id)
            if isinstance(self._transport, asyncio.Transport) and self._transport.get_protocol() is self:
                self._transport.set_protocol(self._application)
        self._application.data_received(data)

    def eof_received(self) -> bool | None:
        self._left = True
        return self._application.eof_received()

    def pause_writing(self) -> None:
        self._application.pause_writing()

    def resume_writing(self) -> None:
        self._application.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._told:
            self._told = True
            alert = client_alert((str(exc),)) if isinstance(exc, ProtocolViolation) else None
            if alert is not None and alert not in _NOT_A_COMPLAINT:
                self._failed(How.ALERT, alert)
            elif self._left or isinstance(exc, ConnectionError):
                self._failed(How.CLOSED, None)
            else:
                self._rehearsal.released(self._key)  # we closed it
        self._application.connection_lost(exc)

    def _failed(self, how: How, alert: str | None) -> None:
        self._rehearsal.failed(self._key, self._kind, how, alert, shown=self._certificate_id or None)
