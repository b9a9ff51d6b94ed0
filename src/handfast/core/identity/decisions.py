"""Decisions of the policy engine as they are recorded: values, so that a draft can be judged by what devices did."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from handfast.core.identity.ids import CertificateId, Scope


class DecidedBy(NamedTuple):
    """A statement that decided; `number` counts from 0, None for a document that could not be read."""

    policy: str
    version: str
    number: int | None


class Asked(NamedTuple):
    """
    What was asked, and from where as far as policies can see it.

    `action` is one such as `iot:Publish`, `resource` what stands behind
    `arn:aws:iot:REGION:ACCOUNT:`, such as `topic/a`. `client_id` is None over
    HTTPS. `persistent` and `last_will` (a topic) belong to iot:Connect alone.
    """

    client_id: str | None
    action: str
    resource: str
    persistent: bool = False
    last_will: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """
    A decision that was made `count` times between two instants (aware UTC).

    `outcome` is ALLOWED, EXPLICIT_DENY or IMPLICIT_DENY. `source_ip` and
    `domain_name` are those of the last time. `number` is the archive's.
    """

    scope: Scope
    certificate_id: CertificateId
    asked: Asked
    outcome: str
    statements: tuple[DecidedBy, ...]
    source_ip: str | None
    domain_name: str | None
    count: int
    first_seen: dt.datetime
    last_seen: dt.datetime
    since_connect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overflow:
    """`lost` decisions are not recorded; of one certificate, or, with None, of several that are not known any more."""

    scope: Scope
    certificate_id: CertificateId | None
    lost: int
    last_seen: dt.datetime


class Coverage(NamedTuple):
    """
    How far a record of decisions can be trusted since an instant.

    `gaps`: when nothing was recorded, since no server ran here, or one with
    --decisions off. `overflows`: what was lost, the latest first, at most a
    hundred; `overflowed` is the number of all.
    """

    gaps: Sequence[tuple[dt.datetime, dt.datetime]]
    overflows: Sequence[Overflow]
    overflowed: int


class ConnectionEnd(NamedTuple):
    """A connection that remembered its decisions until this instant."""

    scope: Scope
    certificate_id: CertificateId
    client_id: str
    at: dt.datetime
