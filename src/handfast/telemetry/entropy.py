"""`ports.Entropy` over the operating system's generator."""

from __future__ import annotations

import os
import secrets


class SystemEntropy:
    """Randomness fit for keys, from the operating system."""

    def token_bytes(self, n: int) -> bytes:
        """`n` unpredictable bytes."""
        return secrets.token_bytes(n)

    def uuid(self) -> str:
        """A random UUID (RFC 9562 version 4), lower case with hyphens."""
        octets = bytearray(os.urandom(16))
        octets[6] = octets[6] & 0x0F | 0x40  # the version
        octets[8] = octets[8] & 0x3F | 0x80  # the variant
        digits = octets.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
