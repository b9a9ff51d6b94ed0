"""Text of unknown origin does nothing to a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handfast.printable import printable


def test_plain_text_of_any_script_stays_as_it_is() -> None:
    assert "sensor/7 Größe 温度" == printable("sensor/7 Größe 温度")


def test_what_acts_is_written_as_an_escape() -> None:
    assert r"\x1b[2J" == printable("\x1b[2J")
    assert r"a\x0ab\x0dc\x09d" == printable("a\nb\rc\td")
    assert r"\x9b31m\x7f" == printable("\x9b31m\x7f")
    assert r"\u202efdp.exe\u200b\u2028\ufeff" == printable("\u202efdp.exe\u200b\u2028\ufeff")
    assert r"\ud800" == printable("\ud800")
    assert r"\U000e0001" == printable("\U000e0001")


def test_an_escape_cannot_be_forged() -> None:
    assert r"\\x1b" == printable(r"\x1b")


def test_long_text_is_cut_and_says_so() -> None:
    assert "abc… (2 more characters)" == printable("abcde", limit=3)


@given(st.text())
def test_the_result_is_printable_and_different_texts_stay_different(text: str) -> None:
    shown = printable(text)
    assert all(character.isprintable() or character.isspace() for character in shown)
    assert not any(character in shown for character in "\n\r\x1b\x9b\u202e\u2028")
    assert (shown == printable(text + "x")) is False
