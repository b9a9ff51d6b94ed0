"""What the ports hand about: changes, who caused them, pages and spans."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, NewType, TypeAlias, TypeVar

from handfast.core.identity.ids import Scope

T = TypeVar("T")
Cursor = NewType("Cursor", str)
"""Opaque: compare for equality, hand back, nothing else."""


class ChangeKind(StrEnum):
    """What a change row is about; `Change.subject` is named in brackets."""

    ACCOUNT = "account"  # [account id]
    ACCESS_KEY = "access_key"  # [access key id]
    ENDPOINT = "endpoint"  # [prefix]
    CERTIFICATE = "certificate"  # [certificateId] registered, status, owner, deleted
    CA_CERTIFICATE = "ca_certificate"  # [certificateId] registered, status, auto-registration, deleted
    REGISTRATION_CODE = "registration_code"  # [account id] made, deleted
    PRINCIPAL_POLICIES = "principal_policies"  # [certificateId] a policy attached or detached
    PRINCIPAL_THINGS = "principal_things"  # [certificateId] a thing attached or detached
    POLICY = "policy"  # [policy name] created, a version made or deleted, new default, deleted
    THING = "thing"  # [thing name] created, updated (its type and billing group too), deleted
    THING_TYPE = "thing_type"  # [thing type name] created, updated, deprecated, deleted
    BILLING_GROUP = "billing_group"  # [billing group name] created, updated, deleted
    TAGS = "tags"  # [kind/name of the resource, as in its ARN] set, removed
    EVENT_CONFIGURATIONS = "event_configurations"  # [account id] an event type enabled or disabled
    THING_GROUP = "thing_group"  # [group name] created, updated, deleted with its memberships and attachments
    THING_GROUPS = "thing_groups"  # [thing name] which groups it is in
    GROUP_POLICIES = "group_policies"  # [group name] a policy attached or detached
    CERTIFICATE_PROVIDER = "certificate_provider"  # [name] created, updated, deleted
    PROVISIONING_CLAIM = "provisioning_claim"  # [certificateId] made, ended with its template
    HOOK = "hook"  # [hook name] added, removed
    SERVER_ROOTS = "server_roots"  # [root's name or rehearsal id] promoted, retired, taken up; a rehearsal begun, ended
    PROVISIONING_TEMPLATE = (
        "provisioning_template"  # [template name] created, updated, a version made or deleted, deleted
    )
    CLAIM = "claim"  # [certificateId] limits of a claim certificate set
    THING_REGISTRATION_TASK = "thing_registration_task"  # [task id] started, being cancelled, ended, forgotten
    DOMAIN_CONFIGURATION = "domain_configuration"  # [name] created, updated, deleted
    SERVER_CERTIFICATE = "server_certificate"  # [id] imported, replaced, found invalid, deleted
    ROTATION = "rotation"  # [certificateId of the successor] begun, ended


class Change(NamedTuple):
    """A committed change of the registry: a hint for caches; the Store is the truth."""

    kind: ChangeKind
    scope: Scope | None
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Who did it, for the audit row: an ARN-like principal, the peer's address, the operation, the request id."""

    actor: str
    address: str
    operation: str
    request_id: str
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """One page: at most `limit` items after the opaque `marker`. A marker that is not ours: StoreConflict("marker")."""

    limit: int
    marker: str | None = None
    ascending: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`marker` is None on the last page; markers are standard base64 and survive inserts between pages."""

    items: Sequence[T]
    marker: str | None = None


Tags: TypeAlias = Mapping[str, str]
"""The tags of a resource by key."""
NO_TAGS: Tags = {}

Span: TypeAlias = tuple[dt.datetime | None, dt.datetime | None]
"""From the first instant, inclusive, to before the second; None is without end."""
