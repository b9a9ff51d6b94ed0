"""Text for people: tables and lines that fit on a screen, with every word of them whole."""

from __future__ import annotations

import pytest

from handfast.cli.output import WIDTH, folded, print_table

ID = "ab" * 32
ARN = f"arn:aws:iot:us-east-1:123456789012:cert/{ID}"


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().out.splitlines()
    assert [] == [line for line in lines if len(line) > WIDTH and " " in line.strip()]
    return lines


def test_a_table_that_fits_is_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "id"), [("x" * 34, ID), ("", ID)], empty="")
    assert [f"{'a':<34}  id", f"{'x' * 34}  {ID}", f"{'':34}  {ID}"] == printed(capsys)


def test_columns_of_words_are_wrapped_and_the_others_keep_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "why", "when"), [("n" * 50, "four words each of " * 5, "2030-01-02")], empty="")
    head, first, *more = printed(capsys)
    assert head.index("when") == first.index("2030-01-02") == WIDTH - len("2030-01-02")
    assert all(line.startswith(" " * 52) for line in more)
    assert ["four", "words", "each", "of"] * 5 == " ".join([first[52:89], *more]).split()


def test_what_has_no_room_stands_below_its_row_and_uncut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("status", "ARN"), [("ACTIVE", ARN), ("INACTIVE", "short")], empty="")
    assert ["status    ARN", "ACTIVE", f"  {ARN}", "INACTIVE  short"] == printed(capsys)


def test_lines_are_folded_at_words_and_hang() -> None:
    text = f"short\n   {'word ' * 30}end\n  {ID}"
    short, *wrapped, last = folded(text, hanging=3).splitlines()
    assert ("short", f"  {ID}") == (short, last)
    assert [3, 6] == [len(line) - len(line.lstrip()) for line in wrapped]
    assert 31 == len(" ".join(wrapped).split())
    assert max(map(len, wrapped)) <= WIDTH
