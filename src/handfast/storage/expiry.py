"""Certificates by the end of their validity: the listing's order, and how many end when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, literal_column, select

from handfast.core.identity.ids import Scope
from handfast.ports import PageRequest, Span
from handfast.storage.paging import Listing
from handfast.storage.tables import ca_certificates, certificates

ACTIVE_LITERAL: ColumnElement[str] = literal_column("'ACTIVE'")
"""Spelled out in the statement, so that the partial indexes on it serve."""


def expiry_listing(
    name: str,
    columns: Any,
    scope: Scope,
    page: PageRequest,
    until: dt.datetime | None,
    statuses: Collection[StrEnum],
) -> tuple[Listing, list[list[ColumnElement[bool]]]]:
    """
    The listing of one table by expiry, soonest first, and the conditions of its queries.

    There is a query for each status, each a range of the index that begins with
    account, region and status: one over all of them would wade through the
    statuses that nobody asked for.
    """
    wanted = sorted(str(status) for status in statuses)
    filters = [None if until is None else until.isoformat(), *wanted]
    # A certificate of this account and the same one offered by another end together: the account is part of the key.
    key = [columns.not_after, columns.certificate_id, columns.account_id]
    listing = Listing(name, scope, key, page, filters=filters)
    soon = [] if until is None else [columns.not_after <= until]
    return listing, [[columns.status == status, *soon] for status in wanted]


def count_active(connection: Connection, spans: Sequence[Span]) -> tuple[list[int], list[int]]:
    """For each span the ACTIVE device certificates, and the ACTIVE CAs, of all accounts that end in it."""
    return _count(connection, certificates, spans), _count(connection, ca_certificates, spans)


def _count(connection: Connection, table: Table, spans: Sequence[Span]) -> list[int]:
    counts = []
    for begin, end in spans:
        query = select(func.count()).select_from(table).where(table.c.status == ACTIVE_LITERAL)
        if begin is not None:
            query = query.where(table.c.not_after >= begin)
        if end is not None:
            query = query.where(table.c.not_after < end)
        counts.append(connection.execute(query).scalar_one())
    return counts
