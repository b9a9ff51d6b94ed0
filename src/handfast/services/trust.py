"""The trust folder, read: what a device may embed. Needs no server and no key."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from handfast.core.pki.chain import same_key, signed_by
from handfast.core.pki.describe import Described, describe
from handfast.core.pki.pem import encode_certificate
from handfast.errors import ConfigurationError
from handfast.services.pki_folder import (
    KINDS,
    LEGACY,
    ROOTS,
    PkiFolder,
    bundle_members,
    der_of,
    load_certificates,
    root_spec,
)

_FIRST_USES = {
    "root-ca-1": "the RSA chain",
    "root-ca-2": "in reserve for RSA",
    "root-ca-3": "the ECDSA chain",
    "root-ca-4": "in reserve for ECDSA",
}
_WORDS = {"rsa": "RSA", "ecdsa": "ECDSA"}


@dataclass(frozen=True, slots=True)
class PublishedRoot:
    """A root that lies in the trust folder, and what it carries."""

    file: Path
    use: str
    certificate: Described


def published(trust_dir: Path) -> dict[str, x509.Certificate]:
    """
    The roots that are not retired and the legacy root, by file name.

    Raises:
        ConfigurationError: There is no trust folder yet, or a file in it is damaged.
    """
    if not trust_dir.is_dir():
        raise ConfigurationError(f"{trust_dir} is not there: start `handfast serve` once, or give --data-dir.")
    folder = PkiFolder(trust_dir.parent / "pki")
    first = [root.file for root in ROOTS if not folder.is_retired(root.file)]
    added = {file.stem for file in trust_dir.glob("root-ca-*.pem")} - {root.file for root in ROOTS}
    names = [*first, *sorted(added, key=lambda name: (len(name), name)), LEGACY]
    return {f"{name}.pem": load_certificates(trust_dir / f"{name}.pem")[0] for name in names}


def cross_certificates(trust_dir: Path) -> list[x509.Certificate]:
    """
    The roots as the legacy root, or the root before, signed them, as far as they are published.

    Raises:
        ConfigurationError: A file is damaged.
    """
    return [cert for file in sorted(trust_dir.glob("cross-root-ca-*.pem")) for cert in load_certificates(file)]


def list_roots(trust_dir: Path) -> list[PublishedRoot]:
    """Every published root, described."""
    found = published(trust_dir)
    uses = _uses(trust_dir, [name.removesuffix(".pem") for name in found])
    return [
        PublishedRoot(trust_dir / name, uses[name.removesuffix(".pem")], describe(cert)) for name, cert in found.items()
    ]


def _uses(trust_dir: Path, names: list[str]) -> dict[str, str]:
    """What each root carries: as the PKI beside the trust folder says, else as it was at the first run."""
    uses = {name: _FIRST_USES.get(name, "added later") for name in names} | {LEGACY: "cross-signs the others"}
    folder = PkiFolder(trust_dir.parent / "pki")
    if folder.exists:
        serving = [folder.intermediate(kind).certificate for kind in KINDS]
        for spec, root in folder.rooted().items():
            carries = any(signed_by(each, root) for each in serving)
            uses[spec.file] = f"the {_WORDS[spec.kind]} chain" if carries else f"in reserve for {_WORDS[spec.kind]}"
    return uses


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
    members = _members(roots, name)
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
    for member in _members(roots, name):
        root = roots[member]
        file = trust_dir / f"cross-{member}"
        cross = load_certificates(file) if file.exists() else []
        about = describe(root)
        assert about.pin is not None  # our own roots' keys can be read
        twins = [describe(twin).fingerprint for twin in cross if same_key(twin, root)]
        found.append(
            RootPin(
                file=member,
                subject=about.subject,
                key=about.key,
                not_after=f"{about.not_after:%Y-%m-%d}",
                pin=about.pin,
                pin_base64=base64.b64encode(bytes.fromhex(about.pin)).decode("ascii"),
                fingerprints=(about.fingerprint, *twins),
            )
        )
    return found


def _members(roots: Mapping[str, x509.Certificate], bundle: str) -> list[str]:
    """The files that a bundle is made of."""
    numbers = {name: name.removeprefix("root-ca-").removesuffix(".pem") for name in roots}
    specs = [root_spec(int(numbers[name]), root) for name, root in roots.items() if numbers[name].isdecimal()]
    return [f"{member}.pem" for member in bundle_members(specs, bundle)]
