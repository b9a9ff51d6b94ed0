"""
Which RSA moduli of a fleet share a prime with another one: the batch GCD of D. J. Bernstein.

Two devices whose generators chose one prime in common have both their keys broken: the greatest common
divisor of the two moduli is that prime (Heninger et al., "Mining your Ps and Qs", 2012). Computing it for
every pair takes time in the square of the fleet; here it is quasi-linear:

    P  = N1 * N2 * ...           a product tree
    D  = P/N1 + P/N2 + ...       its derivative, built in the same tree
    D mod Ni = (P/Ni) mod Ni     because every other summand is divisible by Ni
    gcd(Ni, D mod Ni) > 1        exactly when Ni shares a factor with the product of the others

The remainders come down a scaled remainder tree (Bernstein, "Scaled remainder trees", 2004): with
f = D/P as a fraction, the fraction of a child is f times its sibling's product, without its integer part.

Arithmetic is in `decimal`, whose multiplication is a number-theoretic transform (libmpdec) where Python's
integers would take Karatsuba's and division the schoolbook's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
)
from typing import NamedTuple

Progress = Callable[[float], None]
"""Told the part of the work that is done, from 0 to 1, never less than before."""

CHUNK = 131_072
"""Moduli in one tree. Memory grows with it; more moduli are so many trees, multiplied with each other."""
BLOCK = 4096
"""Moduli of a lower subtree, which is made twice instead of kept."""
MAX_COMPARED = 2_000_000
_GUARD = 40
"""Decimal digits more than a remainder needs; each level of the tree costs less than one."""
_ONE = Decimal(1)

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
_CUT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_DOWN, traps=[InvalidOperation])
_NEAREST = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])


class _Node(NamedTuple):
    """Product and derivative of some moduli."""

    product: Decimal
    derivative: Decimal


def common_factors(
    moduli: Sequence[int], progress: Progress | None = None, *, chunk: int = CHUNK, block: int = BLOCK
) -> dict[int, int]:
    """
    The moduli that have a factor in common with another one, and that factor.

    Args:
        moduli: Different from each other, each above 1. Equal ones would be their own common factor.
        progress: Called now and then, from this thread.
        chunk: Moduli whose tree is in memory at once; about 4 KB for each modulus of 2048 bits.
        block: Moduli of a subtree that is made twice instead of kept.

    Returns:
        Position in `moduli` to the greatest common divisor of the modulus and the product of all others: a prime
        factor, or the modulus itself where both of its primes are shared. Secret: it breaks the key.

    100,000 moduli of 2048 bits take minutes of one core: docs/benchmarks.md.
    """
    if len(moduli) < 2:
        return {}
    if min(moduli) < 2:
        raise ValueError("a modulus is below 2")
    size = math.ceil(len(moduli) / math.ceil(len(moduli) / chunk))  # even ones: the longest decides how precise
    chunks = [moduli[start : start + size] for start in range(0, len(moduli), size)]
    work = _Work(progress, sum(map(_effort, chunks)) + (len(chunks) - 1) * sum(map(_effort, chunks)) // 8)
    trees = [_Tree(part, block, work) for part in chunks]
    found: dict[int, int] = {}
    offset = 0
    for tree in trees:
        others = [other.product for other in trees if other is not tree]
        for position, divisor in tree.divisors(others):
            found[offset + position] = divisor
        offset += len(tree.moduli)
    work.finished()
    return found


def partners(moduli: Sequence[int], factors: dict[int, int], *, at_most: int = 100) -> dict[int, list[int]]:
    """
    For each position of `factors` the first positions that it shares a prime with, in order.

    Args:
        factors: What `common_factors` found in `moduli`.
        at_most: Partners that are named for each.

    A fleet may be made so that naming all would take for ever: a modulus whose primes are both shared gets none when
    more than `MAX_COMPARED` divisions were needed to find them.
    """
    positions = sorted(factors)
    by_factor: dict[int, set[int]] = {}
    unsplit: list[int] = []
    for position in positions:
        modulus, factor = moduli[position], factors[position]
        if factor == modulus:
            unsplit.append(position)
            continue
        by_factor.setdefault(factor, set()).add(position)
        by_factor.setdefault(modulus // factor, set()).add(position)
    if len(unsplit) * (len(by_factor) + len(unsplit)) > MAX_COMPARED:
        unsplit = []
    for position in unsplit:
        # Both of its primes are shared: with moduli that were split, or with others like itself.
        for factor in [known for known in by_factor if moduli[position] % known == 0]:
            by_factor[factor].add(position)
        for other in unsplit:
            common = math.gcd(moduli[position], moduli[other])
            if other != position and common > 1:
                by_factor.setdefault(common, set()).update((position, other))
    shared: dict[int, set[int]] = {position: set() for position in positions}
    for holders in by_factor.values():
        first = sorted(holders)[: at_most + 1]
        for position in holders:
            shared[position].update(first)
    return {position: sorted(others - {position})[:at_most] for position, others in shared.items()}


class _Work:
    """How much is done, in digits multiplied."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = max(total, 1)
        self._done = 0

    def add(self, effort: int) -> None:
        self._done += effort
        if self._progress is not None:
            self._progress(min(self._done / self._total, 0.999))

    def finished(self) -> None:
        if self._progress is not None:
            self._progress(1.0)


