"""The trust folder, read: what a device may embed. Needs no server and no key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from handfast.core.pki.describe import Described, describe
from handfast.errors import ConfigurationError
from handfast.services.pki_folder import BUNDLES, LEGACY, ROOTS, load_certificates

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


def list_roots(trust_dir: Path) -> list[PublishedRoot]:
    """Every published root, described."""
    return [
        PublishedRoot(trust_dir / name, _USES[name.removesuffix(".pem")], describe(cert))
        for name, cert in published(trust_dir).items()
    ]


def bundle(trust_dir: Path, name: str) -> str:
    """The text of `bundle.pem`, `bundle-rsa.pem` or `bundle-ecc.pem`, checked to hold the roots that it should."""
    roots = published(trust_dir)
    found = load_certificates(trust_dir / name)
    if found != [roots[f"{member}.pem"] for member in BUNDLES[name]]:
        raise ConfigurationError(
            f"{trust_dir / name} is not what it should be: start `handfast serve` to write it anew."
        )
    return (trust_dir / name).read_text(encoding="ascii")
