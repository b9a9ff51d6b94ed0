"""
Bulk registration tasks: their records, and the lines of their input.

The input is newline-delimited JSON, one object of parameters a line.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, NewType

from handfast.core.identity.ids import Scope
from handfast.core.policy.reading import check_unicode, is_text, load_bounded, members
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.errors import PolicySyntaxError

TaskId = NewType("TaskId", str)
"""A UUID as text."""

LINE_MAX_BYTES = 256 * 1024
"""Without the line feed."""
_DEPTH_MAX = 2
"""One object; what is deeper is no parameter anyway, but told as such."""


class TaskStatus(StrEnum):
    """DescribeThingRegistrationTask `status`."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    CANCELLING = "Cancelling"


class ReportType(StrEnum):
    """ListThingRegistrationTaskReports `reportType`."""

    ERRORS = "ERRORS"
    RESULTS = "RESULTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationTask:
    """
    A task and how far it is.

    The lines up to number `line` are done, which end at the byte `offset` of `size`
    (None: not looked at yet). `input_version` tells this input from another
    that has its name later. `outcome` is what the reports say of the last line
    that was done, as JSON.
    """

    scope: Scope
    task_id: TaskId
    template_body: str
    bucket: str
    key: str
    role_arn: str
    status: TaskStatus
    creation_date: dt.datetime
    last_modified_date: dt.datetime
    message: str | None = None
    success_count: int = 0
    failure_count: int = 0
    line: int = 0
    offset: int = 0
    size: int | None = None
    input_version: str | None = None
    outcome: str | None = None

    @property
    def percentage(self) -> int:
        """Of the input that is done, 0 to 100; 100 only at its end."""
        if self.status is TaskStatus.COMPLETED:
            return 100
        return 0 if not self.size else min(99, self.offset * 100 // self.size)


class TaskLine(NamedTuple):
    """A line of a task: `line` counts from 1, `offset` is where the next one begins."""

    task_id: TaskId
    line: int
    offset: int


class InputLine(NamedTuple):
    """A line of the input without its line feed, None when it is too long; `end` is the byte behind it."""

    content: bytes | None
    end: int


class LineSplitter:
    """Bytes in, lines out; holds no more than one line."""

    def __init__(self, offset: int = 0) -> None:
        self._end = offset
        self._pending = b""
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[InputLine]:
        """The lines that end in `data`."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            yield self._line(part, 1)
        self._keep(rest)

    def finish(self) -> Iterator[InputLine]:
        """The last line, where no line feed ends it."""
        if self._pending or self._too_long:
            yield self._line(b"", 0)

    def _line(self, part: bytes, feed: int) -> InputLine:
        self._keep(part)
        self._end += feed
        found = InputLine(None if self._too_long else self._pending, self._end)
        self._pending, self._too_long = b"", False
        return found

    def _keep(self, part: bytes) -> None:
        self._end += len(part)
        if self._too_long or len(self._pending) + len(part) > LINE_MAX_BYTES:
            self._pending, self._too_long = b"", True
        else:
            self._pending += part


def read_parameters(content: bytes | None) -> Mapping[str, str]:
    """
    The parameters of a line.

    Raises:
        ProvisioningFailed: INVALID: too long, or not one JSON object of texts.
    """
    if content is None:
        raise _unusable(f"the line is longer than {LINE_MAX_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _unusable("the line is not UTF-8") from None
    try:
        value: Any = load_bounded(text, max_characters=LINE_MAX_BYTES, max_depth=_DEPTH_MAX)
        found = members(value, "$", "an object of parameters")
        for name, each in found.items():
            check_unicode(name, "$")
            if not is_text(each):
                raise PolicySyntaxError("a parameter's value must be a text", "$")
            check_unicode(each, "$")
    except PolicySyntaxError as error:
        raise _unusable(str(error)) from None
    return found


def _unusable(problem: str) -> ProvisioningFailed:
    return ProvisioningFailed(
        FailureKind.INVALID, "", f"{problem}; each line must be one JSON object that maps parameters to texts"
    )