def _effort(moduli: Sequence[int]) -> int:
    """The work of one tree, as `_Work` counts it; an estimate."""
    digits = sum(modulus.bit_length() for modulus in moduli) * 30103 // 100000
    levels = len(moduli).bit_length()
    return digits * (7 * levels + 12)


def _digits(value: Decimal) -> int:
    return value.adjusted() + 1


class _Tree:
    """The moduli of one chunk: product and derivative of all, of each block, and of everything between."""

    def __init__(self, moduli: Sequence[int], block: int, work: _Work) -> None:
        self.moduli = moduli
        self._work = work
        self._block = block
        blocks = [self._block_levels(start)[-1][0] for start in range(0, len(moduli), self._block)]
        self._levels = self._raise(blocks)
        self._root = self._levels[-1][0]

    @property
    def product(self) -> Decimal:
        """All moduli multiplied."""
        return self._root.product

    def divisors(self, others: Sequence[Decimal]) -> Iterator[tuple[int, int]]:
        """Position and common divisor of each modulus that has one with the rest, the products `others` included."""
        root, work = self._root, self._work
        derivative = root.derivative
        if others:
            longest = max(2 * _digits(root.product), *map(_digits, others))
            inverse = _fraction(_ONE, root.product, longest + _GUARD)
            for other in others:
                factor = _modulo(other, root.product, inverse)
                derivative = _modulo(_EXACT.multiply(derivative, factor), root.product, inverse)
                work.add(8 * _digits(root.product))
        fraction = _fraction(derivative, root.product, _digits(root.product) + _GUARD)
        work.add(12 * _digits(root.product))
        start = 0
        for fraction_of_block in self._descend(self._levels, fraction):
            levels = self._block_levels(start, products_only=True)
            for at, value in enumerate(self._descend(levels, fraction_of_block), start):
                modulus = self.moduli[at]
                remainder = int(_NEAREST.to_integral_value(_EXACT.multiply(value, Decimal(modulus))))
                divisor = math.gcd(modulus, remainder)
                if divisor > 1:
                    yield at, divisor
            start += self._block

    def _block_levels(self, start: int, *, products_only: bool = False) -> list[list[_Node]]:
        leaves = [_Node(Decimal(modulus), _ONE) for modulus in self.moduli[start : start + self._block]]
        return self._raise(leaves, products_only=products_only)

    def _raise(self, nodes: list[_Node], *, products_only: bool = False) -> list[list[_Node]]:
        """The levels of the tree over `nodes`, the root's last. Only the root keeps its derivative."""
        levels = [nodes]
        while len(levels[-1]) > 1:
            below = levels[-1]
            above: list[_Node] = []
            for at in range(0, len(below) - 1, 2):
                one, other = below[at], below[at + 1]
                product = _EXACT.multiply(one.product, other.product)
                derivative = _ONE
                if not products_only:
                    derivative = _EXACT.add(
                        _EXACT.multiply(one.derivative, other.product), _EXACT.multiply(one.product, other.derivative)
                    )
                    below[at], below[at + 1] = _Node(one.product, _ONE), _Node(other.product, _ONE)
                above.append(_Node(product, derivative))
                self._work.add((1 if products_only else 3) * _digits(product))
            if len(below) % 2:
                above.append(below[-1])
            levels.append(above)
        return levels

    def _descend(self, levels: list[list[_Node]], fraction: Decimal) -> Iterator[Decimal]:
        """The fraction of each node of the lowest level, in order, depth first: few are there at once."""
        stack = [(len(levels) - 1, 0, fraction)]
        while stack:
            level, at, value = stack.pop()
            if level == 0:
                yield value
                continue
            below = levels[level - 1]
            left, right = 2 * at, 2 * at + 1
            if right >= len(below):
                stack.append((level - 1, left, value))
                continue
            one, other = below[left].product, below[right].product
            stack.append((level - 1, right, _scaled(value, one, other)))
            stack.append((level - 1, left, _scaled(value, other, one)))
            self._work.add(3 * (_digits(one) + _digits(other)))


def _scaled(fraction: Decimal, sibling: Decimal, own: Decimal) -> Decimal:
    """The fraction of a child: its parent's times its sibling's product, modulo 1, as precise as the child needs."""
    return _part(_EXACT.multiply(fraction, sibling), _digits(own) + _GUARD)


def _part(value: Decimal, places: int) -> Decimal:
    """`value` without its integer part, cut to so many decimal places."""
    part = _EXACT.subtract(value, _CUT.to_integral_value(value))
    return part if part.is_zero() else _CUT.quantize(part, Decimal((0, (1,), -places)))


def _fraction(numerator: Decimal, denominator: Decimal, places: int) -> Decimal:
    """numerator / denominator modulo 1, cut to so many decimal places."""
    whole = max(_digits(numerator) - _digits(denominator) + 1, 0)
    context = Context(prec=whole + places, Emax=MAX_EMAX, Emin=MIN_EMIN, rounding=ROUND_DOWN, traps=[InvalidOperation])
    return _part(context.divide(numerator, denominator), places)


def _modulo(value: Decimal, modulus: Decimal, inverse: Decimal) -> Decimal:
    """value mod modulus; `inverse` is 1 / modulus to more decimal places than `value` has digits."""
    quotient = _CUT.to_integral_value(_EXACT.multiply(value, inverse))
    rest = _EXACT.subtract(value, _EXACT.multiply(quotient, modulus))
    return _EXACT.subtract(rest, modulus) if rest >= modulus else rest  # the cut inverse is at most one too few
