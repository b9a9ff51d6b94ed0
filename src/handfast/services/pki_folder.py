"""
The PKI in the data directory: what lies where, and how it is read and replaced.

    pki/roots/root-ca-1.pem … root-ca-4.pem     the self-signed roots of the first run; later ones are root-ca-5.pem …
    pki/roots/root-ca-5-by-root-ca-1.pem        a later root again, signed by the one that it follows
    pki/retired/                                roots that are published no more
    pki/roots/legacy-root.pem                   the older root
    pki/roots/cross.pem                         the roots again, signed by the legacy root
    pki/intermediates/rsa-N.pem, rsa-N.key      the Nth RSA intermediate; the certificate is written last and counts
    pki/intermediates/ecdsa-N.pem, ecdsa-N.key  the same for P-256
    pki/serving.json                            which intermediate signs leaves; without it the newest does
    pki/intermediates/legacy-N.pem              the Nth RSA intermediate again, signed by the legacy root alone
    pki/leaves/REGION-KIND.pem                  leaf and intermediate, replaced whole
    pki/leaves/REGION-KIND-ID.key               its key; ID is the start of the leaf's subjectKeyIdentifier
    pki/device-ca/issuer-1.pem, issuer-1.key    the device issuing CA: a trust domain of its own
    pki/crl/NAME.crl                            lists of revocations, DER, where a public URL names them
    pki/offline/                                root keys, encrypted, and copies of the roots; never opened by `serve`
    trust/                                      what is published, made from pki/roots at every start

A key without its certificate is a request in progress; a certificate without its key is damage.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.core.pki.chain import same_key
from handfast.core.pki.issue import SigningKey, spki
from handfast.core.pki.pem import encode_certificate, read_certificates
from handfast.datadir import write_atomically
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.ports import Entropy

ChainKind = Literal["rsa", "ecdsa"]
KINDS: tuple[ChainKind, ...] = ("rsa", "ecdsa")


class RootSpec(NamedTuple):
    """A root: its number, key kind, and which chains it may carry."""

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


ROOT_KEYS: Mapping[str, ChainKind] = {"rsa2048": "rsa", "rsa4096": "rsa", "p256": "ecdsa", "p384": "ecdsa"}
"""What key a root may have, and which chains one with it carries."""
ROOTS: tuple[RootSpec, ...] = (
    RootSpec(1, "rsa2048", "rsa"),
    RootSpec(2, "rsa4096", "rsa"),
    RootSpec(3, "p256", "ecdsa"),
    RootSpec(4, "p384", "ecdsa"),
)
"""The roots of a first run."""
LEGACY = "legacy-root"
LEGACY_COMMON_NAME = "Handfast Legacy Root"
DEVICE_CA = "device-ca-1"
"""What the device issuing CA is called below a public URL."""
DEVICE_CA_KEY = "device-ca/issuer-1"
LEAF_KEYS: Mapping[ChainKind, str] = {"rsa": "rsa2048", "ecdsa": "p256"}
DEFAULT_ROOT: Mapping[ChainKind, int] = {"rsa": 1, "ecdsa": 3}
BUNDLES = ("bundle.pem", "bundle-rsa.pem", "bundle-ecc.pem")
_ADDED = re.compile(r"root-ca-([1-9][0-9]{0,3})")
_BRIDGE = re.compile(r"(root-ca-[1-9][0-9]{0,3})-by-(root-ca-[1-9][0-9]{0,3})")
_SERVING_FORMAT = 1


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


class Served(NamedTuple):
    """
    Which intermediate of a kind signs the server's leaves, by generation.

    `bridged`: the root is sent as its predecessor signed it, where it has one. `next` waits for its promotion.
    """

    generation: int
    bridged: bool = True
    next: int | None = None


class Bridge(NamedTuple):
    """A root as the one before it signed it: what leads devices that hold the old one to the new one."""

    root: str
    signer: str
    certificate: x509.Certificate


class PkiFolder:
    """Reads and replaces the certificates below `pki/`; every read is checked, every write is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether there is a PKI; it appears whole, by one rename."""
        return self.path.is_dir()

    def insist(self) -> None:
        """There is a PKI; ConfigurationError otherwise."""
        if not self.exists:
            raise ConfigurationError(f"{self.path} is not there: start `handfast serve` once, or give --data-dir.")

    @property
    def offline(self) -> Path:
        """Where the root keys lie until they are moved to a safe."""
        return self.path / "offline"

    def rooted(self) -> dict[RootSpec, x509.Certificate]:
        """The numbered roots that are not retired, by what they are."""
        found = {}
        for spec in ROOTS:
            if not self.is_retired(spec.file) or self._file(f"roots/{spec.file}").exists():
                found[spec] = self._one(f"roots/{spec.file}")
        for file in sorted((self.path / "roots").glob("root-ca-*.pem"), key=lambda each: (len(each.name), each.name)):
            named = _ADDED.fullmatch(file.stem)
            if named is not None and int(named[1]) > len(ROOTS):
                certificate = self._one(f"roots/{file.stem}")
                found[root_spec(int(named[1]), certificate)] = certificate
        return found

    def roots(self) -> dict[str, x509.Certificate]:
        """The numbered roots that are not retired, and `legacy-root`, by the names of their files."""
        return {spec.file: cert for spec, cert in self.rooted().items()} | {LEGACY: self._one(f"roots/{LEGACY}")}

    def is_retired(self, name: str) -> bool:
        """Whether the root of this name was retired."""
        return self._file(f"retired/{name}").exists()

    def retired_roots(self) -> tuple[x509.Certificate, ...]:
        """The roots that are published no more."""
        return tuple(
            self._one(f"retired/{file.stem}") for file in sorted((self.path / "retired").glob("root-ca-*.pem"))
        )

    def retire(self, name: str) -> None:
        """The root is published no more; its certificate is kept in `retired`."""
        target = self._file(f"retired/{name}")
        target.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(self._file(f"roots/{name}"), target)
        sync_folder(target.parent)
        sync_folder(self.path / "roots")

    def next_root(self) -> int:
        """The number of the next root; that of a retired one is never used again."""
        files = [*(self.path / "roots").glob("root-ca-*.pem"), *(self.path / "retired").glob("root-ca-*.pem")]
        numbers = [int(named[1]) for file in files if (named := _ADDED.fullmatch(file.stem))]
        return max([len(ROOTS), *numbers]) + 1

    def bridges(self) -> list[Bridge]:
        """Every root as another one signed it, where neither is retired."""
        roots = self.roots()
        named = [_BRIDGE.fullmatch(file.stem) for file in sorted((self.path / "roots").glob("*-by-*.pem"))]
        return [
            Bridge(match[1], match[2], self._one(f"roots/{match[0]}"))
            for match in named
            if match is not None and match[1] in roots and match[2] in roots
        ]

    def way_back(self, root: str) -> list[Bridge]:
        """From a root over the one that signed it to the oldest: what is sent behind an intermediate below it."""
        way: list[Bridge] = []
        bridges = self.bridges()
        while found := [each for each in bridges if each.root == root and each not in way]:
            way.append(found[-1])
            root = found[-1].signer
        return way

    def cross_certificates(self) -> list[x509.Certificate]:
        """The roots as the legacy root signed them."""
        return self._many("roots/cross")

    def intermediate(self, kind: ChainKind) -> Intermediate:
        """The one that signs leaves: what `serving.json` says, else the newest that has a certificate."""
        return self.generation(kind, self.served(kind).generation)

    def generation(self, kind: ChainKind, number: int) -> Intermediate:
        """The intermediate of this number."""
        return Intermediate(kind, number, self._one(intermediate_name(kind, number)))

    def intermediates(self, kind: ChainKind) -> list[Intermediate]:
        """Every one that has a certificate, the oldest first."""
        return [self.generation(kind, number) for number in self._generations(kind, ".pem")]

    def staged(self, kind: ChainKind) -> Intermediate | None:
        """The one that waits for its promotion, if there is one."""
        waiting = self.served(kind).next
        if waiting is None or waiting not in self._generations(kind, ".pem"):
            return None
        return self.generation(kind, waiting)

    def served(self, kind: ChainKind) -> Served:
        """What `serving.json` says of a kind; where it says nothing, the newest intermediate signs leaves."""
        said = self._serving().get(kind)
        if said is not None:
            return said
        issued = self._generations(kind, ".pem")
        if not issued:
            raise ConfigurationError(f"{self.path}/intermediates has no {kind} certificate: restore it from a backup.")
        return Served(issued[-1])

    def pinned(self, kind: ChainKind) -> bool:
        """Whether `serving.json` says which intermediate of the kind signs leaves."""
        return kind in self._serving()

    def serve(self, kind: ChainKind, served: Served) -> None:
        """From the next renewal on this holds. One file is replaced: it is all or nothing."""
        said = {**self._serving(), kind: served}
        document: dict[str, Any] = {"format": _SERVING_FORMAT}
        document |= {each: said[each]._asdict() for each in sorted(said)}
        write_atomically(self.path / "serving.json", json.dumps(document, indent=2).encode("ascii") + b"\n")

    def _serving(self) -> dict[ChainKind, Served]:
        file = self.path / "serving.json"
        document: Any
        try:
            document = json.loads(file.read_text(encoding="ascii"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            document = None
        found: dict[ChainKind, Served] = {}
        try:
            if document["format"] != _SERVING_FORMAT:
                raise ValueError(document["format"])
            for kind in KINDS:
                if kind in document:
                    found[kind] = _served(**document[kind])
        except (TypeError, KeyError, ValueError):
            raise ConfigurationError(
                f"{file} is not what handfast writes: restore it from a backup, or remove it to serve the newest "
                "intermediates."
            ) from None
        return found

    def next_generation(self, kind: ChainKind) -> int:
        """The number of the next intermediate: one that was requested already, else a new one."""
        return self.requested_generation(kind) or max(self._generations(kind, ".pem"), default=0) + 1

    def requested_generation(self, kind: ChainKind) -> int | None:
        """The number of an intermediate that was requested and waits for its certificate, if there is one."""
        issued = max(self._generations(kind, ".pem"), default=0)
        requested = max(self._generations(kind, ".key"), default=0)
        return requested if requested > issued else None

    def legacy_intermediate(self) -> Intermediate | None:
        """The newest RSA intermediate that the legacy root signed too, as it signed it; None where it signed none."""
        files = (self.path / "intermediates").glob("legacy-*.pem")
        numbers = [file.stem.removeprefix("legacy-") for file in files]
        newest = max((int(number) for number in numbers if number.isdecimal()), default=None)
        if newest is None:
            return None
        return Intermediate("rsa", newest, self._one(legacy_intermediate_name(newest)))

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


def legacy_intermediate_name(generation: int) -> str:
    """The name of the file with that RSA intermediate as the legacy root signed it; its key is the intermediate's."""
    return f"intermediates/legacy-{generation}"


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


