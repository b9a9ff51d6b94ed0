"""
The first run: roots, cross-certificates, intermediates and the device issuing CA, all or nothing.

Everything is made in a folder of its own, which becomes `pki/` by one rename. A start that was
killed before leaves only that folder, which the next start removes.
"""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from handfast.core.pki import profile as profiles
from handfast.core.pki.issue import SERIAL_BYTES, SigningKey, VerifyingKey, prepare, sign
from handfast.core.pki.pointers import Pointers, pointers_to
from handfast.core.pki.profile import Profile
from handfast.datadir import write_atomically
from handfast.errors import ConfigurationError
from handfast.ports import Clock, Entropy
from handfast.services import root_crls
from handfast.services.pki_folder import (
    DEFAULT_ROOT,
    KINDS,
    LEAF_KEYS,
    LEGACY,
    LEGACY_COMMON_NAME,
    ROOTS,
    ChainKind,
    KeyFolder,
    OpenKeyFolder,
    PkiFolder,
    intermediate_name,
    legacy_intermediate_name,
    sync_folder,
)

YEAR = dt.timedelta(days=365)
ROOT_LIFETIME = 25 * YEAR
ROOT_STAGGER = dt.timedelta(days=91)
"""Root N ends N-1 staggers after root 1, so that never two have to be replaced at once."""
LEGACY_LIFETIME = 10 * YEAR
STAGING_PREFIX = ".pki-new-"

_README = """\
Root keys of this handfast, PKCS#8 encrypted under the root passphrase, with copies of the roots.
The server never opens them. Move this folder to a safe: handfast runs without it.
'handfast roots --help' says when they are needed, and how without bringing them back here.
"""


def create(
    data_dir: Path,
    *,
    clock: Clock,
    entropy: Entropy,
    keystore: OpenKeyFolder,
    root_passphrase: bytes,
    key_passphrase: bytes | None,
    progress: Callable[[str], None],
    before_commit: Callable[[], None],
    public_url: str | None = None,
) -> None:
    """
    `data_dir/pki` exists, whole.

    Args:
        root_passphrase: Encrypts the root keys.
        key_passphrase: Encrypts the online keys; None leaves them plain.
        before_commit: Called when everything is made and nothing is in place yet; what it raises undoes all.
        public_url: Below it the intermediates' issuers are published; None: they name no place.

    Raises:
        ConfigurationError: Another process is doing the same.
    """
    with _alone(data_dir):
        if PkiFolder(data_dir / "pki").exists:
            return  # made by another process while this one looked
        for stale in data_dir.glob(f"{STAGING_PREFIX}*"):
            shutil.rmtree(stale)
        staging = data_dir / f"{STAGING_PREFIX}{entropy.token_bytes(4).hex()}"
        staging.mkdir(mode=0o700)
        try:
            folder = PkiFolder(staging)
            online = keystore(staging, key_passphrase, entropy)
            offline = keystore(folder.offline, root_passphrase, entropy)
            _Maker(folder, online, offline, clock.now(), entropy, progress, public_url).make()
            _sync_tree(staging)
            before_commit()
            staging.rename(data_dir / "pki")
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_folder(data_dir)


def generated_passphrase(entropy: Entropy) -> str:
    """160 bits as eight groups of four; base32 has no 0, 1, 8 or 9 to be confused with letters."""
    text = base64.b32encode(entropy.token_bytes(20)).decode("ascii").lower()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def intermediate_subject(kind: ChainKind, generation: int) -> x509.Name:
    """`O=Handfast, CN=Handfast RSA 2048 M01`: each one has a name of its own."""
    return profiles.authority_name(f"Handfast {'RSA 2048' if kind == 'rsa' else 'ECDSA 256'} M{generation:02d}")


