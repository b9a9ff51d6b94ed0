"""Lengths of time as people write them."""

from __future__ import annotations

import datetime as dt

import pytest

from handfast.durations import parse_duration
from handfast.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30d", dt.timedelta(days=30)),
        ("12h", dt.timedelta(hours=12)),
        ("90m", dt.timedelta(minutes=90)),
        ("45s", dt.timedelta(seconds=45)),
        ("2w", dt.timedelta(days=14)),
        ("0d", dt.timedelta(0)),
        (" 7d ", dt.timedelta(days=7)),
        ("36500d", dt.timedelta(days=36500)),
    ],
)
def test_a_number_and_a_unit(text: str, wanted: dt.timedelta) -> None:
    assert wanted == parse_duration(text, "--within")


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "30 d", "1d12h", "30D", "3y", "٣d", "9" * 400 + "d"])
def test_anything_else_is_one_clear_line(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a whole number and one of s, m, h, d and w") as caught:
        parse_duration(text, "--within")
    assert str(caught.value).startswith("--within is ")
    assert len(str(caught.value)) < 250


def test_longer_than_a_century_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--within is 36501d: expected at most 36500d"):
        parse_duration("36501d", "--within")


def test_what_was_typed_is_escaped() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_duration("\x1b[2J", "--within")
    assert str(caught.value).isprintable()
