"""Accounts and access keys: made, listed, disabled, revoked, and looked up for signatures."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from handfast.core.identity.ids import AccountId
from handfast.core.identity.records import AccessKeyRecord, AccountRecord, AccountStatus
from handfast.errors import (
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
)
from handfast.ports import Cause, Change, ChangeKind, Clock, Entropy, Notify, Store
from handfast.services.commit import Committer

ACCOUNT_ID_LENGTH = 12
ACCESS_KEYS_MAX = 20
"""Active keys of one account; enough for rotation, few enough to list."""
_NAME_MAX = 128
_ATTEMPTS = 8


def is_account_id(text: str) -> bool:
    """Twelve ASCII decimal digits."""
    return len(text) == ACCOUNT_ID_LENGTH and text.isascii() and text.isdigit()


def new_account_id(entropy: Entropy) -> AccountId:
    """Twelve digits, the first of which is not 0: spreadsheets and careless scripts drop it."""
    number = int.from_bytes(entropy.token_bytes(16), "big")  # 128 bits: the bias of the remainder is nothing
    return AccountId(str(10**11 + number % (9 * 10**11)))


def new_access_key(entropy: Entropy, account_id: AccountId | None, cause: Cause) -> AccessKeyRecord:
    """A key in the form that AWS's tools expect: AKIA and 16 base32 characters, a secret of 40."""
    return AccessKeyRecord(
        access_key_id="AKIA" + base64.b32encode(entropy.token_bytes(10)).decode("ascii"),
        secret=base64.b64encode(entropy.token_bytes(30)).decode("ascii"),
        account_id=account_id,
        creation_date=cause.at,
        active=True,
    )


@dataclass(frozen=True, slots=True)
class Signer:
    """A key as a signature may use it: not at all when it is not `active`, to no avail when its account is disabled."""

    key: AccessKeyRecord
    account_disabled: bool = False


