"""Provisioning orders carried out in a store, and what is there afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.registry import SCOPE, ca_certificate, cause, certificate, certificate_id, thing_group

from handfast.core.identity.ids import BillingGroupName, PolicyName, ThingName, ThingTypeName
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CACertificateStatus,
    CertificateStatus,
    ThingPrincipalType,
    ThingRecord,
)
from handfast.core.identity.things import BillingGroupRecord, ThingTypeRecord
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.ports import PageRequest, Store
from handfast.ports.provisioning import Provisioned, ProvisioningOrder

ID, SECOND, CA = certificate_id(1), certificate_id(2), certificate_id(100)
LAMP, CONNECT = ThingName("lamp"), PolicyName("connect")
ALL = PageRequest(limit=100, ascending=True)
NON_EXCLUSIVE, EXCLUSIVE = ThingPrincipalType.NON_EXCLUSIVE_THING, ThingPrincipalType.EXCLUSIVE_THING
LIMITS: dict[str, Any] = {"depth_limit": 7, "children_limit": 100}


async def register(
    store: Store, number: int = 1, status: CertificateStatus = CertificateStatus.PENDING_ACTIVATION
) -> None:
    """A certificate that is registered."""
    await store.insert_certificate(certificate(number, status=status), cause())


async def with_ca(
    store: Store,
    status: CACertificateStatus = CACertificateStatus.ACTIVE,
    auto: AutoRegistrationStatus = AutoRegistrationStatus.ENABLE,
) -> None:
    """A CA certificate by which devices may register themselves."""
    ca = ca_certificate(100, status=status, auto_registration_status=auto)
    await store.insert_ca_certificate(ca, registration_code=None, subject_limit=10, cause=cause())


async def done(store: Store, wanted: ProvisioningOrder) -> Provisioned:
    """The order carried out."""
    return (await store.provision(wanted, cause("RegisterThing")))[0]


async def failure(store: Store, wanted: ProvisioningOrder) -> tuple[FailureKind, str]:
    """What and whose the failure is that keeps the order from being carried out."""
    with pytest.raises(ProvisioningFailed) as caught:
        await store.provision(wanted, cause("RegisterThing"))
    return caught.value.kind, caught.value.resource


async def status(store: Store, number: int = 1) -> CertificateStatus | None:
    found = await store.certificate(SCOPE, certificate_id(number))
    return None if found is None else found.status


async def found(store: Store, name: str = "lamp") -> ThingRecord:
    record = await store.thing(SCOPE, ThingName(name))
    assert record is not None
    return record


async def surroundings(store: Store) -> None:
    """Groups, types and a billing group that a thing may be in; the type `old` is deprecated."""
    for name in ("hall", "site"):
        await store.create_thing_group(thing_group(name), cause(), **LIMITS)
    await store.create_thing_group(thing_group("lamps", parent="hall"), cause(), **LIMITS)
    for name in ("bulb", "old"):
        kind = ThingTypeRecord(
            scope=SCOPE, thing_type_name=ThingTypeName(name), thing_type_id=name, creation_date=cause().at
        )
        await store.create_thing_type(kind, cause())
    await store.deprecate_thing_type(SCOPE, ThingTypeName("old"), undo=False, cause=cause())
    paid = BillingGroupRecord(
        scope=SCOPE, billing_group_name=BillingGroupName("paid"), billing_group_id="paid", creation_date=cause().at
    )
    await store.create_billing_group(paid, cause())
