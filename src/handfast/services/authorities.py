"""
The server's own PKI in use: opened and verified at the start, leaves issued and renewed while it runs.

The roots' keys are not used here. What needs them is done by `services.root_ceremony`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from handfast.core.pki import chain as chains
from handfast.core.pki import profile as profiles
from handfast.core.pki.issue import SigningKey, general_name
from handfast.core.pki.keys import BrokenRule
from handfast.core.pki.pointers import Pointers, pointers_to, points_to
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.ports import Clock, Entropy
from handfast.services import pki_creation, publication
from handfast.services.device_issuer import DeviceIssuer, DeviceKeys, IssuedKeys
from handfast.services.pki_folder import (
    DEVICE_CA,
    DEVICE_CA_KEY,
    KINDS,
    LEAF_KEYS,
    LEGACY,
    ROOTS,
    ChainKind,
    Intermediate,
    KeyFolder,
    ListIssuer,
    OpenKeyFolder,
    PkiFolder,
    bundle_pem,
    holds,
    publish_trust,
    twin_of,
)

__all__ = ["ChainKind", "DeviceIssuer", "DeviceKeys", "IssuedKeys", "ServerAuthority", "ServerChain"]

WARN_INTERMEDIATE = dt.timedelta(days=2 * 365)
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChain:
    """
    What one TLS context presents for a region.

    `chain_pem` is leaf and intermediate, never the root. `bridge_pem`, where the root followed another and devices may
    not all hold it yet, is the root as that one signed it; it is always sent. `cross_pem` is the last root of these as
    the legacy root signed it, for whoever must be sent that too. `key_pem` is PKCS#8, not encrypted. The instants
    are the leaf's.
    """

    kind: ChainKind
    region: str
    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    cross_pem: bytes = field(repr=False)
    not_before: dt.datetime
    not_after: dt.datetime
    leaf: x509.Certificate = field(repr=False)
    intermediate: x509.Certificate = field(repr=False)
    bridge_pem: bytes = field(default=b"", repr=False)

    def renew_at(self) -> dt.datetime:
        """The instant at which a third of the leaf's life is left."""
        return self.not_after - (self.not_after - self.not_before) / 3

    def presented(self, *, cross: bool) -> bytes:
        """What is sent, as PEM: leaf, intermediate and bridge, and with `cross` what the legacy root signed."""
        return self.chain_pem + self.bridge_pem + (self.cross_pem if cross else b"")


