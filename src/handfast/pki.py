"""
Opens the PKI of a data directory: introduces `services.authorities` to the key files.

A small composition root of its own, because commands that need no server (`roots`) open the PKI too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from handfast.keystore.file import FileKeyStore
from handfast.keystore.pool import KeyPool
from handfast.ports import Clock, Entropy
from handfast.services.authorities import DeviceIssuer, ServerAuthority
from handfast.services.pki_folder import OpenKeyFolder
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy

system_clock: Clock = SystemClock()
system_entropy: Entropy = SystemEntropy()
key_folder: OpenKeyFolder = FileKeyStore


def open_server_authority(
    data_dir: Path,
    *,
    region: str,
    domain: str,
    server_names: Sequence[str],
    clock: Clock,
    entropy: Entropy,
    root_passphrase: bytes | None = None,
    key_passphrase: bytes | None = None,
    progress: Callable[[str], None] | None = None,
    reveal: Callable[[str], None] | None = None,
) -> ServerAuthority:
    """`ServerAuthority.open` over key files; arguments and errors are the same."""
    return ServerAuthority.open(
        data_dir,
        region=region,
        domain=domain,
        server_names=server_names,
        clock=clock,
        entropy=entropy,
        keystore=key_folder,
        root_passphrase=root_passphrase,
        key_passphrase=key_passphrase,
        progress=progress,
        reveal=reveal,
    )


def open_device_issuer(authority: ServerAuthority) -> tuple[DeviceIssuer, KeyPool]:
    """The device issuing CA of an opened PKI, with its pool of keys: to be filled once a loop runs, and closed."""
    pool = KeyPool()
    return authority.device_issuer(pool), pool
