"""
Fleet provisioning: what devices ask with a claim certificate on the request topics of `core.topics.reserved`.

A device gets a certificate with an ownership token, shows the token with a
template's name, and leaves with a thing, a policy and an ACTIVE certificate. A
private key exists in the reply alone; of a token its digest is stored.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.lifecycle import CertificateEvent, next_status
from handfast.core.identity.records import CertificateMode
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.pki.pem import read_certificate
from handfast.core.provisioning.builtin import ID, with_certificate
from handfast.core.provisioning.fleet import (
    SECRET_BYTES,
    TOKEN_LIFE,
    OwnershipProof,
    OwnershipToken,
    OwnershipTokenRecord,
    Rejected,
    RejectionCode,
    plan_rejected,
    prove,
    read_token,
    spent,
)
from handfast.core.provisioning.plan import Plan, ProvisioningFailed
from handfast.core.provisioning.records import (
    PreProvisioningHook,
    ProvisioningTemplateRecord,
    TemplateName,
    TemplateType,
)
from handfast.core.provisioning.template import TemplateError, TemplateKind, read_template
from handfast.core.topics.reserved import RequestKind
from handfast.errors import (
    CertificateInputError,
    HookDenied,
    ProviderFailed,
    ServiceUnavailableError,
    StoreConflict,
    StoreUnavailable,
)
from handfast.ports import Cause, Change, ChangeKind, Clock, Entropy, Meter, Store
from handfast.ports.provisioning import Provisioned
from handfast.seam import Reply, Request, Unanswered
from handfast.services.certificates import Issuer, new_record
from handfast.services.commit import Committer
from handfast.services.pace import Pace
from handfast.services.payloads import parameters_member, read_payload, text_member, write_payload
from handfast.services.recording import Recorder

log = logging.getLogger(__name__)

MAX_CSR_CHARACTERS = 4096
"""As the model has it for CreateCertificateFromCsr."""
CLAIM_PER_MINUTE = 600
"""Certificates made, and devices provisioned, with one claim; unless its limits say otherwise."""
CLAIM_BURST = 200
SCOPE_PER_MINUTE = 3000
"""The same, with all claims of an account in a region."""
SCOPE_BURST = 1000
CLAIM_UNDER_WAY = 64
"""Requests of one claim at the same time; each may hold a key that is being made."""
SCOPE_UNDER_WAY = 192

_REFUSED: Mapping[Unanswered, tuple[RejectionCode, str]] = {
    Unanswered.CROWDED: (
        RejectionCode.THROTTLED,
        "Too many requests of this connection are under way; wait for their replies.",
    ),
    Unanswered.NOT_RECEIVABLE: (
        RejectionCode.ACCESS_DENIED,
        "The claim's policy does not allow iot:Receive on the topic of the accepted reply.",
    ),
}


class Carrier(Protocol):
    """What carries out a plan (services.provisioner)."""

    async def carry_out(
        self, scope: Scope, cause: Cause, plan: Plan, *, certificate_id: CertificateId, ownership: OwnershipProof
    ) -> Provisioned:
        """The plan is true and the token spent, or neither. ProvisioningFailed; StoreConflict of the token."""
        ...


class Hooks(Protocol):
    """Pre-provisioning hooks (services.hooks)."""

    async def ask(
        self,
        scope: Scope,
        hook: PreProvisioningHook,
        *,
        template_name: TemplateName,
        claim_certificate_id: CertificateId,
        certificate_id: CertificateId,
        certificate_pem: str,
        client_id: str,
        parameters: Mapping[str, str],
    ) -> Mapping[str, str]:
        """Parameters that replace or join the device's. HookDenied, and any other error, denies."""
        ...


class Providers(Protocol):
    """Certificate providers (services.certificate_providers)."""

    async def issue(self, scope: Scope, csr_pem: str, *, client_id: str, principal: CertificateId) -> str | None:
        """A certificate (PEM) for the request's key; None: the account has no provider. ProviderFailed."""
        ...


class _NobodyWaits(Exception):
    """The connection that asked is gone before anything was registered for it."""


