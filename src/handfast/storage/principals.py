"""
The hot lookup: everything that a gateway needs about a certificate.

Below SQLAlchemy on purpose: two prepared statements on the driver's own
connection take a fifth of the time that they take through Core, and a gateway
asks for every device that connects.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from sqlalchemy import Connection

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import (
    AccountStatus,
    AttachedPolicy,
    AttachedThing,
    PrincipalRecord,
    ThingPrincipalType,
)
from handfast.storage.certificates import COLUMNS, certificate_record
from handfast.storage.tables import from_microseconds

_CERTIFICATE = f"""
SELECT {", ".join(f"c.{name}" for name in COLUMNS)}, a.status
FROM certificates AS c JOIN accounts AS a ON a.account_id = c.account_id
WHERE c.account_id = ? AND c.region = ? AND c.certificate_id = ?
"""  # noqa: S608  only names written in this package
# Things and policies in one statement: starting one costs as much as running it.
_ATTACHED = """
SELECT 0, t.thing_name, t.thing_type_name, t.attributes, p.thing_principal_type
FROM thing_principals AS p
JOIN things AS t ON t.account_id = p.account_id AND t.region = p.region AND t.thing_name = p.thing_name
WHERE p.account_id = ?1 AND p.region = ?2 AND p.certificate_id = ?3
UNION ALL
SELECT 1, p.policy_name, p.default_version, v.document, NULL
FROM certificate_policies AS a
JOIN policies AS p ON p.account_id = a.account_id AND p.region = a.region AND p.policy_name = a.policy_name
JOIN policy_versions AS v ON v.account_id = p.account_id AND v.region = p.region
  AND v.policy_name = p.policy_name AND v.version = p.default_version
WHERE a.account_id = ?1 AND a.region = ?2 AND a.certificate_id = ?3
"""
_THING = 0
_ACCOUNT_STATUSES = {status.value: status for status in AccountStatus}
_PRINCIPAL_TYPES = {kind.value: kind for kind in ThingPrincipalType}


def lookup(connection: Connection, keys: Sequence[tuple[Scope, CertificateId]]) -> list[PrincipalRecord | None]:
    """A record for each key, in order; None where nothing is registered."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return [_principal(raw, scope, certificate_id) for scope, certificate_id in keys]


def _principal(raw: sqlite3.Connection, scope: Scope, certificate_id: CertificateId) -> PrincipalRecord | None:
    key = (scope.account, scope.region, certificate_id)
    row = raw.execute(_CERTIFICATE, key).fetchone()
    if row is None:
        return None
    things: list[AttachedThing] = []
    policies: list[AttachedPolicy] = []
    for kind, name, second, third, fourth in raw.execute(_ATTACHED, key):
        if kind == _THING:
            things.append(
                AttachedThing(
                    thing_name=name,
                    thing_type_name=second,
                    attributes=json.loads(third) if third != "{}" else {},
                    thing_principal_type=_PRINCIPAL_TYPES[fourth],
                )
            )
        else:
            policies.append(AttachedPolicy(policy_name=name, version_id=str(second), document=third))
    things.sort(key=lambda thing: thing.thing_name)
    policies.sort(key=lambda policy: policy.policy_name)
    return PrincipalRecord(
        certificate=certificate_record(row, from_microseconds),
        account_status=_ACCOUNT_STATUSES[row[-1]],
        things=tuple(things),
        policies=tuple(policies),
    )
