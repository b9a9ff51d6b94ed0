"""What every command prints: JSON for programs, escaped text for people."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from handfast.printable import printable


def print_json(value: Any) -> None:
    """One JSON document on standard output; instants in ISO 8601 UTC, everything else as JSON has it."""
    print(json.dumps(value, indent=2, default=_plain, ensure_ascii=True))


def print_json_list(values: Iterable[Any]) -> int:
    """One JSON array on standard output, each value printed as it comes; how many there were."""
    count = 0
    for value in values:
        print("[" if count == 0 else ",")
        print(textwrap.indent(json.dumps(value, indent=2, default=_plain, ensure_ascii=True), "  "), end="")
        count += 1
    print("\n]" if count else "[]")
    return count


WIDTH = 100
"""Columns that text for people is wrapped to."""


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str, beneath: Sequence[Sequence[str]] = ()
) -> None:
    """
    Columns as wide as their widest cell, or the sentence `empty`; every cell is escaped.

    `beneath`: for each row the lines that stand indented below it, wrapped.
    """
    cells = [[printable(plain(cell)) for cell in row] for row in rows]
    if not cells:
        print(empty)
        return
    widths = [max(len(row[i]) for row in [list(heads), *cells]) for i in range(len(heads))]
    for row, lines in itertools.zip_longest([list(heads), *cells], [(), *beneath], fillvalue=()):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for line in lines:
            text = printable(line, limit=2000)
            print(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))


def print_line(label: str, value: Any) -> None:
    """One fact about one thing, escaped."""
    print(f"{label:<18} {printable(plain(value), limit=400)}")


def plain(value: Any) -> str:
    """A value as text for a person."""
    if value is None:
        return "-"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    return str(value)
