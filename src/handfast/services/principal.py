"""A registered certificate as the gateway sees it, and the policies and groups that it shares with others."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol, TypeAlias

from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingGroupName
from handfast.core.identity.records import (
    AccountStatus,
    AttachedGroup,
    AttachedPolicy,
    AttachedThing,
    CertificateMode,
    CertificateStatus,
    PrincipalRecord,
    ThingPrincipalType,
)
from handfast.core.policy.document import Document, parse_document
from handfast.core.policy.evaluate import Policy
from handfast.errors import PolicySyntaxError
from handfast.seam import Admitted

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[Scope, CertificateId]

_NO_STATEMENTS = Document(version="2012-10-17", statements=())


@lru_cache(maxsize=1024)
def _parse(text: str) -> Document | None:
    """The document, shared by all policies with this text; None when it cannot be read."""
    try:
        return parse_document(text)
    except PolicySyntaxError as error:
        # Creation refuses such a document: it was written by something else. `Policy` then denies everything.
        log.error("a stored policy document cannot be read and denies everything: %s", error)
        return None


class LivePrincipal(Protocol):
    """A live connection that obeys a principal. `principal_changed(None)`: no longer registered."""

    @property
    def key(self) -> Key: ...
    @property
    def client_id(self) -> str | None: ...
    def principal_changed(self, principal: Principal | None) -> None: ...


class PolicySlot:
    """
    A policy's default version, shared by everyone it is attached to and replaced in place when it changes.

    Of the policy only the text is kept for good. What is made of it lives while
    a connection uses it, or while it is among the `recent` ones. `live` are the
    connections of the certificates that it is attached to, `groups` the groups.
    """

    __slots__ = (
        "__weakref__",
        "_made",
        "_recent",
        "groups",
        "live",
        "name",
        "scope",
        "text",
        "ticket",
        "version_id",
    )

    def __init__(self, scope: Scope, name: PolicyName, recent: deque[Policy]) -> None:
        self.scope = scope
        self.name = name
        self.ticket = 0
        self.version_id = ""
        self.text: str | None = None
        self.live: set[LivePrincipal] = set()
        self.groups: weakref.WeakSet[GroupSlot] = weakref.WeakSet()
        self._recent = recent
        self._made: weakref.ref[Policy] | None = None

    @property
    def policy(self) -> Policy:
        """The policy as of now; one that is gone says nothing."""
        policy = self._made() if self._made is not None else None
        if policy is None:
            policy = Policy(self.name, self.version_id, _parse(self.text) if self.text is not None else _NO_STATEMENTS)
            self._made = weakref.ref(policy)
            self._recent.append(policy)
        return policy

    @property
    def connections(self) -> set[LivePrincipal]:
        """Every live connection that may depend on it."""
        return self.live.union(*(group.live for group in self.groups))

    def put(self, version_id: str, text: str | None) -> bool:
        """Whether anything changed. `text` None: the policy is gone."""
        if self.text == text and self.version_id == version_id:
            return False
        self.text, self.version_id, self._made = text, version_id, None
        return True


class GroupSlot:
    """
    A thing group's own policies, shared by all things in it and in its descendants, replaced in place.

    Stands for one group: another one of the same name, made after this one was
    deleted, has another id and another slot. `live` are the connections of the
    certificates with a thing in it.
    """

    __slots__ = ("__weakref__", "group_id", "live", "name", "policies", "scope", "ticket")

    def __init__(self, scope: Scope, name: ThingGroupName, group_id: str) -> None:
        self.scope = scope
        self.name = name
        self.group_id = group_id
        self.ticket = 0
        self.policies: tuple[PolicySlot, ...] = ()
        self.live: set[LivePrincipal] = set()

    def put(self, policies: tuple[PolicySlot, ...]) -> bool:
        """Whether other policies are attached than before."""
        if policies == self.policies:
            return False
        for slot in self.policies:
            slot.groups.discard(self)
        for slot in policies:
            slot.groups.add(self)
        self.policies = policies
        return True


class Principal:
    """
    A registered certificate as the gateway sees it. Replaced, never changed, when its registration changes.

    `not_before` and `not_after` are epoch seconds. `usable`: ACTIVE, in an
    enabled account. `broken_rules` are those of its key and signature, known
    once a connection has shown the certificate; None before. `slots` are the
    policies attached to the certificate, `groups` those of its things by name.
    """

    __slots__ = (
        "account_enabled",
        "admitted",
        "admitted_at",
        "broken_rules",
        "ca_certificate_id",
        "default_mode",
        "groups",
        "key",
        "not_after",
        "not_before",
        "slots",
        "status",
        "things",
        "ticket",
        "usable",
    )

    def __init__(
        self,
        key: Key,
        record: PrincipalRecord,
        slots: tuple[PolicySlot, ...],
        groups: Mapping[str, tuple[GroupSlot, ...]],
        ticket: int,
    ) -> None:
        certificate = record.certificate
        self.key = key
        self.status = certificate.status
        self.account_enabled = record.account_status is AccountStatus.ENABLED
        self.usable = self.account_enabled and self.status is CertificateStatus.ACTIVE
        self.not_before = certificate.not_before.timestamp()
        self.not_after = certificate.not_after.timestamp()
        self.ca_certificate_id = certificate.ca_certificate_id
        self.default_mode = certificate.mode is CertificateMode.DEFAULT
        self.things: tuple[AttachedThing, ...] = record.things
        self.slots = slots
        self.groups = groups
        self.ticket = ticket
        self.broken_rules: tuple[tuple[str, str], ...] | None = None
        self.admitted: Admitted | None = None
        self.admitted_at = float("-inf")

    def valid_at(self, now: float) -> bool:
        """Whether the epoch second `now` is inside the validity, whose last whole second counts (RFC 5280 §4.1.2.5)."""
        return self.not_before <= now < self.not_after + 1

    @property
    def waits_for_activation(self) -> bool:
        """Registered by an earlier connection on the word of a CA; one that fleet provisioning made has no CA."""
        return (
            self.status is CertificateStatus.PENDING_ACTIVATION
            and self.ca_certificate_id is not None
            and self.account_enabled
        )

    def policies_for(self, client_id: str | None) -> list[Policy]:
        """
        What a connection with this client id obeys, as of now, each policy once.

        The policies attached to the certificate; with those of the groups that
        its thing is in, and of their ancestors, when it has a thing (`thing_for`).
        """
        groups = self.groups
        thing = self.thing_for(client_id) if groups else None
        of_thing = groups.get(thing.thing_name) if thing is not None else None
        return [slot.policy for slot in (collect(self.slots, of_thing) if of_thing else self.slots)]

    def group_slots(self) -> Iterator[GroupSlot]:
        """Every group that one of its things is in; one may come twice."""
        for groups in self.groups.values():
            yield from groups

    def thing_for(self, client_id: str | None) -> AttachedThing | None:
        """
        The thing that a connection with this client id is associated with.

        The exclusive thing whatever the client id; else the attached thing that
        the client id names. Never one without a client id (HTTPS).
        """
        if client_id is None:
            return None
        named = None
        for thing in self.things:
            if thing.thing_principal_type is ThingPrincipalType.EXCLUSIVE_THING:
                return thing
            if thing.thing_name == client_id:
                named = thing
        return named


class Copies:
    """Principals and groups made from records, which hear of no change; policies that several have are made once."""

    def __init__(self) -> None:
        self._slots: dict[tuple[Scope, AttachedPolicy], PolicySlot] = {}
        self._made: deque[Policy] = deque()
        self._principals: dict[Key, Principal] = {}

    def principal(self, record: PrincipalRecord) -> Principal:
        """The principal as the gateway has it."""
        scope = record.certificate.scope
        key = (scope, record.certificate.certificate_id)
        principal = self._principals.get(key)
        if principal is None:
            slots = tuple(self._slot(scope, each) for each in record.policies)
            groups = {
                str(thing.thing_name): self.groups(scope, thing.groups) for thing in record.things if thing.groups
            }
            principal = self._principals[key] = Principal(key, record, slots, groups, 0)
        return principal

    def groups(self, scope: Scope, attached: Iterable[AttachedGroup]) -> tuple[GroupSlot, ...]:
        """The groups with their policies."""
        return tuple(self._group(scope, each) for each in attached)

    def _group(self, scope: Scope, attached: AttachedGroup) -> GroupSlot:
        slot = GroupSlot(scope, attached.group_name, attached.group_id)
        slot.put(tuple(self._slot(scope, each) for each in attached.policies))
        return slot

    def _slot(self, scope: Scope, attached: AttachedPolicy) -> PolicySlot:
        slot = self._slots.get((scope, attached))
        if slot is None:
            slot = self._slots[scope, attached] = PolicySlot(scope, attached.policy_name, self._made)
            slot.put(attached.version_id, attached.document)
        return slot


def collect(slots: Iterable[PolicySlot], groups: Iterable[GroupSlot]) -> list[PolicySlot]:
    """The policies of a certificate and of groups in one list, each once."""
    return list(dict.fromkeys((*slots, *(slot for group in groups for slot in group.policies))))
