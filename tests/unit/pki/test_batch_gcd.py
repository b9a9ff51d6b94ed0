"""The batch GCD: what it finds is what comparing every pair finds."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from tests.support.weak import next_prime, primes

from handfast.core.pki.batch_gcd import common_factors, partners

MERSENNE = [2**n - 1 for n in (31, 61, 89, 107, 127, 521)]


def naive(moduli: list[int]) -> dict[int, int]:
    product = math.prod(moduli)
    found = {at: math.gcd(each, product // each) for at, each in enumerate(moduli)}
    return {at: divisor for at, divisor in found.items() if divisor > 1}


def naive_partners(moduli: list[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for one, other in itertools.permutations(range(len(moduli)), 2):
        if math.gcd(moduli[one], moduli[other]) > 1:
            found.setdefault(one, []).append(other)
    return found


def test_a_shared_prime_is_found_in_both_moduli_and_in_no_other() -> None:
    p, q, r, s, t, u = primes()
    moduli = [r * s, p * q, t * u, p * next_prime(u + 2)]
    assert {1: p, 3: p} == common_factors(moduli)
    assert {1: [3], 3: [1]} == partners(moduli, common_factors(moduli))


def test_a_modulus_whose_primes_are_both_shared_is_its_own_common_factor() -> None:
    p, q, r, s, _, _ = primes()
    moduli = [p * q, p * r, q * s]
    assert {0: p * q, 1: p, 2: q} == common_factors(moduli)
    assert {0: [1, 2], 1: [0], 2: [0]} == partners(moduli, common_factors(moduli))


def test_three_moduli_of_three_primes_name_each_other() -> None:
    p, q, r, _, _, _ = primes()
    moduli = [p * q, q * r, r * p]
    factors = common_factors(moduli)
    assert {0: p * q, 1: q * r, 2: r * p} == factors
    assert {0: [1, 2], 1: [0, 2], 2: [0, 1]} == partners(moduli, factors)


@pytest.mark.parametrize("seed", range(40))
def test_it_finds_what_every_pair_finds_however_the_tree_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    moduli = list(
        {
            math.prod(rng.choices([3, 5, 7, 101, 65537, *MERSENNE], k=2))
            if rng.random() < 0.5
            else rng.getrandbits(300) | 2
            for _ in range(rng.randint(2, 40))
        }
    )
    for chunk, block in ((10**6, 4096), (8, 4), (3, 2), (7, 1)):
        assert naive(moduli) == common_factors(moduli, chunk=chunk, block=block)


@pytest.mark.parametrize("seed", range(10))
def test_the_partners_are_those_of_every_pair(seed: int) -> None:
    rng = random.Random(seed)
    moduli = list(
        {math.prod(rng.sample(MERSENNE, 2)) for _ in range(5)} | {next_prime(rng.getrandbits(80)) for _ in range(3)}
    )
    assert naive_partners(moduli) == partners(moduli, common_factors(moduli))


def test_among_three_hundred_moduli_of_2048_bits_the_planted_pair_is_found() -> None:
    rng = random.Random(11)
    p, q, r, _, _, _ = primes()
    # Products of two numbers without small factors stand for products of primes: their sizes are what matters.
    small = math.prod(n for n in range(2, 600) if all(n % d for d in range(2, math.isqrt(n) + 1)))
    moduli = [p * q, *((rng.getrandbits(1400) * small << 1 | 1) for _ in range(298)), p * r]
    told: list[float] = []
    found = common_factors(moduli, told.append)
    assert (p, p) == (found[0], found[299])
    assert told == sorted(told)
    assert 1.0 == told[-1]


def test_partners_are_bounded_however_many_share_a_prime() -> None:
    p, *_ = primes()
    moduli = [p * prime for prime in (2**n - 1 for n in (31, 61, 89, 107, 127, 521, 607))]
    named = partners(moduli, common_factors(moduli), at_most=3)
    assert {0: [1, 2, 3], 1: [0, 2, 3], 6: [0, 1, 2]} == {at: named[at] for at in (0, 1, 6)}


def test_one_modulus_has_nothing_in_common_with_nobody() -> None:
    assert {} == common_factors([15])
    assert {} == common_factors([])


def test_a_number_that_is_no_modulus_is_refused() -> None:
    with pytest.raises(ValueError, match="below 2"):
        common_factors([15, 1])
