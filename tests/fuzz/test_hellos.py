"""A few hundred ClientHellos, the same each time; `make fuzz ARGS="--kind hellos"` runs for longer, with others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.hello_target import HelloTarget
from tests.fuzz.run import TARGETS, run

INPUTS = 250


def test_no_opening_breaks_what_must_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And some are read, some refused: a fuzzer whose inputs all fail at the first byte tests nothing."""
    target = HelloTarget()
    monkeypatch.setitem(TARGETS, "hellos", lambda: target)
    assert INPUTS == run(0, 1, tmp_path, kind="hellos", inputs=INPUTS)
    assert 0.2 < target.accepted / INPUTS < 0.8


def test_every_hello_of_the_corpus_holds_unchanged() -> None:
    target = HelloTarget()
    for data in target.corpus:
        target.judge(target.load({"data": data.hex(), "cuts": [5, len(data) // 2], "after_retry": False}))
    for data in target.second:
        target.judge(target.load({"data": data.hex(), "cuts": [6, len(data) // 2], "after_retry": True}))
    assert target.accepted == len(target.corpus) + len(target.second) - 1  # one has the form of SSLv2
