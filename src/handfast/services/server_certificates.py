"""
The operator's server certificates: imported for an account, served where a domain configuration names them, rotated.

A private key lies in the folder `KEYS`, under a name of its own for each import; the registry has the certificates
and that name. So a key is there before anything refers to it, and the one before stays until nothing can.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.core.identity.arns import server_certificate_arn
from handfast.core.identity.domains import (
    CertificateHealth,
    DomainConfigurationRecord,
    ServerCertificateId,
    ServerCertificateRecord,
)
from handfast.core.identity.ids import AccountId, Scope
from handfast.core.pki import keyfile
from handfast.core.pki.issue import SigningKey
from handfast.core.pki.rules import BrokenRule
from handfast.core.pki.server_certificates import (
    Chain,
    belongs,
    encode_chain,
    leads_to,
    named,
    names_of,
    read_chain,
    refusals,
    rotation_refusals,
)
from handfast.errors import (
    CertificateInputError,
    ConflictingResourceUpdateError,
    DeleteConflictError,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    StoreConflict,
)
from handfast.ports import Cause, Change, ChangeKind, Clock, Entropy, Store
from handfast.services.commit import Committer
from handfast.services.pki_folder import KeyFolder
from handfast.services.stapling import StaplingReport

log = logging.getLogger(__name__)

CERTIFICATES_MAX = 100
"""Server certificates of an account in a region."""
MAX_KEY_CHARACTERS = 16_384
KEYS = "server-certificates"
"""The folder of their private keys, below the data directory."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)

Roots = Callable[[], Sequence[x509.Certificate]]
"""The roots that the public trusts, as this machine knows them; read when they are needed, off the event loop."""
Stapling = Callable[[Scope, ServerCertificateId], StaplingReport | None]
"""`domain_directory.DomainDirectory.stapling`."""


class Served(NamedTuple):
    """A server certificate with its chain read."""

    record: ServerCertificateRecord
    chain: Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    chain: Chain
    key: SigningKey | None
    key_name: str | None

    def record(
        self, scope: Scope, certificate_id: ServerCertificateId, name: str, at: dt.datetime
    ) -> ServerCertificateRecord:
        """As it stands in the registry once it is imported."""
        return ServerCertificateRecord(
            scope=scope,
            certificate_id=certificate_id,
            name=name,
            chain_pem=encode_chain(self.chain),
            key_name=self.key_name,
            health=CertificateHealth.VALID,
            detail="",
            imported_at=at,
        )