class FleetProvisioning:
    """
    `seam.Requests`. Belongs to one event loop.

    Without `hooks` a template that has a hook provisions nothing; without `providers` every
    certificate comes from `issuer`.
    """

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        carrier: Carrier,
        *,
        clock: Clock,
        entropy: Entropy,
        meter: Meter,
        commit: Committer,
        recorder: Recorder,
        hooks: Hooks | None = None,
        providers: Providers | None = None,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._carrier = carrier
        self._clock = clock
        self._entropy = entropy
        self._meter = meter
        self._commit = commit
        self._recorder = recorder
        self._hooks = hooks
        self._providers = providers
        self._pace = Pace()
        self._under_way: Counter[Hashable] = Counter()
        self._operations: Mapping[RequestKind, Callable[[Request, Cause], Awaitable[dict[str, Any]]]] = {
            RequestKind.CREATE_KEYS_AND_CERTIFICATE: self._create_keys,
            RequestKind.CREATE_CERTIFICATE_FROM_CSR: self._create_from_csr,
            RequestKind.REGISTER_THING: self._register_thing,
        }

    # --- seam.Requests

    async def answer(self, request: Request) -> Reply | None:
        """Carried out, or rejected; None when nobody waits for it any more."""
        wanted = request.wanted
        cause = Cause(
            actor=certificate_arn(request.scope, request.certificate_id),
            address=request.address,
            operation=wanted.kind.value,
            request_id=self._entropy.uuid(),
            at=self._clock.now(),
        )
        try:
            with self._one_more(request):
                await self._admit(request)
                members = await self._operations[wanted.kind](request, cause)
        except _NobodyWaits:
            self._count(request, "gone")
            return None
        except Rejected as rejected:
            return self._rejected(request, rejected)
        except (StoreUnavailable, ServiceUnavailableError):
            text = "The service cannot do this now; try again."
            return self._rejected(request, Rejected(RejectionCode.UNAVAILABLE, text))
        except Exception:
            log.exception("a provisioning request failed inside", extra={"operation": wanted.kind.value})
            return self._rejected(request, Rejected(RejectionCode.INTERNAL, "The request failed inside the service."))
        self._count(request, "accepted")
        return Reply(f"{request.topic}/accepted", write_payload(members, wanted.format))

    def refuse(self, request: Request, why: Unanswered) -> Reply:
        """The reply to a request that is not looked at."""
        return self._rejected(request, Rejected(*_REFUSED[why]))

    def _rejected(self, request: Request, rejected: Rejected) -> Reply:
        self._count(request, rejected.code.value)
        # Found by the claim, the client id or the address; bounded as every record of a refusal is.
        self._recorder.record(
            Stage.PUBLISH,
            (Reason(ReasonCode.FLEET_REQUEST_REJECTED, f"{rejected.code}: {rejected}"),),
            request.facts,
            request.scope,
            certificate_id=request.certificate_id,
            address=request.address,
            client_id=request.client_id,
            resource=request.topic,
        )
        return Reply(f"{request.topic}/rejected", write_payload(rejected.payload, request.wanted.format))

    def _count(self, request: Request, outcome: str) -> None:
        labels = {"operation": request.wanted.kind.value, "outcome": outcome}
        self._meter.count("handfast_fleet_provisioning_requests_total", labels=labels)

    # --- who may ask, and how often

    @contextmanager
    def _one_more(self, request: Request) -> Iterator[None]:
        """It is under way, if there are not too many already."""
        bounds = (((request.scope, request.certificate_id), CLAIM_UNDER_WAY), (request.scope, SCOPE_UNDER_WAY))
        if any(self._under_way[key] >= bound for key, bound in bounds):
            raise Rejected(RejectionCode.THROTTLED, "Too many provisioning requests are under way; try again later.")
        for key, _ in bounds:
            self._under_way[key] += 1
        try:
            yield
        finally:
            for key, _ in bounds:
                self._under_way[key] -= 1
                if not self._under_way[key]:
                    del self._under_way[key]

    async def _admit(self, request: Request) -> None:
        claim = await self._store.claim(request.scope, request.certificate_id)
        per_minute, burst = CLAIM_PER_MINUTE, CLAIM_BURST
        if claim is not None:
            if not claim.limits.admits(request.address):
                text = "The claim certificate may not be used from this address."
                raise Rejected(RejectionCode.ACCESS_DENIED, text)
            if claim.limits.per_minute is not None:
                per_minute = burst = claim.limits.per_minute
        # A device makes two requests: one for its certificate, one for the rest.
        half = request.wanted.kind is RequestKind.REGISTER_THING
        now = self._clock.monotonic()
        claimed = (request.scope, request.certificate_id, half)
        if not (
            self._pace.admit(claimed, now, per_s=per_minute / 60, burst=burst)
            and self._pace.admit((request.scope, half), now, per_s=SCOPE_PER_MINUTE / 60, burst=SCOPE_BURST)
        ):
            raise Rejected(RejectionCode.THROTTLED, "Rate exceeded; try again later, after a random time.")

    # --- the operations

    async def _create_keys(self, request: Request, cause: Cause) -> dict[str, Any]:
        read_payload(request.payload, request.wanted.format, may_be_empty=True)
        issued = await self._issuer.create_keys_and_certificate()
        token = await self._register(request, cause, issued.certificate_pem)
        return {
            "certificateId": token.certificate_id,
            "certificatePem": issued.certificate_pem,
            "privateKey": issued.private_key_pem,
            "certificateOwnershipToken": token.text,
        }

    async def _create_from_csr(self, request: Request, cause: Cause) -> dict[str, Any]:
        members = read_payload(request.payload, request.wanted.format)
        csr_pem = text_member(members, "certificateSigningRequest")
        if not csr_pem:
            raise Rejected(RejectionCode.INVALID_CSR, "Certificate signing request cannot be empty.")
        if len(csr_pem) > MAX_CSR_CHARACTERS:
            text = f"The certificate signing request is longer than {MAX_CSR_CHARACTERS} characters."
            raise Rejected(RejectionCode.INVALID_CSR, text)
        try:
            pem = await self._provided(request, csr_pem) or await self._issuer.issue_from_csr(csr_pem)
        except CertificateInputError as error:
            text = f"The certificate signing request cannot be used: {error}"
            raise Rejected(RejectionCode.INVALID_CSR, text) from error
        token = await self._register(request, cause, pem)
        return {
            "certificateOwnershipToken": token.text,
            "certificateId": token.certificate_id,
            "certificatePem": pem,
        }

    async def _provided(self, request: Request, csr_pem: str) -> str | None:
        if self._providers is None:
            return None
        try:
            return await self._providers.issue(
                request.scope, csr_pem, client_id=request.client_id, principal=request.certificate_id
            )
        except ProviderFailed as error:
            raise Rejected(RejectionCode.UNAVAILABLE, str(error)) from error

    async def _register(self, request: Request, cause: Cause, pem: str) -> OwnershipToken:
        """The certificate is registered PENDING_ACTIVATION, for who has the token."""
        if not request.waiting():
            raise _NobodyWaits
        parsed = read_certificate(pem)
        scope, claim_id = request.scope, request.certificate_id
        status = next_status(None, CertificateEvent.REGISTER_JUST_IN_TIME, parsed.certificate_id)
        # Without a CA, so that just-in-time registration never picks it up.
        record = new_record(scope, cause, parsed, status, CertificateMode.DEFAULT, generation_id=self._entropy.uuid())
        token = OwnershipToken(parsed.certificate_id, self._entropy.token_bytes(SECRET_BYTES))
        kept = OwnershipTokenRecord(
            scope=scope,
            certificate_id=token.certificate_id,
            claim_certificate_id=claim_id,
            digest=token.digest(scope, claim_id),
            expires_at=cause.at + TOKEN_LIFE,
        )
        try:
            await self._commit(
                self._store.insert_unclaimed(record, kept, cause),
                suspects=[Change(ChangeKind.CERTIFICATE, scope, record.certificate_id)],
            )
        except StoreConflict as conflict:
            raise _conflict(conflict) from None
        return token

    async def _register_thing(self, request: Request, cause: Cause) -> dict[str, Any]:
        members = read_payload(request.payload, request.wanted.format)
        token = read_token(text_member(members, "certificateOwnershipToken"))
        asked = parameters_member(members)
        template = await self._template(request)
        scope, claim_id = request.scope, request.certificate_id
        kept = await self._store.ownership_token(scope, token.certificate_id)
        proof = prove(token, kept, scope, claim_id, cause.at)
        certificate = await self._store.certificate(scope, token.certificate_id)
        if certificate is None:
            raise Rejected(RejectionCode.INVALID_TOKEN, "The certificate of the ownership token does not exist.")
        parameters = with_certificate(asked, {})
        if template.hook is not None:
            overrides = await self._ask_hook(request, template, template.hook, certificate.pem, token, parameters)
            parameters = parameters | dict(overrides)
        try:
            # Of the certificate's own parameters the id alone: its subject is what the device asked for.
            # Read once: the text is what it is remembered by.
            made = read_template(template.body, TemplateKind.FLEET)
            plan = made.plan(with_certificate(parameters, {ID: token.certificate_id}))
            _require_own(plan, token.certificate_id)
            done = await self._carrier.carry_out(
                scope, cause, plan, certificate_id=token.certificate_id, ownership=proof
            )
        except TemplateError as error:
            log.warning("a stored template cannot be read: %s", error, extra={"template": template.template_name})
            text = f"Provisioning template {template.template_name} cannot be used."
            raise Rejected(RejectionCode.INVALID_REQUEST, text) from error
        except ProvisioningFailed as failed:
            raise plan_rejected(failed) from failed
        except StoreConflict as conflict:
            raise _conflict(conflict) from None
        answer: dict[str, Any] = {"deviceConfiguration": dict(plan.device_configuration)}
        if done.thing_name is not None:
            answer["thingName"] = done.thing_name
        return answer

    async def _template(self, request: Request) -> ProvisioningTemplateRecord:
        name = TemplateName(request.wanted.template_name or "")
        template = await self._store.provisioning_template(request.scope, name)
        if template is None:
            raise Rejected(RejectionCode.NOT_FOUND, f"Provisioning template {name} does not exist.")
        if template.type is not TemplateType.FLEET_PROVISIONING:
            text = f"Provisioning template {name} is not of type FLEET_PROVISIONING."
            raise Rejected(RejectionCode.INVALID_REQUEST, text)
        if not template.enabled:
            raise Rejected(RejectionCode.INVALID_REQUEST, f"Provisioning template {name} is not enabled.")
        return template

    async def _ask_hook(
        self,
        request: Request,
        template: ProvisioningTemplateRecord,
        hook: PreProvisioningHook,
        certificate_pem: str,
        token: OwnershipToken,
        parameters: Mapping[str, str],
    ) -> Mapping[str, str]:
        """What the hook changes of the parameters; whatever goes wrong with it denies."""
        if self._hooks is None:
            raise Rejected(RejectionCode.ACCESS_DENIED, "The template has a hook, and hooks are not asked here.")
        try:
            return await self._hooks.ask(
                request.scope,
                hook,
                template_name=template.template_name,
                claim_certificate_id=request.certificate_id,
                certificate_id=token.certificate_id,
                certificate_pem=certificate_pem,
                client_id=request.client_id,
                parameters=parameters,
            )
        except HookDenied as error:
            raise Rejected(RejectionCode.ACCESS_DENIED, str(error)) from error
        except Exception as error:
            log.exception("a pre-provisioning hook failed inside, which denies", extra={"hook": hook.target_arn})
            text = "The pre-provisioning hook could not be asked."
            raise Rejected(RejectionCode.ACCESS_DENIED, text) from error


def _require_own(plan: Plan, certificate_id: CertificateId) -> None:
    """A token opens its own certificate alone, whatever a template names."""
    if plan.certificate is None or plan.certificate.certificate_id != certificate_id:
        raise Rejected(
            RejectionCode.INVALID_REQUEST,
            'The template has no certificate resource whose CertificateId is {"Ref": "AWS::IoT::Certificate::Id"}.',
        )


def _conflict(conflict: StoreConflict) -> Rejected:
    match conflict.kind:
        case "claim":
            return Rejected(RejectionCode.ACCESS_DENIED, "The claim certificate is not active.")
        case "exhausted":
            return Rejected(
                RejectionCode.LIMIT_EXCEEDED, "The claim certificate has provisioned as many devices as it may."
            )
        case "token":
            return spent()
        case _:
            return Rejected(RejectionCode.CONFLICT, "The certificate is registered already.")
