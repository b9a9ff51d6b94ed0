"""
The hot lookup: everything that a gateway needs about a certificate.

Below SQLAlchemy on purpose: two prepared statements on the driver's own
connection take a fifth of the time that they take through Core, and a gateway
asks for every device that connects.
"""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from handfast.core.identity.ids import CertificateId, Scope, ThingGroupName, ThingName
from handfast.core.identity.records import (
    AccountStatus,
    AttachedGroup,
    AttachedPolicy,
    AttachedThing,
    CertificateMode,
    CertificateRecord,
    CertificateStatus,
    PrincipalRecord,
    ThingPrincipalType,
)
from handfast.core.provisioning.claims import claim_policies
from handfast.storage.certificates import COLUMNS, certificate_record
from handfast.storage.tables import from_microseconds

_CERTIFICATE = f"""
SELECT {", ".join(f"c.{name}" for name in COLUMNS)}, a.status
FROM certificates AS c JOIN accounts AS a ON a.account_id = c.account_id
WHERE c.account_id = ? AND c.region = ? AND c.certificate_id = ?
"""  # noqa: S608  only names written in this package
_DEFAULT_VERSION = """
v.account_id = p.account_id AND v.region = p.region AND v.policy_name = p.policy_name AND v.version = p.default_version
"""
# What a group is called, which one it is, and its own policies; nothing of a policy where it has none.
_GROUP_COLUMNS = "g.group_name, g.group_id, p.policy_name, p.default_version, v.document"
_GROUP_POLICIES = f"""
LEFT JOIN thing_group_policies AS a
  ON a.account_id = g.account_id AND a.region = g.region AND a.group_name = g.group_name
LEFT JOIN policies AS p ON p.account_id = a.account_id AND p.region = a.region AND p.policy_name = a.policy_name
LEFT JOIN policy_versions AS v ON {_DEFAULT_VERSION}
"""
# CROSS JOIN keeps the order: without statistics, SQLite would walk all members, or all groups, of an account.
_GROUPS_ABOVE = f"""
CROSS JOIN thing_group_ancestors AS h
  ON h.account_id = m.account_id AND h.region = m.region AND h.group_name = m.group_name
CROSS JOIN thing_groups AS g ON g.account_id = h.account_id AND g.region = h.region AND g.group_name = h.ancestor_name
{_GROUP_POLICIES}
"""
# Things and policies in one statement: starting one costs as much as running it.
_ATTACHED = f"""
SELECT 0, t.thing_name, t.thing_type_name, t.attributes, p.thing_principal_type, EXISTS (
  SELECT 1 FROM thing_group_members AS m
  WHERE m.account_id = t.account_id AND m.region = t.region AND m.thing_name = t.thing_name)
FROM thing_principals AS p
JOIN things AS t ON t.account_id = p.account_id AND t.region = p.region AND t.thing_name = p.thing_name
WHERE p.account_id = ?1 AND p.region = ?2 AND p.certificate_id = ?3
UNION ALL
SELECT 1, p.policy_name, p.default_version, v.document, NULL, NULL
FROM certificate_policies AS a
JOIN policies AS p ON p.account_id = a.account_id AND p.region = a.region AND p.policy_name = a.policy_name
JOIN policy_versions AS v ON {_DEFAULT_VERSION}
WHERE a.account_id = ?1 AND a.region = ?2 AND a.certificate_id = ?3
"""  # noqa: S608
_GROUPS_OF_THINGS = f"""
SELECT m.thing_name, {_GROUP_COLUMNS}
FROM thing_principals AS r
CROSS JOIN thing_group_members AS m
  ON m.account_id = r.account_id AND m.region = r.region AND m.thing_name = r.thing_name
{_GROUPS_ABOVE}
WHERE r.account_id = ? AND r.region = ? AND r.certificate_id = ?
"""  # noqa: S608
_GROUPS_OF_THING = f"""
SELECT m.thing_name, {_GROUP_COLUMNS}
FROM thing_group_members AS m {_GROUPS_ABOVE}
WHERE m.account_id = ? AND m.region = ? AND m.thing_name = ?
"""  # noqa: S608
_GROUP = f"""
SELECT NULL, {_GROUP_COLUMNS}
FROM thing_groups AS g {_GROUP_POLICIES}
WHERE g.account_id = ? AND g.region = ? AND g.group_name = ?
"""  # noqa: S608
_CLAIM = """
SELECT c.pem, c.not_before, c.not_after, c.creation_date, c.template_name, a.status
FROM provisioning_claims AS c JOIN accounts AS a ON a.account_id = c.account_id
WHERE c.account_id = ? AND c.region = ? AND c.certificate_id = ?
"""
_THING = 0
_name_of = operator.attrgetter("policy_name")
_ACCOUNT_STATUSES = {status.value: status for status in AccountStatus}
_PRINCIPAL_TYPES = {kind.value: kind for kind in ThingPrincipalType}


