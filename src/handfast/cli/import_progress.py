"""What `cert import` shows while it runs: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import IO

from handfast.cli.import_journal import Totals
from handfast.cli.import_run import Progress

EVERY_S = 5.0


class PlainProgress:
    """A line at most every `EVERY_S` seconds: counts, certificates per second of this run, what is left."""

    def __init__(self, total_bytes: int, out: IO[str]) -> None:
        self._total_bytes = total_bytes
        self._out = out
        self._began = self._told = time.monotonic()
        self._first: tuple[int, int] | None = None

    def update(self, totals: Totals, read_bytes: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (totals.items, read_bytes)
        if now - self._told < EVERY_S:
            return
        self._told = now
        line = f"{counted(totals)}, {self._rate(totals, now):,.0f}/s, {_left(self._seconds_left(read_bytes, now))}"
        print(line, file=self._out, flush=True)

    def _rate(self, totals: Totals, now: float) -> float:
        first = self._first[0] if self._first else 0
        return (totals.items - first) / max(now - self._began, 1e-9)

    def _seconds_left(self, read_bytes: int, now: float) -> float:
        done = read_bytes - (self._first[1] if self._first else 0)
        left = max(0, self._total_bytes - read_bytes)
        return left * (now - self._began) / done if done > 0 else 0.0


def counted(totals: Totals) -> str:
    """The totals in words."""
    text = f"{totals.registered:,} registered, {totals.existed:,} there already, {totals.failed:,} failed"
    return f"{text}, {totals.skipped:,} left out" if totals.skipped else text


def _left(seconds: float) -> str:
    return f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left"


@contextlib.contextmanager
def shown(total_bytes: int) -> Iterator[Progress]:
    """Progress on standard error, for as long as the context lasts."""
    if not sys.stderr.isatty():
        yield PlainProgress(total_bytes, sys.stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}/s"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=total_bytes or 1, rate="-")

        class Bar:
            began = time.monotonic()

            def update(self, totals: Totals, read_bytes: int) -> None:
                rate = totals.items / max(time.monotonic() - self.began, 1e-9)
                bar.update(task, completed=read_bytes, description=counted(totals), rate=f"{rate:,.0f}")

        yield Bar()