class Accounts:
    """The use cases of accounts and keys. Raises ServiceErrors. Who may call is the control plane's question."""

    def __init__(self, store: Store, entropy: Entropy, clock: Clock, notify: Notify) -> None:
        self._store = store
        self._entropy = entropy
        self._clock = clock
        self._commit = Committer(notify)

    async def create(self, cause: Cause, *, name: str, account_id: str | None = None) -> AccountRecord:
        """A new, enabled account, with a number of its own unless one is given."""
        if len(name) > _NAME_MAX or not name.isprintable():
            raise InvalidRequestError(f"An account's name has at most {_NAME_MAX} printable characters")
        if account_id is not None:
            if not is_account_id(account_id):
                raise InvalidRequestError(f"An account id has exactly {ACCOUNT_ID_LENGTH} digits")
            record = self._account(AccountId(account_id), name, cause)
            if not await self._try_create(record, cause):
                raise ResourceAlreadyExistsError(f"Account {account_id} already exists", resourceId=account_id)
            return record
        for _ in range(_ATTEMPTS):
            record = self._account(new_account_id(self._entropy), name, cause)
            if await self._try_create(record, cause):
                return record
        raise ServiceUnavailableError("No free account id was found; try again")

    async def _try_create(self, record: AccountRecord, cause: Cause) -> bool:
        suspects = [Change(ChangeKind.ACCOUNT, None, record.account_id)]
        try:
            await self._commit(self._store.create_account(record, cause), suspects=suspects)
        except StoreConflict as conflict:
            if conflict.kind != "exists":
                raise
            return False
        return True

    @staticmethod
    def _account(account_id: AccountId, name: str, cause: Cause) -> AccountRecord:
        return AccountRecord(account_id=account_id, name=name, status=AccountStatus.ENABLED, creation_date=cause.at)

    async def list_all(self) -> list[AccountRecord]:
        """Every account, oldest first."""
        return await self._store.accounts()

    async def describe(self, account_id: str) -> AccountRecord:
        """The account, or ResourceNotFoundError."""
        record = await self._store.account(AccountId(account_id)) if is_account_id(account_id) else None
        if record is None:
            raise _no_account(account_id)
        return record

    async def set_status(self, cause: Cause, account_id: str, status: AccountStatus) -> AccountRecord:
        """The account has the status. Disabled: its keys and devices are refused, what it owns stays."""
        known = AccountId(account_id)
        try:
            await self._commit(
                self._store.set_account_status(known, status, cause),
                suspects=[Change(ChangeKind.ACCOUNT, None, known)],
            )
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise _no_account(account_id) from None
        return await self.describe(account_id)

    async def create_key(self, cause: Cause, account_id: str | None) -> AccessKeyRecord:
        """A new key of the account, or of the operator (None). The secret is shown by this call only."""
        if account_id is not None:
            await self.describe(account_id)
        owner = None if account_id is None else AccountId(account_id)
        present = [key for key in await self._store.access_keys(owner) if key.active]
        if len(present) >= ACCESS_KEYS_MAX:
            raise LimitExceededError(f"There are {ACCESS_KEYS_MAX} active keys already; revoke one first")
        key = new_access_key(self._entropy, owner, cause)
        try:
            await self._commit(self._store.add_access_key(key, cause))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise _no_account(str(account_id)) from None
        return key

    async def list_keys(self, account_id: str | None) -> list[AccessKeyRecord]:
        """The keys of the account, or of the operator (None), revoked ones too, oldest first."""
        if account_id is None:
            return await self._store.access_keys(None)
        await self.describe(account_id)
        return await self._store.access_keys(AccountId(account_id))

    async def revoke_key(self, cause: Cause, access_key_id: str, account_id: str | None = None) -> None:
        """
        The key signs nothing any more; again is success.

        With `account_id` only a key of that account is found. The operator's
        last key is not revoked: nobody could make another.
        """
        key = await self._store.access_key(access_key_id)
        if key is None or (account_id is not None and key.account_id != account_id):
            raise _no_key(access_key_id)
        if key.account_id is None and key.active:
            others = [other for other in await self._store.access_keys(None) if other.active]
            if len(others) <= 1:
                raise InvalidRequestError("This is the operator's only key; make another before revoking it")
        try:
            await self._commit(
                self._store.revoke_access_key(access_key_id, cause),
                suspects=[Change(ChangeKind.ACCESS_KEY, None, access_key_id)],
            )
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise _no_key(access_key_id) from None

    async def signer(self, access_key_id: str) -> Signer | None:
        """Whose the key is and whether it may sign; None when there is no such key."""
        key = await self._store.access_key(access_key_id)
        if key is None or key.account_id is None:
            return None if key is None else Signer(key)
        account = await self._store.account(key.account_id)
        return Signer(key, account_disabled=account is None or account.status is not AccountStatus.ENABLED)

    async def dev_signer(self, access_key_id: str) -> Signer:
        """
        With `--dev`: the 12-digit access key id is an account of that number, made at first use.

        Raises:
            InvalidRequestError: Not twelve digits.
        """
        if not is_account_id(access_key_id):
            raise InvalidRequestError("With --dev the access key id is a 12-digit account id")
        account_id = AccountId(access_key_id)
        account = await self._store.account(account_id)
        now = self._clock.now()
        if account is None:
            cause = Cause(actor="handfast:dev", address="", operation="FirstUse", request_id="", at=now)
            await self._try_create(self._account(account_id, "", cause), cause)
        disabled = account is not None and account.status is not AccountStatus.ENABLED
        key = AccessKeyRecord(
            access_key_id=access_key_id, secret="", account_id=account_id, creation_date=now, active=True
        )
        return Signer(key, account_disabled=disabled)


def _no_account(account_id: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Account {account_id} does not exist")


def _no_key(access_key_id: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Access key {access_key_id} does not exist")
