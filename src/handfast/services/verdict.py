"""
Who gets in: the verdict of every connection, in the order of the contract.

Account and region, then the certificate, then `iot:Connect` and the Will. What
a peer may learn of a refusal is its trace id; the record holds every reason
that was found. An error of ours refuses.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple, TypeVar

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.policy.actions import Action
from handfast.ports import Clock, Store
from handfast.seam import Admitted, Authorizer, Awaiting, ConnectRequest, Refused, TLSFacts
from handfast.services.authorization import NO_DECISIONS, PolicyAuthorizer
from handfast.services.certificate_rules import broken_rules, key_too_new, rule_reason
from handfast.services.endpoints import EndpointService
from handfast.services.principals import Key, Principal, PrincipalCache
from handfast.services.recording import Recorder
from handfast.services.standing import NOT_BUILT, claim_ended, legacy_mqtt5, not_built, standing
from handfast.services.verdict_ports import (
    Arrivals,
    ConnectionDecisions,
    Domains,
    Endpoints,
    FirstConnections,
    Sightings,
)

log = logging.getLogger(__name__)

MAX_STAND_INS = 200_000
MAX_SCOPES_SEARCHED = 256
"""Endpoints in which a certificate is looked for when it is not registered where it was presented."""
_LOAD_ATTEMPTS = 3


class _AwaitedPublisher(PolicyAuthorizer):
    """Of one HTTPS request with an awaited certificate: a publish that is allowed is its arrival."""

    __slots__ = ("arrived",)

    arrived: Callable[[], None]

    def publish(self, topic: str) -> bool:
        allowed = super().publish(topic)
        if allowed:
            self.arrived()
        return allowed


_A = TypeVar("_A", bound=PolicyAuthorizer)
IssuerScope = Callable[[bytes], Scope | None]
"""The scope whose DEFAULT-mode CA directly signed this certificate (DER), if there is one."""


class _Naming(Enum):
    """What the client's server name says about the account."""

    ENDPOINT = "endpoint"
    STAND_IN = "stand-in"
    NONE = "none"
    UNKNOWN = "unknown"


class _Place(NamedTuple):
    """Step 2 settled: where the certificate is looked up, and the endpoint's name there."""

    scope: Scope
    domain_name: str


class _NotPlaced(NamedTuple):
    """Step 2 failed. `scope` is whose refusal it is, if anyone's."""

    reasons: tuple[Reason, ...]
    scope: Scope | None = None


def normal_name(name: str) -> str:
    """A server name as it is compared: ASCII lower case, without the root's dot, an address in its shortest form."""
    # Only ASCII has case here: str.lower() would also fold look-alikes such as the Kelvin sign.
    text = name.lower() if name.isascii() else name
    text = text.removesuffix(".") or text
    if ":" in text:
        try:
            return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
        except ValueError:
            return text
    return text


