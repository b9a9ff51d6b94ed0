"""
A provisioning plan carried out: the operations on certificates, things, policies and groups, together or not at all.

Each step is the single operation with its own guards, audit row and change
row. A step that refuses ends the transaction, so that nothing half-made stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection

from handfast.core.identity.arns import certificate_arn, policy_arn, thing_arn
from handfast.core.identity.ids import CertificateId, PolicyName
from handfast.core.identity.lifecycle import next_status, update_event
from handfast.core.identity.records import (
    CertificateStatus,
    PolicyRecord,
    ThingPrincipalType,
    ThingRecord,
)
from handfast.core.identity.things import ThingEdit, attributes_limit, edited
from handfast.core.provisioning.plan import (
    CertificateResource,
    FailureKind,
    Override,
    PolicyResource,
    ProvisioningFailed,
    ThingResource,
)
from handfast.errors import ServiceError, StoreConflict
from handfast.ports import NO_TAGS, Cause, Change
from handfast.ports.provisioning import Provisioned, ProvisioningOrder
from handfast.storage import (
    ca_certificates,
    certificates,
    fleet,
    just_in_time,
    policies,
    provisioning_runs,
    registration_tasks,
    rotations,
    thing_group_members,
    things,
)
from handfast.storage.journal import gathered

_S = CertificateStatus

_KINDS = {
    "type": FailureKind.MISSING,
    "deprecated": FailureKind.INVALID,
    "billing_group": FailureKind.MISSING,
    "group": FailureKind.MISSING,
    "hierarchy": FailureKind.CONFLICT,
    "limit": FailureKind.LIMIT,
    "attributes": FailureKind.INVALID,
    "policy": FailureKind.MISSING,
    "certificate": FailureKind.CERTIFICATE,
    "status": FailureKind.CERTIFICATE,
    "exclusive": FailureKind.CONFLICT,
    "account": FailureKind.CERTIFICATE,
    "ca": FailureKind.CERTIFICATE,
    "elsewhere": FailureKind.CERTIFICATE,
    "offered": FailureKind.CERTIFICATE,
    "revoked": FailureKind.CERTIFICATE,
    "transferred": FailureKind.CERTIFICATE,
    "exists": FailureKind.CERTIFICATE,
    "missing": FailureKind.CERTIFICATE,
}
"""What a refusal of a single operation means for the plan."""


class _Certificate(NamedTuple):
    """The order's certificate as it stands before the template's status."""

    certificate_id: CertificateId
    status: CertificateStatus
    fresh: bool  # registered by this very order


def provision(connection: Connection, order: ProvisioningOrder, cause: Cause) -> tuple[Provisioned, list[Change]]:
    """The whole plan, or ProvisioningFailed, which takes everything back that was done here."""
    plan = order.plan
    arns: dict[str, str] = {}
    with gathered(connection, cause) as changes:
        # What an order spends (it may be spent once) is spent here: before anything is made of it.
        if order.ownership is not None:
            fleet.spend(connection, order.scope, order.ownership, cause.at)
        certificate = _certificate(connection, order, cause)
        if certificate is not None and plan.certificate is not None:
            arns[plan.certificate.logical_name] = certificate_arn(order.scope, certificate.certificate_id)
        if plan.thing is not None:
            attached = _thing(connection, order, plan.thing, certificate, cause)
            arns[plan.thing.logical_name] = thing_arn(order.scope, plan.thing.thing_name)
        for policy in plan.policies:
            _policy(connection, order, policy, cause)
            arns[policy.logical_name] = policy_arn(order.scope, policy.policy_name)
        status = None
        if certificate is not None:
            # Nothing is attached to what was registered a moment ago: that need not be asked.
            attached_policies: set[PolicyName] | None = set() if certificate.fresh else None
            for policy in plan.policies:
                _attach_policy(connection, order, policy, certificate, attached_policies, cause)
            if plan.thing is not None and not attached:
                _attach_thing(connection, order, plan.thing, certificate, cause)
            status = _settle_status(connection, order, certificate, cause)
        provisioned = Provisioned(
            certificate_id=None if certificate is None else certificate.certificate_id,
            certificate_status=status,
            thing_name=None if plan.thing is None else plan.thing.thing_name,
            resource_arns=arns,
        )
        # What is remembered of a plan that was carried out is written here: with it, or not at all.
        if order.run is not None:
            provisioning_runs.insert_one(connection, order.run)
        if order.task_line is not None:
            registration_tasks.line_done(connection, order.scope, order.task_line, provisioned, cause.at)
    return provisioned, changes


@contextmanager
def _as_failure_of(resource: str) -> Iterator[None]:
    """What a single operation refuses is the plan's failure at this resource."""
    try:
        yield
    except StoreConflict as conflict:
        kind = _KINDS.get(conflict.kind)
        if kind is None:
            raise
        raise ProvisioningFailed(kind, resource, str(conflict)) from None


