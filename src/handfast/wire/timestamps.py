"""Instants on the wire: epoch seconds in bodies, ISO 8601 in URIs and queries, RFC 822 in headers; all of them read."""

from __future__ import annotations

import datetime as dt
import email.utils
import math
import re
from typing import Final

_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_MAX_CHARS: Final = 64


def from_epoch(seconds: float) -> dt.datetime:
    """
    The instant, aware UTC, to the microsecond.

    Raises:
        ValueError: Not finite, or outside the years 1 to 9999 (milliseconds taken for seconds end here).
    """
    if not math.isfinite(seconds):
        raise ValueError("not a finite number")
    try:
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError("outside the years 1 to 9999") from error


def parse(text: str) -> dt.datetime:
    """
    Any of the three forms as aware UTC; an instant without a zone is UTC.

    Raises:
        ValueError: None of them.
    """
    text = text.strip()
    if len(text) > _MAX_CHARS:
        raise ValueError("too long for a timestamp")
    if _NUMBER.fullmatch(text):
        return from_epoch(float(text))
    try:
        value = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            value = email.utils.parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise ValueError("not a timestamp") from error
    if value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    try:
        return value.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("outside the years 1 to 9999") from error


def to_epoch(value: dt.datetime) -> float | int:
    """Epoch seconds with at most milliseconds, as AWS answers; whole seconds as an integer."""
    if value.tzinfo is None:
        raise TypeError("instants are aware UTC")
    seconds = round(value.timestamp(), 3)
    return int(seconds) if seconds.is_integer() else seconds


def to_iso(value: dt.datetime) -> str:
    """`2030-01-02T03:04:05Z`."""
    return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_http(value: dt.datetime) -> str:
    """`Wed, 02 Jan 2030 03:04:05 GMT`."""
    return email.utils.format_datetime(value.astimezone(dt.UTC), usegmt=True)
