"""
The reports of bulk registration tasks: newline-delimited JSON in `bulk-reports/`, and the links that serve them.

A link needs no signature, as AWS's presigned ones do not: it carries a token
that names the report and an instant, under a key that this process made and
that ends with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
from pathlib import Path
from typing import Any

from handfast.core.provisioning.tasks import ReportType, TaskId
from handfast.ports import Clock, Entropy

FOLDER = "bulk-reports"
LINK_S = 3600
_TAIL_BYTES = 1024 * 1024
"""Longer than any line of a report."""
_TASK_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ReportFiles:
    """The files, 0600. Blocking; a report is written by one task at a time."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def path(self, task_id: TaskId, report: ReportType) -> Path:
        """Where the report is, if there is one."""
        if not _TASK_ID.fullmatch(task_id):
            raise ValueError("not a task's id")
        return self._folder / f"{task_id}-{report.value.lower()}.ndjson"

    def cut(self, task_id: TaskId, line: int) -> int:
        """
        The reports tell of no line after this one, and no half of one.

        Returns:
            The highest line that they tell of, 0 for none. A crash may have kept
            `line` itself from them; a restored registry may be behind them.
        """
        return max(_cut(self.path(task_id, report), line) for report in ReportType)

    def append(self, task_id: TaskId, report: ReportType, entry: dict[str, Any]) -> None:
        """The entry is the report's last line; it survives a crash of the process."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path(task_id, report), flags, 0o600)
        try:
            data = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)

    def settle(self, task_id: TaskId) -> None:
        """What was written survives a power cut."""
        for report in ReportType:
            try:
                descriptor = os.open(self.path(task_id, report), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def forget(self, task_id: TaskId) -> None:
        """The task has no reports."""
        for report in ReportType:
            self.path(task_id, report).unlink(missing_ok=True)


class ReportLinks:
    """Tokens for reports, good for `LINK_S`."""

    def __init__(self, files: ReportFiles, clock: Clock, entropy: Entropy) -> None:
        self._files = files
        self._clock = clock
        self._key = entropy.token_bytes(32)

    def token(self, task_id: TaskId, report: ReportType) -> str:
        """A part of a URL's path."""
        claim = json.dumps([task_id, report.value, int(self._clock.now().timestamp()) + LINK_S]).encode()
        return f"{_encode(claim)}.{_encode(self._mac(claim))}"

    def report(self, token: str) -> Path | None:
        """The file that the token opens, while it does."""
        claim_part, _, mac_part = token.partition(".")
        try:
            claim, mac = _decode(claim_part), _decode(mac_part)
        except (binascii.Error, ValueError):
            return None
        if not hmac.compare_digest(mac, self._mac(claim)):
            return None
        task_id, report, until = json.loads(claim)
        if self._clock.now().timestamp() >= until:
            return None
        path = self._files.path(TaskId(task_id), ReportType(report))
        return path if path.is_file() and not path.is_symlink() else None

    def _mac(self, claim: bytes) -> bytes:
        return hmac.new(self._key, claim, hashlib.sha256).digest()


def _cut(path: Path, line: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    with os.fdopen(descriptor, "r+b") as file:
        while True:
            start = file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = file.read()
            end = tail.rfind(b"\n") + 1
            begin = tail.find(b"\n") + 1 if start else 0  # the first one may be cut
            for entry in reversed(tail[begin:end].splitlines()):
                if (found := int(json.loads(entry)["line"])) <= line:
                    file.truncate(start + end)
                    return found
                end -= len(entry) + 1
            file.truncate(start + begin)
            if start == 0:
                return 0


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
