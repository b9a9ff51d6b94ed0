"""Where a trust bundle is written to: it takes the place of nothing but another trust bundle."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from cryptography import x509

from handfast.core.pki.chain import self_issued
from handfast.core.pki.pem import read_certificate_der, read_certificates
from handfast.datadir import write_atomically
from handfast.errors import CertificateInputError, ConfigurationError

MAX_REPLACED_BYTES = 1024 * 1024
"""A longer file is none of ours: the trust store of an operating system has a fifth of it."""
_MAX_CERTIFICATES = 1000
_COMMENT = re.compile(r"(?m)^#.*$")
_LONG_SEQUENCE = b"\x30\x82"  # a certificate has 256 to 65535 bytes: its length takes two


def write_bundle(file: Path, content: bytes) -> None:
    """
    `file` holds the bundle, readable for everyone, whole or not at all.

    Raises:
        ConfigurationError: It cannot be written, or something else is there than an empty file or certificates of CAs
            alone, PEM or DER.
    """
    try:
        if not _may_be_replaced(file):
            raise ConfigurationError(
                f"{file} is there already and is no trust bundle (certificates of CAs and nothing else), so it is not "
                "replaced: give another name to --out, or move it away."
            )
        write_atomically(file, content, 0o644)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}.") from error


def _may_be_replaced(file: Path) -> bool:
    try:
        found = file.stat()
    except FileNotFoundError:
        return not file.is_symlink()
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_REPLACED_BYTES:
        return False
    try:
        content = file.read_bytes()
    except PermissionError:
        return False  # what nobody may look into is not ours
    try:
        certificates = _certificates(content)
    except (CertificateInputError, UnicodeDecodeError):
        return False
    return all(_is_authority(each) for each in certificates)


def _certificates(content: bytes) -> list[x509.Certificate]:
    """
    Raises:
        CertificateInputError, UnicodeDecodeError: Anything else lies there.
    """
    if not content.strip():
        return []  # as mktemp leaves it
    if content.startswith(_LONG_SEQUENCE):
        found = []
        while content:
            length = 4 + int.from_bytes(content[2:4], "big")
            found.append(read_certificate_der(content[:length]).cert)
            content = content[length:]
        return found
    text = _COMMENT.sub("", content.decode("ascii"))
    return [each.cert for each in read_certificates(text, at_most=_MAX_CERTIFICATES)]


def _is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may lie in a trust store; a device's or a server's certificate does not."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1 and self_issued(certificate)
