"""
What the legacy endpoint (iot:Data) presents: a leaf and an intermediate that the legacy root signed, and nothing else.

The intermediate is the server's RSA intermediate, the same key and name, as the legacy root signed it. Leaves live in
memory: nobody pins one, so that a restart makes new ones.
"""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from handfast.core.pki import chain as chains
from handfast.core.pki import profile as profiles
from handfast.errors import ConfigurationError
from handfast.ports import Clock, Entropy
from handfast.services import pki_creation
from handfast.services.pki_folder import (
    LEAF_KEYS,
    LEGACY,
    Intermediate,
    KeyFolder,
    PkiFolder,
    bundle_pem,
    holds,
    intermediate_name,
)

_WHAT_TO_DO = (
    "Let the root keys sign it: handfast roots request DIR --act intermediate-legacy, then roots sign and roots "
    "install; or start without --legacy-endpoint."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyChain:
    """Leaf and intermediate as PEM, the leaf's key (PKCS#8, not encrypted), and when it is to be renewed."""

    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    renew_at: dt.datetime


class LegacyAuthority:
    """Issues the leaves of legacy endpoints. Methods may be called from any thread; a leaf takes about 0.1 s."""

    def __init__(self, folder: PkiFolder, keys: KeyFolder, *, domain: str, clock: Clock, entropy: Entropy) -> None:
        """
        Raises:
            ConfigurationError: The legacy root signed no intermediate, or one that is not good; what to do.
        """
        self._domain = domain
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.Lock()
        found = folder.legacy_intermediate()
        if found is None:
            raise ConfigurationError(f"--legacy-endpoint needs an intermediate under the legacy root. {_WHAT_TO_DO}")
        self._intermediate: Intermediate = found
        broken = chains.verify([found.certificate], [folder.roots()[LEGACY]], at=clock.now())
        if broken:
            why = " ".join(rule.message for rule in broken)
            raise ConfigurationError(f"The intermediate for --legacy-endpoint does not verify. {why} {_WHAT_TO_DO}")
        self._key = keys.signing_key(intermediate_name("rsa", found.generation))
        if not holds(self._key, found.certificate):
            raise ConfigurationError(
                f"pki/intermediates/legacy-{found.generation}.pem is of another key. {_WHAT_TO_DO}"
            )
        self._new_key = keys.new_key

    def chain(self, region: str) -> LegacyChain:
        """A new leaf of the region with its chain; ConfigurationError when the intermediate cannot sign any more."""
        with self._lock:
            key = self._new_key(LEAF_KEYS["rsa"])
            issuer = self._intermediate.certificate
            leaf = pki_creation.issue(
                profiles.SERVER_RSA,
                profiles.server_subject(region, self._domain),
                key.public_key(),
                issuer,
                self._key,
                now=self._clock.now(),
                entropy=self._entropy,
                server_names=(f"*.iot.{region}.{self._domain}", f"iot.{region}.{self._domain}"),
            )
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        return LegacyChain(
            chain_pem=bundle_pem([leaf, issuer]),
            key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            renew_at=leaf.not_valid_after_utc - life / 3,
        )
