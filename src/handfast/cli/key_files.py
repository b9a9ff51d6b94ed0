"""Keys made here, and the files in which they, requests and certificates are kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from handfast.errors import ConfigurationError
from handfast.printable import printable

if TYPE_CHECKING:
    from cryptography import x509

KEY_KINDS = ("p256", "p384", "rsa2048")
MAX_FILE_BYTES = 1 << 20
"""Larger CSR and policy files are not read."""
MAX_PEM_CHARACTERS = 65_536
"""A longer certificate, chain or key that is passed on is not read."""


def key_and_csr(subject: x509.Name, kind: str) -> tuple[bytes, str]:
    """A fresh private key (PKCS #8 PEM) and a CSR for it, both PEM. ConfigurationError: no such kind."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "rsa2048":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif kind in KEY_KINDS:
        key = ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())
    else:
        raise ConfigurationError(f"--key is {printable(kind, limit=40)!r}: expected one of {', '.join(KEY_KINDS)}")
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, csr.public_bytes(serialization.Encoding.PEM).decode()


def write_new(path: Path, data: bytes, mode: int) -> None:
    """The file, which was not there before, holds the data. OSError: FileExistsError and what else may be wrong."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path, what: str) -> str:
    """The text of a small file; ConfigurationError, in which `what` names the file, when it is not one."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read ({error.strerror}): give a readable file") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} {path} is not text: expected PEM or JSON in UTF-8") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{what} {path} is larger than 1 MiB: expected a small text file")
    return text


def read_pem(path: Path, flag: str) -> str:
    """The text of a file that `flag` names; ConfigurationError when it is unreadable, empty, too long or not ASCII."""
    try:
        with path.open(encoding="ascii") as stream:
            text = stream.read(MAX_PEM_CHARACTERS + 1)
    except OSError as error:
        raise ConfigurationError(f"{flag} {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{flag} {path} is not PEM, it holds other characters than ASCII: expected -----BEGIN …-----"
        ) from None
    if not text.strip():
        raise ConfigurationError(f"{flag} {path} is empty: expected -----BEGIN …-----")
    if len(text) > MAX_PEM_CHARACTERS:
        raise ConfigurationError(
            f"{flag} {path} has more than {MAX_PEM_CHARACTERS} characters: expected a few certificates, or one key"
        )
    return text
