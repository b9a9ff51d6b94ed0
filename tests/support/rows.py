"""What the registry's file holds of an account: seen at once, where the API would have to be asked fifty times."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from handfast.storage.tables import metadata

Rows = dict[str, list[tuple[Any, ...]]]
"""By table; in the order of the primary key."""


def rows_of(data_dir: Path, account: str, region: str) -> Rows:
    """Every row of the account in the region, of every table that has such rows; the server may be running."""
    scoped = [table for table in metadata.sorted_tables if {"account_id", "region"} <= set(table.columns.keys())]
    assert len(scoped) > 20
    found = {}
    with contextlib.closing(sqlite3.connect(f"file:{data_dir / 'handfast.db'}?mode=ro", uri=True)) as connection:
        for table in scoped:
            order = ", ".join(table.primary_key.columns.keys())
            query = f"SELECT * FROM {table.name} WHERE account_id = ? AND region = ? ORDER BY {order}"
            found[table.name] = connection.execute(query, (account, region)).fetchall()
    return found
