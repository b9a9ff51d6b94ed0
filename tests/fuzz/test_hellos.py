"""Some hundred ClientHellos, the same each time; `make fuzz ARGS="--kind hellos"` runs for longer, with others."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fuzz.hello_target import HelloTarget
from tests.fuzz.run import run

INPUTS = 400


def test_no_opening_breaks_what_must_hold(tmp_path: Path) -> None:
    assert INPUTS == run(0, 1, tmp_path, kind="hellos", inputs=INPUTS)


def test_some_are_read_and_some_refused() -> None:
    """A fuzzer whose inputs all fail at the first byte tests nothing."""
    target = HelloTarget()
    for number in range(100):
        target.judge(target.make(random.Random(f"2:{number}")))
    assert 20 < target.accepted < 80


def test_every_hello_of_the_corpus_holds_unchanged() -> None:
    target = HelloTarget()
    for data in target.corpus:
        target.judge(target.load({"data": data.hex(), "cuts": [5, len(data) // 2], "after_retry": False}))
    for data in target.second:
        target.judge(target.load({"data": data.hex(), "cuts": [6, len(data) // 2], "after_retry": True}))
    assert target.accepted == len(target.corpus) + len(target.second) - 1  # one has the form of SSLv2
