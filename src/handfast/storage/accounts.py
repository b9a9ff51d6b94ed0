"""Accounts, access keys and endpoints: the operations on their tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select, update

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.records import AccessKeyRecord, AccountRecord, AccountStatus, EndpointRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.hooks import sealed_name as hook_secret_name
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.secretbox import SecretBox, is_sealed, open_plain, seal_plain
from handfast.storage.tables import access_keys, accounts, endpoints, hooks, settings

_SECRET_BOX = "secret_box"  # noqa: S105  the setting's name


def create_account(connection: Connection, account: AccountRecord, cause: Cause) -> list[Change]:
    inserted = connection.execute(
        insert_or_ignore(connection, accounts).returning(accounts.c.account_id),
        {
            "account_id": account.account_id,
            "name": account.name,
            "status": account.status.value,
            "creation_date": account.creation_date,
            "position": connection.execute(select(func.count()).select_from(accounts)).scalar_one(),
        },
    ).first()
    if inserted is None:
        raise StoreConflict("exists", f"Account {account.account_id} exists")
    change = Change(ChangeKind.ACCOUNT, None, account.account_id)
    after = {"name": account.name, "status": account.status.value}
    return record(connection, cause, change, account_id=account.account_id, after=after)


def get_account(connection: Connection, account_id: AccountId) -> AccountRecord | None:
    row = connection.execute(select(accounts).where(accounts.c.account_id == account_id)).first()
    return None if row is None else _account(row)


def list_accounts(connection: Connection) -> list[AccountRecord]:
    query = select(accounts).order_by(accounts.c.position, accounts.c.creation_date)
    return [_account(row) for row in connection.execute(query)]


def set_account_status(
    connection: Connection, account_id: AccountId, status: AccountStatus, cause: Cause
) -> list[Change]:
    before = get_account(connection, account_id)
    if before is None:
        raise StoreConflict("missing", f"Account {account_id} does not exist")
    if before.status is status:
        return []
    connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(status=status.value))
    return record(
        connection,
        cause,
        Change(ChangeKind.ACCOUNT, None, account_id),
        account_id=account_id,
        before={"status": before.status.value},
        after={"status": status.value},
    )


def add_access_key(connection: Connection, key: AccessKeyRecord, box: SecretBox | None, cause: Cause) -> list[Change]:
    if key.account_id is not None and get_account(connection, key.account_id) is None:
        raise StoreConflict("missing", f"Account {key.account_id} does not exist")
    inserted = connection.execute(
        insert_or_ignore(connection, access_keys).returning(access_keys.c.access_key_id),
        {
            "access_key_id": key.access_key_id,
            "secret": _seal(key.secret, key.access_key_id, box),
            "account_id": key.account_id,
            "creation_date": key.creation_date,
            "active": key.active,
        },
    ).first()
    if inserted is None:
        raise StoreConflict("exists", f"Access key {key.access_key_id} exists")
    change = Change(ChangeKind.ACCESS_KEY, None, key.access_key_id)
    return record(connection, cause, change, account_id=key.account_id, after={"active": key.active})


def get_access_key(connection: Connection, access_key_id: str, box: SecretBox | None) -> AccessKeyRecord | None:
    row = connection.execute(select(access_keys).where(access_keys.c.access_key_id == access_key_id)).first()
    return None if row is None else _access_key(row, box)


def list_access_keys(
    connection: Connection, account_id: AccountId | None, box: SecretBox | None
) -> list[AccessKeyRecord]:
    query = select(access_keys).order_by(access_keys.c.creation_date, access_keys.c.access_key_id)
    if account_id is None:
        query = query.where(access_keys.c.account_id.is_(None))
    else:
        query = query.where(access_keys.c.account_id == account_id)
    return [_access_key(row, box) for row in connection.execute(query)]


def revoke_access_key(connection: Connection, access_key_id: str, cause: Cause) -> list[Change]:
    row = connection.execute(select(access_keys).where(access_keys.c.access_key_id == access_key_id)).first()
    if row is None:
        raise StoreConflict("missing", f"Access key {access_key_id} does not exist")
    if not row.active:
        return []
    connection.execute(update(access_keys).where(access_keys.c.access_key_id == access_key_id).values(active=False))
    return record(
        connection,
        cause,
        Change(ChangeKind.ACCESS_KEY, None, access_key_id),
        account_id=None if row.account_id is None else AccountId(row.account_id),
        before={"active": True},
        after={"active": False},
    )


def ensure_endpoint(connection: Connection, scope: Scope, prefix: str, cause: Cause) -> EndpointRecord:
    query = select(endpoints).where(endpoints.c.account_id == scope.account, endpoints.c.region == scope.region)
    row = connection.execute(query).first()
    if row is None:
        values = {"account_id": scope.account, "region": scope.region, "prefix": prefix}
        inserted = connection.execute(
            insert_or_ignore(connection, endpoints).returning(endpoints.c.prefix), values
        ).first()
        if inserted is not None:
            record(connection, cause, Change(ChangeKind.ENDPOINT, scope, prefix), after={"prefix": prefix})
            return EndpointRecord(scope=scope, prefix=prefix)
        row = connection.execute(query).first()  # another writer was quicker, or the prefix is another scope's
        if row is None:
            raise StoreConflict("exists", f"The endpoint prefix {prefix} is taken")
    return EndpointRecord(scope=scope, prefix=row.prefix)


def list_endpoints(connection: Connection) -> list[EndpointRecord]:
    rows = connection.execute(select(endpoints).order_by(endpoints.c.account_id, endpoints.c.region))
    return [EndpointRecord(scope=Scope(AccountId(row.account_id), row.region), prefix=row.prefix) for row in rows]


def open_secret_box(connection: Connection, passphrase: bytes | None) -> SecretBox | None:
    """
    The box that the stored secrets are in, None when they are plain.

    The first passphrase given encrypts what was plain so far. Raises
    ConfigurationError for a wrong passphrase, or none where one is needed.
    """
    header = connection.execute(select(settings.c.value).where(settings.c.name == _SECRET_BOX)).scalar()
    if header is not None:
        if passphrase is None:
            open_plain(header)  # says which flag is missing
            raise AssertionError("a header is never plain")
        return SecretBox.from_header(header, passphrase)
    if passphrase is None:
        return None
    box = SecretBox.create(passphrase)
    connection.execute(settings.insert().values(name=_SECRET_BOX, value=box.header()))
    _seal_all(connection, access_keys.c.access_key_id, box, str)
    _seal_all(connection, hooks.c.name, box, hook_secret_name)
    return box


def _seal_all(connection: Connection, key: Column[Any], box: SecretBox, name_of: Callable[[str], str]) -> None:
    """No secret of the table is plain any more."""
    for name, secret in connection.execute(select(key, key.table.c.secret)).all():
        if not is_sealed(secret):
            sealed = box.seal(open_plain(secret), name_of(name))
            connection.execute(key.table.update().where(key == name).values(secret=sealed))


def _seal(secret: str, access_key_id: str, box: SecretBox | None) -> str:
    return seal_plain(secret) if box is None else box.seal(secret, access_key_id)


def _account(row: Row[*tuple[Any, ...]]) -> AccountRecord:
    return AccountRecord(
        account_id=AccountId(row.account_id),
        name=row.name,
        status=AccountStatus(row.status),
        creation_date=row.creation_date,
    )


def _access_key(row: Row[*tuple[Any, ...]], box: SecretBox | None) -> AccessKeyRecord:
    name = row.access_key_id
    return AccessKeyRecord(
        access_key_id=name,
        secret=open_plain(row.secret) if box is None else box.open(row.secret, name),
        account_id=None if row.account_id is None else AccountId(row.account_id),
        creation_date=row.creation_date,
        active=row.active,
    )