# --- the certificate ----------------------------------------------------------------------------------------------


def _certificate(connection: Connection, order: ProvisioningOrder, cause: Cause) -> _Certificate | None:
    """The certificate, registered here and in a status from which it can be provisioned."""
    wanted = order.plan.certificate
    resource = "" if wanted is None else wanted.logical_name
    given = order.certificate_id if order.register is None else order.register.certificate_id
    if given is None:
        if wanted is not None:
            raise _failed(FailureKind.CERTIFICATE, resource, "The plan has a certificate, and none was given for it")
        return None
    if wanted is not None and wanted.certificate_id not in (None, given):
        # A parameter that a device chose must not reach another device's certificate.
        raise _failed(
            FailureKind.INVALID,
            resource,
            f"The template's CertificateId is {wanted.certificate_id}, which is not the certificate that is "
            f"provisioned ({given})",
        )
    if order.register is not None:
        ca = order.register.ca_certificate_id
        insert = certificates.insert_one
        if order.require_auto_registration:
            insert = certificates.insert_unknown
            _require_auto_registration(connection, order, ca, given, resource)
        elif ca is not None and not ca_certificates.is_active(connection, order.scope, ca):
            raise _failed(FailureKind.CERTIFICATE, resource, f"CA certificate {ca} is not registered and ACTIVE")
        try:
            insert(connection, order.register, cause)
        except StoreConflict as conflict:
            if conflict.kind != "exists" or conflict.facts["scope"] != order.scope:
                with _as_failure_of(resource):
                    raise
        else:
            return _Certificate(given, order.register.status, fresh=True)
    return _registered(connection, order, given, resource)


def _registered(
    connection: Connection, order: ProvisioningOrder, certificate_id: CertificateId, resource: str
) -> _Certificate:
    """The certificate as it was registered before the order."""
    found = certificates.get(connection, order.scope, certificate_id)
    if found is None:
        raise _failed(
            FailureKind.CERTIFICATE, resource, f"Certificate {certificate_id} is not registered in this account"
        )
    if order.require_auto_registration:
        if found.status is not _S.PENDING_ACTIVATION:
            raise _failed(
                FailureKind.CERTIFICATE,
                resource,
                f"Certificate {certificate_id} is {found.status}: only one that is PENDING_ACTIVATION is provisioned "
                "just in time",
            )
        ca = found.ca_certificate_id
        if order.register is not None and order.register.ca_certificate_id != ca:
            raise _failed(
                FailureKind.CERTIFICATE,
                resource,
                f"Certificate {certificate_id} was not registered by just-in-time registration under its CA",
            )
        if order.register is None:
            _require_auto_registration(connection, order, ca, certificate_id, resource)
    elif found.status in (_S.REVOKED, _S.PENDING_TRANSFER):
        raise _failed(
            FailureKind.CERTIFICATE,
            resource,
            f"Certificate {certificate_id} is {found.status}, from which it cannot be provisioned",
        )
    wanted = order.plan.certificate
    pending = found.status is _S.PENDING_ACTIVATION
    if wanted is not None and wanted.status_override is Override.FAIL and not pending:
        raise _exists(resource, f"Certificate {certificate_id}")
    return _Certificate(certificate_id, found.status, fresh=False)


def _require_auto_registration(
    connection: Connection,
    order: ProvisioningOrder,
    ca: CertificateId | None,
    certificate_id: CertificateId,
    resource: str,
) -> None:
    """The CA vouches for unknown devices at this moment, and nothing is known against this one."""
    with _as_failure_of(resource):
        just_in_time.require_vouched(connection, order.scope, certificate_id, ca)


