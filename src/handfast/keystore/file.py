"""Private keys as files: one PEM each, 0600, optionally encrypted under a passphrase; written whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.pki import keyfile
from handfast.core.pki.issue import SigningKey
from handfast.datadir import write_atomically
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.ports import Entropy

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}(/[a-z0-9][a-z0-9-]{0,127})?")
_MAX_FILE_BYTES = 65536


class FileKeyStore:
    """
    The keys below one folder; the key `intermediates/rsa-1` lies in `intermediates/rsa-1.key`.

    The folder is 0700 and made when the first key is written. Keys are read when they are first
    used and kept in memory; a file or folder that others may read is refused. With a passphrase,
    plain files are encrypted in place when they are read: that is what turning it on means.
    """

    def __init__(self, folder: Path, passphrase: bytes | None, entropy: Entropy) -> None:
        self._folder = folder
        self._passphrase = passphrase or None
        self._entropy = entropy
        self._loaded: dict[str, SigningKey] = {}

    @property
    def encrypted(self) -> bool:
        """Whether what is written here is encrypted."""
        return self._passphrase is not None

    def has(self, name: str) -> bool:
        """Whether there is such a key; nothing is opened."""
        return self._path(name).exists()

    def names(self, folder: str) -> list[str]:
        """The names of the keys in a folder below this one; nothing is opened."""
        return sorted(f"{folder}/{file.stem}" for file in (self._folder / folder).glob("*.key"))

    def new_key(self, kind: str) -> SigningKey:
        """A new key of this kind, kept nowhere yet. For the kinds and the time it takes see `generate_key`."""
        return generate_key(kind)

    def generate(self, name: str, kind: str) -> SigningKey:
        """
        A new key of this kind lies under `name`, durable; one that lay there before is replaced.
        """
        key = generate_key(kind)
        self.save(name, key)
        return key

    def save(self, name: str, key: SigningKey) -> None:
        """The key lies under `name`, durable; one that lay there before is replaced."""
        path = self._path(name)
        for folder in (self._folder, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, self._seal(key))
        self._loaded[name] = key

    def signing_key(self, name: str) -> SigningKey:
        """
        The key object, for signing certificates in this process; it is never written anywhere else.

        Raises:
            ConfigurationError: Missing, readable by others, damaged, or not opened by the passphrase.
        """
        if name not in self._loaded:
            path = self._path(name)
            pem = read_secret(path)
            self._loaded[name] = self._unseal(pem, path)
            if self._passphrase is not None and not keyfile.is_encrypted(pem):
                write_atomically(path, self._seal(self._loaded[name]))
        return self._loaded[name]

    def remove(self, name: str) -> None:
        """There is no such key any more."""
        self._loaded.pop(name, None)
        self._path(name).unlink(missing_ok=True)

    def public_key_pem(self, name: str) -> bytes:
        """`ports.KeyStore`: SubjectPublicKeyInfo as PEM."""
        key = self.signing_key(name).public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, name: str, data: bytes) -> bytes:
        """`ports.KeyStore`: a signature over `data` with SHA-256, PKCS#1 v1.5 for RSA, ECDSA for EC."""
        key = self.signing_key(name)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return key.sign(data, ec.ECDSA(hashes.SHA256()))

    def _seal(self, key: SigningKey) -> bytes:
        salt = self._entropy.token_bytes(keyfile.SALT_BYTES) if self._passphrase else b""
        return keyfile.encode(key, self._passphrase, salt)

    def _unseal(self, pem: bytes, source: Path) -> SigningKey:
        try:
            return keyfile.decode(pem, self._passphrase)
        except CertificateInputError as error:
            todo = {
                "key_passphrase_missing": "give the passphrase that it was encrypted with",
                "key_passphrase_wrong": "give the passphrase that it was encrypted with, or restore the file",
            }.get(error.rule, "restore the file from a backup")
            raise ConfigurationError(f"{source}: {error} Next: {todo}.") from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a key name: {name!r}")
        return self._folder / f"{name}.key"


def read_secret(path: Path) -> bytes:
    """
    The bytes of a private file.

    Raises:
        ConfigurationError: Missing, not a regular file, too large, or its mode or its folder's lets others read it.
    """
    try:
        folder = path.parent.stat()
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}. Restore it from a backup.") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} is not a key file.")
        for mode, what, expected in ((folder.st_mode, path.parent, "700"), (found.st_mode, path, "600")):
            if mode & 0o077:
                raise ConfigurationError(
                    f"{what} has mode {stat.S_IMODE(mode):04o}: others may have read a private key; "
                    f"chmod {expected} {what}, and replace the key if they could reach it."
                )
        return file.read()


def generate_key(kind: str) -> SigningKey:
    """
    A new private key: `rsa2048`, `rsa4096`, `p256` or `p384`; the exponent of RSA keys is 65537.

    Takes about 0.1 s for RSA 2048 and seconds for RSA 4096: not for the event loop.
    """
    match kind:
        case "rsa2048":
            return rsa.generate_private_key(65537, 2048)
        case "rsa4096":
            return rsa.generate_private_key(65537, 4096)
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
    raise ValueError(f"not a kind of key: {kind!r}")
