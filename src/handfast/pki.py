"""
What a command that opens the PKI without a server needs: key files, the clock, randomness.

A small composition root of its own, so that the command line names no concrete adapter.
"""

from __future__ import annotations

from handfast.keystore.file import FileKeyStore
from handfast.ports import Clock, Entropy
from handfast.services.pki_folder import OpenKeyFolder
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy

key_folder: OpenKeyFolder = FileKeyStore
system_clock: Clock = SystemClock()
system_entropy: Entropy = SystemEntropy()
