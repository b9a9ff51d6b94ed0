"""
Who signed a device's certificate: the registered CA that `RegisterCertificate` needs, and the account behind a
local name.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from cryptography import x509

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateStatus
from handfast.core.pki.chain import signed_by
from handfast.core.pki.possession import name_digest
from handfast.ports import Change, ChangeKind, Store

log = logging.getLogger(__name__)

MAX_ANSWERS = 20_000
MAX_SIGNATURE_CHECKS = 32
"""CAs of one name that are tried for one certificate; accounts may register any number."""


class Vouching(Protocol):
    """What is needed of a registered CA to say whether it vouches for a certificate."""

    @property
    def certificate_id(self) -> CertificateId: ...
    @property
    def pem(self) -> str: ...
    @property
    def status(self) -> CACertificateStatus: ...


V = TypeVar("V", bound=Vouching)


def signers(leaf: x509.Certificate, cas: Iterable[V]) -> list[V]:
    """Those of the CAs whose name and key made the signature on `leaf`."""
    return [ca for ca in cas if signed_by(leaf, x509.load_pem_x509_certificate(ca.pem.encode()))]


class DefaultIssuers:
    """
    The CAs of one region registered in DEFAULT mode, in memory: `scope_of` says whose CA signed a certificate.

    Belongs to one event loop. `load` before use; `changed` after each commit.
    """

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._region = region
        self._by_subject: dict[str, list[tuple[Scope, x509.Certificate]]] = {}
        self._answers: dict[bytes, Scope | None] = {}
        self._loads = 0

    async def load(self) -> None:
        """What the store holds now is what `scope_of` answers from."""
        self._loads += 1
        ticket = self._loads
        records = await self._store.default_ca_certificates(self._region)
        if ticket != self._loads:
            return  # a later load began after a later change
        by_subject: dict[str, list[tuple[Scope, x509.Certificate]]] = {}
        for record in records:
            cert = x509.load_pem_x509_certificate(record.pem.encode())
            by_subject.setdefault(record.subject, []).append((record.scope, cert))
        self._by_subject = by_subject
        self._answers.clear()

    async def changed(self, changes: Sequence[Change]) -> None:
        """Obeys `changes` when it returns. Never raises: without an answer of the store nobody's CA signed anything."""
        if not any(self._concerns(change) for change in changes):
            return
        try:
            await self.load()
        except Exception as error:
            log.error("the registered CAs cannot be read; local names stand for the first account: %s", error)
            self._by_subject, self._answers = {}, {}

    def _concerns(self, change: Change) -> bool:
        return change.kind is ChangeKind.CA_CERTIFICATE and (
            change.scope is None or change.scope.region == self._region
        )

    def scope_of(self, der: bytes) -> Scope | None:
        """The one scope whose CA directly signed the certificate; None for none, and for several."""
        if not self._by_subject:
            return None
        key = hashlib.sha256(der).digest()
        if key in self._answers:
            return self._answers[key]
        if len(self._answers) >= MAX_ANSWERS:
            self._answers.pop(next(iter(self._answers)))
        scope = self._answers[key] = self._find(der)
        return scope

    def _find(self, der: bytes) -> Scope | None:
        try:
            leaf = x509.load_der_x509_certificate(der)
            candidates = self._by_subject.get(name_digest(leaf.issuer), [])
        except Exception:  # whatever the parser finds wrong with a peer's certificate: nobody signed it
            return None
        scopes = {scope for scope, ca in candidates[:MAX_SIGNATURE_CHECKS] if signed_by(leaf, ca)}
        return scopes.pop() if len(scopes) == 1 else None
