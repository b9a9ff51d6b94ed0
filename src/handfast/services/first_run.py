"""
The first account, its key, the operator's key and the file that holds both.

The store is the truth, and secrets can be read back from it, so the file simply
follows: a start that was killed anywhere in between leaves the next one less to
do, never something to undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handfast.core.identity.records import AccessKeyRecord, AccountRecord, AccountStatus
from handfast.ports import Cause, Clock, Entropy, Store
from handfast.services import credentials_file
from handfast.services.accounts import new_access_key, new_account_id
from handfast.services.credentials_file import ACCOUNT_PROFILES, OPERATOR_PROFILE, FileKey

FIRST_ACCOUNT_NAME = "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """
    The plane's first account and its keys.

    `account_key` is None when every key of the first account was revoked, which
    a start does not undo. `created` is True when this start made the account or
    its first key.
    """

    account: AccountRecord
    account_key: AccessKeyRecord | None
    operator_key: AccessKeyRecord
    created: bool


async def ensure_first_run(store: Store, credentials_path: Path, clock: Clock, entropy: Entropy) -> FirstRun:
    """
    The first account, an operator key and the `credentials` file exist and agree.

    Idempotent, and completes what a killed first run left. A file that was
    deleted, or whose profiles of ours name keys that are revoked, unknown or
    have another secret, is written anew from the store; other profiles in it
    are kept. No key is ever taken from the file into the store.

    Raises:
        ConfigurationError: The file is readable by others, unreadable or damaged.
    """
    in_file = credentials_file.read(credentials_path)
    cause = Cause(actor="handfast:start", address="", operation="FirstRun", request_id="", at=clock.now())

    accounts = await store.accounts()
    if not accounts:
        first = AccountRecord(
            account_id=new_account_id(entropy),
            name=FIRST_ACCOUNT_NAME,
            status=AccountStatus.ENABLED,
            creation_date=cause.at,
        )
        await store.create_account(first, cause)
        accounts = [first]
    account = accounts[0]

    account_keys = await store.access_keys(account.account_id)
    created = not account_keys
    if created:
        made = new_access_key(entropy, account.account_id, cause)
        await store.add_access_key(made, cause)
        account_keys = [made]
    account_key = _choose(account_keys, in_file.get(ACCOUNT_PROFILES[0]))

    operator_key = _choose(await store.access_keys(None), in_file.get(OPERATOR_PROFILE))
    if operator_key is None:
        # Also when all were revoked: whoever can start the server owns the directory, and without this key
        # nobody could make another.
        operator_key = new_access_key(entropy, None, cause)
        await store.add_access_key(operator_key, cause)

    wanted = {OPERATOR_PROFILE: FileKey(operator_key.access_key_id, operator_key.secret)}
    if account_key is not None:
        entry = FileKey(account_key.access_key_id, account_key.secret, account.account_id)
        wanted |= dict.fromkeys(ACCOUNT_PROFILES, entry)
    if any(in_file.get(name) != key for name, key in wanted.items()):
        credentials_file.write(credentials_path, wanted)
    return FirstRun(account=account, account_key=account_key, operator_key=operator_key, created=created)


def _choose(keys: list[AccessKeyRecord], in_file: FileKey | None) -> AccessKeyRecord | None:
    """The active key that the file names where it may stay, else the oldest active one."""
    active = [key for key in keys if key.active]
    for key in active:
        if in_file is not None and key.access_key_id == in_file.access_key_id:
            return key
    return active[0] if active else None
