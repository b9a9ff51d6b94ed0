"""
Certificates, signing requests and ClientHellos at random, for as long as asked: `make fuzz ARGS="--minutes 30"`.

What fails is saved as it was, and `make fuzz ARGS="--replay FILE"` judges it again.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.hello_target import HelloTarget
from tests.fuzz.target import Target

MAX_GROWTH_KB = 256 * 1024
"""Of the process, over all inputs of a run."""


class FuzzFailure(AssertionError):
    """An input that breaks what must hold; the message says where it lies and how to judge it again."""


TARGETS: dict[str, Callable[[], Any]] = {"certificates": Target, "hellos": HelloTarget}
"""What has `make`, `judge`, `load` and `accepted`; its inputs have `saved`."""


def run(
    seconds: float,
    seed: int,
    save_in: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    kind: str = "certificates",
    inputs: int = 1,
) -> int:
    """How many inputs were judged in the time, at least `inputs`."""
    target = TARGETS[kind]()
    before = _memory_kb()
    end = time.monotonic() + seconds
    number = 0
    while number < inputs or time.monotonic() < end:
        number += 1
        given = target.make(random.Random(f"{seed}:{number}"))
        try:
            target.judge(given)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            path = _save({"kind": kind, **given.saved()}, save_in, f"{seed}-{number}")
            raise FuzzFailure(
                f"input {number} of seed {seed}: {type(error).__name__}: {error}\n"
                f'saved as {path}; again with: make fuzz ARGS="--replay {path}"'
            ) from error
        if progress is not None and number % 500 == 0:
            progress(number, target.accepted)
    growth = _memory_kb() - before
    if growth > MAX_GROWTH_KB:
        raise FuzzFailure(f"seed {seed}: the process grew by {growth} KB over {number} inputs")
    return number


def replay(path: Path) -> None:
    """Judge a saved input."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    target = TARGETS[saved.get("kind", "certificates")]()
    target.judge(target.load(saved))


def _save(saved: dict[str, Any], folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(saved, indent=1), encoding="utf-8")
    return path


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--kind", choices=TARGETS, default="certificates", help="of inputs (certificates)")
    parser.add_argument("--seed", type=int, help="which inputs; one at random unless given, and printed")
    parser.add_argument("--save-in", type=Path, default=Path("build/fuzz"), help="where failures go (build/fuzz)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="judge one saved input and stop")
    options = parser.parse_args()
    try:
        if options.replay is not None:
            replay(options.replay)
            print("holds")
            return 0
        seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}, {options.minutes:g} minutes")
        judged = run(options.minutes * 60, seed, options.save_in, _show, kind=options.kind)
        print(f"\n{judged} inputs, all as they must be")
    except FuzzFailure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


def _show(number: int, accepted: int) -> None:
    print(f"\r{number} inputs, {accepted} of them read", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
