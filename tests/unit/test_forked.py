"""Processes that the tests fork are whole ones, whoever asks for them at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support import forked
from tests.support.server import clean_environment


def test_asked_for_by_several_threads_each_gets_its_own() -> None:
    def ends_well(number: int) -> bool:
        arguments = ["config", "show"] if number % 2 else ["no-such-command"]
        return 0 == forked.ran(arguments, clean_environment()).returncode

    with ThreadPoolExecutor(8) as threads:
        assert [False, True] * 12 == list(threads.map(ends_well, range(24)))
