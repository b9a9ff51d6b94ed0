"""The operator's operations on accounts and access keys (/handfast/v1)."""

from __future__ import annotations

from handfast.control.context import Handler, Result, cause_of, present, require_operator
from handfast.core.identity.caller import Caller
from handfast.core.identity.records import AccessKeyRecord, AccountRecord, AccountStatus
from handfast.errors import InvalidRequestError
from handfast.services.accounts import Accounts


class AccountHandlers:
    """Handlers by operation name in `handlers`. Each refuses an account's key."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.handlers: dict[str, Handler] = {
            "CreateAccount": self.create_account,
            "ListAccounts": self.list_accounts,
            "UpdateAccount": self.update_account,
            "CreateAccessKey": self.create_access_key,
            "ListAccessKeys": self.list_access_keys,
            "RevokeAccessKey": self.revoke_access_key,
        }

    async def create_account(self, ctx: Caller, *, name: str | None = None, account_id: str | None = None) -> Result:
        require_operator(ctx)
        record = await self._accounts.create(cause_of(ctx, "CreateAccount"), name=name or "", account_id=account_id)
        return _account(record)

    async def list_accounts(self, ctx: Caller) -> Result:
        require_operator(ctx)
        return {"accounts": [_account(record) for record in await self._accounts.list_all()]}

    async def update_account(self, ctx: Caller, *, account_id: str, status: str) -> Result:
        require_operator(ctx)
        try:
            wanted = AccountStatus(status)
        except ValueError:
            raise InvalidRequestError(f"The status must be one of {', '.join(AccountStatus)}") from None
        return _account(await self._accounts.set_status(cause_of(ctx, "UpdateAccount"), account_id, wanted))

    async def create_access_key(self, ctx: Caller, *, account_id: str | None = None) -> Result:
        """A key of the account, or of the operator when none is named. The only answer that holds a secret."""
        require_operator(ctx)
        key = await self._accounts.create_key(cause_of(ctx, "CreateAccessKey"), account_id)
        return _key(key) | {"secret_access_key": key.secret}

    async def list_access_keys(self, ctx: Caller, *, account_id: str | None = None) -> Result:
        require_operator(ctx)
        return {"access_keys": [_key(key) for key in await self._accounts.list_keys(account_id)]}

    async def revoke_access_key(self, ctx: Caller, *, access_key_id: str, account_id: str | None = None) -> Result:
        require_operator(ctx)
        await self._accounts.revoke_key(cause_of(ctx, "RevokeAccessKey"), access_key_id, account_id)
        return {}


def _account(record: AccountRecord) -> Result:
    return {
        "account_id": record.account_id,
        "name": record.name,
        "status": record.status.value,
        "creation_date": record.creation_date,
    }


def _key(key: AccessKeyRecord) -> Result:
    return present(
        access_key_id=key.access_key_id,
        account_id=key.account_id,
        status="ACTIVE" if key.active else "INACTIVE",
        creation_date=key.creation_date,
    )
