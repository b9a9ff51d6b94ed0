"""Processes that the tests fork are whole ones, whoever asks for them at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import forked
from tests.support.server import clean_environment


def test_where_nothing_can_be_adopted_an_interpreter_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "can_adopt", lambda: False)
    assert 2 == forked.ran(["no-such-command"], clean_environment()).returncode
    with (tmp_path / "printed").open("wb") as out:
        told = forked.begin(
            ["x"], clean_environment(), out.fileno(), out.fileno(), program="import sys; print(sys.argv)"
        )
        assert 0 == told.wait(forked.LIMIT_S)
    assert "['-c', 'x']\n" == (tmp_path / "printed").read_text()


def test_asked_for_by_several_threads_each_gets_its_own() -> None:
    def ends_well(number: int) -> bool:
        arguments = ["config", "show"] if number % 2 else ["no-such-command"]
        return 0 == forked.ran(arguments, clean_environment()).returncode

    with ThreadPoolExecutor(8) as threads:
        assert [False, True] * 12 == list(threads.map(ends_well, range(24)))
