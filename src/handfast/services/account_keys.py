"""
The verdict on connections that an account's access key signed for: MQTT over WebSocket.

An account's key has on the data plane the rights of its account, over MQTT as
over HTTPS: it may do everything in its own account, in the region that it signs
for, but for what only devices ask (request topics). It has no thing and no
policies. When it is revoked, or its account disabled, its connections are cut.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.topics.reserved import TopicClass, classify_topic
from handfast.ports import Change, ChangeKind, Clock
from handfast.seam import (
    Admitted,
    Authorizer,
    Awaiting,
    ConnectRequest,
    DataPlane,
    Plane,
    Refused,
    SignedBy,
    TLSFacts,
)
from handfast.services.accounts import Signer
from handfast.services.recording import Recorder
from handfast.services.verdict import normal_name

log = logging.getLogger(__name__)

MAX_AGE_S = 86_400
"""A WebSocket connection lasts a day at most, whatever its URL was good for."""
CERTIFICATE_ID_LENGTH = 64

Signers = Callable[[str], Awaitable[Signer | None]]
"""Whose an access key is and whether it may sign; None: there is no such key. Reads the store."""


class AccountAuthorizer:
    """`seam.Authorizer` of one connection of an account's key. Answers no once the key may not sign any more."""

    __slots__ = ("_facts", "_recorder", "client_id", "last_trace_id", "signed", "version")

    def __init__(self, signed: SignedBy, facts: TLSFacts, client_id: str, recorder: Recorder) -> None:
        self.signed = signed
        self.client_id = client_id
        self.version = 1
        self.last_trace_id: str | None = None
        self._facts = facts
        self._recorder = recorder

    @property
    def ended(self) -> bool:
        """Whether the key may not sign any more."""
        return self.version > 1

    def end(self) -> None:
        """From now on nothing is allowed; the connection is about to be cut."""
        self.version = 2

    def publish(self, topic: str) -> bool:
        """Everything but request topics, as over HTTPS."""
        if classify_topic(topic) is TopicClass.REQUEST:
            text = "only a device, which has a certificate, can make this request"
            self.deny(Stage.PUBLISH, Reason(ReasonCode.TOPIC_NOT_VALID, text), topic)
            return False
        return not self.ended

    def retain(self, topic: str) -> bool:
        """Everything."""
        return not self.ended

    def subscribe(self, topic_filter: str) -> bool:
        """Everything."""
        return not self.ended

    def receive(self, topic: str) -> bool:
        """Everything."""
        return not self.ended

    def deny(self, stage: Stage, reason: Reason, topic: str) -> None:
        """Record a denial."""
        scope = self.signed.scope
        self.last_trace_id = self._recorder.record(
            stage,
            (reason,),
            self._facts,
            scope,
            client_id=self.client_id,
            resource=f"arn:aws:iot:{scope.region}:{scope.account}:topic/{topic}",
        )


