"""
`ports.Store` over SQLite: each method hands one synchronous operation to the engine.

The operations live in one module per resource (accounts, certificates, things,
policies, principals, journal) and take a SQLAlchemy connection, so that another
engine can run the same ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope, ThingName
from handfast.core.identity.records import (
    AccessKeyRecord,
    AccountRecord,
    AccountStatus,
    CertificateRecord,
    CertificateStatus,
    EndpointRecord,
    PolicyRecord,
    PrincipalRecord,
    ThingPrincipalType,
    ThingRecord,
)
from handfast.errors import ConfigurationError, StoreConflict
from handfast.ports import Cause, Change, Cursor, Page, PageRequest
from handfast.storage import accounts, journal, policies, principals, things
from handfast.storage import certificates as device_certificates
from handfast.storage.migrate import upgrade
from handfast.storage.secretbox import SecretBox
from handfast.storage.sqlite import SQLiteDatabase

_SQLITE_SCHEME = "sqlite:///"


class SQLStore:
    """The registry on SQLAlchemy Core. Make one with `open`; it owns its directory until `close`."""

    def __init__(self, database: SQLiteDatabase, box: SecretBox | None) -> None:
        self._database = database
        self._box = box
        self._read = database.read
        self._write = database.write

    @classmethod
    async def open(cls, url_or_path: str | Path, *, passphrase: bytes | None = None) -> SQLStore:
        """
        The store, its schema at this version's.

        Args:
            url_or_path: The database file, or `sqlite:///PATH`. Its directory
                exists and serves one process at a time.
            passphrase: Encrypts the access-key secrets. Once given, always needed.

        Raises:
            ConfigurationError: In use, unusable, of a newer version, or the
                wrong passphrase: one line saying what to do.
        """
        path = _path(url_or_path)
        box: SecretBox | None = None

        def prepare(connection: Connection) -> None:
            nonlocal box
            upgrade(connection, str(path))
            box = accounts.open_secret_box(connection, passphrase)

        database = await asyncio.to_thread(SQLiteDatabase.open, path, prepare)
        return cls(database, box)

    async def close(self) -> None:
        await self._database.close()

    # accounts and keys

    async def create_account(self, account: AccountRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: accounts.create_account(c, account, cause))

    async def account(self, account_id: AccountId) -> AccountRecord | None:
        return await self._read(lambda c: accounts.get_account(c, account_id))

    async def accounts(self) -> list[AccountRecord]:
        return await self._read(accounts.list_accounts)

    async def set_account_status(self, account_id: AccountId, status: AccountStatus, cause: Cause) -> list[Change]:
        return await self._write(lambda c: accounts.set_account_status(c, account_id, status, cause))

    async def add_access_key(self, key: AccessKeyRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: accounts.add_access_key(c, key, self._box, cause))

    async def access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        return await self._read(lambda c: accounts.get_access_key(c, access_key_id, self._box))

    async def access_keys(self, account_id: AccountId | None) -> list[AccessKeyRecord]:
        return await self._read(lambda c: accounts.list_access_keys(c, account_id, self._box))

    async def revoke_access_key(self, access_key_id: str, cause: Cause) -> list[Change]:
        return await self._write(lambda c: accounts.revoke_access_key(c, access_key_id, cause))

    # endpoints

    async def ensure_endpoint(self, scope: Scope, prefix: str, cause: Cause) -> EndpointRecord:
        return await self._write(lambda c: accounts.ensure_endpoint(c, scope, prefix, cause))

    async def endpoints(self) -> list[EndpointRecord]:
        return await self._read(accounts.list_endpoints)

    # certificates

    async def insert_certificate(self, certificate: CertificateRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: device_certificates.insert_one(c, certificate, cause))

    async def insert_certificates(
        self, certificates: Sequence[CertificateRecord], cause: Cause
    ) -> list[Change | StoreConflict]:
        return await self._write(lambda c: device_certificates.insert_many(c, certificates, cause))

    async def certificate(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None:
        return await self._read(lambda c: device_certificates.get(c, scope, certificate_id))

    async def set_certificate_status(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        *,
        expected: CertificateStatus,
        new: CertificateStatus,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(
            lambda c: device_certificates.set_status(c, scope, certificate_id, expected=expected, new=new, cause=cause)
        )

    async def delete_certificate(
        self, scope: Scope, certificate_id: CertificateId, *, force: bool, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: device_certificates.remove(c, scope, certificate_id, force=force, cause=cause)
        )

    async def list_certificates(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
        return await self._read(lambda c: device_certificates.list_page(c, scope, page))

    async def principals(self, keys: Sequence[tuple[Scope, CertificateId]]) -> list[PrincipalRecord | None]:
        return await self._read(lambda c: principals.lookup(c, keys))

    async def default_registrations(self, region: str, certificate_id: CertificateId) -> list[Scope]:
        return await self._read(lambda c: device_certificates.default_registrations(c, region, certificate_id))

    # things

    async def create_thing(self, thing: ThingRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: things.create(c, thing, cause))

    async def thing(self, scope: Scope, name: ThingName) -> ThingRecord | None:
        return await self._read(lambda c: things.get(c, scope, name))

    async def list_things(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        attribute_name: str | None = None,
        attribute_value: str | None = None,
        prefix: bool = False,
        thing_type_name: str | None = None,
    ) -> Page[ThingRecord]:
        return await self._read(
            lambda c: things.list_page(
                c,
                scope,
                page,
                attribute_name=attribute_name,
                attribute_value=attribute_value,
                prefix=prefix,
                thing_type_name=thing_type_name,
            )
        )

    async def delete_thing(
        self, scope: Scope, name: ThingName, *, expected_version: int | None, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: things.remove(c, scope, name, expected_version=expected_version, cause=cause)
        )

    async def attach_thing(
        self,
        scope: Scope,
        name: ThingName,
        certificate_id: CertificateId,
        principal_type: ThingPrincipalType,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(lambda c: things.attach(c, scope, name, certificate_id, principal_type, cause))

    async def detach_thing(
        self, scope: Scope, name: ThingName, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: things.detach(c, scope, name, certificate_id, cause))

    async def thing_principals(
        self, scope: Scope, name: ThingName, page: PageRequest
    ) -> Page[tuple[CertificateId, ThingPrincipalType]]:
        return await self._read(lambda c: things.principals_page(c, scope, name, page))

    async def principal_things(
        self, scope: Scope, certificate_id: CertificateId, page: PageRequest
    ) -> Page[tuple[ThingName, ThingPrincipalType]]:
        return await self._read(lambda c: things.things_page(c, scope, certificate_id, page))

    # policies

    async def create_policy(self, policy: PolicyRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: policies.create(c, policy, cause))

    async def policy(self, scope: Scope, name: PolicyName) -> PolicyRecord | None:
        return await self._read(lambda c: policies.get(c, scope, name))

    async def delete_policy(self, scope: Scope, name: PolicyName, cause: Cause) -> list[Change]:
        return await self._write(lambda c: policies.remove(c, scope, name, cause))

    async def list_policies(self, scope: Scope, page: PageRequest) -> Page[PolicyRecord]:
        return await self._read(lambda c: policies.list_page(c, scope, page))

    async def attach_policy(
        self, scope: Scope, name: PolicyName, certificate_id: CertificateId, *, limit: int, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: policies.attach(c, scope, name, certificate_id, limit=limit, cause=cause))

    async def detach_policy(
        self, scope: Scope, name: PolicyName, certificate_id: CertificateId, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: policies.detach(c, scope, name, certificate_id, cause))

    async def attached_policies(
        self, scope: Scope, certificate_id: CertificateId, page: PageRequest
    ) -> Page[PolicyRecord]:
        return await self._read(lambda c: policies.attached_page(c, scope, certificate_id, page))

    async def policy_targets(self, scope: Scope, name: PolicyName, page: PageRequest) -> Page[CertificateId]:
        return await self._read(lambda c: policies.targets_page(c, scope, name, page))

    # following

    async def changes_since(self, cursor: Cursor, limit: int) -> tuple[list[Change], Cursor]:
        return await self._read(lambda c: journal.changes_since(c, cursor, limit))

    async def head_cursor(self) -> Cursor:
        return await self._read(journal.head_cursor)


def _path(url_or_path: str | Path) -> Path:
    text = str(url_or_path)
    if text.startswith(_SQLITE_SCHEME):
        text = text.removeprefix(_SQLITE_SCHEME)
    elif "://" in text:
        scheme = text.split("://", 1)[0]
        raise ConfigurationError(f"{scheme}:// databases are not supported; give sqlite:///PATH or nothing")
    return Path(text).absolute()
