"""The audit trail: rows appended to the chains of their accounts, and read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Row, bindparam, func, insert, select, type_coerce, update

from handfast.core.identity.audit_chain import OPERATOR, AuditFields, AuditHead, AuditRow, chain_of, genesis, links
from handfast.core.identity.ids import AccountId, Scope
from handfast.ports import AuditQuery, Page, PageRequest
from handfast.storage.paging import Listing
from handfast.storage.prepared import Prepared
from handfast.storage.tables import audit, audit_heads

SCANNED = 10_000
"""Rows that one page looks at when what it filters by has no index: a page may hold fewer than were asked for."""

_A, _H = audit.c, audit_heads.c
_HEAD = Prepared(lambda _: select(_H.number, _H.link).where(_H.chain == bindparam("of")).with_for_update())
_MOVE = Prepared(
    lambda _: (
        update(audit_heads)
        .where(_H.chain == bindparam("of"))
        .values(number=bindparam("new_number"), link=bindparam("new_link"))
    )
)
_SELECT = select(
    _A.sequence,
    _A.number,
    _A.link,
    type_coerce(_A.at, BigInteger),  # as it stands there: what somebody else wrote may be no instant
    _A.actor,
    _A.address,
    _A.operation,
    _A.request_id,
    _A.account_id,
    _A.region,
    _A.what,
    _A.subject,
    _A.before,
    _A.after,
)


class Chained(NamedTuple):
    """A row with its place in its chain."""

    fields: AuditFields
    number: int
    link: str


def chained(connection: Connection, rows: Sequence[AuditFields]) -> list[Chained]:
    """The rows numbered and linked behind the heads of their chains, which have moved: to be inserted now."""
    by_chain: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        by_chain.setdefault(chain_of(row.account_id), []).append(place)
    placed: list[Chained | None] = [None] * len(rows)
    for chain in sorted(by_chain):  # always in one order: two writers cannot wait for each other
        places = by_chain[chain]
        moved = list(links(_lock_head(connection, chain), [rows[place] for place in places]))
        for place, head in zip(places, moved, strict=True):
            placed[place] = Chained(rows[place], head.number, head.link)
        _MOVE.run(connection, {"of": chain, "new_number": moved[-1].number, "new_link": moved[-1].link})
    return [row for row in placed if row is not None]


def _lock_head(connection: Connection, chain: str) -> AuditHead:
    row = _HEAD.run(connection, {"of": chain}).fetchone()
    if row is not None:
        return AuditHead(chain, row[0], row[1])
    head = AuditHead(chain, 0, genesis(chain).hex())
    connection.execute(insert(audit_heads), [head._asdict()])
    return head


def heads(connection: Connection) -> list[AuditHead]:
    """The head of every chain."""
    return [AuditHead(*row) for row in connection.execute(select(_H.chain, _H.number, _H.link).order_by(_H.chain))]


def position(connection: Connection) -> int:
    """Grows with every row."""
    return connection.execute(select(func.max(_A.sequence))).scalar() or 0


def links_at(connection: Connection, places: Iterable[tuple[str, int]]) -> list[str | None]:
    """The link of each (chain, number), None where there is no such row."""
    return [
        connection.execute(select(_A.link).where(*_in_chain(chain), _A.number == number)).scalar()
        for chain, number in places
    ]


def extents(connection: Connection) -> dict[str, int]:
    """The highest number of every chain that has rows, whatever the heads say."""
    found = connection.execute(select(_A.account_id, func.max(_A.number)).group_by(_A.account_id))
    return {chain_of(account): number for account, number in found if isinstance(number, int)}


def rows_after(connection: Connection, chain: str, after: int, until: int, limit: int) -> list[AuditRow]:
    """Up to `limit` rows of the chain by number, above `after` and up to `until`."""
    query = _SELECT.where(*_in_chain(chain), _A.number > after, _A.number <= until).order_by(_A.number).limit(limit)
    if connection.dialect.name != "sqlite":
        return [_row(row) for row in connection.execute(query)]
    raw = connection.connection.driver_connection
    assert raw is not None
    # Bytes that are no UTF-8 are something to report, not to fail on.
    raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        return [_row(row) for row in connection.execute(query)]
    finally:
        raw.text_factory = str


def page(connection: Connection, query: AuditQuery, request: PageRequest) -> Page[AuditRow]:
    """Rows by number, or of all chains by sequence: the newest first unless `ascending`."""
    place = _A.sequence if query.chain is None else _A.number
    scope = Scope(AccountId(query.chain or ""), "")
    filters = [*query.kinds, query.subject, query.operation, query.since and query.since.isoformat()]
    filters.append(query.until and query.until.isoformat())
    listing = Listing("audit", scope, [place], request, ascending=request.ascending, filters=filters)
    found = _SELECT
    if query.chain is not None:
        found = found.where(*_in_chain(query.chain))
    if query.kinds:
        found = found.where(_A.what.in_([kind.value for kind in query.kinds]))
    if query.operation is not None:
        found = found.where(_A.operation == query.operation)
    if query.since is not None:
        found = found.where(_A.at >= query.since)
    if query.until is not None:
        found = found.where(_A.at < query.until)
    if query.subject is not None:
        rows, marker = listing.cut(connection.execute(listing.select(found.where(_A.subject == query.subject))).all())
        return Page([_row(row) for row in rows], marker)
    edge, last = _window(connection, query.chain, listing.position(), request)
    within = place <= edge if request.ascending else place >= edge
    rows, marker = listing.cut(connection.execute(listing.select(found.where(within))).all())
    return Page([_row(row) for row in rows], marker or (None if last else listing.marker_after([edge])))


def _window(
    connection: Connection, chain: str | None, after: Sequence[Any] | None, request: PageRequest
) -> tuple[int, bool]:
    """The last place that this page looks at, and whether the listing ends there."""
    if chain is None:
        highest = position(connection)
    else:
        highest = connection.execute(select(func.max(_A.number)).where(*_in_chain(chain))).scalar() or 0
    if request.ascending:
        edge = (0 if after is None else after[0]) + SCANNED
        return edge, edge >= highest
    edge = (highest + 1 if after is None else after[0]) - SCANNED
    return edge, edge <= 1


def _in_chain(chain: str) -> list[Any]:
    return [_A.account_id.is_(None) if chain == OPERATOR else _A.account_id == chain]


def _row(row: Row[*tuple[Any, ...]]) -> AuditRow:
    return AuditRow(row[0], row[1], row[2], AuditFields(*row[3:]))
