"""Access-key secrets at rest: readable again, because SigV4 needs them, and encrypted when there is a passphrase."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from handfast.errors import ConfigurationError

_SALT_BYTES = 16
_NONCE_BYTES = 12
_PLAIN = "plain:"
_SEALED = "aes256gcm:"
_CHECK_NAME = "passphrase-check"


class SecretBox:
    """
    AES-256-GCM under a key that scrypt derives from a passphrase (n=2**15, r=8, p=1: 32 MiB).

    A sealed value is bound to its name, so one row's secret cannot be moved to
    another row.
    """

    def __init__(self, passphrase: bytes, salt: bytes) -> None:
        key = hashlib.scrypt(passphrase, salt=salt, n=2**15, r=8, p=1, maxmem=64 * 2**20, dklen=32)
        self.salt = salt
        self._cipher = AESGCM(key)

    @classmethod
    def create(cls, passphrase: bytes) -> SecretBox:
        """A box with a new salt; keep `header()` to open it again."""
        return cls(passphrase, os.urandom(_SALT_BYTES))

    @classmethod
    def from_header(cls, header: str, passphrase: bytes) -> SecretBox:
        """
        The box that wrote this header.

        Raises:
            ConfigurationError: Not with this passphrase.
        """
        salt, _, check = header.partition(".")
        box = cls(passphrase, base64.b64decode(salt))
        try:
            box.open(check, _CHECK_NAME)
        except ConfigurationError:
            raise ConfigurationError(
                "The key passphrase does not open the access-key secrets of this data directory: "
                "give the passphrase file it was made with"
            ) from None
        return box

    def header(self) -> str:
        """The salt, and a value that only the right passphrase opens."""
        return f"{base64.b64encode(self.salt).decode()}.{self.seal('', _CHECK_NAME)}"

    def seal(self, secret: str, name: str) -> str:
        """The secret as it may be stored."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode(), name.encode())
        return _SEALED + base64.b64encode(nonce + sealed).decode()

    def open(self, stored: str, name: str) -> str:
        """
        The secret again.

        Raises:
            ConfigurationError: Damaged, moved from another row, or sealed under another passphrase.
        """
        if not stored.startswith(_SEALED):
            return open_plain(stored)
        try:
            raw = base64.b64decode(stored.removeprefix(_SEALED), validate=True)
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise ConfigurationError(f"The stored secret of {name} cannot be opened") from None


def seal_plain(secret: str) -> str:
    """The secret as it is stored without a passphrase, in a file that only the owner can read."""
    return _PLAIN + secret


def open_plain(stored: str) -> str:
    """The secret again; a sealed one needs its passphrase (ConfigurationError)."""
    if not stored.startswith(_PLAIN):
        raise ConfigurationError(
            "The access-key secrets of this data directory are encrypted: give --key-passphrase-file"
        )
    return stored.removeprefix(_PLAIN)


def is_sealed(stored: str) -> bool:
    """True when the stored form is encrypted."""
    return stored.startswith(_SEALED)
