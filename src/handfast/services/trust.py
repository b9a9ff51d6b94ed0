"""The trust folder, read: what a device may embed. Needs no server and no key."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from handfast.core.pki.chain import same_key
from handfast.core.pki.describe import Described, describe
from handfast.core.pki.pem import encode_certificate
from handfast.errors import ConfigurationError
from handfast.services.pki_folder import BUNDLES, LEGACY, ROOTS, der_of, load_certificates

_USES = {
    "root-ca-1": "the RSA chain",
    "root-ca-2": "in reserve for RSA",
    "root-ca-3": "the ECDSA chain",
    "root-ca-4": "in reserve for ECDSA",
    LEGACY: "cross-signs the four above",
}


@dataclass(frozen=True, slots=True)
class PublishedRoot:
    """A root that lies in the trust folder, and what it carries."""

    file: Path
    use: str
    certificate: Described


def published(trust_dir: Path) -> dict[str, x509.Certificate]:
    """
    The four roots and the legacy root by file name.

    Raises:
        ConfigurationError: There is no trust folder yet, or a file in it is damaged.
    """
    if not trust_dir.is_dir():
        raise ConfigurationError(f"{trust_dir} is not there: start `handfast serve` once, or give --data-dir.")
    names = [f"{name}.pem" for name in (*(root.file for root in ROOTS), LEGACY)]
    return {name: load_certificates(trust_dir / name)[0] for name in names}


def cross_certificates(trust_dir: Path) -> list[x509.Certificate]:
    """
    The roots as the legacy root signed them, as far as they are published.

    Raises:
        ConfigurationError: A file is damaged.
    """
    files = [trust_dir / f"cross-{root.file}.pem" for root in ROOTS]
    return [cert for file in files if file.exists() for cert in load_certificates(file)]


def list_roots(trust_dir: Path) -> list[PublishedRoot]:
    """Every published root, described."""
    return [
        PublishedRoot(trust_dir / name, _USES[name.removesuffix(".pem")], describe(cert))
        for name, cert in published(trust_dir).items()
    ]


@dataclass(frozen=True, slots=True)
class Member:
    """A certificate of a bundle and its sizes: what it takes of a device's flash, as text and as DER."""

    file: str
    subject: str
    key: str
    pem_bytes: int
    der_bytes: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """
    Roots for one sort of device.

    `pem` is the text of the published file; `der` is the same certificates as DER, one straight after the other: each
    says its own length.
    """

    name: str
    pem: str
    der: bytes
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class RootPin:
    """
    What pins a root. `pin` is the SHA-256 of its key (SubjectPublicKeyInfo) in hex, `pin_base64` the same as HPKP
    and curl write it, behind `sha256/`. `fingerprints` are those of every certificate with this key: what not to pin.
    """

    file: str
    subject: str
    key: str
    not_after: str
    pin: str
    pin_base64: str
    fingerprints: tuple[str, ...]


def bundle(trust_dir: Path, name: str) -> Bundle:
    """
    `bundle.pem`, `bundle-rsa.pem` or `bundle-ecc.pem`, checked to hold the roots that it should.

    Raises:
        ConfigurationError: It holds others, or cannot be read.
    """
    roots = published(trust_dir)
    members = [f"{member}.pem" for member in BUNDLES[name]]
    if load_certificates(trust_dir / name) != [roots[member] for member in members]:
        raise ConfigurationError(
            f"{trust_dir / name} is not what it should be: start `handfast serve` to write it anew."
        )
    described = [(member, describe(roots[member]), der_of(roots[member])) for member in members]
    return Bundle(
        name=name,
        pem=(trust_dir / name).read_text(encoding="ascii"),
        der=b"".join(der for _, _, der in described),
        members=tuple(
            Member(member, about.subject, about.key, len(encode_certificate(der)), len(der))
            for member, about, der in described
        ),
    )


def pins(trust_dir: Path, name: str) -> list[RootPin]:
    """
    The pins of the roots of a bundle, with the fingerprints of all certificates that share each root's key.

    Raises:
        ConfigurationError: As `bundle`, or a cross-certificate cannot be read.
    """
    roots = published(trust_dir)
    found = []
    for member in BUNDLES[name]:
        root = roots[f"{member}.pem"]
        cross = [] if member == LEGACY else load_certificates(trust_dir / f"cross-{member}.pem")
        about = describe(root)
        assert about.pin is not None  # our own roots' keys can be read
        twins = [describe(twin).fingerprint for twin in cross if same_key(twin, root)]
        found.append(
            RootPin(
                file=f"{member}.pem",
                subject=about.subject,
                key=about.key,
                not_after=f"{about.not_after:%Y-%m-%d}",
                pin=about.pin,
                pin_base64=base64.b64encode(bytes.fromhex(about.pin)).decode("ascii"),
                fingerprints=(about.fingerprint, *twins),
            )
        )
    return found
