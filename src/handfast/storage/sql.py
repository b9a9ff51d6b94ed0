"""
`ports.Store` over SQLite: each method hands one synchronous operation to the engine.

The operations live in one module per resource (accounts, certificates, things,
policies, principals, journal) and take a SQLAlchemy connection, so that another
engine can run the same ones.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sqlalchemy import Connection

from handfast.core.identity.audit_chain import AuditHead, AuditRow
from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope, ThingName
from handfast.core.identity.records import (
    AccessKeyRecord,
    AccountRecord,
    AccountStatus,
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateRecord,
    CertificateStatus,
    EndpointRecord,
    PolicyRecord,
    PrincipalRecord,
    RegistrationConfig,
    ThingPrincipalType,
    ThingRecord,
    TombstoneReason,
)
from handfast.core.identity.rotation import RotationEnd, RotationRecord, RotationState
from handfast.core.identity.things import ThingEdit
from handfast.errors import ConfigurationError, StoreConflict
from handfast.ports import NO_TAGS, AuditQuery, Cause, Change, Cursor, Page, PageRequest, Span, Tags
from handfast.storage import (
    accounts,
    audit,
    ca_certificates,
    expiry,
    fleet,
    journal,
    policies,
    principals,
    provisioning_claims,
    rotations,
    things,
    tombstones,
    transfers,
)
from handfast.storage import certificates as device_certificates
from handfast.storage.before_upgrade import keep_copy
from handfast.storage.migrate import upgrade
from handfast.storage.migrations import HEAD
from handfast.storage.secretbox import SecretBox
from handfast.storage.sql_domains import DomainOperations
from handfast.storage.sql_fleet import FleetOperations
from handfast.storage.sql_groups import GroupOperations
from handfast.storage.sql_hooks import HookOperations
from handfast.storage.sql_just_in_time import JustInTimeOperations
from handfast.storage.sql_providers import ProviderOperations
from handfast.storage.sql_provisioning import ProvisioningOperations
from handfast.storage.sql_registration_tasks import RegistrationTaskOperations
from handfast.storage.sql_revocations import RevocationOperations
from handfast.storage.sql_roots import RootOperations
from handfast.storage.sql_templates import TemplateOperations
from handfast.storage.sql_thing_types import ThingTypeOperations
from handfast.storage.sqlite import SQLiteDatabase

_log = logging.getLogger(__name__)

_SQLITE_SCHEME = "sqlite:///"


class SQLStore(
    ThingTypeOperations,
    GroupOperations,
    ProvisioningOperations,
    HookOperations,
    RootOperations,
    TemplateOperations,
    FleetOperations,
    JustInTimeOperations,
    RegistrationTaskOperations,
    ProviderOperations,
    RevocationOperations,
    DomainOperations,
):
    """The registry on SQLAlchemy Core. Make one with `open`; it owns its directory until `close`."""

    def __init__(self, database: SQLiteDatabase, box: SecretBox | None) -> None:
        super().__init__(database)
        self._database = database
        self._box = box

    @classmethod
    async def open(
        cls,
        url_or_path: str | Path,
        *,
        passphrase: bytes | None = None,
        announce: Callable[[str], None] = _log.info,
    ) -> SQLStore:
        """
        The store, its schema at this version's; an older one is copied to `backups/` and then migrated.

        Args:
            url_or_path: The database file, or `sqlite:///PATH`. Its directory
                exists and serves one process at a time.
            passphrase: Encrypts the access-key secrets. Once given, always needed.
            announce: Told in one line that the schema is migrated, and where
                the copy is.

        Raises:
            ConfigurationError: In use, unusable, of a newer version, of an
                older one that cannot be copied first, or the wrong
                passphrase: one line saying what to do.
        """
        path = registry_path(url_or_path)
        box: SecretBox | None = None

        def copy(revision: str) -> None:
            kept = keep_copy(path, HEAD, dt.datetime.now(dt.UTC))
            announce(f"Migrating {path} from schema {revision} to {HEAD}; as it was it is kept in {kept}")

        def prepare(connection: Connection) -> None:
            nonlocal box
            upgrade(connection, str(path), before=copy)
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

    async def insert_certificate(
        self, certificate: CertificateRecord, cause: Cause, *, require_ca: bool = False
    ) -> list[Change]:
        def insert(connection: Connection) -> list[Change]:
            ca = certificate.ca_certificate_id
            if require_ca and (ca is None or not ca_certificates.is_active(connection, certificate.scope, ca)):
                raise StoreConflict("ca", f"CA certificate {ca} is not registered and ACTIVE")
            return device_certificates.insert_one(connection, certificate, cause)

        return await self._write(insert)

    async def insert_certificates(
        self, certificates: Sequence[CertificateRecord], cause: Cause, *, require_ca: bool = False
    ) -> list[Change | StoreConflict]:
        def insert(connection: Connection) -> list[Change | StoreConflict]:
            refused = ca_certificates.without_active(connection, certificates) if require_ca else {}
            wanted = [record for record in certificates if (record.scope, record.ca_certificate_id) not in refused]
            done = iter(device_certificates.insert_many(connection, wanted, cause))
            keys = ((record.scope, record.ca_certificate_id) for record in certificates)
            return [refused[key] if key in refused else next(done) for key in keys]

        return await self._write(insert)

    async def certificate_statuses(
        self, scope: Scope, certificate_ids: Sequence[CertificateId]
    ) -> dict[CertificateId, CertificateStatus]:
        return await self._read(lambda c: device_certificates.statuses(c, scope, certificate_ids))

    async def certificate(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None:
        return await self._read(lambda c: device_certificates.get(c, scope, certificate_id))

    async def certificate_or_offer(self, scope: Scope, certificate_id: CertificateId) -> CertificateRecord | None:
        return await self._read(lambda c: device_certificates.get_or_offer(c, scope, certificate_id))

    async def set_certificate_status(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        *,
        expected: CertificateStatus,
        new: CertificateStatus,
        cause: Cause,
        reason: str = "unspecified",
    ) -> list[Change]:
        def change(connection: Connection) -> list[Change]:
            changes = device_certificates.set_status(
                connection, scope, certificate_id, expected=expected, new=new, cause=cause, reason=reason
            )
            return changes + rotations.follow(connection, scope, certificate_id, cause)

        return await self._write(change)

    async def delete_certificate(
        self, scope: Scope, certificate_id: CertificateId, *, force: bool, cause: Cause
    ) -> list[Change]:
        def remove(connection: Connection) -> list[Change]:
            changes = device_certificates.remove(connection, scope, certificate_id, force=force, cause=cause)
            fleet.forget_claim(connection, scope, certificate_id)
            return changes + rotations.follow(connection, scope, certificate_id, cause)

        return await self._write(remove)

    async def list_certificates(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
        return await self._read(lambda c: device_certificates.list_page(c, scope, page))

    async def list_certificates_by_ca(
        self, scope: Scope, ca_certificate_id: CertificateId, page: PageRequest
    ) -> Page[CertificateRecord]:
        return await self._read(lambda c: device_certificates.by_ca_page(c, scope, ca_certificate_id, page))

    async def certificates_by_expiry(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        until: dt.datetime | None = None,
        statuses: Collection[CertificateStatus] = (),
    ) -> Page[CertificateRecord]:
        return await self._read(
            lambda c: device_certificates.by_expiry_page(c, scope, page, until=until, statuses=statuses)
        )

    async def count_active_by_expiry(self, spans: Sequence[Span]) -> tuple[list[int], list[int]]:
        return await self._read(lambda c: expiry.count_active(c, spans))

    async def principals(self, keys: Sequence[tuple[Scope, CertificateId]]) -> list[PrincipalRecord | None]:
        return await self._read(lambda c: principals.lookup(c, keys))

    async def default_registrations(self, region: str, certificate_id: CertificateId) -> list[Scope]:
        def found(connection: Connection) -> list[Scope]:
            registered = device_certificates.default_registrations(connection, region, certificate_id)
            return registered or provisioning_claims.scopes_of(connection, region, certificate_id)

        return await self._read(found)

    # transfers and tombstones

    async def transfer_certificate(
        self, scope: Scope, certificate_id: CertificateId, *, target: AccountId, message: str | None, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: transfers.offer(c, scope, certificate_id, target=target, message=message, cause=cause)
        )

    async def accept_transfer(
        self, scope: Scope, certificate_id: CertificateId, *, status: CertificateStatus, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: transfers.accept(c, scope, certificate_id, status=status, cause=cause))

    async def reject_transfer(
        self, scope: Scope, certificate_id: CertificateId, *, reason: str | None, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: transfers.reject(c, scope, certificate_id, reason=reason, cause=cause))

    async def cancel_transfer(self, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
        return await self._write(lambda c: transfers.cancel(c, scope, certificate_id, cause))

    async def list_outgoing(self, scope: Scope, page: PageRequest) -> Page[CertificateRecord]:
        return await self._read(lambda c: transfers.outgoing_page(c, scope, page))

    async def tombstone(self, scope: Scope, certificate_id: CertificateId) -> TombstoneReason | None:
        return await self._read(lambda c: tombstones.get(c, scope, certificate_id))

    async def forget_certificate(self, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
        return await self._write(lambda c: tombstones.forget(c, scope, certificate_id, cause))

    # rotations

    async def begin_rotation(
        self, rotation: RotationRecord, successor: CertificateRecord, *, limit: int, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: rotations.begin(c, rotation, successor, limit=limit, cause=cause))

    async def finish_rotation(
        self, scope: Scope, successor_id: CertificateId, end: RotationEnd, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: rotations.finish(c, scope, successor_id, end, cause))

    async def rotation(self, scope: Scope, certificate_id: CertificateId) -> RotationRecord | None:
        return await self._read(lambda c: rotations.find(c, scope, certificate_id))

    async def list_rotations(
        self, scope: Scope, page: PageRequest, *, state: RotationState | None
    ) -> Page[RotationRecord]:
        return await self._read(lambda c: rotations.list_page(c, scope, page, state=state))

    async def waiting_successors(self) -> list[tuple[Scope, CertificateId]]:
        return await self._read(rotations.waiting)

    async def upcoming_rotations(self, limit: int) -> list[RotationRecord]:
        return await self._read(lambda c: rotations.upcoming(c, limit))

    # CA certificates and the registration code

    async def ensure_registration_code(self, scope: Scope, code: str, cause: Cause) -> str:
        return await self._write(lambda c: ca_certificates.ensure_code(c, scope, code, cause))

    async def registration_code(self, scope: Scope) -> str | None:
        return await self._read(lambda c: ca_certificates.get_code(c, scope))

    async def delete_registration_code(self, scope: Scope, cause: Cause) -> list[Change]:
        return await self._write(lambda c: ca_certificates.remove_code(c, scope, cause))

    async def insert_ca_certificate(
        self,
        ca: CACertificateRecord,
        *,
        registration_code: str | None,
        subject_limit: int,
        tags: Tags = NO_TAGS,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(
            lambda c: ca_certificates.insert_one(
                c, ca, registration_code=registration_code, subject_limit=subject_limit, given=tags, cause=cause
            )
        )

    async def ca_certificate(self, scope: Scope, certificate_id: CertificateId) -> CACertificateRecord | None:
        return await self._read(lambda c: ca_certificates.get(c, scope, certificate_id))

    async def ca_certificates_of_subject(self, scope: Scope, subject: str) -> list[CACertificateRecord]:
        return await self._read(lambda c: ca_certificates.of_subject(c, scope, subject))

    async def update_ca_certificate(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        *,
        status: CACertificateStatus | None,
        auto_registration_status: AutoRegistrationStatus | None,
        registration_config: RegistrationConfig | None = None,
        remove_registration_config: bool = False,
        cause: Cause,
    ) -> list[Change]:
        return await self._write(
            lambda c: ca_certificates.change(
                c,
                scope,
                certificate_id,
                status=status,
                auto_registration_status=auto_registration_status,
                registration_config=registration_config,
                remove_registration_config=remove_registration_config,
                cause=cause,
            )
        )

    async def delete_ca_certificate(self, scope: Scope, certificate_id: CertificateId, cause: Cause) -> list[Change]:
        return await self._write(lambda c: ca_certificates.remove(c, scope, certificate_id, cause))

    async def list_ca_certificates(
        self, scope: Scope, page: PageRequest, *, template_name: str | None = None
    ) -> Page[CACertificateRecord]:
        return await self._read(lambda c: ca_certificates.list_page(c, scope, page, template_name=template_name))

    async def ca_certificates_by_expiry(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        until: dt.datetime | None = None,
        statuses: Collection[CACertificateStatus] = (),
    ) -> Page[CACertificateRecord]:
        return await self._read(
            lambda c: ca_certificates.by_expiry_page(c, scope, page, until=until, statuses=statuses)
        )

    async def default_ca_certificates(self, region: str) -> list[CACertificateRecord]:
        return await self._read(lambda c: ca_certificates.default_of_region(c, region))

    # things

    async def create_thing(self, thing: ThingRecord, cause: Cause) -> list[Change]:
        return await self._write(lambda c: things.create(c, thing, cause))

    async def update_thing(self, scope: Scope, name: ThingName, edit: ThingEdit, cause: Cause) -> list[Change]:
        return await self._write(lambda c: things.change(c, scope, name, edit, cause))

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
        self, scope: Scope, name: ThingName, page: PageRequest, *, principal_type: ThingPrincipalType | None = None
    ) -> Page[tuple[CertificateId, ThingPrincipalType]]:
        return await self._read(lambda c: things.principals_page(c, scope, name, page, principal_type))

    async def principal_things(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        page: PageRequest,
        *,
        principal_type: ThingPrincipalType | None = None,
    ) -> Page[tuple[ThingName, ThingPrincipalType]]:
        return await self._read(lambda c: things.things_page(c, scope, certificate_id, page, principal_type))

    # policies

    async def create_policy(self, policy: PolicyRecord, cause: Cause, *, tags: Tags = NO_TAGS) -> list[Change]:
        return await self._write(lambda c: policies.create(c, policy, tags, cause))

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

    # the audit trail

    async def audit_events(self, query: AuditQuery, page: PageRequest) -> Page[AuditRow]:
        return await self._read(lambda c: audit.page(c, query, page))

    async def audit_position(self) -> int:
        return await self._read(audit.position)

    async def audit_links(self, places: Sequence[tuple[str, int]]) -> list[str | None]:
        return await self._read(lambda c: audit.links_at(c, places))

    async def audit_heads(self) -> list[AuditHead]:
        return await self._read(audit.heads)

    async def audit_extents(self) -> dict[str, int]:
        return await self._read(audit.extents)

    async def audit_rows(self, chain: str, after: int, until: int, limit: int) -> list[AuditRow]:
        return await self._read(lambda c: audit.rows_after(c, chain, after, until, limit))

    # following

    async def changes_since(self, cursor: Cursor, limit: int) -> tuple[list[Change], Cursor]:
        return await self._read(lambda c: journal.changes_since(c, cursor, limit))

    async def head_cursor(self) -> Cursor:
        return await self._read(journal.head_cursor)


def registry_path(url_or_path: str | Path) -> Path:
    """The file that a database URL, or a path, names."""
    text = str(url_or_path)
    if text.startswith(_SQLITE_SCHEME):
        text = text.removeprefix(_SQLITE_SCHEME)
    elif "://" in text:
        scheme = text.split("://", 1)[0]
        raise ConfigurationError(f"{scheme}:// databases are not supported; give sqlite:///PATH or nothing")
    return Path(text).absolute()
