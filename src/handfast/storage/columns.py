"""What the tables are made of: the types of columns, and the naming of constraints."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, MetaData, String, TypeDecorator

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def to_microseconds(instant: dt.datetime) -> int:
    """Whole microseconds since the epoch, exact (no float on the way)."""
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> dt.datetime:
    """The aware UTC instant."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


class Instant(TypeDecorator[dt.datetime]):
    """An aware UTC instant, stored as microseconds since the epoch: the same in every engine, ordered as a number."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else from_microseconds(value)


# Names and ids compare bytewise. SQLite does so by itself (BINARY); PostgreSQL needs to be told.
Key = String().with_variant(String(collation="C"), "postgresql")
# BIGINT keys do not autoincrement on SQLite.
Serial = BigInteger().with_variant(Integer, "sqlite")

# Small rows found by their whole key stand in the key's own tree (sqlite_with_rowid=False): one search instead of two.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
