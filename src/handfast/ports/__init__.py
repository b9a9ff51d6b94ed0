"""
Everything the plane needs from the world, on one page.

The core imports none of this; services are written against it; adapters
(storage, bus, keystore, telemetry) implement it; `handfast.app` introduces them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from handfast.core.identity.audit_chain import AuditHead, AuditRow
from handfast.core.identity.events import CommittedChange, EventConfigurationsRecord, EventType
from handfast.core.identity.ids import (
    AccountId,
    BillingGroupName,
    CertificateId,
    Scope,
    ThingName,
    ThingTypeName,
)
from handfast.core.identity.records import (
    AccessKeyRecord,
    AccountRecord,
    AccountStatus,
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateRecord,
    CertificateStatus,
    EndpointRecord,
    PrincipalRecord,
    RegistrationConfig,
    ThingPrincipalType,
    ThingRecord,
    TombstoneReason,
)
from handfast.core.identity.refusal import Refusal
from handfast.core.identity.rotation import RotationEnd, RotationRecord, RotationState
from handfast.core.identity.tags import TaggedResource
from handfast.core.identity.things import BillingGroupRecord, ThingEdit, ThingTypeProperties, ThingTypeRecord
from handfast.errors import StoreConflict
from handfast.ports.certificate_providers import CertificateProviderStore, ProvisioningClaimStore
from handfast.ports.domains import DomainStore
from handfast.ports.fleet import FleetStore
from handfast.ports.hooks import HookStore
from handfast.ports.just_in_time import JustInTimeStore
from handfast.ports.policies import PolicyStore
from handfast.ports.provisioning import ProvisioningStore, ProvisioningTemplateStore
from handfast.ports.registration_tasks import RegistrationTaskStore
from handfast.ports.revocations import RevocationStore
from handfast.ports.roots import RootAuditStore
from handfast.ports.thing_groups import ThingGroupStore
from handfast.ports.values import NO_TAGS as NO_TAGS
from handfast.ports.values import Cause as Cause
from handfast.ports.values import Change as Change
from handfast.ports.values import ChangeKind as ChangeKind
from handfast.ports.values import Cursor as Cursor
from handfast.ports.values import Page as Page
from handfast.ports.values import PageRequest as PageRequest
from handfast.ports.values import Span as Span
from handfast.ports.values import Tags as Tags


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which audit rows: of one chain or of all (None); every condition that is given holds. `until` is exclusive."""

    chain: str | None
    kinds: Sequence[ChangeKind] = ()
    subject: str | None = None
    operation: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


class AuditSource(Protocol):
    """The audit trail as verification reads it."""

    async def audit_heads(self) -> list[AuditHead]: ...  # of every chain, as the store remembers them
    async def audit_extents(self) -> dict[str, int]: ...  # the highest number of every chain, as the rows say
    async def audit_rows(self, chain: str, after: int, until: int, limit: int) -> list[AuditRow]:
        """Up to `limit` rows of the chain by number, above `after` and up to `until`, exactly as they stand there."""
        ...


