"""The same certificates and requests at random in each run; `make fuzz` makes others, for as long as asked."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.fuzz.run import FuzzFailure, replay, run
from tests.fuzz.target import Target

INPUTS = int(os.environ.get("HANDFAST_FUZZ_INPUTS", "3000"))


def test_no_certificate_and_no_request_breaks_what_must_hold(tmp_path: Path) -> None:
    seed = int(os.environ.get("HANDFAST_FUZZ_SEED", "1"))
    assert INPUTS == run(0, seed, tmp_path, inputs=INPUTS)


def test_a_failure_is_saved_and_can_be_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(self: Target, given: object) -> None:
        raise RuntimeError("seen")

    monkeypatch.setattr(Target, "judge", judge)
    with pytest.raises(FuzzFailure, match="input 1 of seed 7: RuntimeError: seen"):
        run(0, 7, tmp_path)
    with pytest.raises(RuntimeError, match="seen"):
        replay(tmp_path / "7-1.json")


def test_some_inputs_are_read_and_some_refused(tmp_path: Path) -> None:
    """A fuzzer whose inputs all fail at the first octet tests nothing."""
    target = Target()
    for number in range(300):
        target.judge(target.make(random.Random(f"1:{number}")))
    assert 30 < target.accepted / 2 < 270  # each is judged twice
