"""Lengths of time as people write them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from handfast.errors import ConfigurationError
from handfast.printable import printable

MAX_DURATION: Final = dt.timedelta(days=100 * 365)
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
"""Seconds in each unit."""
_DURATION: Final = re.compile(r"([0-9]{1,10})([smhdw])")


def parse_duration(text: str, what: str, *, at_most: dt.timedelta = MAX_DURATION) -> dt.timedelta:
    """
    `30d`, `12h`, `90m`: a whole number of seconds, minutes, hours, days or weeks.

    Args:
        what: The option or setting, for the error.

    Raises:
        ConfigurationError: It is not written so, or is longer than `at_most`.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(
            f"{what} is {printable(text, limit=80)!r}: expected a whole number and one of s, m, h, d and w, "
            "such as 30d, 12h or 90m"
        )
    seconds = int(found[1]) * UNITS[found[2]]
    if seconds > at_most.total_seconds():
        raise ConfigurationError(f"{what} is {text.strip()}: expected at most {at_most.days}d")
    return dt.timedelta(seconds=seconds)