class ServerCertificates:
    """The use cases of server certificates. Raises ServiceErrors."""

    def __init__(
        self,
        store: Store,
        keys: KeyFolder,
        clock: Clock,
        entropy: Entropy,
        commit: Committer,
        *,
        public_roots: Roots = lambda: (),
        stapling: Stapling = lambda _scope, _certificate_id: None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._commit = commit
        self._public_roots = public_roots
        self._turn = asyncio.Lock()  # of whoever replaces or deletes a certificate, and removes keys with it
        self._stapling = stapling

    async def import_new(
        self,
        scope: Scope,
        cause: Cause,
        name: str,
        *,
        certificate_pem: str,
        chain_pem: str = "",
        key_pem: str | None,
    ) -> Served:
        """
        The certificate is the account's, under a new ARN.

        Args:
            certificate_pem: The certificate, or it and its chain.
            chain_pem: The rest of the chain, its root with it or not.
            key_pem: None: it is never served, and vouches for others (`validationCertificateArn`).
        """
        _check_name(name)
        certificate_id = ServerCertificateId(self._entropy.uuid())
        material = await asyncio.to_thread(self._read, certificate_id, certificate_pem, chain_pem, key_pem)
        now = self._clock.now()
        if material.key is not None:
            _insist(refusals(material.chain, now))
        record = material.record(scope, certificate_id, name, cause.at)
        await self._save(material)
        try:
            await self._commit(self._store.create_server_certificate(record, cause, limit=CERTIFICATES_MAX))
        except StoreConflict as conflict:
            await self._discard(material.key_name)
            raise _explained(conflict, record) from None
        return Served(record, material.chain)

    async def import_again(
        self,
        scope: Scope,
        cause: Cause,
        certificate_id: ServerCertificateId,
        *,
        certificate_pem: str,
        chain_pem: str = "",
        key_pem: str | None,
    ) -> Served:
        """
        New connections get this certificate in place of the one before, under the same ARN.

        One that breaks a rule of the certificate's domains is not taken, and its key
        not kept: the last valid one is served on, and the record says INVALID and why.
        One that was imported without its private key is given it so, with the same certificate.
        What cannot be read, or has another's key, changes nothing (InvalidRequestError).
        """
        async with self._turn:
            return await self._import_again(scope, cause, certificate_id, certificate_pem, chain_pem, key_pem)

    async def _import_again(
        self,
        scope: Scope,
        cause: Cause,
        certificate_id: ServerCertificateId,
        certificate_pem: str,
        chain_pem: str,
        key_pem: str | None,
    ) -> Served:
        old = await self.get(scope, certificate_id)
        if key_pem is None and old.record.key_name is not None:
            raise InvalidRequestError(
                "A certificate that is served is replaced by one with its private key: give that too (--key)"
            )
        material = await asyncio.to_thread(self._read, certificate_id, certificate_pem, chain_pem, key_pem)
        if material.key is not None and old.record.key_name is None:
            # What it vouches for stays vouched for: it is the same certificate, which can be served from now on.
            if material.chain[0] != old.chain[0]:
                raise InvalidRequestError(
                    "This ARN has a certificate without a private key, which only vouches for others: give a key with "
                    "that same certificate, replace it by one without a key, or import yours under a name of its own"
                )
            _insist(refusals(material.chain, self._clock.now()))
        broken = [*rotation_refusals(old.chain[0], material.chain[0])]
        if material.key is not None:
            broken += refusals(material.chain, self._clock.now())
        for domain in await self._domains_of(scope, certificate_id):
            broken += await self._unfit(domain, material.chain)
        if broken:
            detail = in_words(broken)
            health = CertificateHealth.INVALID
            write = self._store.set_server_certificate_health(scope, certificate_id, health, detail, cause=cause)
            await self._written(write, old.record)
            return Served(replace(old.record, health=health, detail=detail), old.chain)
        record = material.record(scope, certificate_id, old.record.name, cause.at)
        await self._save(material)
        try:
            await self._written(
                self._store.replace_server_certificate(record, expected=old.record, cause=cause), record
            )
        except ServiceError:
            # The same certificate may have been imported by another process: the key is that one's then.
            found = await self._store.server_certificate(scope, certificate_id)
            if found is None or found.key_name != material.key_name:
                await self._discard(material.key_name)
            raise
        # The key before stays one import longer: a backup under way may hold the registry of a moment ago.
        await asyncio.to_thread(self._sweep, certificate_id, {material.key_name, old.record.key_name})
        return Served(record, material.chain)

    async def get(self, scope: Scope, certificate_id: ServerCertificateId) -> Served:
        """The certificate, or ResourceNotFoundError."""
        record = await self._store.server_certificate(scope, certificate_id)
        if record is None:
            raise _not_found(scope, certificate_id)
        return Served(record, read_chain(record.chain_pem))

    async def list_all(self, account: AccountId | None = None) -> list[Served]:
        """Those of the account, or of all, by account, region and name."""
        return [Served(each, read_chain(each.chain_pem)) for each in await self._store.server_certificates(account)]

    async def delete(self, scope: Scope, cause: Cause, certificate_id: ServerCertificateId) -> None:
        """The certificate and its key are gone. DeleteConflictError while a domain configuration names it."""
        async with self._turn:
            old = await self.get(scope, certificate_id)
            await self._written(self._store.delete_server_certificate(scope, certificate_id, cause), old.record)
            await asyncio.to_thread(self._sweep, certificate_id, set())

    # --- for domain configurations ----------------------------------------------------------------------------

    async def fit(self, domain: DomainConfigurationRecord) -> list[BrokenRule]:
        """Every reason why the certificate of a customer's domain cannot be served for it now."""
        assert domain.certificate_id is not None
        found = await self._store.server_certificate(domain.scope, domain.certificate_id)
        if found is None:
            return [BrokenRule("server_certificate", "It does not exist in this account and region.")]
        if found.key_name is None:
            return [BrokenRule("server_certificate", "It was imported without a private key, to vouch for others.")]
        chain = read_chain(found.chain_pem)
        return [*refusals(chain, self._clock.now()), *await self._unfit(domain, chain)]

    def standing(self, served: Served) -> tuple[CertificateHealth, str]:
        """Its status and the words for it at this moment: what was found at the last import, or that it has expired."""
        if served.record.health is CertificateHealth.INVALID:
            return CertificateHealth.INVALID, f"The last import is not served: {served.record.detail}"
        now = self._clock.now()
        if now > served.chain[0].not_valid_after_utc:
            return CertificateHealth.INVALID, f"It expired at {served.chain[0].not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}."
        return CertificateHealth.VALID, ""

    def stapling(self, served: Served) -> StaplingReport | None:
        """How its OCSP stapling stands in this process; None where no domain configuration asks for it."""
        return self._stapling(served.record.scope, served.record.certificate_id)

    async def _unfit(self, domain: DomainConfigurationRecord, chain: Chain) -> list[BrokenRule]:
        """The rules of one domain: the name, and who vouches for the certificate."""
        assert domain.domain_name is not None
        broken = list(named(chain[0], domain.domain_name))
        voucher = None
        if domain.validation_certificate_id is not None:
            found = await self._store.server_certificate(domain.scope, domain.validation_certificate_id)
            if found is None:
                rule = "The validation certificate does not exist in this account and region."
                return [*broken, BrokenRule("validation_certificate", rule)]
            voucher = read_chain(found.chain_pem)
            if domain.validation_certificate_id == domain.certificate_id:
                voucher = chain[:1]  # its own voucher stays so when it is rotated
        return broken + await asyncio.to_thread(self._unvouched, domain.domain_name, chain, voucher)

    def _unvouched(self, domain_name: str, chain: Chain, voucher: Chain | None) -> list[BrokenRule]:
        now = self._clock.now()
        if voucher is not None and leads_to(chain, voucher[:1], now):
            return []
        public = self._public_roots()
        if voucher is None:
            if leads_to(chain, public, now):
                return []
            rule = (
                "It leads to no public root of this machine: name a validationCertificateArn, which is the root of its "
                "private CA (imported without a key), or itself if it is self-signed."
            )
            return [BrokenRule("validation_certificate", rule)]
        if not named(voucher[0], domain_name) and leads_to(voucher, public, now):
            return []
        rule = (
            f"The validation certificate is neither at the top of its chain nor a public certificate for {domain_name}."
        )
        return [BrokenRule("validation_certificate", rule)]

    async def _domains_of(self, scope: Scope, certificate_id: ServerCertificateId) -> list[DomainConfigurationRecord]:
        every = await self._store.domain_configurations()
        return [each for each in every if each.scope == scope and each.certificate_id == certificate_id]

    # --- keys -------------------------------------------------------------------------------------------------

    def _read(
        self, certificate_id: ServerCertificateId, certificate_pem: str, chain_pem: str, key_pem: str | None
    ) -> _Material:
        """
        Raises:
            InvalidRequestError: Not PEM, or the key of another certificate. It never holds any of the key.
        """
        try:
            chain = read_chain(certificate_pem, chain_pem)
            key = None if key_pem is None else _read_key(key_pem)
        except CertificateInputError as error:
            raise InvalidRequestError(str(error)) from error
        if key is None:
            return _Material(chain=chain, key=None, key_name=None)
        if not belongs(key, chain[0]):
            raise InvalidRequestError(
                "The private key is not that of the first certificate: give the server's own certificate first, then "
                "its chain"
            )
        digest = hashlib.sha256(chain[0].public_bytes(Encoding.DER)).hexdigest()
        return _Material(chain=chain, key=key, key_name=f"{KEYS}/{certificate_id}-{digest[:16]}")

    async def _save(self, material: _Material) -> None:
        if material.key is not None and material.key_name is not None:
            await asyncio.to_thread(self._keys.save, material.key_name, material.key)

    async def _discard(self, key_name: str | None) -> None:
        if key_name is not None:
            await asyncio.to_thread(self._keys.remove, key_name)

    def _sweep(self, certificate_id: ServerCertificateId, kept: set[str | None]) -> None:
        for name in self._keys.names(KEYS):
            if name.startswith(f"{KEYS}/{certificate_id}-") and name not in kept:
                self._keys.remove(name)

    async def _written(self, write: Awaitable[list[Change]], record: ServerCertificateRecord) -> None:
        try:
            await self._commit(write, suspects=[_change(record)])
        except StoreConflict as conflict:
            raise _explained(conflict, record) from None


def in_words(broken: Sequence[BrokenRule]) -> str:
    """Broken rules as sentences, each once."""
    return " ".join(dict.fromkeys(rule.message for rule in broken))


def arn_of(record: ServerCertificateRecord) -> str:
    """The certificate's ARN."""
    return server_certificate_arn(record.scope, record.certificate_id)


def instants(chain: Chain) -> tuple[dt.datetime, dt.datetime]:
    """From when and until when the leaf is valid."""
    return chain[0].not_valid_before_utc, chain[0].not_valid_after_utc


def shown_names(chain: Chain) -> list[str]:
    """The names in the leaf."""
    return list(names_of(chain[0]))


def has_issuer(record: ServerCertificateRecord) -> bool:
    """Whether the certificate's issuer is in the chain that was imported; a root may be it."""
    return len(read_chain(record.chain_pem)) > 1


def _read_key(pem: str) -> SigningKey:
    if len(pem) > MAX_KEY_CHARACTERS:
        raise CertificateInputError(
            f"The private key has {len(pem)} characters; at most {MAX_KEY_CHARACTERS} are read.", "key_syntax"
        )
    # `openssl ecparam -genkey` writes the curve before the key.
    found = _PRIVATE_KEY.search(pem)
    return keyfile.decode((found[0] if found else pem).encode("utf-8", "replace"), None)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "The name of a server certificate must be 1 to 64 letters, digits, dots, hyphens and underscores, and "
            "begin with a letter or digit"
        )


