"""
The first account, its key, the operator's key and the file that holds both.

The file is written before the store, because the file alone can be read back
whole: a start that was killed anywhere in between finds the keys there and
gives them to the store. After that the store is the truth, and the file follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handfast.core.identity.ids import AccountId
from handfast.core.identity.records import AccessKeyRecord, AccountRecord, AccountStatus
from handfast.errors import ConfigurationError
from handfast.ports import Cause, Clock, Entropy, Store
from handfast.services import credentials_file
from handfast.services.accounts import is_account_id, new_access_key, new_account_id
from handfast.services.credentials_file import ACCOUNT_PROFILES, OPERATOR_PROFILE, FileKey

FIRST_ACCOUNT_NAME = "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """
    The plane's first account and its keys.

    `account_key` is None when every key of the first account was revoked, which
    a start does not undo. `created` is True when this start made the account.
    """

    account: AccountRecord
    account_key: AccessKeyRecord | None
    operator_key: AccessKeyRecord
    created: bool


async def ensure_first_run(store: Store, credentials_path: Path, clock: Clock, entropy: Entropy) -> FirstRun:
    """
    The first account, an operator key and the `credentials` file exist and agree.

    Idempotent, and completes what a killed first run left. A file that was
    deleted, or that names keys which are revoked or unknown, is written anew
    from the store's active keys; other profiles in it are kept.

    Raises:
        ConfigurationError: The file is readable by others, unreadable or damaged.
    """
    cause = Cause(actor="handfast:start", address="", operation="FirstRun", request_id="", at=clock.now())
    in_file = credentials_file.read(credentials_path)
    accounts = await store.accounts()
    created = not accounts or not await store.access_keys(accounts[0].account_id)
    operator_keys = await store.access_keys(None)
    if created or not operator_keys:
        in_file = _complete(in_file, accounts[0].account_id if accounts else None, created, cause, entropy)
        credentials_file.write(credentials_path, in_file)
    account_entry, operator_entry = in_file.get(ACCOUNT_PROFILES[0]), in_file.get(OPERATOR_PROFILE)
    if not accounts:
        assert account_entry is not None
        assert account_entry.account_id is not None
        account = AccountRecord(
            account_id=account_entry.account_id,
            name=FIRST_ACCOUNT_NAME,
            status=AccountStatus.ENABLED,
            creation_date=cause.at,
        )
        await store.create_account(account, cause)
        accounts = [account]
    if created:
        assert account_entry is not None
        await store.add_access_key(_record(account_entry, accounts[0].account_id, cause), cause)
    if not operator_keys:
        assert operator_entry is not None
        await store.add_access_key(_record(operator_entry, None, cause), cause)
    return await _agree(store, credentials_path, accounts[0], created, cause, entropy)


def _complete(
    in_file: dict[str, FileKey], account_id: AccountId | None, account_missing: bool, cause: Cause, entropy: Entropy
) -> dict[str, FileKey]:
    """The file's profiles with what the store lacks: from a first run that was killed, or new."""
    profiles = dict(in_file)
    if account_missing:
        key = in_file.get(ACCOUNT_PROFILES[0])
        usable = key is not None and key.account_id is not None and is_account_id(key.account_id)
        if key is None or not usable or (account_id is not None and key.account_id != account_id):
            owner = account_id or new_account_id(entropy)
            made = new_access_key(entropy, owner, cause)
            key = FileKey(made.access_key_id, made.secret, owner)
        profiles |= dict.fromkeys(ACCOUNT_PROFILES, key)
    if OPERATOR_PROFILE not in profiles:
        made = new_access_key(entropy, None, cause)
        profiles[OPERATOR_PROFILE] = FileKey(made.access_key_id, made.secret)
    return profiles


def _record(key: FileKey, account_id: AccountId | None, cause: Cause) -> AccessKeyRecord:
    return AccessKeyRecord(
        access_key_id=key.access_key_id,
        secret=key.secret,
        account_id=account_id,
        creation_date=cause.at,
        active=True,
    )


async def _agree(
    store: Store, path: Path, account: AccountRecord, created: bool, cause: Cause, entropy: Entropy
) -> FirstRun:
    """The file follows the store: every profile of ours names an active key with its secret."""
    in_file = credentials_file.read(path)
    account_keys = [key for key in await store.access_keys(account.account_id) if key.active]
    operator_keys = [key for key in await store.access_keys(None) if key.active]
    if not operator_keys:
        # Whoever can start the server owns the directory, and without this key nobody could make another.
        fresh = new_access_key(entropy, None, cause)
        await store.add_access_key(fresh, cause)
        operator_keys = [fresh]
    wanted: dict[str, FileKey] = {}
    chosen = _choose(account_keys, in_file.get(ACCOUNT_PROFILES[0]))
    if chosen is not None:
        entry = FileKey(chosen.access_key_id, chosen.secret, account.account_id)
        wanted |= dict.fromkeys(ACCOUNT_PROFILES, entry)
    operator = _choose(operator_keys, in_file.get(OPERATOR_PROFILE))
    if operator is None:
        raise ConfigurationError("The operator has no access key")
    wanted[OPERATOR_PROFILE] = FileKey(operator.access_key_id, operator.secret)
    if any(in_file.get(name) != key for name, key in wanted.items()):
        credentials_file.write(path, wanted)
    return FirstRun(account=account, account_key=chosen, operator_key=operator, created=created)


def _choose(active: list[AccessKeyRecord], in_file: FileKey | None) -> AccessKeyRecord | None:
    """The key that the file names where it may stay, else the oldest."""
    for key in active:
        if in_file is not None and key.access_key_id == in_file.access_key_id:
            return key
    return active[0] if active else None
