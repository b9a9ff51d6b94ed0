"""
The audit trail's part of the composition: the sealer of a running server, and verification where none runs.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from handfast.control.audit import report_members
from handfast.core.identity.checkpoint import CheckpointKey
from handfast.datadir import write_atomically
from handfast.errors import ConfigurationError
from handfast.keystore.file import FileKeyStore
from handfast.ports import Clock, Entropy, Meter
from handfast.services.audit import Audit
from handfast.services.audit_sealer import KEY_NAME, AuditSealer
from handfast.services.audit_verification import verify
from handfast.services.checkpoints import FILE, CheckpointFile, read_all
from handfast.storage.audit_reader import ReadOnlyAudit
from handfast.storage.sql import SQLStore, registry_path

log = logging.getLogger(__name__)

PUBLIC_KEY = Path("pki") / f"{KEY_NAME}.pem"


async def start_audit(
    store: SQLStore,
    data_dir: Path,
    *,
    passphrase: bytes | None,
    clock: Clock,
    entropy: Entropy,
    meter: Meter,
    stack: AsyncExitStack,
) -> Audit:
    """The trail is sealed every second until `stack` closes, which seals it once more."""
    keys = await asyncio.to_thread(_open_key, data_dir, passphrase, entropy)
    sealer = AuditSealer(store, CheckpointFile(data_dir), keys, clock, meter)
    await sealer.start()
    stack.push_async_callback(sealer.close)
    return Audit(store, sealer)


def _open_key(data_dir: Path, passphrase: bytes | None, entropy: Entropy) -> FileKeyStore:
    """The key is there, made if it was not, and its public half lies beside it."""
    keys = FileKeyStore(data_dir / "pki", passphrase, entropy)
    if not keys.has(KEY_NAME):
        if (data_dir / FILE).exists():
            log.error("the key of the audit checkpoints was lost; those signed with it cannot be verified any more")
        keys.generate(KEY_NAME, "p256")
    pem = keys.public_key_pem(KEY_NAME)
    public = data_dir / PUBLIC_KEY
    if not public.exists() or public.read_bytes() != pem:
        write_atomically(public, pem)
    return keys


def verify_stopped(
    data_dir: Path,
    registry: str | Path | None,
    *,
    public_key: Path | None,
    chain: str | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """
    The trail of a data directory that no server runs on, verified without changing the registry.

    Args:
        registry: Where `--database-url` says that the registry is.
        public_key: The key that was noted elsewhere; None: the one that lies in the directory.

    Returns:
        What VerifyAudit answers.

    Raises:
        ConfigurationError: A server runs on it; it holds no registry of this version; a file cannot be read.
    """
    path = public_key or data_dir / PUBLIC_KEY
    try:
        key = CheckpointKey(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}): give --public-key FILE") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a public key in PEM: {error}") from None
    with ReadOnlyAudit.open(registry_path(registry or data_dir / "handfast.db")) as source:
        lines, torn = read_all(data_dir / FILE)
        report = asyncio.run(verify(source, lines, key, torn=torn, chain=chain, progress=progress))
    answer: dict[str, Any] = _camel(report_members(report))
    return answer


def _camel(members: Any) -> Any:
    """Members by the names that they have on the wire."""
    if isinstance(members, list):
        return [_camel(item) for item in members]
    if not isinstance(members, dict):
        return members
    return {re.sub("_([a-z])", lambda m: m[1].upper(), name): _camel(value) for name, value in members.items()}
