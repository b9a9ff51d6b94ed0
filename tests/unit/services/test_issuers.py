"""Whose CA signed a certificate: the account that a local name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.own_ca import OwnCA
from tests.support.registry import (
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    ca_certificate,
    cause,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.ids import Scope
from handfast.core.identity.records import CertificateMode
from handfast.core.pki.possession import name_digest
from handfast.errors import StoreUnavailable
from handfast.ports import Change, ChangeKind
from handfast.services.issuers import DefaultIssuers
from handfast.storage.sql import SQLStore


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


async def insert(store: SQLStore, ca: OwnCA, scope: Scope = SCOPE, **changes: Any) -> list[Change]:
    record = ca_certificate(
        1, scope=scope, certificate_id=ca.id, pem=ca.pem, subject=name_digest(ca.cert.subject), **changes
    )
    return await store.insert_ca_certificate(record, registration_code=None, subject_limit=10, cause=cause())


async def test_the_account_whose_default_ca_signed_it_and_nobody_else(tmp_path: Path) -> None:
    ca, by_sni, elsewhere, namesake = OwnCA(), OwnCA("SNI"), OwnCA("Elsewhere"), OwnCA()
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        issuers = DefaultIssuers(store, "us-east-1")
        await issuers.load()
        leaf = der(ca.issue())
        assert issuers.scope_of(leaf) is None
        await issuers.changed(
            [
                *await insert(store, ca, OTHER_ACCOUNT),
                *await insert(store, by_sni, mode=CertificateMode.SNI_ONLY),
                *await insert(store, elsewhere, OTHER_REGION),
            ]
        )
        assert OTHER_ACCOUNT == issuers.scope_of(leaf)
        assert OTHER_ACCOUNT == issuers.scope_of(leaf)  # remembered
        for stranger in (by_sni, elsewhere, namesake):
            assert issuers.scope_of(der(stranger.issue())) is None
        assert issuers.scope_of(b"no certificate") is None
        changes = await store.delete_ca_certificate(OTHER_ACCOUNT, ca.id, cause())
        assert OTHER_ACCOUNT == issuers.scope_of(leaf)
        await issuers.changed(changes)
        assert issuers.scope_of(leaf) is None


async def test_a_key_that_two_accounts_have_proved_says_nothing(tmp_path: Path) -> None:
    ca = OwnCA()
    renewed = OwnCA(key=ca.key)
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        issuers = DefaultIssuers(store, "us-east-1")
        await insert(store, ca)
        await insert(store, renewed, OTHER_ACCOUNT)
        await issuers.load()
        assert issuers.scope_of(der(ca.issue())) is None


async def test_without_an_answer_of_the_store_nobody_signed_anything(tmp_path: Path) -> None:
    ca = OwnCA()

    class Broken:
        async def default_ca_certificates(self, _: str) -> Any:
            raise StoreUnavailable("gone")

    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await insert(store, ca)
        issuers = DefaultIssuers(store, "us-east-1")
        await issuers.load()
        leaf = der(ca.issue())
        assert SCOPE == issuers.scope_of(leaf)
        issuers._store = Broken()  # type: ignore[assignment]
        await issuers.changed([Change(ChangeKind.CERTIFICATE, SCOPE, ca.id)])
        assert SCOPE == issuers.scope_of(leaf)
        await issuers.changed([Change(ChangeKind.CA_CERTIFICATE, SCOPE, ca.id)])
        assert issuers.scope_of(leaf) is None
