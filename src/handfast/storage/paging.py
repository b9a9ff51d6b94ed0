"""
Opaque markers for keyset paging.

A marker holds the key of the last item seen, so a page begins after that key
whatever was inserted or deleted meanwhile. It also holds a digest of the listing
it came from (which one, scope, filters, order): a marker of another listing is
refused instead of quietly starting somewhere.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Integer, Row, Select, literal, tuple_

from handfast.core.identity.ids import Scope
from handfast.errors import StoreConflict
from handfast.ports import PageRequest
from handfast.storage.tables import Instant, from_microseconds, to_microseconds

_DIGEST_BYTES = 9
_MARKER_MAX = 1024
_INTEGER_MAX = 2**62
_MICROSECONDS_MAX = 2**57  # the year 6536; twice that overflows datetime


class Listing:
    """One listing: its identity for markers, and the columns that order it, unique together within it."""

    def __init__(
        self,
        name: str,
        scope: Scope,
        columns: Sequence[Column[Any]],
        page: PageRequest,
        *,
        ascending: bool = True,
        filters: Sequence[object] = (),
    ) -> None:
        self._columns = columns
        self._page = page
        self._ascending = ascending
        identity = json.dumps([name, *scope, ascending, *filters])
        self._digest = hashlib.sha256(identity.encode()).digest()[:_DIGEST_BYTES]

    def select(self, query: Select[Any]) -> Select[Any]:
        """The query for this page and one row more, which tells whether another page follows."""
        if self._page.marker is not None:
            query = query.where(self._after(self._decode(self._page.marker)))
        order = [column.asc() if self._ascending else column.desc() for column in self._columns]
        return query.order_by(*order).limit(self._page.limit + 1)

    def read(
        self, connection: Connection, queries: Sequence[Select[Any]]
    ) -> tuple[Sequence[Row[*tuple[Any, ...]]], str | None]:
        """This page of what the queries find together, and the marker of the next one (None on the last)."""
        found = [row for query in queries for row in connection.execute(self.select(query))]
        if len(queries) > 1:
            names = [column.name for column in self._columns]
            found.sort(key=lambda row: [row._mapping[name] for name in names], reverse=not self._ascending)
        return self.cut(found)

    def cut(self, rows: Sequence[Row[*tuple[Any, ...]]]) -> tuple[Sequence[Row[*tuple[Any, ...]]], str | None]:
        """The rows of this page, and the marker of the next one (None on the last)."""
        if len(rows) <= self._page.limit:
            return rows, None
        rows = rows[: self._page.limit]
        last = rows[-1]._mapping
        return rows, self._encode([last[column.name] for column in self._columns])

    def position(self) -> Sequence[Any] | None:
        """The key that this page begins after; None on the first."""
        return None if self._page.marker is None else self._decode(self._page.marker)

    def marker_after(self, key: Sequence[Any]) -> str:
        """The marker of a page that begins after `key`, whether or not there is such an item."""
        return self._encode(key)

    def _after(self, key: Sequence[Any]) -> ColumnElement[bool]:
        # A row value, (a, b) > (x, y), is one range over the index; spelled out with OR it is a scan.
        columns = tuple_(*self._columns)
        values = tuple_(*[literal(value, column.type) for value, column in zip(key, self._columns, strict=True)])
        return columns > values if self._ascending else columns < values

    def _encode(self, key: Sequence[Any]) -> str:
        plain = [to_microseconds(value) if isinstance(value, dt.datetime) else value for value in key]
        return base64.b64encode(self._digest + json.dumps(plain, separators=(",", ":")).encode()).decode()

    def _decode(self, marker: str) -> list[Any]:
        foreign = StoreConflict("marker", "The marker does not belong to this listing")
        if len(marker) > _MARKER_MAX:
            raise foreign
        try:
            raw = base64.b64decode(marker, validate=True)
            key = json.loads(raw[_DIGEST_BYTES:])
        except (binascii.Error, ValueError, RecursionError):
            raise foreign from None
        if raw[:_DIGEST_BYTES] != self._digest or not isinstance(key, list) or len(key) != len(self._columns):
            raise foreign
        values: list[Any] = []
        for value, column in zip(key, self._columns, strict=True):
            if isinstance(column.type, Instant):
                if type(value) is not int or not 0 <= value <= _MICROSECONDS_MAX:
                    raise foreign
                values.append(from_microseconds(value))
            elif isinstance(column.type, Integer):
                if type(value) is not int or not 0 <= value <= _INTEGER_MAX:
                    raise foreign
                values.append(value)
            elif isinstance(value, str) and _storable(value):
                values.append(value)
            else:
                raise foreign
        return values


def _storable(text: str) -> bool:
    # JSON can spell what no text column holds: lone surrogates, and NUL for PostgreSQL
    try:
        return "\x00" not in text and text.encode() is not None
    except UnicodeEncodeError:
        return False
