"""
The PKI in the data directory: what lies where, and how it is read and replaced.

    pki/roots/root-ca-1.pem … root-ca-4.pem     the self-signed roots
    pki/roots/legacy-root.pem                   the older root
    pki/roots/cross.pem                         the four roots again, signed by the legacy root
    pki/intermediates/rsa-N.pem, rsa-N.key      the Nth RSA intermediate; the certificate is written last and counts
    pki/intermediates/ecdsa-N.pem, ecdsa-N.key  the same for P-256
    pki/leaves/REGION-KIND.pem                  leaf and intermediate, replaced whole
    pki/leaves/REGION-KIND-ID.key               its key; ID is the start of the leaf's subjectKeyIdentifier
    pki/device-ca/issuer-1.pem, issuer-1.key    the device issuing CA: a trust domain of its own
    pki/crl/NAME.crl                            lists of revocations, DER, where a public URL names them
    pki/offline/                                root keys, encrypted, and copies of the roots; never opened by `serve`
    trust/                                      what is published, made from pki/roots at every start

A key without its certificate is a request in progress; a certificate without its key is damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.core.pki.issue import SigningKey, spki
from handfast.core.pki.pem import encode_certificate, read_certificates
from handfast.datadir import write_atomically
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.ports import Entropy

ChainKind = Literal["rsa", "ecdsa"]
KINDS: tuple[ChainKind, ...] = ("rsa", "ecdsa")


class RootSpec(NamedTuple):
    """One of the four roots: its number, key kind, and which chains it may carry."""

    number: int
    key: str
    kind: ChainKind

    @property
    def file(self) -> str:
        """The name of its files, without the ending."""
        return f"root-ca-{self.number}"

    @property
    def common_name(self) -> str:
        """Its CN."""
        return f"Handfast Root CA {self.number}"


ROOTS: tuple[RootSpec, ...] = (
    RootSpec(1, "rsa2048", "rsa"),
    RootSpec(2, "rsa4096", "rsa"),
    RootSpec(3, "p256", "ecdsa"),
    RootSpec(4, "p384", "ecdsa"),
)
LEGACY = "legacy-root"
LEGACY_COMMON_NAME = "Handfast Legacy Root"
DEVICE_CA = "device-ca-1"
"""What the device issuing CA is called below a public URL."""
DEVICE_CA_KEY = "device-ca/issuer-1"
LEAF_KEYS: Mapping[ChainKind, str] = {"rsa": "rsa2048", "ecdsa": "p256"}
DEFAULT_ROOT: Mapping[ChainKind, int] = {"rsa": 1, "ecdsa": 3}
BUNDLES: Mapping[str, tuple[str, ...]] = {
    "bundle.pem": (*(root.file for root in ROOTS), LEGACY),
    # The legacy root is RSA: of use to whoever verifies RSA, useless to whoever cannot.
    "bundle-rsa.pem": ("root-ca-1", "root-ca-2", LEGACY),
    "bundle-ecc.pem": ("root-ca-3", "root-ca-4"),
}


class KeyFolder(Protocol):
    """Named private keys of one folder, as `keystore.file.FileKeyStore` keeps them."""

    @property
    def encrypted(self) -> bool: ...
    def has(self, name: str) -> bool: ...
    def names(self, folder: str) -> list[str]: ...
    def new_key(self, kind: str) -> SigningKey: ...
    def generate(self, name: str, kind: str) -> SigningKey: ...
    def save(self, name: str, key: SigningKey) -> None: ...
    def signing_key(self, name: str) -> SigningKey: ...
    def remove(self, name: str) -> None: ...


OpenKeyFolder = Callable[[Path, bytes | None, Entropy], KeyFolder]
"""Folder, passphrase, entropy: `keystore.file.FileKeyStore` itself."""


class Intermediate(NamedTuple):
    """The Nth intermediate of a kind; `name` is its key's."""

    kind: ChainKind
    generation: int
    certificate: x509.Certificate

    @property
    def name(self) -> str:
        """The key's name in the folder."""
        return intermediate_name(self.kind, self.generation)

    @property
    def published_name(self) -> str:
        """Its name below a public URL."""
        return f"{self.kind}-{self.generation}"


class ListIssuer(NamedTuple):
    """Who signs a list of revocations; `name` is the list's."""

    name: str
    certificate: x509.Certificate
    key: SigningKey


