"""The identifiers of the plane, as types that cannot be swapped by mistake."""

from __future__ import annotations

from typing import NamedTuple, NewType

from handfast.core.pki.ids import CertificateId as CertificateId

AccountId = NewType("AccountId", str)
"""Twelve decimal digits, kept as text."""
ClientId = NewType("ClientId", str)
"""The MQTT Client Identifier as sent, 1..128 bytes of UTF-8."""
ThingName = NewType("ThingName", str)
PolicyName = NewType("PolicyName", str)
ThingTypeName = NewType("ThingTypeName", str)
BillingGroupName = NewType("BillingGroupName", str)
ThingGroupName = NewType("ThingGroupName", str)
TopicName = NewType("TopicName", str)
TopicFilter = NewType("TopicFilter", str)


class Scope(NamedTuple):
    """Where a resource lives: one account in one region. Part of every store call."""

    account: AccountId
    region: str