class _Maker:
    """One first run."""

    def __init__(
        self,
        folder: PkiFolder,
        online: KeyFolder,
        offline: KeyFolder,
        now: dt.datetime,
        entropy: Entropy,
        progress: Callable[[str], None],
        public_url: str | None,
    ) -> None:
        self._public_url = public_url
        self._folder = folder
        self._online = online
        self._offline = offline
        self._now = now
        self._entropy = entropy
        self._progress = progress

    def make(self) -> None:
        keys = self._keys()
        legacy_key = keys[LEGACY]
        legacy_profile = profiles.root(LEGACY_LIFETIME)
        legacy_name = profiles.authority_name(LEGACY_COMMON_NAME)
        legacy = self._issue(legacy_profile, legacy_name, legacy_key, None, legacy_key)
        roots: dict[str, x509.Certificate] = {LEGACY: legacy}
        cross = []
        for spec in ROOTS:
            key = keys[spec.file]
            life = profiles.root(ROOT_LIFETIME + (spec.number - 1) * ROOT_STAGGER)
            root = self._issue(life, profiles.authority_name(spec.common_name), key, None, key)
            roots[spec.file] = root
            cross.append(self._issue(legacy_profile, root.subject, key, legacy, legacy_key))
        for name, cert in roots.items():
            self._folder.write(f"roots/{name}", [cert])
            self._folder.write(f"offline/{name}", [cert])
        self._folder.write("roots/cross", cross)
        write_atomically(self._folder.offline / "README.txt", _README.encode("ascii"))
        self._progress("Signed 4 roots and their cross-certificates")
        for kind in KINDS:
            signer = f"root-ca-{DEFAULT_ROOT[kind]}"
            name = intermediate_name(kind, 1)
            certificate = issue(
                profiles.INTERMEDIATE,
                intermediate_subject(kind, 1),
                keys[name].public_key(),
                roots[signer],
                keys[signer],
                now=self._now,
                entropy=self._entropy,
                pointers=pointers_to(self._public_url, signer),
            )
            self._folder.write(name, [certificate])
        name = intermediate_name("rsa", 1)
        # The same key under the legacy root alone, so that --legacy-endpoint needs no root key later.
        under_legacy = self._issue(
            profiles.INTERMEDIATE, intermediate_subject("rsa", 1), keys[name], legacy, legacy_key
        )
        self._folder.write(legacy_intermediate_name(1), [under_legacy])
        if self._public_url is not None:
            for spec in ROOTS:
                crl = root_crls.signed(roots[spec.file], keys[spec.file], self._now)
                self._folder.write_list(spec.file, crl)
        device_key = keys["device-ca/issuer-1"]
        device = self._issue(profiles.DEVICE_ISSUER, profiles.DEVICE_ISSUER_NAME, device_key, None, device_key)
        self._folder.write("device-ca/issuer-1", [device])
        self._progress("Signed 2 intermediates and the device issuing CA")

    def _keys(self) -> dict[str, SigningKey]:
        """Every key, made and written by several threads: making and sealing them is what takes the time."""
        wanted: list[tuple[KeyFolder, str, str]] = [(self._offline, root.file, root.key) for root in ROOTS]
        wanted.append((self._offline, LEGACY, "rsa2048"))
        wanted += [(self._online, intermediate_name(kind, 1), LEAF_KEYS[kind]) for kind in KINDS]
        wanted.append((self._online, "device-ca/issuer-1", "rsa2048"))
        wanted.sort(key=lambda item: item[2] != "rsa4096")  # the slowest first
        self._progress(f"Making {len(wanted)} keys; RSA 4096 takes a few seconds")
        with ThreadPoolExecutor(min(8, os.cpu_count() or 2), thread_name_prefix="handfast-pki") as pool:
            made: dict[str, Future[SigningKey]] = {
                name: pool.submit(folder.generate, name, kind) for folder, name, kind in wanted
            }
            return {name: future.result() for name, future in made.items()}

    def _issue(
        self,
        profile: Profile,
        subject: x509.Name,
        key: SigningKey,
        issuer: x509.Certificate | None,
        issuer_key: SigningKey,
    ) -> x509.Certificate:
        return issue(profile, subject, key.public_key(), issuer, issuer_key, now=self._now, entropy=self._entropy)


def issue(
    profile: Profile,
    subject: x509.Name,
    public_key: VerifyingKey,
    issuer: x509.Certificate | None,
    issuer_key: SigningKey,
    *,
    now: dt.datetime,
    entropy: Entropy,
    server_names: tuple[str, ...] = (),
    pointers: Pointers | None = None,
) -> x509.Certificate:
    """`prepare` and `sign` in one go, for the authorities' own certificates."""
    ticket = prepare(
        profile,
        issuer=issuer,
        subject=subject,
        public_key=public_key,
        now=now,
        serial=entropy.token_bytes(SERIAL_BYTES),
        server_names=server_names,
        pointers=pointers,
    )
    return x509.load_der_x509_certificate(sign(ticket, issuer_key))


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Two first starts at once would each remove the other's folder. The kernel drops the lock of a killed process."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"Another handfast is making the PKI in {data_dir}: wait for it, or choose another --data-dir."
            ) from None
        yield
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        sync_folder(Path(path))