def _settle_status(
    connection: Connection, order: ProvisioningOrder, certificate: _Certificate, cause: Cause
) -> CertificateStatus:
    """The certificate has the status that the template gives it, and that status is returned."""
    wanted = order.plan.certificate
    if wanted is None or not _status_applies(wanted, certificate):
        return certificate.status
    certificate_id = certificate.certificate_id
    try:
        new = next_status(certificate.status, update_event(wanted.status), certificate_id)
    except ServiceError as error:
        raise _failed(FailureKind.CERTIFICATE, wanted.logical_name, error.message) from None
    if new is certificate.status:
        return new
    with _as_failure_of(wanted.logical_name):
        certificates.set_status(
            connection, order.scope, certificate_id, expected=certificate.status, new=new, cause=cause
        )
    if not certificate.fresh:
        rotations.follow(connection, order.scope, certificate_id, cause)
    return new


def _status_applies(wanted: CertificateResource, certificate: _Certificate) -> bool:
    """Whether the template decides: over one that was in use already only with REPLACE."""
    awaited = certificate.fresh or certificate.status is _S.PENDING_ACTIVATION
    return awaited or wanted.status_override is Override.REPLACE


# --- the thing ----------------------------------------------------------------------------------------------------


def _thing(
    connection: Connection,
    order: ProvisioningOrder,
    wanted: ThingResource,
    certificate: _Certificate | None,
    cause: Cause,
) -> bool:
    """The thing is there as the template wants it; whether the certificate is attached to it already."""
    attributes = {name: value for name, value in (wanted.attributes or {}).items() if value != ""}
    with _as_failure_of(wanted.logical_name):
        limit = attributes_limit(wanted.thing_type_name)
        made = ThingRecord(
            scope=order.scope,
            thing_name=wanted.thing_name,
            thing_id=order.thing_id,
            thing_type_name=wanted.thing_type_name,
            attributes=attributes,
            billing_group_name=wanted.billing_group_name,
            creation_date=cause.at,
        )
        try:
            things.create(connection, made, cause)
        except StoreConflict as conflict:
            if conflict.kind != "exists":
                raise
        else:
            if len(attributes) > limit:
                raise StoreConflict("attributes", f"A thing of this type has at most {limit} attributes")
            _join_groups(connection, order, wanted, cause)
            return False
        attached = things.principals_of(connection, order.scope, wanted.thing_name)
        _require_free(wanted, certificate, attached)
        _override(connection, order, wanted, cause)
    return certificate is not None and certificate.certificate_id in attached


def _require_free(
    wanted: ThingResource, certificate: _Certificate | None, attached: dict[CertificateId, ThingPrincipalType]
) -> None:
    """A thing that exists belongs to nobody, to this certificate, or may be taken over."""
    name = wanted.thing_name
    if Override.FAIL in (wanted.attributes_override, wanted.thing_type_override, wanted.thing_groups_override):
        raise _exists(wanted.logical_name, f"Thing {name}")
    own = None if certificate is None else certificate.certificate_id
    others = {each: kind for each, kind in attached.items() if each != own}
    for each, kind in others.items():
        if kind is ThingPrincipalType.EXCLUSIVE_THING:
            raise _failed(
                FailureKind.CONFLICT, wanted.logical_name, f"Thing {name} belongs to certificate {each} exclusively"
            )
    if others and not wanted.takes_over:
        raise _failed(
            FailureKind.CONFLICT,
            wanted.logical_name,
            f"Thing {name} exists and belongs to certificate {min(others)}: detach that, or let the template say what "
            "becomes of an existing thing (OverrideSettings)",
        )