def root_spec(number: int, certificate: x509.Certificate) -> RootSpec:
    """
    What a root is, by its key.

    Raises:
        ConfigurationError: Its key is of a kind that no root has.
    """
    key = certificate.public_key()
    name = ""
    if isinstance(key, rsa.RSAPublicKey):
        name = f"rsa{key.key_size}"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        name = {"secp256r1": "p256", "secp384r1": "p384"}.get(key.curve.name, "")
    if name not in ROOT_KEYS:
        raise ConfigurationError(
            f"root-ca-{number} has a key of a kind that no root has: one of {', '.join(ROOT_KEYS)}."
        )
    return RootSpec(number, name, ROOT_KEYS[name])


def twin_of(root: x509.Certificate, cross: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """The newest of the certificates with a root's name and key."""
    twins = [cert for cert in cross if cert.subject == root.subject and same_key(cert, root)]
    return twins[-1] if twins else None


def bundle_members(specs: Sequence[RootSpec], bundle: str) -> list[str]:
    """The roots that a bundle holds, by the names of their files."""
    kind = {"bundle-rsa.pem": "rsa", "bundle-ecc.pem": "ecdsa"}.get(bundle)
    # The legacy root is RSA: of use to whoever verifies RSA, useless to whoever cannot.
    legacy = [] if kind == "ecdsa" else [LEGACY]
    return [spec.file for spec in specs if kind in (None, spec.kind)] + legacy


def trust_files(folder: PkiFolder) -> dict[str, bytes]:
    """What `trust/` holds, by file name: the roots, the bundles, and the cross-certificates."""
    roots = folder.roots()
    files = {f"{name}.pem": bundle_pem([cert]) for name, cert in roots.items()}
    specs = list(folder.rooted())
    for bundle in BUNDLES:
        files[bundle] = bundle_pem([roots[name] for name in bundle_members(specs, bundle)])
    cross = folder.cross_certificates()
    bridges = folder.bridges()
    for spec in specs:
        twins = [cert for cert in cross if cert.subject == roots[spec.file].subject]
        twins += [each.certificate for each in bridges if each.root == spec.file]
        if twins:
            files[f"cross-{spec.file}.pem"] = bundle_pem(twins)
    return files


def publish_trust(folder: PkiFolder, trust_dir: Path) -> None:
    """`trust/` says what `pki/roots` says; it appears whole, and files that are right already are not touched."""
    target = trust_dir
    if not trust_dir.exists():
        target = trust_dir.with_name(f".{trust_dir.name}-new")
        target.mkdir(mode=0o700, exist_ok=True)
    files = trust_files(folder)
    for name, content in files.items():
        file = target / name
        if not file.exists() or file.read_bytes() != content:
            write_atomically(file, content)
    for file in target.glob("*root-ca-*.pem"):
        if file.name not in files and folder.is_retired(file.stem.removeprefix("cross-")):
            file.unlink()
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


def _served(generation: int, bridged: bool, next: int | None) -> Served:  # noqa: A002
    if type(bridged) is not bool or any(type(each) is not int for each in (generation, next or 0)):
        raise ValueError(generation)
    return Served(generation, bridged, next)
