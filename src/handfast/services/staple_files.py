"""OCSP responses on disk, so that a restart, or a responder that is down meanwhile, leaves no handshake unstapled."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.core.pki.ocsp import MAX_RESPONSE_BYTES
from handfast.datadir import write_atomically

log = logging.getLogger(__name__)

FOLDER: Final = "staples"
MAX_FILES: Final = 1000
"""The oldest go first; a file has at most 4 KiB."""
_NAME: Final = re.compile(r"[0-9a-f]{64}\.der")


class StapleFiles:
    """
    One file for each leaf, named by the SHA-256 of its DER. Every method blocks and none raises.

    What is read is verified anew by whoever reads it, so a file that is damaged, or that others put here, is worth
    nothing more than none.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def load(self, leaf: x509.Certificate) -> bytes | None:
        """The response that was saved for the leaf."""
        try:
            with self._file(leaf).open("rb") as stream:
                return stream.read(MAX_RESPONSE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read: %s", self._file(leaf), error)
            return None

    def save(self, leaf: x509.Certificate, response: bytes) -> None:
        """The response is what `load` gives from now on, also after a power cut."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._file(leaf), response)
            self._prune()
        except OSError as error:
            log.warning("the OCSP response cannot be kept in %s: %s", self._folder, error)

    def remove(self, leaf: x509.Certificate) -> None:
        """Nothing is kept for the leaf."""
        with contextlib.suppress(OSError):
            self._file(leaf).unlink(missing_ok=True)

    def _file(self, leaf: x509.Certificate) -> Path:
        return self._folder / f"{hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()}.der"

    def _prune(self) -> None:
        files = [file for file in self._folder.iterdir() if _NAME.fullmatch(file.name)]
        if len(files) > MAX_FILES:
            files.sort(key=lambda file: file.stat().st_mtime)
            for file in files[: len(files) - MAX_FILES]:
                file.unlink(missing_ok=True)