class Store(
    AuditSource,
    ThingGroupStore,
    PolicyStore,
    ProvisioningStore,
    HookStore,
    RootAuditStore,
    ProvisioningTemplateStore,
    FleetStore,
    JustInTimeStore,
    RegistrationTaskStore,
    CertificateProviderStore,
    ProvisioningClaimStore,
    RevocationStore,
    DomainStore,
    Protocol,
):
    """
    The registry. One method is one transaction, durable on return.

    Every changing method writes its audit row and its change rows in the same
    transaction and returns the changes. Raises StoreConflict (guard or unique,
    never retried here) and StoreUnavailable. No driver error leaks out.
    """

    # accounts and keys
    async def create_account(self, account: AccountRecord, cause: Cause) -> list[Change]: ...  # "exists"
    async def account(self, account_id: AccountId) -> AccountRecord | None: ...
    async def accounts(self) -> list[AccountRecord]: ...  # by creation; the first is the first account
    async def set_account_status(
        self, account_id: AccountId, status: AccountStatus, cause: Cause
    ) -> list[Change]: ...  # "missing"
    async def add_access_key(self, key: AccessKeyRecord, cause: Cause) -> list[Change]: ...  # "exists", "missing"
    async def access_key(self, access_key_id: str) -> AccessKeyRecord | None: ...
    async def access_keys(self, account_id: AccountId | None) -> list[AccessKeyRecord]: ...
    async def revoke_access_key(self, access_key_id: str, cause: Cause) -> list[Change]: ...  # "missing"

    # endpoints
    async def ensure_endpoint(self, scope: Scope, prefix: str, cause: Cause) -> EndpointRecord:
        """The scope's endpoint: the stored one if there is one, else `prefix`, now stored. "exists": prefix taken."""
        ...

    async def endpoints(self) -> list[EndpointRecord]: ...

    # certificates
    async def insert_certificate(
        self, certificate: CertificateRecord, cause: Cause, *, require_ca: bool = False
    ) -> list[Change]:
        """Registered. In this order: "ca" (only with `require_ca`): the CA that it names is not registered and ACTIVE
        in this scope; "revoked": a tombstone says that it was revoked here; "exists" (facts: scope, certificate_id):
        the same DER in this scope, or DEFAULT elsewhere in the region when this one is DEFAULT too."""
        ...

    async def insert_certificates(
        self, certificates: Sequence[CertificateRecord], cause: Cause, *, require_ca: bool = False
    ) -> list[Change | StoreConflict]:
        """Many in one transaction, a result for each, in order; conflicts as of `insert_certificate`."""
        ...

    async def certificate(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None: ...
    async def certificate_statuses(
        self, scope: Scope, certificate_ids: Sequence[CertificateId]
    ) -> dict[CertificateId, CertificateStatus]: ...  # of those that are registered in the scope
    async def certificate_or_offer(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None:
        """The scope's registration; without one, another account's whose transfer to this one is pending."""
        ...

    async def set_certificate_status(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        *,
        expected: CertificateStatus,
        new: CertificateStatus,
        cause: Cause,
        reason: str = "unspecified",
    ) -> list[Change]:
        """REVOKED for a reason of `core.pki.reasons`, which is noted for `revocations_after`. A rotation that it takes
        part in ends where it has no point left. "status": no longer `expected`; "missing"."""
        ...

    async def delete_certificate(
        self, scope: Scope, certificate_id: CertificateId, *, force: bool, cause: Cause
    ) -> list[Change]:
        """Gone; a REVOKED one leaves a tombstone. In this order: "missing", "status" (ACTIVE or PENDING_TRANSFER),
        "things", "policies" (not with force, which detaches them in the same transaction)."""
        ...

    async def list_certificates(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
        """The scope's registrations, and those whose transfer to it is pending (their `scope` is the source's)."""
        ...

    async def list_certificates_by_ca(
        self, scope: Scope, ca_certificate_id: CertificateId, page: PageRequest
    ) -> Page[CertificateRecord]: ...
    async def certificates_by_expiry(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        until: dt.datetime | None = None,
        statuses: Collection[CertificateStatus] = (),
    ) -> Page[CertificateRecord]:
        """What `list_certificates` lists, those that expire first at the top whatever `page.ascending` says: only those
        whose validity ends at `until` or before, and only these statuses (none: every one)."""
        ...

    async def count_active_by_expiry(self, spans: Sequence[Span]) -> tuple[list[int], list[int]]:
        """Over all accounts, how many ACTIVE device certificates and how many ACTIVE CAs have their notAfter in each
        span; costs a walk over the index for those that are counted (0.1 s of CPU for a million)."""
        ...

    async def principals(self, keys: Sequence[tuple[Scope, CertificateId]]) -> list[PrincipalRecord | None]: ...
    async def default_registrations(self, region: str, certificate_id: CertificateId) -> list[Scope]:
        """Scopes in which the certificate is registered in DEFAULT mode; at most one by a unique index."""
        ...

    # transfers between the accounts of a region
    async def transfer_certificate(
        self, scope: Scope, certificate_id: CertificateId, *, target: AccountId, message: str | None, cause: Cause
    ) -> list[Change]:
        """PENDING_TRANSFER, offered to `target`. In this order: "missing", "status" (facts: status): not INACTIVE,
        "target": no such account, "policies", "things", "rotation": a WAITING one has it, "offered": another
        account's registration of the same certificate is already pending for this target."""
        ...

    async def accept_transfer(
        self, scope: Scope, certificate_id: CertificateId, *, status: CertificateStatus, cause: Cause
    ) -> list[Change]:
        """The registration is `scope`'s, with `status`, one customer version up; the source keeps a tombstone.
        In this order: "missing": never offered to this scope, "settled" (facts: status): no longer pending,
        "revoked": a tombstone here, "exists": registered here already."""
        ...

    async def reject_transfer(
        self, scope: Scope, certificate_id: CertificateId, *, reason: str | None, cause: Cause
    ) -> list[Change]: ...  # INACTIVE at its source; "missing", "settled" as above

    async def cancel_transfer(
        self, scope: Scope, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]: ...  # INACTIVE again; "missing": neither ours nor was, "settled" (facts: status)

    async def list_outgoing(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]: ...

    # tombstones
    async def tombstone(self, scope: Scope, certificate_id: CertificateId) -> TombstoneReason | None: ...
    async def forget_certificate(
        self, scope: Scope, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]: ...  # "missing": no tombstone

    # rotations
    async def begin_rotation(
        self, rotation: RotationRecord, successor: CertificateRecord, *, limit: int, cause: Cause
    ) -> list[Change]:
        """The successor is registered with the policies and things of the certificate, and the rotation is WAITING.
        In this order: "missing", "status" (facts: status): not ACTIVE, "rotating" or "successor" (facts: rotation):
        the certificate is the old one or the successor of a WAITING one, "limit": of WAITING ones in the scope, then
        those of `insert_certificate`."""
        ...

    async def finish_rotation(
        self, scope: Scope, successor_id: CertificateId, end: RotationEnd, cause: Cause
    ) -> list[Change]:
        """Ended by CONNECTED or DEADLINE (the old certificate is retired, or kept where that was asked for at the
        deadline), or by REQUEST (the successor is INACTIVE); "missing", "settled": no longer WAITING."""
        ...

    async def rotation(self, scope: Scope, certificate_id: CertificateId) -> RotationRecord | None:
        """The one that the certificate takes part in, as the old one or the successor: a WAITING one, else the
        newest."""
        ...

    async def list_rotations(
        self, scope: Scope, page: PageRequest, *, state: RotationState | None
    ) -> Page[RotationRecord]: ...
    async def waiting_successors(self) -> list[tuple[Scope, CertificateId]]: ...  # of every scope
    async def upcoming_rotations(self, limit: int) -> list[RotationRecord]: ...  # WAITING ones by deadline, every scope

    # CA certificates and the registration code
    async def ensure_registration_code(self, scope: Scope, code: str, cause: Cause) -> str:
        """The scope's code: the stored one if there is one, else `code`, now stored."""
        ...

    async def registration_code(self, scope: Scope) -> str | None: ...
    async def delete_registration_code(self, scope: Scope, cause: Cause) -> list[Change]: ...  # "missing"
    async def insert_ca_certificate(
        self,
        ca: CACertificateRecord,
        *,
        registration_code: str | None,
        subject_limit: int,
        tags: Tags = NO_TAGS,
        cause: Cause,
    ) -> list[Change]:
        """Registered. In this order: "exists": the same DER in this scope, or DEFAULT elsewhere in the region when
        this one is DEFAULT too; "code": `registration_code` is given and is not the scope's code any more; "limit":
        `subject_limit` CAs of this subject are in the scope; "template": the one that its registration configuration
        names is not there, "template_type": it is not of type JITP."""
        ...

    async def ca_certificate(self, scope: Scope, certificate_id: CertificateId) -> CACertificateRecord | None: ...
    async def ca_certificates_of_subject(self, scope: Scope, subject: str) -> list[CACertificateRecord]: ...
    async def update_ca_certificate(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        *,
        status: CACertificateStatus | None,
        auto_registration_status: AutoRegistrationStatus | None,
        registration_config: RegistrationConfig | None = None,
        remove_registration_config: bool = False,
        cause: Cause,
    ) -> list[Change]: ...  # None: as it was; "missing", then "template" and "template_type" as above
    async def delete_ca_certificate(
        self, scope: Scope, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]: ...  # "missing", "status" (ACTIVE)
    async def list_ca_certificates(
        self, scope: Scope, page: PageRequest, *, template_name: str | None = None
    ) -> Page[CACertificateRecord]: ...  # only those that provision by the template
    async def ca_certificates_by_expiry(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        until: dt.datetime | None = None,
        statuses: Collection[CACertificateStatus] = (),
    ) -> Page[CACertificateRecord]: ...  # as `certificates_by_expiry`
    async def default_ca_certificates(self, region: str) -> list[CACertificateRecord]:
        """Every CA registered in DEFAULT mode in the region, of all accounts."""
        ...

    # things
    async def create_thing(self, thing: ThingRecord, cause: Cause) -> list[Change]:
        """In this order: "exists", "type": no such thing type, "deprecated": it is, "billing_group": no such group."""
        ...

    async def update_thing(self, scope: Scope, name: ThingName, edit: ThingEdit, cause: Cause) -> list[Change]:
        """One version up. "missing", then those of `core.identity.things.edited`, then "type" and "deprecated" of a
        thing type that is not the thing's already."""
        ...

    async def set_billing_group(
        self,
        scope: Scope,
        name: ThingName,
        *,
        old: BillingGroupName | None,
        new: BillingGroupName | None,
        cause: Cause,
    ) -> list[Change]:
        """The thing is in `new`, or no more in `old`, and its version stays. In this order: "thing" and
        "billing_group" missing, "member" (facts: group): it is to be in `new` and is in another than `old`."""
        ...

    async def thing(self, scope: Scope, name: ThingName) -> ThingRecord | None: ...
    async def list_things(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        attribute_name: str | None = None,
        attribute_value: str | None = None,
        prefix: bool = False,
        thing_type_name: str | None = None,
    ) -> Page[ThingRecord]: ...
    async def delete_thing(
        self, scope: Scope, name: ThingName, *, expected_version: int | None, cause: Cause
    ) -> list[Change]: ...  # with its memberships of groups; "missing", "version", "principals"
    async def attach_thing(
        self,
        scope: Scope,
        name: ThingName,
        certificate_id: CertificateId,
        principal_type: ThingPrincipalType,
        cause: Cause,
    ) -> list[Change]: ...  # "thing", "certificate" missing; "status" (PENDING_TRANSFER); "exclusive"
    async def detach_thing(
        self, scope: Scope, name: ThingName, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]: ...  # "thing", "certificate" missing; detaching what is not attached changes nothing
    async def thing_principals(
        self, scope: Scope, name: ThingName, page: PageRequest, *, principal_type: ThingPrincipalType | None = None
    ) -> Page[tuple[CertificateId, ThingPrincipalType]]: ...  # "missing"
    async def principal_things(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        page: PageRequest,
        *,
        principal_type: ThingPrincipalType | None = None,
    ) -> Page[tuple[ThingName, ThingPrincipalType]]: ...  # "missing"

    # thing types
    async def create_thing_type(
        self, thing_type: ThingTypeRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]: ...  # "exists"
    async def thing_type(self, scope: Scope, name: ThingTypeName) -> ThingTypeRecord | None: ...
    async def update_thing_type(
        self, scope: Scope, name: ThingTypeName, properties: ThingTypeProperties, cause: Cause
    ) -> list[Change]: ...  # what is not said stays; "missing"
    async def deprecate_thing_type(
        self, scope: Scope, name: ThingTypeName, *, undo: bool, cause: Cause
    ) -> list[Change]: ...  # since the first time that it was; "missing"
    async def delete_thing_type(
        self, scope: Scope, name: ThingTypeName, *, deprecated_until: dt.datetime, cause: Cause
    ) -> list[Change]:
        """In this order: "missing", "deprecated": it is not, "things": it has some, "waiting": deprecated later."""
        ...

    async def list_thing_types(
        self, scope: Scope, page: PageRequest, *, name: ThingTypeName | None = None
    ) -> Page[ThingTypeRecord]: ...

    # billing groups
    async def create_billing_group(
        self, group: BillingGroupRecord, cause: Cause, *, tags: Tags = NO_TAGS
    ) -> list[Change]: ...  # "exists"
    async def billing_group(self, scope: Scope, name: BillingGroupName) -> BillingGroupRecord | None: ...
    async def update_billing_group(
        self,
        scope: Scope,
        name: BillingGroupName,
        *,
        description: str | None,
        expected_version: int | None,
        cause: Cause,
    ) -> list[Change]: ...  # "missing", "version" (facts: version)
    async def delete_billing_group(
        self, scope: Scope, name: BillingGroupName, *, expected_version: int | None, cause: Cause
    ) -> list[Change]: ...  # "missing", "version" (facts: version), "things"
    async def list_billing_groups(
        self, scope: Scope, page: PageRequest, *, prefix: str | None = None
    ) -> Page[BillingGroupName]: ...
    async def billing_group_things(
        self, scope: Scope, name: BillingGroupName, page: PageRequest
    ) -> Page[ThingName]: ...  # "missing"

    # tags, which go with their resource
    async def tag_resource(
        self, scope: Scope, resource: TaggedResource, tags: Tags, *, limit: int, cause: Cause
    ) -> list[Change]: ...  # beside those it has; "missing", "limit"
    async def untag_resource(
        self, scope: Scope, resource: TaggedResource, keys: Collection[str], cause: Cause
    ) -> list[Change]: ...  # "missing"
    async def tags(self, scope: Scope, resource: TaggedResource) -> Tags: ...  # "missing"

    # registry events
    async def event_configurations(self, scope: Scope) -> EventConfigurationsRecord | None: ...  # None: never set
    async def all_event_configurations(self) -> list[EventConfigurationsRecord]: ...
    async def set_event_configurations(
        self, scope: Scope, settings: Mapping[EventType, bool], cause: Cause
    ) -> list[Change]: ...  # of these types; the others stay
    async def newest_committed(self, kind: ChangeKind | None) -> int: ...  # sequence of its audit row; 0: none
    async def committed_after(
        self, sequence: int, kinds: Collection[str], limit: int
    ) -> tuple[list[CommittedChange], int]:
        """Up to `limit` changes of these kinds after the audit row `sequence`, and where to go on."""
        ...

    # the audit trail
    async def audit_events(self, query: AuditQuery, page: PageRequest) -> Page[AuditRow]:
        """In the order they were written. A page may hold fewer rows than asked for and still have a next one."""
        ...

    async def audit_position(self) -> int: ...  # grows with every row
    async def audit_links(self, places: Sequence[tuple[str, int]]) -> list[str | None]:
        """The link of the row of each (chain, number); None where there is none."""
        ...

    # following
    async def changes_since(self, cursor: Cursor, limit: int) -> tuple[list[Change], Cursor]: ...
    async def head_cursor(self) -> Cursor: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """A retained message. `properties` is the encoded MQTT 5 property block to send on; instants are epoch seconds."""

    topic: str
    payload: bytes
    qos: int
    properties: bytes
    stored_at: float
    expires_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainOp:
    """Set the retained message of a topic, or clear it when `message` is None."""

    scope: Scope
    topic: str
    message: Retained | None


class Sessions(Protocol):
    """Durable MQTT state in its own SQLite file. Persistent sessions join here with a later issue."""

    async def commit(self, ops: Sequence[RetainOp]) -> list[bool]:
        """Group commit: all durable on return. Order kept per topic. False: the scope's retained store is full."""
        ...

    async def retained(self, keys: Sequence[tuple[Scope, str]]) -> list[Retained | None]: ...
    async def close(self) -> None: ...


Notify = Callable[[Sequence[Change]], Awaitable[None]]
"""Called with the changes after the commit and awaited before the API answers: when it returns, this process's
caches and live connections obey them."""


class Bus(Protocol):
    """Between gateways, never between two connections of one gateway."""

    def announce(self, changes: Sequence[Change]) -> None: ...
    async def close(self) -> None: ...


class KeyStore(Protocol):
    """Private keys by name; signs, never exports."""

    def public_key_pem(self, name: str) -> bytes: ...
    def sign(self, name: str, data: bytes) -> bytes: ...


class Clock(Protocol):
    """Time as the plane sees it; `--clock` shifts it."""

    def now(self) -> dt.datetime: ...  # aware UTC
    def monotonic(self) -> float: ...  # seconds


class Entropy(Protocol):
    """Randomness as the plane sees it."""

    def token_bytes(self, n: int) -> bytes: ...
    def uuid(self) -> str: ...


class Meter(Protocol):
    """Counts and gauges; names and units stand in one table in telemetry.metrics."""

    def count(self, name: str, by: int = 1, labels: Mapping[str, str] | None = None) -> None: ...
    def gauge(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None: ...
    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None: ...


class RefusalSink(Protocol):
    """Takes refusals: bounded, rate-limited per address, never blocking, never raising."""

    def trace_id(self) -> str: ...
    def suppressing(self, address: str) -> bool: ...  # True: a record of it would only be counted just now
    def record(self, refusal: Refusal) -> None: ...
    def name_client(self, trace_id: str, client_id: str) -> None: ...  # what its CONNECT told after the refusal