class AccountKeys:
    """Judges connections that are signed for, and cuts them when their key ends. Belongs to one event loop."""

    def __init__(
        self, signers: Signers, recorder: Recorder, clock: Clock, called: Callable[[Scope, str | None], str]
    ) -> None:
        """
        Args:
            signers: Asked at every connection, and after every change of a key or an account.
            recorder: Keeps the refusals.
            clock: The server's time.
            called: What a client that asked for this server name calls a scope; KeyError where it has no endpoint yet.
        """
        self._signers = signers
        self._recorder = recorder
        self._clock = clock
        self._called = called
        self._data_plane: DataPlane | None = None
        self._live: dict[str, set[AccountAuthorizer]] = {}

    def command(self, data_plane: DataPlane) -> None:
        """From now on `changed` cuts connections through `data_plane`."""
        self._data_plane = data_plane

    async def identify(self, signed: SignedBy, facts: TLSFacts) -> Admitted | Refused:
        """The verdict by what the store says now: the signature was verified a moment ago."""
        try:
            reasons = await self._standing(signed.access_key_id, signed.scope)
        except Exception as error:
            log.exception("the verdict on an access key failed inside and refuses")
            reasons = (Reason(ReasonCode.INTERNAL, type(error).__name__),)
        if reasons:
            return Refused(self._recorder.record(Stage.API, reasons, facts, signed.scope))
        return Admitted(
            signed.scope,
            CertificateId(signed.access_key_id),
            self._domain_name(signed.scope, facts),
            self._clock.now().timestamp() + MAX_AGE_S,
            "WEBSOCKET_TTL_EXPIRATION",
        )

    def connect(self, signed: SignedBy, facts: TLSFacts, request: ConnectRequest) -> AccountAuthorizer:
        """The account's key may connect as any client."""
        authorizer = AccountAuthorizer(signed, facts, request.client_id, self._recorder)
        self._live.setdefault(signed.access_key_id, set()).add(authorizer)
        return authorizer

    def disconnected(self, authorizer: AccountAuthorizer) -> None:
        """The connection is gone."""
        live = self._live.get(authorizer.signed.access_key_id)
        if live is not None:
            live.discard(authorizer)
            if not live:
                del self._live[authorizer.signed.access_key_id]

    def may_publish_will(self, authorizer: AccountAuthorizer, topic: str) -> bool:
        """While the key may sign; a denial is recorded."""
        if authorizer.ended:
            reason = Reason(ReasonCode.API_UNKNOWN_KEY, "the access key was revoked, and its rights with it")
            authorizer.deny(Stage.WILL, reason, topic)
        return not authorizer.ended

    async def changed(self, changes: Sequence[Change]) -> None:
        """
        Connections of keys that may not sign any more are cut when this returns. Part of `notify`; never raises.

        When the store does not answer, they are cut too: they come back when it does.
        """
        keys = {change.subject for change in changes if change.kind is ChangeKind.ACCESS_KEY}
        accounts = {change.subject for change in changes if change.kind is ChangeKind.ACCOUNT}
        data_plane = self._data_plane
        if data_plane is None or not (keys or accounts):
            return
        # First: who is being judged at this moment is judged again, by what the store says from now on.
        data_plane.authorizations_changed()
        for scope, principal in data_plane.live_principals():
            of_account = scope.account in accounts and len(principal) != CERTIFICATE_ID_LENGTH
            if principal not in keys and not of_account:
                continue
            try:
                standing = await self._standing(principal, scope)
            except Exception as error:
                log.error("a changed access key cannot be read; its connections are cut: %s", error)
                standing = (Reason(ReasonCode.INTERNAL),)
            if standing:
                for authorizer in self._live.get(principal, ()):
                    authorizer.end()
                data_plane.disconnect_principal(scope, principal, "AUTH_ERROR")

    async def _standing(self, access_key_id: str, scope: Scope) -> tuple[Reason, ...]:
        """Why the key may not be connected right now; empty when it may."""
        signer = await self._signers(access_key_id)
        if signer is None or not signer.key.active or signer.key.account_id != scope.account:
            known = "unknown" if signer is None else "revoked"
            return (Reason(ReasonCode.API_UNKNOWN_KEY, f"the access key {access_key_id} is {known}"),)
        if signer.account_disabled:
            return (Reason(ReasonCode.ACCOUNT_DISABLED, f"account {scope.account} is disabled"),)
        return ()

    def _domain_name(self, scope: Scope, facts: TLSFacts) -> str:
        try:
            return self._called(scope, None if facts.sni is None else normal_name(facts.sni))
        except KeyError:
            return facts.sni or ""


class PlaneByCredential:
    """`seam.Plane`: the verdict on certificates and that on account keys, each for its own connections."""

    def __init__(self, certificates: Plane, keys: AccountKeys) -> None:
        self._certificates = certificates
        self._keys = keys
        self.provision = certificates.provision
        self.refused_client = certificates.refused_client
        self.http = certificates.http
        self.refuse = certificates.refuse  # whose key signed stands in the facts

    def identify_now(self, facts: TLSFacts) -> Admitted | Refused | None:
        """A certificate's verdict from memory; keys are always read."""
        return self._certificates.identify_now(facts) if facts.signed is None else None

    def identify(self, facts: TLSFacts) -> Awaitable[Admitted | Awaiting | Refused]:
        """Steps 2 and 3."""
        if facts.signed is None:
            return self._certificates.identify(facts)
        return self._keys.identify(facts.signed, facts)

    def connect(self, facts: TLSFacts, admitted: Admitted, request: ConnectRequest) -> Authorizer | Refused:
        """Step 4."""
        if facts.signed is None:
            return self._certificates.connect(facts, admitted, request)
        return self._keys.connect(facts.signed, facts, request)

    def disconnected(self, admitted: Admitted, authorizer: Authorizer, reason: str) -> None:
        """The connection is gone."""
        if isinstance(authorizer, AccountAuthorizer):
            self._keys.disconnected(authorizer)
        else:
            self._certificates.disconnected(admitted, authorizer, reason)

    def may_publish_will(self, admitted: Admitted, authorizer: Authorizer, topic: str, retain: bool) -> bool:
        """Asked at the moment the Will would be published."""
        if isinstance(authorizer, AccountAuthorizer):
            return self._keys.may_publish_will(authorizer, topic)
        return self._certificates.may_publish_will(admitted, authorizer, topic, retain)
