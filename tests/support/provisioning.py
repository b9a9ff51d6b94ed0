"""Provisioning plans and orders for tests, and the whole of a registry to compare."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.registry import SCOPE, certificate, certificate_id

from handfast.core.identity.ids import PolicyName, ThingName
from handfast.core.identity.records import CertificateRecord, CertificateStatus
from handfast.core.provisioning.plan import CertificateResource, Plan, PolicyResource, ThingResource
from handfast.ports.provisioning import ProvisioningOrder

DOCUMENT = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}'


def lamp(name: str = "lamp", **changes: Any) -> ThingResource:
    return ThingResource(**{"logical_name": "thing", "thing_name": ThingName(name), **changes})


def with_document(name: str = "connect", document: str | None = DOCUMENT) -> PolicyResource:
    return PolicyResource(logical_name="policy", policy_name=PolicyName(name), document=document)


def pending(number: int = 1, **changes: Any) -> CertificateRecord:
    """A certificate that just-in-time registration brings, of the CA `certificate_id(100)`."""
    given = {"status": CertificateStatus.PENDING_ACTIVATION, "ca_certificate_id": certificate_id(100)}
    return certificate(number, **{**given, **changes})


def plan(
    *,
    thing: ThingResource | None = None,
    policies: Sequence[PolicyResource] | None = None,
    certificate: CertificateResource | None = None,
    no_thing: bool = False,
    **of_certificate: Any,
) -> Plan:
    """A thing, a policy with a document and a certificate; `of_certificate`: what the template says of it."""
    return Plan(
        thing=None if no_thing else thing or lamp(),
        certificate=certificate or CertificateResource(logical_name="certificate", **of_certificate),
        policies=(with_document(),) if policies is None else tuple(policies),
    )


def order(wanted: Plan | None = None, **changes: Any) -> ProvisioningOrder:
    """For the certificate 1, which is registered, unless `certificate_id` or `register` say otherwise."""
    given: dict[str, Any] = {} if "register" in changes else {"certificate_id": certificate_id(1)}
    given |= {"scope": SCOPE, "plan": wanted or plan(), "thing_id": "thing-id", "generation_id": "generation"}
    given |= {"policies_per_certificate": 10, "groups_per_thing": 10}
    return ProvisioningOrder(**{**given, **changes})


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of the database file, and the counters of its sequences."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        names = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {name: sorted(raw.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
