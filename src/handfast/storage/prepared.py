"""
Statements made once and run below SQLAlchemy's execution: for what every device causes, where Core costs more than SQL.

The statement stays one of Core, so that it fits the tables and every engine. On SQLite its text and the
order of its parameters are taken from Core once; on another engine Core runs it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement


class Rows(Protocol):
    """What running a statement gives: rows as they stand in the database, instants as microseconds on SQLite."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


class _Made(NamedTuple):
    """
    A statement for one engine. `sql` is empty where Core runs it.

    Else `names` are its parameters in order, `fixed` the values of those that are written into the statement, and
    `processors` make values of places what the driver takes.
    """

    statement: Any
    sql: str = ""
    names: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = MappingProxyType({})
    processors: tuple[tuple[int, Callable[[Any], Any]], ...] = ()


class Prepared:
    """
    One statement. What it returns may be text and numbers only: no instant, which Core would have to read.

    Every parameter has a name: those of an INSERT are the columns of its table.
    """

    def __init__(self, make: Callable[[Connection], Any]) -> None:
        """
        Args:
            make: Makes the statement for the engine of a connection; called once for each engine.
        """
        self._make = make
        self._by_engine: dict[str, _Made] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Rows:
        """The statement with these values, in the connection's transaction."""
        made = self._by_engine.get(connection.dialect.name) or self._prepare(connection)
        if not made.sql:
            result: Rows = connection.execute(made.statement, dict(values))
            return result
        return driver(connection).execute(made.sql, _row(made, values))

    def run_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """The statement, which returns nothing, once for each."""
        made = self._by_engine.get(connection.dialect.name) or self._prepare(connection)
        if not made.sql:
            connection.execute(made.statement, [dict(each) for each in rows])
        else:
            driver(connection).executemany(made.sql, [_row(made, each) for each in rows])

    def _prepare(self, connection: Connection) -> _Made:
        statement = self._make(connection)
        made = _Made(statement) if connection.dialect.name != "sqlite" else _compiled(connection, statement)
        self._by_engine[connection.dialect.name] = made
        return made


def _compiled(connection: Connection, statement: ClauseElement) -> _Made:
    compiled = statement.compile(dialect=connection.dialect)
    assert isinstance(compiled, SQLCompiler)
    names = tuple(compiled.positiontup or ())
    fixed = {name: compiled.binds[name].value for name in names if compiled.binds[name].value is not None}
    processors = []
    for place, name in enumerate(names):
        processor = compiled.binds[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        if processor is not None:
            processors.append((place, processor))
    return _Made(statement, str(compiled), names, fixed, tuple(processors))


def driver(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, on SQLite."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _row(made: _Made, values: Mapping[str, Any]) -> list[Any]:
    if made.fixed:
        values = {**values, **made.fixed}
    row = [values[name] for name in made.names]
    for place, processor in made.processors:
        row[place] = processor(row[place])
    return row