def _override(connection: Connection, order: ProvisioningOrder, wanted: ThingResource, cause: Cause) -> None:
    """The thing, which existed, has of the template what its OverrideSettings let through."""
    thing = things.get(connection, order.scope, wanted.thing_name)
    assert thing is not None, "the same transaction found that it exists"
    keeps_attributes = wanted.attributes_override is Override.DO_NOTHING
    edit = ThingEdit(
        attributes=None if keeps_attributes else wanted.attributes,
        merge=wanted.attributes_override is Override.MERGE,
        thing_type_name=wanted.thing_type_name if wanted.thing_type_override is Override.REPLACE else None,
    )
    new = edited(thing, edit)
    if (new.attributes, new.thing_type_name) != (thing.attributes, thing.thing_type_name):
        things.change(connection, order.scope, wanted.thing_name, edit, cause)
    if wanted.thing_groups is not None and wanted.thing_groups_override is not Override.DO_NOTHING:
        leave = []
        if wanted.thing_groups_override is Override.REPLACE:
            held = thing_group_members.groups_of(connection, order.scope, wanted.thing_name)
            leave = [group for group in held if group not in wanted.thing_groups]
        thing_group_members.change(
            connection,
            order.scope,
            wanted.thing_name,
            add=wanted.thing_groups,
            remove=leave,
            limit=order.groups_per_thing,
            cause=cause,
        )


def _join_groups(connection: Connection, order: ProvisioningOrder, wanted: ThingResource, cause: Cause) -> None:
    if wanted.thing_groups:
        thing_group_members.change(
            connection,
            order.scope,
            wanted.thing_name,
            add=wanted.thing_groups,
            remove=(),
            limit=order.groups_per_thing,
            cause=cause,
        )


def _attach_thing(
    connection: Connection, order: ProvisioningOrder, wanted: ThingResource, certificate: _Certificate, cause: Cause
) -> None:
    with _as_failure_of(wanted.logical_name):
        things.attach_known(
            connection,
            order.scope,
            wanted.thing_name,
            certificate.certificate_id,
            ThingPrincipalType.NON_EXCLUSIVE_THING,
            cause,
            alone=certificate.fresh,
        )


# --- policies -----------------------------------------------------------------------------------------------------


def _policy(connection: Connection, order: ProvisioningOrder, wanted: PolicyResource, cause: Cause) -> None:
    """The policy is there, with the template's document where it gives one."""
    name = wanted.policy_name
    if wanted.document is None:
        with _as_failure_of(wanted.logical_name):
            policies.require(connection, order.scope, name, "policy")
        return
    # Most devices of a fleet share their policies, so that it is there is the common case.
    found = policies.document(connection, order.scope, name)
    if found is None:
        made = PolicyRecord(
            scope=order.scope,
            policy_name=name,
            default_version_id="1",
            document=wanted.document,
            creation_date=cause.at,
            last_modified_date=cause.at,
            generation_id=order.generation_id,
        )
        try:
            policies.create(connection, made, NO_TAGS, cause)
        except StoreConflict as conflict:
            if conflict.kind != "exists":
                raise
            found = policies.document(connection, order.scope, name)  # another writer's, where there is more than one
        else:
            return
    if found is None or not _same_json(found, wanted.document):
        raise _failed(
            FailureKind.CONFLICT,
            wanted.logical_name,
            f"Policy {name} exists with another document than the template's: give the template's policy another "
            "name, or name the policy without a document",
        )


def _attach_policy(
    connection: Connection,
    order: ProvisioningOrder,
    wanted: PolicyResource,
    certificate: _Certificate,
    attached: set[PolicyName] | None,
    cause: Cause,
) -> None:
    with _as_failure_of(wanted.logical_name):
        policies.attach_known(
            connection,
            order.scope,
            wanted.policy_name,
            certificate.certificate_id,
            limit=order.policies_per_certificate,
            attached=attached,
            cause=cause,
        )


def _same_json(one: str, other: str) -> bool:
    """Whether the documents say the same, whatever their white space and the order of their members."""
    if one == other:
        return True
    try:
        # As text again: Python takes 1 for true.
        return json.dumps(json.loads(one), sort_keys=True) == json.dumps(json.loads(other), sort_keys=True)
    except ValueError:
        return False


# --- refusals -----------------------------------------------------------------------------------------------------


def _failed(kind: FailureKind, resource: str, message: str) -> ProvisioningFailed:
    return ProvisioningFailed(kind, resource, message)


def _exists(resource: str, what: str) -> ProvisioningFailed:
    return _failed(FailureKind.CONFLICT, resource, f"{what} exists, and the template's OverrideSettings say FAIL")