class Verdict:
    """`seam.Plane`: judges connections from memory where it can, and records every refusal."""

    def __init__(
        self,
        *,
        store: Store,
        principals: PrincipalCache,
        endpoints: Endpoints,
        recorder: Recorder,
        clock: Clock,
        region: str,
        first_account: AccountId,
        local_names: Iterable[str] = ("localhost", "127.0.0.1", "::1"),
        lenient_sni: bool = True,
        issuer_scope: IssuerScope | None = None,
        first_connections: FirstConnections | None = None,
        arrivals: Arrivals | None = None,
        decisions: ConnectionDecisions | None = None,
        domains: Domains | None = None,
        issued_claim: Callable[[bytes], bool] = lambda der: False,
        sightings: Sightings | None = None,
    ) -> None:
        """
        Args:
            region: The server's `--region`, in which DEFAULT registrations are looked up.
            first_account: Whose endpoint the local names stand for in the end.
            local_names: Local names and `--server-name`s; stand-ins when `lenient_sni`.
            issuer_scope: None where no CAs are registered.
            first_connections: Settles certificates that nobody registered; None: they are refused.
            arrivals: Told when a certificate that it awaits was let in.
            decisions: Told what policies decide; None: nothing is kept.
            domains: Say whether a connection may come by the name that it asks for; None: by every one.
            issued_claim: Whether a certificate (DER) was made here by CreateProvisioningClaim.
            sightings: Told who was let in; None: nobody keeps it.
        """
        self._store = store
        self._principals = principals
        self._endpoints = endpoints
        self._recorder = recorder
        self._clock = clock
        self._region = region
        self._first = Scope(first_account, region)
        self._local_names = frozenset(map(normal_name, local_names)) if lenient_sni else frozenset()
        self._also_stands_in: Callable[[str], bool] | None = None
        self._issuer_scope = issuer_scope
        self._first_connections = first_connections
        self._arrivals = arrivals
        self._decisions = decisions
        self._domains = domains
        self._issued_claim = issued_claim
        self._sightings = sightings
        # The DEFAULT registration of a certificate, or None for none; kept only for certificates that were admitted.
        self._defaults: dict[CertificateId, Scope | None] = {}
        self._registrations = 0
        principals.listen(self)

    def registrations_changed(self, certificate_ids: set[CertificateId]) -> None:
        """What was remembered about where these are registered is forgotten."""
        self._registrations += 1
        for certificate_id in certificate_ids:
            self._defaults.pop(certificate_id, None)

    # --- steps 2 and 3: who is it? ----------------------------------------------------------------------------

    def identify_now(self, facts: TLSFacts) -> Admitted | Refused | None:
        """The verdict from memory; None: await `identify`."""
        try:
            place = self._place_now(facts)
            if place is None:
                return None
            principal = self._principals.get((place.scope, facts.certificate_id))
            if principal is None:
                return None
            admitted = self._admit(principal, place, facts)
            if admitted is None and principal.waits_for_activation:
                return None
            return admitted or self._refuse_certificate(principal, place.scope, facts)
        except Exception as error:
            return self._internal(Stage.CERTIFICATE, facts, error)

    async def identify(self, facts: TLSFacts) -> Admitted | Awaiting | Refused:
        """The verdict, with whatever has to be read."""
        try:
            before = self._registrations
            place = await self._place(facts)
            if isinstance(place, _NotPlaced):
                trace = self._recorder.record(Stage.ACCOUNT, place.reasons, facts, place.scope)
                return Refused(trace)
            principal = await self._load((place.scope, facts.certificate_id))
            if principal is None:
                return await self._unregistered(place, facts)
            self._remember_default(facts, place.scope, before)
            admitted = self._admit(principal, place, facts)
            if admitted is not None:
                return admitted
            awaited = await self._awaited(place, facts, principal)
            if isinstance(awaited, Awaiting):
                return awaited
            return self._refuse_certificate(principal, place.scope, facts, awaited)
        except Exception as error:
            return self._internal(Stage.CERTIFICATE, facts, error)

    async def _awaited(
        self, place: _Place, facts: TLSFacts, principal: Principal | None
    ) -> Awaiting | tuple[Reason, ...]:
        """Whether a CONNECT may register it or settle what it waits for; else what the record says about that."""
        if self._first_connections is None or key_too_new(facts):
            return ()
        return await self._first_connections.awaited(place.scope, place.domain_name, facts, principal)

    async def _unregistered(self, place: _Place, facts: TLSFacts) -> Awaiting | Refused:
        awaited = await self._awaited(place, facts, None)
        if isinstance(awaited, Awaiting):
            return awaited
        if not awaited and self._first_connections is not None and self._recorder.worth_examining(facts.peer_address):
            awaited = await self._first_connections.why_not(place.scope, facts.certificate_der)
        return await self._refuse_unregistered(place, facts, awaited)

    async def provision(self, facts: TLSFacts, awaiting: Awaiting, request: ConnectRequest) -> Admitted | Refused:
        """The verdict on a certificate that was awaited, once what its first connection brings about has happened."""
        try:
            return await self._provision(facts, awaiting, request)
        except Exception as error:
            return self._internal(Stage.CERTIFICATE, facts, error, awaiting.scope)

    async def _provision(self, facts: TLSFacts, awaiting: Awaiting, request: ConnectRequest) -> Admitted | Refused:
        if self._first_connections is None:
            raise RuntimeError("an awaited certificate without anything that settles it")
        scope = awaiting.scope
        reasons = await self._first_connections.settle(facts, awaiting)
        place = _Place(scope, awaiting.domain_name)
        if reasons and reasons[0].code is ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT:
            return await self._refuse_unregistered(place, facts, ())
        if reasons:
            client_id = request.client_id
            return Refused(self._recorder.record(Stage.CERTIFICATE, reasons, facts, scope, client_id=client_id))
        principal = await self._load((scope, facts.certificate_id))
        if principal is None:
            return await self._refuse_unregistered(place, facts, ())
        if principal.broken_rules is None:
            principal.broken_rules = ()  # a CA vouches only for a certificate that breaks none
        return self._admit(principal, place, facts) or self._refuse_certificate(principal, scope, facts)

    def also_stands_in(self, name: Callable[[str], bool]) -> None:
        """A further name stands for the registration of the certificate, as a local one does where these may."""
        self._also_stands_in = name

    def _naming(self, facts: TLSFacts) -> tuple[_Naming, str, Scope | None]:
        if facts.sni is None:
            return _Naming.NONE, "", None
        name = normal_name(facts.sni)
        scope = self._endpoints.resolve_sni(name)
        if scope is not None:
            return _Naming.ENDPOINT, name, scope
        if name in self._local_names or (self._also_stands_in is not None and self._also_stands_in(name)):
            return _Naming.STAND_IN, name, None
        return _Naming.UNKNOWN, name, None

    def _place_now(self, facts: TLSFacts) -> _Place | None:
        naming, name, scope = self._naming(facts)
        if scope is not None:
            return _Place(scope, name) if self._objection(name, facts) is None else None
        if naming is _Naming.UNKNOWN or facts.certificate_id not in self._defaults:
            return None
        default = self._defaults[facts.certificate_id]
        if default is None:
            if naming is _Naming.NONE:
                return None
            default = self._stand_in(facts)
        return _Place(default, self._endpoint_name(default, name))

    async def _place(self, facts: TLSFacts) -> _Place | _NotPlaced:
        naming, name, scope = self._naming(facts)
        if scope is not None:
            objection = self._objection(name, facts)
            if objection is not None:
                return _NotPlaced((objection, *self._certificate_reasons(facts)), scope)
            return _Place(scope, name)
        if naming is _Naming.UNKNOWN:
            return await self._unknown_endpoint(facts, name)
        defaults = await self._store.default_registrations(self._region, facts.certificate_id)
        if len(defaults) > 1:
            return _NotPlaced(
                (
                    Reason(
                        ReasonCode.ACCOUNT_AMBIGUOUS, f"{len(defaults)} accounts in {self._region} have it registered"
                    ),
                )
            )
        if defaults:
            return _Place(defaults[0], self._endpoint_name(defaults[0], name))
        if naming is _Naming.STAND_IN:
            scope = self._stand_in(facts)
            return _Place(scope, self._endpoint_name(scope, name))
        return await self._without_server_name(facts)

    def _objection(self, name: str, facts: TLSFacts) -> Reason | None:
        """Why nobody is served at the endpoint of the name, or its domain configuration lets no such connection in."""
        service = self._endpoints.service_of(name)
        if service in NOT_BUILT:
            return not_built(service)
        return None if self._domains is None else self._domains.refusal(name, facts)

    def _stand_in(self, facts: TLSFacts) -> Scope:
        """Whom a local name stands for when the certificate has no DEFAULT registration."""
        if self._issuer_scope is not None:
            scope = self._issuer_scope(facts.certificate_der)
            if scope is not None:
                return scope
        return self._first

    async def _unknown_endpoint(self, facts: TLSFacts, name: str) -> _NotPlaced:
        """The device's own account sees it, where there is one: it is its device that has a wrong endpoint."""
        reasons = [Reason(ReasonCode.ENDPOINT_UNKNOWN, f"no endpoint here is called {name}")]
        found = await self._registered_in(facts, self._region, besides=None)
        if not found:
            reasons.append(Reason(ReasonCode.CERTIFICATE_NOT_REGISTERED, f"nor is it registered in {self._region}"))
        return _NotPlaced((*reasons, *self._certificate_reasons(facts)), found[0] if found else None)

    async def _without_server_name(self, facts: TLSFacts) -> _NotPlaced:
        found = await self._registered_in(facts, self._region, besides=None)
        if not found:
            signed_in = self._issuer_scope(facts.certificate_der) if self._issuer_scope is not None else None
            first = "no server name was sent, and a first connection has to name the endpoint of the CA's account"
            reasons = (
                *((Reason(ReasonCode.SNI_REQUIRED, first),) if signed_in is not None else ()),
                Reason(
                    ReasonCode.CERTIFICATE_NOT_REGISTERED,
                    f"no server name was sent, and the certificate has no DEFAULT-mode registration in {self._region}",
                ),
                *self._certificate_reasons(facts),
            )
            return _NotPlaced(reasons, signed_in)
        reason = Reason(
            ReasonCode.SNI_REQUIRED,
            "no server name was sent, and the certificate is registered in SNI_ONLY mode: the endpoint's name has to "
            "say which account is meant",
        )
        return _NotPlaced((reason, *self._certificate_reasons(facts)), found[0])

    def _endpoint_name(self, scope: Scope, otherwise: str) -> str:
        try:
            return self._endpoints.endpoint_name(scope)
        except KeyError:
            return otherwise

    async def _load(self, key: Key) -> Principal | None:
        """The principal as memory has it after the read, so that a change in between is not overlooked."""
        for _ in range(_LOAD_ATTEMPTS):
            loaded = await self._principals.load(key)
            current = self._principals.get(key)
            if loaded is None and current is None:
                return None
            if current is not None:
                return current
        raise RuntimeError("the registration changes faster than it can be read")

    def _remember_default(self, facts: TLSFacts, scope: Scope, before: int) -> None:
        """Called when all was read; `before` tells whether registrations changed meanwhile."""
        if before != self._registrations or self._naming(facts)[0] is _Naming.ENDPOINT:
            return
        principal = self._principals.get((scope, facts.certificate_id))
        if principal is None:
            return
        if len(self._defaults) >= MAX_STAND_INS:
            self._defaults.pop(next(iter(self._defaults)))
        self._defaults[facts.certificate_id] = scope if principal.default_mode else None

    def _admit(self, principal: Principal, place: _Place, facts: TLSFacts) -> Admitted | None:
        """Step 3 from what is in memory; None: refused."""
        now = self._clock.now().timestamp()
        if principal.broken_rules is None:
            principal.broken_rules = tuple(broken_rules(facts.certificate_der))
        if principal.broken_rules or not principal.usable or not principal.valid_at(now):
            return None
        if key_too_new(facts):
            return None
        principal.admitted_at = self._clock.monotonic()
        admitted = principal.admitted
        if admitted is None or admitted.domain_name != place.domain_name:
            admitted = principal.admitted = Admitted(
                place.scope, facts.certificate_id, place.domain_name, principal.not_after + 1
            )
        if self._sightings is not None:
            self._sightings.seen(principal.key, facts, legacy=self._is_legacy(place.domain_name))
        return admitted

    def _is_legacy(self, domain_name: str) -> bool:
        return self._endpoints.service_of(domain_name) is EndpointService.LEGACY_DATA

    # --- refusals of steps 2 and 3 ----------------------------------------------------------------------------

    def _refuse_certificate(
        self, principal: Principal, scope: Scope, facts: TLSFacts, further: tuple[Reason, ...] = ()
    ) -> Refused:
        reasons = (*self._standing(principal), *further)
        if any(reason.code is ReasonCode.CERTIFICATE_EXPIRED for reason in reasons):
            reasons = (*self._ended_claim(facts), *reasons)
        if key_too_new(facts):
            reasons += (Reason(ReasonCode.CLIENT_KEY_UNUSABLE, "an RSASSA-PSS key was used with TLS 1.2"),)
        return Refused(self._recorder.record(Stage.CERTIFICATE, reasons, facts, scope))

    async def _refuse_unregistered(self, place: _Place, facts: TLSFacts, further: tuple[Reason, ...]) -> Refused:
        """`further`: what was found about registering it at its first connection."""
        others = await self._registered_in(facts, place.scope.region, besides=place.scope)
        broken = self._certificate_reasons(facts)
        certificate = tuple(dict.fromkeys((*further, *broken)))
        where = f"account {place.scope.account} in {place.scope.region}"
        not_registered = Reason(ReasonCode.CERTIFICATE_NOT_REGISTERED, f"not registered in {where}")
        if not others:
            return Refused(self._recorder.record(Stage.CERTIFICATE, (not_registered, *certificate), facts, place.scope))
        foreign = Reason(
            ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT,
            f"the server name leads to {where}, the certificate to another account",
        )
        trace = self._recorder.record(Stage.ACCOUNT, (foreign, not_registered, *certificate), facts, place.scope)
        # Whose device it is sees the refusal too, and learns no other account's number from it.
        theirs = Reason(
            ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT, "the device asked for an endpoint that is not this account's"
        )
        for scope in others[:4]:
            self._recorder.record(Stage.ACCOUNT, (theirs, *broken), facts, scope, trace_id=trace)
        return Refused(trace)

    async def _registered_in(self, facts: TLSFacts, region: str, *, besides: Scope | None) -> list[Scope]:
        """Where else in the region the certificate is registered; for the record only, so bounded and best effort."""
        if not self._recorder.worth_examining(facts.peer_address):
            return []
        scopes = [each.scope for each in self._endpoints.all() if each.scope.region == region and each.scope != besides]
        found = await self._store.principals([(scope, facts.certificate_id) for scope in scopes[:MAX_SCOPES_SEARCHED]])
        places = [principal.certificate.scope for principal in found if principal is not None]
        for scope in await self._store.default_registrations(region, facts.certificate_id):
            if scope != besides and scope not in places:
                places.append(scope)
        return places

    def _certificate_reasons(self, facts: TLSFacts) -> tuple[Reason, ...]:
        """What is wrong with a certificate that is not registered, besides that."""
        if not self._recorder.worth_examining(facts.peer_address):
            return ()
        broken = broken_rules(facts.certificate_der, now=self._clock.now())
        return (*self._ended_claim(facts), *(rule_reason(*rule) for rule in broken))

    def _ended_claim(self, facts: TLSFacts) -> tuple[Reason, ...]:
        """For a certificate that is refused: it was made here to provision a device with."""
        examined = self._recorder.worth_examining(facts.peer_address)
        if not examined or not self._issued_claim(facts.certificate_der):
            return ()
        return (claim_ended(facts.certificate_der, self._clock.now()),)

    def _standing(self, principal: Principal | None) -> tuple[Reason, ...]:
        """Every reason why the principal may not be connected at this moment; empty when it may."""
        return standing(principal, self._clock.now().timestamp())

    def _internal(self, stage: Stage, facts: TLSFacts | None, error: Exception, scope: Scope | None = None) -> Refused:
        """Refused by an error of ours: the log has it, the peer and the record learn its kind at most."""
        log.error("a verdict failed inside and refuses", exc_info=error)
        reason = Reason(ReasonCode.INTERNAL, type(error).__name__)
        return Refused(self._recorder.record(stage, (reason,), facts, scope))

    # --- step 4: what may it do? ------------------------------------------------------------------------------

    def connect(self, facts: TLSFacts, admitted: Admitted, request: ConnectRequest) -> Authorizer | Refused:
        """`iot:Connect` and the Will's rights. The answer hears of every change until `disconnected`."""
        try:
            return self._connect(facts, admitted, request)
        except Exception as error:
            return self._internal(Stage.CONNECT, facts, error, admitted.scope)

    def _connect(self, facts: TLSFacts, admitted: Admitted, request: ConnectRequest) -> Authorizer | Refused:
        key = (admitted.scope, admitted.certificate_id)
        principal = self._principals.get(key)
        standing = self._standing(principal)
        if principal is None or standing:
            # It was admitted a moment ago: its registration changed in between.
            return Refused(
                self._recorder.record(Stage.CERTIFICATE, standing, facts, admitted.scope, client_id=request.client_id)
            )
        if request.protocol_version == 5 and self._is_legacy(admitted.domain_name):
            client_id = request.client_id
            trace = self._recorder.record(Stage.PROTOCOL, (legacy_mqtt5(),), facts, admitted.scope, client_id=client_id)
            return Refused(trace, unsupported_version=True)
        authorizer = self._authorizer(key, principal, facts, request.client_id, admitted.domain_name, PolicyAuthorizer)
        decision = authorizer.check_connect(request)
        if not decision.allowed:
            return Refused(authorizer.deny(Stage.CONNECT, Action.CONNECT, f"client/{request.client_id}", decision))
        needed: list[tuple[Stage, Action, str]] = []
        if request.will_topic is not None:
            needed.append((Stage.WILL, Action.PUBLISH, f"topic/{request.will_topic}"))
            if request.will_retain:
                needed.append((Stage.WILL, Action.RETAIN_PUBLISH, f"topic/{request.will_topic}"))
        for stage, action, resource in needed:
            decision = authorizer.check(action, resource)
            if not decision.allowed:
                return Refused(authorizer.deny(stage, action, resource, decision))
        self._principals.attach(authorizer, principal)
        if self._arrivals is not None and self._arrivals.awaits(key):
            self._arrivals.arrived(key, facts.peer_address)
        return authorizer

    def http(self, facts: TLSFacts, admitted: Admitted) -> Authorizer:
        """For one HTTPS request; judged by what the registry says at this moment."""
        key = (admitted.scope, admitted.certificate_id)
        principal = self._principals.get(key)
        if principal is not None:
            principal.admitted_at = self._clock.monotonic()
        arrivals = self._arrivals
        if arrivals is not None and arrivals.awaits(key):
            publisher = self._authorizer(key, principal, facts, None, admitted.domain_name, _AwaitedPublisher)
            publisher.arrived = functools.partial(arrivals.arrived, key, facts.peer_address)
            return publisher
        return self._authorizer(key, principal, facts, None, admitted.domain_name, PolicyAuthorizer)

    def _authorizer(
        self,
        key: Key,
        principal: Principal | None,
        facts: TLSFacts,
        client_id: str | None,
        domain_name: str,
        kind: type[_A],
    ) -> _A:
        return kind(
            key,
            principal,
            facts,
            client_id,
            self._recorder,
            self._standing,
            domain_name=domain_name,
            decisions=self._decisions or NO_DECISIONS,
        )

    def disconnected(self, admitted: Admitted, authorizer: Authorizer, reason: str) -> None:
        """The connection is gone and hears of nothing any more."""
        if isinstance(authorizer, PolicyAuthorizer):
            self._principals.detach(authorizer)
            if self._decisions is not None and authorizer.client_id is not None:
                self._decisions.connection_ended(authorizer.key, authorizer.client_id)

    def may_publish_will(self, admitted: Admitted, authorizer: Authorizer, topic: str, retain: bool) -> bool:
        """
        Whether policy allows the Will now; a denial is recorded.

        The certificate's status is not asked: a session that is cut because its
        certificate left ACTIVE still has its Will published, if the policies that
        are attached now allow it.
        """
        if not isinstance(authorizer, PolicyAuthorizer):
            return False
        try:
            # It may have been detached before its Will fires, and then hears of no change.
            authorizer.principal_changed(self._principals.get(authorizer.key))
            for action in (Action.PUBLISH, Action.RETAIN_PUBLISH) if retain else (Action.PUBLISH,):
                decision = authorizer.check(action, f"topic/{topic}")
                if not decision.allowed:
                    authorizer.deny(Stage.WILL, action, f"topic/{topic}", decision)
                    return False
            return True
        except Exception:
            log.exception("the judgement of a Will failed inside and denies it")
            return False

    # --- what the data plane refuses by itself ----------------------------------------------------------------

    def refused_client(self, refused: Refused, client_id: str) -> None:
        """The refusal is also found by this Client Identifier."""
        self._recorder.name_client(refused.trace_id, client_id)

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
        """Record it; its trace id. Its account: that admitted, else the signer's, else that of the server name."""
        scope = admitted.scope if admitted is not None else None
        if scope is None and facts is not None:
            if facts.signed is not None:
                scope = facts.signed.scope
            elif facts.sni is not None:
                scope = self._endpoints.resolve_sni(normal_name(facts.sni))
        return self._recorder.record(
            stage, reasons, facts, scope, address=address, client_id=client_id, resource=resource, details=details
        )
