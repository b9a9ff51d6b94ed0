"""
What searching a fleet's RSA moduli for common primes costs: one core, wall and process time, memory.

    python -m benchmarks.shared_factors [--moduli 100000] [--bits 2048]

The moduli are odd random numbers with a few planted pairs; what matters to the arithmetic is their size. Exit status 1
when a planted pair was not found.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time

from handfast.core.pki.batch_gcd import common_factors

PLANTED = 10


def moduli(count: int, bits: int) -> list[int]:
    """So many different numbers; the first and the last of them share a large factor, and so on inwards."""
    rng = random.Random(1)
    half = bits // 2
    made = [rng.getrandbits(bits) | 1 | 1 << (bits - 1) for _ in range(count)]
    for pair in range(min(PLANTED, count // 2)):
        common = rng.getrandbits(half) | 1 | 3 << (half - 2)
        made[pair], made[-1 - pair] = ((rng.getrandbits(half) | 1 | 3 << (half - 2)) * common for _ in range(2))
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--moduli", type=int, default=100_000)
    parser.add_argument("--bits", type=int, default=2048)
    given = parser.parse_args()
    numbers = moduli(given.moduli, given.bits)
    started, worked = time.monotonic(), time.process_time()
    found = common_factors(numbers)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{given.moduli:,} moduli of {given.bits} bits: {time.monotonic() - started:.0f} s, "
        f"{time.process_time() - worked:.0f} s of one core, {memory:,} MB at most"
    )
    planted = [*range(PLANTED), *range(len(numbers) - PLANTED, len(numbers))]
    missed = [at for at in planted if found.get(at, 1).bit_length() < given.bits // 2]
    if missed:
        print(f"not found: {missed}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