class ServerAuthority:
    """
    Issues the server's leaves, for each region and key kind, from two intermediates.

    Methods may be called from any thread; making a leaf takes about 0.1 s the first time a region is
    asked for, and is a dictionary lookup afterwards.
    """

    generated_root_passphrase: str | None
    """Set when this start made the root keys without a given passphrase: to be shown once, it is stored nowhere."""

    def __init__(
        self,
        data_dir: Path,
        *,
        region: str,
        domain: str,
        server_names: Sequence[str],
        clock: Clock,
        entropy: Entropy,
        keystore: OpenKeyFolder,
        key_passphrase: bytes | None,
        public_url: str | None = None,
    ) -> None:
        self.public_url = public_url
        self.data_dir = data_dir
        self.region = region
        self.generated_root_passphrase = None
        self._domain = domain
        self._server_names = tuple(_normal(name) for name in server_names)
        self._clock = clock
        self._entropy = entropy
        self._folder = PkiFolder(data_dir / "pki")
        self._keys: KeyFolder = keystore(self._folder.path, key_passphrase, entropy)
        self._lock = threading.RLock()
        self._intermediates: dict[ChainKind, Intermediate] = {}
        self._leaves: dict[tuple[ChainKind, str], ServerChain] = {}
        self._roots: dict[str, x509.Certificate] = {}
        self._cross: list[x509.Certificate] = []

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        region: str,
        domain: str,
        server_names: Sequence[str],
        clock: Clock,
        entropy: Entropy,
        keystore: OpenKeyFolder,
        root_passphrase: bytes | None = None,
        key_passphrase: bytes | None = None,
        progress: Callable[[str], None] | None = None,
        reveal: Callable[[str], None] | None = None,
        public_url: str | None = None,
    ) -> ServerAuthority:
        """
        The authority of a data directory, its PKI made if there is none, every chain verified.

        Args:
            data_dir: Exists, 0700.
            region: Whose leaves are made now; others are made when `chain` asks for them.
            server_names: Further DNS names and IP addresses for every leaf.
            keystore: `keystore.file.FileKeyStore`.
            root_passphrase: Encrypts the root keys of a first run; None generates one. Not used later.
            key_passphrase: Encrypts the online keys; None leaves them plain.
            progress: Told what a first run is doing.
            reveal: Called with a generated root passphrase before the PKI is in place: a first run that is killed
                earlier is redone with another one, so no passphrase is lost that opens anything.
            public_url: Below it issuers' certificates and lists of revocations are published, which leaves made from
                now on name; None: they name none. A stored leaf that does otherwise is made anew.

        Raises:
            ConfigurationError: A file missing, damaged or readable by others; a chain that does not verify; a
                passphrase that does not fit; a server name that is none.
        """
        authority = cls(
            data_dir,
            region=region,
            domain=domain,
            server_names=server_names,
            clock=clock,
            entropy=entropy,
            keystore=keystore,
            key_passphrase=key_passphrase,
            public_url=public_url,
        )
        authority._check_names()
        if not authority._folder.exists:
            authority._create(root_passphrase, key_passphrase, keystore, progress or _quiet, reveal or _quiet)
        authority._load()
        for each in dict.fromkeys([region, *authority._folder.regions()]):
            for kind in KINDS:
                authority.chain(kind, each)
        return authority

    @property
    def trust_dir(self) -> Path:
        """Where the published roots and bundles lie."""
        return self.data_dir / "trust"

    @property
    def folder(self) -> PkiFolder:
        """The PKI that this authority reads."""
        return self._folder

    def device_issuer(self, keys: DeviceKeys) -> DeviceIssuer:
        """The device issuing CA of this data directory. Raises ConfigurationError as `open` does."""
        return DeviceIssuer.open(self._folder, self._keys, keys, clock=self._clock, entropy=self._entropy)

    def chain(self, kind: ChainKind, region: str | None = None) -> ServerChain:
        """
        The chain for a region, the authority's own by default; made and stored when it is not there or not good.

        Raises:
            ConfigurationError: The region is not a name, or the intermediate cannot sign.
        """
        region = self.region if region is None else region
        if not _REGION.fullmatch(region):
            raise ConfigurationError(f"{region[:80]!r} is not a region's name.")
        with self._lock:
            found = self._leaves.get((kind, region))
            if found is None:
                found = self._stored_leaf(kind, region, self._clock.now()) or self._issue_leaf(kind, region)
                self._leaves[kind, region] = found
            return found

    def chains(self) -> list[ServerChain]:
        """Every chain in use, by region and kind."""
        with self._lock:
            return [self._leaves[key] for key in sorted(self._leaves, key=lambda key: (key[1], key[0]))]

    def unpublished(
        self, intermediate: Intermediate, region: str, *, bridged: bool, more_names: Sequence[str] = ()
    ) -> ServerChain:
        """
        A chain below an intermediate of the folder that nobody but the caller gets, stored nowhere: for a rehearsal.

        Raises:
            ConfigurationError: The intermediate does not verify, its key is missing, or a name is none.
        """
        with self._lock:
            self._load_roots()
            self._check_intermediate(intermediate, self._clock.now())
            for name in more_names:
                try:
                    general_name(name)
                except CertificateInputError as error:
                    raise ConfigurationError(f"{error} It cannot stand in the server's certificate.") from error
            names = tuple(dict.fromkeys((*self._names(region), *map(_normal, more_names))))
            leaf, key = self._new_leaf(intermediate, region, names)
            certificate = intermediate.certificate
            return self._server_chain(intermediate.kind, region, leaf, certificate, key, bridged=bridged)

    def check_intermediate(self, intermediate: Intermediate) -> None:
        """ConfigurationError: it cannot sign leaves, for its chain, its dates or its key."""
        with self._lock:
            self._load_roots()
            self._check_intermediate(intermediate, self._clock.now())

    def renew_due(self, now: dt.datetime) -> list[ServerChain]:
        """
        The chains that changed: the leaf was issued anew, because a third of its life or less was left or a new
        intermediate was installed meanwhile; or a new cross-certificate was. The old ones stay valid; the caller
        swaps its contexts.

        A leaf that would not live longer than the present one is left: `warnings` says why.

        Raises:
            ConfigurationError: A new intermediate does not verify, or an intermediate has expired.
        """
        with self._lock:
            self._load_roots()
            self._load_intermediates(now)
            renewed = []
            for (kind, region), current in list(self._leaves.items()):
                issuer = self._intermediates[kind].certificate
                good = now < current.renew_at() or issuer.not_valid_after_utc <= current.not_after
                if good and current.intermediate == issuer:
                    bridge_pem, cross_pem = self._above(issuer, bridged=self._folder.served(kind).bridged)
                    fresh = replace(current, bridge_pem=bridge_pem, cross_pem=cross_pem)
                    if fresh == current:
                        continue
                else:
                    fresh = self._issue_leaf(kind, region)
                self._leaves[kind, region] = fresh
                renewed.append(fresh)
            return renewed

    def list_issuers(self) -> list[ListIssuer]:
        """
        Whoever can sign a list of revocations here: the intermediates that have not ended and whose keys are here, and
        the device issuing CA, which is the last.

        Raises:
            ConfigurationError: A file is missing or damaged.
        """
        now = self._clock.now()
        found = [
            ListIssuer(each.published_name, each.certificate, self._keys.signing_key(each.name))
            for kind in KINDS
            for each in self._folder.intermediates(kind)
            if each.certificate.not_valid_after_utc > now and self._keys.has(each.name)
        ]
        device = self._folder.device_issuer()
        return [*found, ListIssuer(DEVICE_CA, device, self._keys.signing_key(DEVICE_CA_KEY))]

    def first_expiry(self) -> dict[str, dt.datetime]:
        """The notAfter that comes first among the leaves, the intermediates and the roots in use, by these kinds."""
        with self._lock:
            ends = {
                "leaf": [chain.not_after for chain in self._leaves.values()],
                "intermediate": [each.certificate.not_valid_after_utc for each in self._intermediates.values()],
                "root": [root.not_valid_after_utc for root in self._roots.values()],
            }
        return {kind: min(instants) for kind, instants in ends.items() if instants}

    def warnings(self, now: dt.datetime) -> list[str]:
        """What an operator should know and do, in sentences; empty when all is well."""
        said = []
        with self._lock:
            for kind, current in self._intermediates.items():
                end = current.certificate.not_valid_after_utc
                if end - now < WARN_INTERMEDIATE:
                    state = "expired" if end < now else "expires"
                    said.append(
                        f"The {kind.upper()} intermediate {state} on {end:%Y-%m-%d}: begin with "
                        "`handfast roots request DIR`."
                    )
            for name, root in self._roots.items():
                end = root.not_valid_after_utc
                if end - now < WARN_INTERMEDIATE:
                    said.append(f"{name} expires on {end:%Y-%m-%d}: devices need another root before then.")
            for kind in KINDS:
                pending = self._folder.next_generation(kind)
                if self._keys.has(f"intermediates/{kind}-{pending}"):
                    said.append(
                        f"A new {kind.upper()} intermediate was requested and waits for `handfast roots install`."
                    )
        said += publication.warnings(self._folder, now)
        if any(self._folder.offline.glob("*.key")):
            said.append(f"The root keys still lie in {self._folder.offline}: move the folder to a safe.")
        if not self._keys.encrypted:
            said.append("The online private keys are not encrypted: see --key-passphrase-file.")
        return said

    def _create(
        self,
        root_passphrase: bytes | None,
        key_passphrase: bytes | None,
        keystore: OpenKeyFolder,
        progress: Callable[[str], None],
        reveal: Callable[[str], None],
    ) -> None:
        if self.trust_dir.exists():
            # Devices may trust what lies there; new roots under the same names would lock them all out.
            raise ConfigurationError(
                f"{self.trust_dir} is there but {self._folder.path} is not: restore it from a backup, "
                "or move trust away to begin with new roots that no device knows."
            )
        generated = None if root_passphrase else pki_creation.generated_passphrase(self._entropy)
        pki_creation.create(
            self.data_dir,
            clock=self._clock,
            entropy=self._entropy,
            keystore=keystore,
            root_passphrase=root_passphrase or (generated or "").encode("ascii"),
            key_passphrase=key_passphrase,
            progress=progress,
            before_commit=lambda: reveal(generated) if generated else None,
            public_url=self.public_url,
        )
        self.generated_root_passphrase = generated

    def _load(self) -> None:
        self._load_roots()
        self._load_intermediates(self._clock.now())
        publish_trust(self._folder, self.trust_dir)

    def _load_roots(self) -> None:
        self._roots = self._folder.roots()
        self._cross = self._folder.cross_certificates()
        for name, root in self._roots.items():
            _insist(chains.link_refusals(root, root), f"pki/roots/{name}.pem")
        legacy = self._roots[LEGACY]
        for spec, root in self._folder.rooted().items():
            twin = twin_of(root, self._cross)
            if twin is not None:
                # No dates: when the legacy root has run out, whoever trusts the roots is not concerned.
                _insist(chains.link_refusals(twin, legacy), "pki/roots/cross.pem")
            elif spec in ROOTS:
                raise ConfigurationError(f"pki/roots/cross.pem lacks {spec.common_name}: restore it from a backup.")
        for bridge in self._folder.bridges():
            place = f"pki/roots/{bridge.root}-by-{bridge.signer}.pem"
            _insist(chains.link_refusals(bridge.certificate, self._roots[bridge.signer]), place)
            if twin_of(self._roots[bridge.root], [bridge.certificate]) is None:
                raise ConfigurationError(f"{place} is not for the key of {bridge.root}: restore it from a backup.")

    def _load_intermediates(self, now: dt.datetime) -> None:
        for kind in KINDS:
            serving = self._folder.intermediate(kind)
            if self._intermediates.get(kind) == serving:
                continue
            self._check_intermediate(serving, now)
            self._intermediates[kind] = serving

    def _check_intermediate(self, intermediate: Intermediate, now: dt.datetime) -> None:
        anchors = [root for name, root in self._roots.items() if name != LEGACY]
        place = f"pki/{intermediate.name}.pem"
        _insist(chains.verify([intermediate.certificate], anchors, at=now), place)
        if not holds(self._keys.signing_key(intermediate.name), intermediate.certificate):
            raise ConfigurationError(f"pki/{intermediate.name}.key is not the key of {place}: restore both.")

    def _above(self, intermediate: x509.Certificate, *, bridged: bool) -> tuple[bytes, bytes]:
        """What may be sent behind an intermediate: its root as the ones before it signed it, and the legacy cross."""
        name = next(name for name, root in self._roots.items() if root.subject == intermediate.issuer)
        way = self._folder.way_back(name) if bridged else []
        cross = twin_of(self._roots[way[-1].signer if way else name], self._cross)
        return bundle_pem([each.certificate for each in way]), bundle_pem([cross] if cross is not None else [])

    def _check_names(self) -> None:
        for name in (*self._names(self.region), self._domain):
            try:
                general_name(name)
            except CertificateInputError as error:
                raise ConfigurationError(f"{error} It cannot stand in the server's certificate.") from error

    def _names(self, region: str) -> tuple[str, ...]:
        own = (
            f"*.iot.{region}.{self._domain}",
            f"iot.{region}.{self._domain}",
            f"*.credentials.iot.{region}.{self._domain}",
            f"*.jobs.iot.{region}.{self._domain}",
        )
        return tuple(dict.fromkeys((*own, *LOCAL_NAMES, *self._server_names)))

    def _stored_leaf(self, kind: ChainKind, region: str, now: dt.datetime) -> ServerChain | None:
        """The leaf on disk, where it is what would be issued today and has more than a third of its life left."""
        stored = self._folder.leaf_chain(region, kind)
        issuer = self._intermediates[kind].certificate
        if stored is None or len(stored) != 2 or stored[1] != issuer:
            return None
        leaf = stored[0]
        name = _key_name(region, kind, leaf)
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None
        wanted = [general_name(each) for each in self._names(region)]
        if list(names) != wanted or leaf.subject != profiles.server_subject(region, self._domain):
            return None
        if not points_to(leaf, self._pointers(self._intermediates[kind])):
            return None
        if not self._keys.has(name) or chains.link_refusals(leaf, issuer):
            return None
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            return None
        key = self._keys.signing_key(name)
        found = self._server_chain(kind, region, leaf, issuer, key)
        if not holds(key, leaf) or (now >= found.renew_at() and issuer.not_valid_after_utc > found.not_after):
            return None
        return found

    def _issue_leaf(self, kind: ChainKind, region: str) -> ServerChain:
        intermediate = self._intermediates[kind]
        leaf, key = self._new_leaf(intermediate, region, self._names(region))
        # The key first, under a name that only its own certificate leads to; the certificate is what counts.
        name = _key_name(region, kind, leaf)
        self._keys.save(name, key)
        self._folder.write(f"leaves/{region}-{kind}", [leaf, intermediate.certificate])
        old = re.compile(re.escape(f"leaves/{region}-{kind}-") + "[0-9a-f]{16}")
        for other in self._keys.names("leaves"):
            if other != name and old.fullmatch(other):
                self._keys.remove(other)
        return self._server_chain(kind, region, leaf, intermediate.certificate, key)

    def _pointers(self, intermediate: Intermediate) -> Pointers | None:
        return pointers_to(self.public_url, intermediate.published_name)

    def _new_leaf(
        self, intermediate: Intermediate, region: str, names: Sequence[str]
    ) -> tuple[x509.Certificate, SigningKey]:
        kind = intermediate.kind
        key = self._keys.new_key(LEAF_KEYS[kind])
        try:
            leaf = pki_creation.issue(
                profiles.SERVER_RSA if kind == "rsa" else profiles.SERVER_ECDSA,
                profiles.server_subject(region, self._domain),
                key.public_key(),
                intermediate.certificate,
                self._keys.signing_key(intermediate.name),
                now=self._clock.now(),
                entropy=self._entropy,
                server_names=tuple(names),
                pointers=self._pointers(intermediate),
            )
        except CertificateInputError as error:
            raise ConfigurationError(f"No {kind.upper()} server certificate can be issued: {error}") from error
        return leaf, key

    def _server_chain(
        self,
        kind: ChainKind,
        region: str,
        leaf: x509.Certificate,
        intermediate: x509.Certificate,
        key: SigningKey,
        *,
        bridged: bool | None = None,
    ) -> ServerChain:
        if bridged is None:
            bridged = self._folder.served(kind).bridged
        bridge_pem, cross_pem = self._above(intermediate, bridged=bridged)
        return ServerChain(
            kind=kind,
            region=region,
            chain_pem=bundle_pem([leaf, intermediate]),
            key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            bridge_pem=bridge_pem,
            cross_pem=cross_pem,
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            leaf=leaf,
            intermediate=intermediate,
        )


def _key_name(region: str, kind: ChainKind, leaf: x509.Certificate) -> str:
    identifier = chains.subject_key_identifier(leaf) or b""
    return f"leaves/{region}-{kind}-{identifier.hex()[:16]}"


def _normal(name: str) -> str:
    """Lower case; an address in the one form that `ipaddress` gives it."""
    name = name.strip().lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return name


def _insist(broken: Sequence[BrokenRule], place: str) -> None:
    """Every broken rule of a chain, as the one error that stops a start."""
    if broken:
        reasons = " ".join(rule.message for rule in broken)
        todo = (
            "See `handfast roots --help` for a new intermediate."
            if any(rule.rule == "validity_expired" for rule in broken)
            else "Restore it from a backup."
        )
        raise ConfigurationError(f"{place} does not verify. {reasons} {todo}")


def _quiet(_: str) -> None:
    """Says nothing."""
