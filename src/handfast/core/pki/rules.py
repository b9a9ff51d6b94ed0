"""What a broken rule is, and the rules of RSA numbers, which hold wherever a key comes from."""

from __future__ import annotations

from typing import NamedTuple

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # larger keys cost the server milliseconds for each proof of possession
MAX_RSA_EXPONENT_BITS = 256  # CA/Browser Forum BR §6.1.6


class BrokenRule(NamedTuple):
    """
    One rule that a certificate, request or key breaks.

    `rule` is stable and begins with `key_`, `signature_`, `validity_`, `extension_` or `chain_`; `message`
    is a sentence for a person.
    """

    rule: str
    message: str


def rsa_refusals(modulus: int, exponent: int) -> tuple[BrokenRule, ...]:
    """Every rule that an RSA public key breaks; empty when a device may use it. Factors are not searched for."""
    broken = []
    bits = modulus.bit_length()
    if modulus < 0 or bits < MIN_RSA_BITS:
        seen = "is negative" if modulus < 0 else f"has {bits} bits"
        broken.append(BrokenRule("key_size", f"The RSA key {seen}; at least {MIN_RSA_BITS} bits are needed."))
    if bits > MAX_RSA_BITS:
        broken.append(BrokenRule("key_size", f"The RSA key has {bits} bits; at most {MAX_RSA_BITS} are accepted."))
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > MAX_RSA_EXPONENT_BITS:
        broken.append(
            BrokenRule(
                "key_exponent",
                f"The RSA key's public exponent must be odd, at least 3 and at most {MAX_RSA_EXPONENT_BITS} bits long.",
            )
        )
    if modulus % 2 == 0:
        broken.append(BrokenRule("key_modulus", "The RSA key's modulus is even."))
    return tuple(broken)