def _insist(broken: Sequence[BrokenRule]) -> None:
    if broken:
        raise InvalidRequestError(f"The certificate cannot be served. {in_words(broken)}")


def _explained(conflict: StoreConflict, record: ServerCertificateRecord) -> Exception:
    match conflict.kind:
        case "account":
            return ResourceNotFoundError(f"Account {record.scope.account} does not exist")
        case "exists":
            arn = server_certificate_arn(record.scope, conflict.facts["certificate_id"])
            key = " --key FILE" if conflict.facts["has_key"] else ""
            return ResourceAlreadyExistsError(
                f"A server certificate of this account and region is named {record.name}: {arn}. To replace it, import "
                f"to its ARN: handfast server-cert import --arn {arn} --cert FILE{key}",
                resourceArn=arn,
            )
        case "limit":
            return LimitExceededError(
                f"The account has {CERTIFICATES_MAX} server certificates in this region, which is the maximum"
            )
        case "missing":
            return _not_found(record.scope, record.certificate_id)
        case "changed":
            return ConflictingResourceUpdateError("Another certificate was imported to the ARN meanwhile; try again")
        case "domains":
            names = ", ".join(conflict.facts["names"])
            return DeleteConflictError(f"Domain configurations name the certificate: {names}. Delete them first")
    return conflict


def _not_found(scope: Scope, certificate_id: ServerCertificateId) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Server certificate {server_certificate_arn(scope, certificate_id)} does not exist")


def _change(record: ServerCertificateRecord) -> Change:
    return Change(ChangeKind.SERVER_CERTIFICATE, record.scope, record.certificate_id)