def lookup(connection: Connection, keys: Sequence[tuple[Scope, CertificateId]]) -> list[PrincipalRecord | None]:
    """A record for each key, in order; None where nothing is registered."""
    raw = _raw(connection)
    return [_principal(raw, scope, certificate_id) for scope, certificate_id in keys]


def groups_of_thing(connection: Connection, scope: Scope, name: ThingName) -> tuple[AttachedGroup, ...] | None:
    """The groups that the thing is in, with all of their ancestors, by name; None: there is no such thing."""
    raw = _raw(connection)
    key = (scope.account, scope.region, name)
    found = _groups(raw.execute(_GROUPS_OF_THING, key)).get(name)
    if found is not None:
        return found
    exists = raw.execute("SELECT 1 FROM things WHERE account_id = ? AND region = ? AND thing_name = ?", key).fetchone()
    return () if exists else None


def group(connection: Connection, scope: Scope, name: ThingGroupName) -> AttachedGroup | None:
    """The group with its own policies; None: there is no such group."""
    rows = _raw(connection).execute(_GROUP, (scope.account, scope.region, name))
    return next((found for (found,) in _groups(rows).values()), None)


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _principal(raw: sqlite3.Connection, scope: Scope, certificate_id: CertificateId) -> PrincipalRecord | None:
    key = (scope.account, scope.region, certificate_id)
    row = raw.execute(_CERTIFICATE, key).fetchone()
    if row is None:
        return _claim(raw, scope, certificate_id)
    things: list[tuple[Any, ...]] = []
    policies: list[AttachedPolicy] = []
    grouped = False
    for attached in raw.execute(_ATTACHED, key):
        if attached[0] == _THING:
            things.append(attached)
            grouped = grouped or attached[5]
        else:
            policies.append(_policy(attached[1], attached[2], attached[3]))
    groups = _groups(raw.execute(_GROUPS_OF_THINGS, key)) if grouped else {}
    things.sort(key=lambda thing: str(thing[1]))
    return PrincipalRecord(
        certificate=certificate_record(row, from_microseconds),
        account_status=_ACCOUNT_STATUSES[row[-1]],
        things=tuple(
            AttachedThing(
                thing_name=name,
                thing_type_name=type_name,
                attributes=json.loads(attributes) if attributes != "{}" else {},
                thing_principal_type=_PRINCIPAL_TYPES[kind],
                groups=groups.get(name, ()),
            )
            for _, name, type_name, attributes, kind, _ in things
        ),
        policies=_in_order(policies),
    )


def _claim(raw: sqlite3.Connection, scope: Scope, certificate_id: CertificateId) -> PrincipalRecord | None:
    """The claim of CreateProvisioningClaim that the certificate is; what it may do is made here, attached nowhere."""
    row = raw.execute(_CLAIM, (scope.account, scope.region, certificate_id)).fetchone()
    if row is None:
        return None
    pem, not_before, not_after, created, template_name, account_status = row
    certificate = CertificateRecord(
        scope=scope,
        certificate_id=certificate_id,
        pem=pem,
        status=CertificateStatus.ACTIVE,
        mode=CertificateMode.DEFAULT,
        creation_date=from_microseconds(created),
        last_modified_date=from_microseconds(created),
        not_before=from_microseconds(not_before),
        not_after=from_microseconds(not_after),
        generation_id="",
    )
    return PrincipalRecord(
        certificate=certificate,
        account_status=_ACCOUNT_STATUSES[account_status],
        policies=_in_order(list(claim_policies(scope, template_name))),
        claim_of=template_name,
    )


def _groups(rows: Iterable[tuple[Any, ...]]) -> dict[Any, tuple[AttachedGroup, ...]]:
    """By thing."""
    found: dict[Any, dict[str, tuple[str, list[AttachedPolicy]]]] = {}
    for thing, name, group_id, policy, version, document in rows:
        _, policies = found.setdefault(thing, {}).setdefault(name, (group_id, []))
        if policy is not None:
            policies.append(_policy(policy, version, document))
    return {
        thing: tuple(
            AttachedGroup(group_name=ThingGroupName(name), group_id=group_id, policies=_in_order(policies))
            for name, (group_id, policies) in sorted(groups.items())
        )
        for thing, groups in found.items()
    }


def _in_order(policies: list[AttachedPolicy]) -> tuple[AttachedPolicy, ...]:
    return tuple(sorted(policies, key=_name_of))


def _policy(name: Any, version: int, document: str) -> AttachedPolicy:
    return AttachedPolicy(policy_name=name, version_id=str(version), document=document)
