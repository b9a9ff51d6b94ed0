"""How far an import came, and what failed: the two files that outlive a run which was killed."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from handfast.errors import ConfigurationError
from handfast.printable import printable

_FORMAT = 1
COLUMNS = ("outcome", "source", "place", "uniqueId", "certificateId", "code", "message")
REPORT_SUFFIXES = (".csv", ".jsonl")


@dataclass(slots=True)
class Totals:
    """What became of the items so far."""

    registered: int = 0
    existed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def items(self) -> int:
        """All of them."""
        return self.registered + self.existed + self.failed + self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """
    Everything before here is acknowledged by the server and, where it failed, in the report.

    `digest` is the SHA-256 over the items before, so that sources that were
    changed meanwhile are noticed. `report_bytes`: the report's length then.
    """

    items: int
    digest: str
    totals: Totals = field(default_factory=Totals)
    report_bytes: int = 0


class Journal:
    """One file that holds the last `Mark` of a job. A journal of another job is as none."""

    def __init__(self, path: Path, job: str) -> None:
        self.path = path
        self.temporary = path.with_name(f"{path.name}.new")
        self._job = job

    def read(self) -> Mark | None:
        """The last mark, or None: nothing to resume."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["format"] != _FORMAT or found["job"] != self._job:
                return None
            return Mark(
                items=int(found["items"]),
                digest=str(found["digest"]),
                totals=Totals(**{name: int(value) for name, value in found["totals"].items()}),
                report_bytes=int(found["reportBytes"]),
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, mark: Mark) -> None:
        """The mark replaces the one before, whole or not at all."""
        document = {
            "format": _FORMAT,
            "job": self._job,
            "items": mark.items,
            "digest": mark.digest,
            "totals": asdict(mark.totals),
            "reportBytes": mark.report_bytes,
        }
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")
            self.temporary.replace(self.path)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}") from None

    def remove(self) -> None:
        """The job is done."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def journal_for(facts: Mapping[str, Any], report: Path | None) -> Journal:
    """The journal of the job that `facts` describe: beside its report, else in the user's state directory."""
    job = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    if report is not None:
        return Journal(report.with_name(f"{report.name}.journal"), job)
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return Journal(home / "handfast" / f"import-{job[:16]}.journal", job)


class Report:
    """Every item that was not registered, a line each: CSV with a head, or JSON lines, by the path's suffix."""

    def __init__(self, path: Path, *, keep_bytes: int | None = None) -> None:
        """
        Args:
            keep_bytes: Go on behind this length of an earlier run's report; None: a new one.

        Raises:
            ConfigurationError: Another suffix, or the file cannot be written.
        """
        self._csv = path.suffix.lower() == ".csv"
        if path.suffix.lower() not in REPORT_SUFFIXES:
            raise ConfigurationError(f"--report {printable(str(path))}: expected a name that ends in .csv or .jsonl")
        try:
            self._file = path.open("r+b" if keep_bytes and path.exists() else "wb")
            self._file.truncate(keep_bytes or 0)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise ConfigurationError(f"--report {printable(str(path))} cannot be written: {error.strerror}") from None
        if self._csv and not self._file.tell():
            self._file.write(_csv_line(COLUMNS))

    def add(self, row: Mapping[str, str | None]) -> None:
        """One line; absent columns are empty."""
        if self._csv:
            self._file.write(_csv_line([row.get(name) or "" for name in COLUMNS]))
        else:
            line = {name: row[name] for name in COLUMNS if row.get(name)}
            self._file.write(json.dumps(line).encode() + b"\n")

    def flush(self) -> int:
        """What was added is in the file, whose length is returned."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Nothing more is added."""
        self._file.close()


def _csv_line(cells: Any) -> bytes:
    text = io.StringIO()
    # A spreadsheet takes a cell that begins like a formula for one.
    csv.writer(text).writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in cells])
    return text.getvalue().encode()