class PkiFolder:
    """Reads and replaces the certificates below `pki/`; every read is checked, every write is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether there is a PKI; it appears whole, by one rename."""
        return self.path.is_dir()

    @property
    def offline(self) -> Path:
        """Where the root keys lie until they are moved to a safe."""
        return self.path / "offline"

    def roots(self) -> dict[str, x509.Certificate]:
        """`root-ca-1` … `root-ca-4` and `legacy-root`, by the names of their files."""
        return {name: self._one(f"roots/{name}") for name in (*(root.file for root in ROOTS), LEGACY)}

    def cross_certificates(self) -> list[x509.Certificate]:
        """The four roots as the legacy root signed them."""
        return self._many("roots/cross")

    def intermediate(self, kind: ChainKind) -> Intermediate:
        """The newest one that has a certificate; earlier ones are kept, and not looked at."""
        issued = self._generations(kind, ".pem")
        if not issued:
            raise ConfigurationError(f"{self.path}/intermediates has no {kind} certificate: restore it from a backup.")
        return Intermediate(kind, issued[-1], self._one(intermediate_name(kind, issued[-1])))

    def next_generation(self, kind: ChainKind) -> int:
        """The number of the next intermediate: one that was requested already, else a new one."""
        return self.requested_generation(kind) or max(self._generations(kind, ".pem"), default=0) + 1

    def requested_generation(self, kind: ChainKind) -> int | None:
        """The number of an intermediate that was requested and waits for its certificate, if there is one."""
        issued = max(self._generations(kind, ".pem"), default=0)
        requested = max(self._generations(kind, ".key"), default=0)
        return requested if requested > issued else None

    def device_issuer(self) -> x509.Certificate:
        """The device issuing CA's certificate."""
        return self._one("device-ca/issuer-1")

    def leaf_chain(self, region: str, kind: ChainKind) -> list[x509.Certificate] | None:
        """Leaf and intermediate of a region; None where none was made or the file cannot be read."""
        name = f"leaves/{region}-{kind}"
        if not self._file(name).exists():
            return None
        try:
            return self._many(name)
        except ConfigurationError:
            return None  # a leaf is made anew at no loss

    def regions(self) -> list[str]:
        """Every region that has a leaf."""
        found = {
            file.stem.removesuffix(f"-{kind}")
            for kind in KINDS
            for file in (self.path / "leaves").glob(f"*-{kind}.pem")
        }
        return sorted(found)

    def write(self, name: str, certificates: Sequence[x509.Certificate]) -> None:
        """The certificates stand in `name`.pem, whole or not at all."""
        file = self._file(name)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, bundle_pem(certificates))

    def intermediates(self, kind: ChainKind) -> list[Intermediate]:
        """All that have a certificate, the oldest first."""
        return [
            Intermediate(kind, number, self._one(intermediate_name(kind, number)))
            for number in self._generations(kind, ".pem")
        ]

    def list_of(self, name: str) -> bytes | None:
        """The list of revocations of an issuer (`rsa-1`, `root-ca-1`, `device-ca-1`), DER; None where there is none."""
        try:
            return (self.path / "crl" / f"{name}.crl").read_bytes()
        except FileNotFoundError:
            return None

    def write_list(self, name: str, der: bytes) -> None:
        """The issuer's list of revocations is this one, whole or not at all."""
        file = self.path / "crl" / f"{name}.crl"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(file, der)

    def _generations(self, kind: ChainKind, ending: str) -> list[int]:
        numbers = []
        for file in (self.path / "intermediates").glob(f"{kind}-*{ending}"):
            number = file.name.removeprefix(f"{kind}-").removesuffix(ending)
            if number.isdecimal():
                numbers.append(int(number))
        return sorted(numbers)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.pem"

    def _one(self, name: str) -> x509.Certificate:
        found = self._many(name)
        if len(found) != 1:
            raise ConfigurationError(
                f"{self._file(name)} holds {len(found)} certificates, expected one: restore it from a backup."
            )
        return found[0]

    def _many(self, name: str) -> list[x509.Certificate]:
        return load_certificates(self._file(name))


def intermediate_name(kind: ChainKind, generation: int) -> str:
    """The name of an intermediate's files."""
    return f"intermediates/{kind}-{generation}"


def load_certificates(file: Path) -> list[x509.Certificate]:
    """
    The certificates of a file of ours.

    Raises:
        ConfigurationError: It cannot be read, or holds anything else.
    """
    try:
        return [parsed.cert for parsed in read_certificates(file.read_text(encoding="ascii"))]
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}. Restore it from a backup.") from error
    except (CertificateInputError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error} Restore it from a backup.") from error


def bundle_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """PEM of several certificates, one after another."""
    return "".join(encode_certificate(der_of(cert)) for cert in certificates).encode("ascii")


def der_of(certificate: x509.Certificate) -> bytes:
    """The certificate's DER."""
    return certificate.public_bytes(Encoding.DER)


def holds(key: SigningKey, certificate: x509.Certificate) -> bool:
    """Whether the certificate is for this key."""
    return spki(key.public_key()) == spki(certificate.public_key())  # type: ignore[arg-type]


def trust_files(folder: PkiFolder) -> dict[str, bytes]:
    """What `trust/` holds, by file name: the roots, the bundles, and the cross-certificates."""
    roots = folder.roots()
    files = {f"{name}.pem": bundle_pem([cert]) for name, cert in roots.items()}
    for bundle, members in BUNDLES.items():
        files[bundle] = bundle_pem([roots[name] for name in members])
    cross = folder.cross_certificates()
    for root in ROOTS:
        twins = [cert for cert in cross if cert.subject == roots[root.file].subject]
        files[f"cross-{root.file}.pem"] = bundle_pem(twins)
    return files


def publish_trust(folder: PkiFolder, trust_dir: Path) -> None:
    """`trust/` says what `pki/roots` says; it appears whole, and files that are right already are not touched."""
    target = trust_dir
    if not trust_dir.exists():
        target = trust_dir.with_name(f".{trust_dir.name}-new")
        target.mkdir(mode=0o700, exist_ok=True)
    for name, content in trust_files(folder).items():
        file = target / name
        if not file.exists() or file.read_bytes() != content:
            write_atomically(file, content)
    if target is not trust_dir:
        target.rename(trust_dir)
        sync_folder(trust_dir.parent)


def sync_folder(folder: Path) -> None:
    """Names made, replaced and removed in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
