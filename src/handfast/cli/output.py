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

    `beneath`: for each row the lines that stand indented below it, wrapped. In a table wider than `WIDTH` columns of
    several words are wrapped; where that is not enough, what has no room at the end of a row stands below it, uncut.
    """
    cells = [[printable(plain(cell)) for cell in row] for row in rows]
    if not cells:
        print(empty)
        return
    table = [list(heads), *cells]
    widths = _widths(table)
    for row, lines in itertools.zip_longest(table, [(), *beneath], fillvalue=()):
        _print_row(row, widths)
        for line in lines:
            print(textwrap.fill(printable(line, limit=2000), initial_indent="  ", **_HANGING))


_GAP = "  "
_NARROWEST = 20
"""No column is wrapped to less, so that its text can be read."""
_HANGING: dict[str, Any] = {"width": WIDTH, "subsequent_indent": "    ", "break_on_hyphens": False}
_WHOLE: dict[str, Any] = {"break_on_hyphens": False, "break_long_words": False}


def _widths(table: list[list[str]]) -> list[int]:
    """The widths of the columns that stand side by side in `WIDTH`: all of them, or as many as there is room for."""
    columns = list(zip(*table, strict=True))
    widest = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    least = [max(word, min(wide, _NARROWEST)) for word, wide in zip(words, widest, strict=True)]
    kept = len(widest)
    while kept > 1 and _across(least[:kept]) > WIDTH:
        kept -= 1
    widths = widest[:kept]
    while _across(widths) > WIDTH and widths != least[:kept]:
        wrappable = [each for each in range(kept) if widths[each] > least[each]]
        widths[max(wrappable, key=lambda each: widths[each])] -= 1
    return widths


def _across(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _print_row(row: Sequence[str], widths: list[int]) -> None:
    below = list(row[len(widths) :])
    columns = [
        [cell] if len(cell) <= width else textwrap.wrap(cell, width, **_WHOLE)
        for cell, width in zip(row, widths, strict=False)
    ]
    while below and _across([*widths, len(below[0])]) <= WIDTH:
        widths = [*widths, len(below[0])]
        columns.append([below.pop(0)])
    for parts in itertools.zip_longest(*columns, fillvalue=""):
        print(_GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    for cell in below:
        print(textwrap.fill(cell, initial_indent="  ", **_HANGING | _WHOLE))


def folded(text: str, *, hanging: int) -> str:
    """The lines with those wrapped that are wider than `WIDTH`: what follows is indented by `hanging` more."""
    lines = text.split("\n")
    return "\n".join(line if len(line) <= WIDTH else _folded(line, hanging) for line in lines)


def _folded(line: str, hanging: int) -> str:
    further = " " * (len(line) - len(line.lstrip()) + hanging)
    return textwrap.fill(line, WIDTH, subsequent_indent=further, **_WHOLE)


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
