"""`ports.Entropy` over the operating system's generator."""

from __future__ import annotations

import secrets
import uuid


class SystemEntropy:
    """Randomness fit for keys, from the operating system."""

    def token_bytes(self, n: int) -> bytes:
        """`n` unpredictable bytes."""
        return secrets.token_bytes(n)

    def uuid(self) -> str:
        """A random UUID (RFC 9562 version 4), lower case with hyphens."""
        return str(uuid.uuid4())
