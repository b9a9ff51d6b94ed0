"""The audit trail for tests: a key that signs checkpoints, a sealer over a store, a verification of a directory."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.identity.checkpoint import CheckpointKey
from handfast.ports import Clock
from handfast.services.audit_sealer import AuditSealer
from handfast.services.audit_verification import AuditReport, verify
from handfast.services.checkpoints import FILE, CheckpointFile, read_all
from handfast.storage.audit_reader import ReadOnlyAudit
from handfast.storage.sql import SQLStore


class AuditKey:
    """`ports.KeyStore` with one key, whatever the name."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    def public_key_pem(self, name: str) -> bytes:
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, name: str, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


@functools.cache
def audit_key() -> AuditKey:
    """One for all tests."""
    return AuditKey()


class CountingMeter:
    """`ports.Meter` that keeps what it was told."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def count(self, name: str, by: int = 1, labels: Mapping[str, str] | None = None) -> None:
        self.values[name] = self.values.get(name, 0) + by

    def gauge(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        self.values[name] = value

    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        raise AssertionError("nothing is observed")


def sealer_of(store: SQLStore, clock: Clock, *, meter: Any = None, **options: Any) -> AuditSealer:
    """A sealer that writes beside the store's database; it seals when it is asked."""
    file = CheckpointFile(store._database.path.parent, **options)
    return AuditSealer(store, file, audit_key(), clock, meter or CountingMeter(), interval_s=0.01)


async def verify_directory(directory: Path, *, chain: str | None = None) -> AuditReport:
    """What verification finds in a directory whose store is closed."""
    lines, torn = read_all(directory / FILE)
    key = CheckpointKey(audit_key().public_key_pem(""))
    with ReadOnlyAudit.open(directory / "handfast.db") as source:
        return await verify(source, lines, key, torn=torn, chain=chain)
