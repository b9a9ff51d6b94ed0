"""
Private keys as PEM text: PKCS#8, plain or encrypted under a passphrase.

Encrypted keys are PBES2 with scrypt and AES-256-CBC (RFC 8018, RFC 7914 §7), which `openssl pkey`
reads. The library writes PBKDF2 with 2,048 rounds only, too few for a passphrase that a person
chose; so the wrapping is written here and the library reads it back.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from handfast.core.pki.issue import SigningKey
from handfast.errors import CertificateInputError

SALT_BYTES = 32
"""How much entropy `encode` takes: 16 bytes of salt and 16 of initialisation vector."""

# About 0.2 s and 16 MiB, the most that OpenSSL 3.0's own limit of 32 MiB lets `openssl pkey` read with r = 8.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 14, 8, 5

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def encode(key: SigningKey, passphrase: bytes | None, salt: bytes) -> bytes:
    """
    The key as PEM, PKCS#8.

    Args:
        passphrase: Encrypts the key; None or empty leaves it plain.
        salt: `SALT_BYTES` fresh random bytes; not used for a plain key.
    """
    if not passphrase:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert len(salt) == SALT_BYTES
    kdf_salt, vector = salt[:16], salt[16:]
    secret = Scrypt(salt=kdf_salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase)
    padder = padding.PKCS7(128).padder()
    plain = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + padder.finalize()
    encryptor = Cipher(algorithms.AES256(secret), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(plain) + encryptor.finalize()
    kdf = _sequence(
        _SCRYPT,
        _sequence(_octets(kdf_salt), _integer(_SCRYPT_N), _integer(_SCRYPT_R), _integer(_SCRYPT_P)),
    )
    scheme = _sequence(_PBES2, _sequence(kdf, _sequence(_AES_256_CBC, _octets(vector))))
    text = base64.b64encode(_sequence(scheme, _octets(sealed))).decode("ascii")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    ).encode("ascii")


def decode(pem: bytes, passphrase: bytes | None) -> SigningKey:
    """
    The RSA or EC private key that `encode` wrote.

    Raises:
        CertificateInputError: `rule` is key_passphrase_missing, key_passphrase_wrong, key_syntax or
            key_algorithm. The message never holds any of the key.
    """
    encrypted = is_encrypted(pem)
    if encrypted and not passphrase:
        raise CertificateInputError(
            "The private key is encrypted and no passphrase was given.", "key_passphrase_missing"
        )
    try:
        key = load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's text names the cause of a damaged file too; it is not repeated, to be sure that no byte of
        # the key can be in it.
        if encrypted:
            raise CertificateInputError(
                "The passphrase does not open the private key, or the key is damaged.", "key_passphrase_wrong"
            ) from error
        raise CertificateInputError("The private key is not PEM of PKCS#8.", "key_syntax") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateInputError("The private key is neither RSA nor EC.", "key_algorithm")
    return key


def is_encrypted(pem: bytes) -> bool:
    """Whether the key needs a passphrase."""
    return _ENCRYPTED in pem


def _tlv(tag: int, content: bytes) -> bytes:
    """Tag, DER length, content (X.690 §8.1.3)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _tlv(0x04, content)


def _integer(value: int) -> bytes:
    # One bit more than the magnitude: the first bit is the sign.
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
