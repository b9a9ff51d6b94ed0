"""`handfast account`: accounts and their access keys, through the running server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.output import print_json, print_table

account_app = typer.Typer(help="Accounts and their access keys.")
keys_app = typer.Typer(help="The access keys of an account.", rich_markup_mode=None)
account_app.add_typer(keys_app, name="keys")

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Account id, 12 digits.")]


@account_app.command("create")
@calls_server(operator=True, region=False)
def create(
    call: Call,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A name for people.")] = None,
    account_id: Annotated[
        str | None, typer.Option("--id", metavar="DIGITS", help="12 digits.", show_default="chosen by the server")
    ] = None,
) -> None:
    """Create an account. It has no key yet: 'handfast account keys add' makes one."""
    given = {k: v for k, v in (("name", name), ("accountId", account_id)) if v is not None}
    account = _ask(call, "create_account", **given)
    call.answer(account, account["accountId"])


@account_app.command("list")
@calls_server(operator=True, region=False)
def list_accounts(call: Call) -> None:
    """List the accounts by creation."""
    accounts = _ask(call, "list_accounts").get("accounts", [])
    if call.as_json:
        print_json(accounts)
        return
    print_table(
        ("account", "status", "created", "name"),
        [(a["accountId"], a["status"], a.get("creationDate"), a.get("name")) for a in accounts],
        empty="no accounts",
    )


@account_app.command("disable")
@calls_server(operator=True, region=False)
def disable(call: Call, account: Account) -> None:
    """Disable an account: its keys and devices are refused at once, its resources stay."""
    _set_status(call, account, "DISABLED")


@account_app.command("enable")
@calls_server(operator=True, region=False)
def enable(call: Call, account: Account) -> None:
    """Enable an account again."""
    _set_status(call, account, "ENABLED")


@keys_app.command("add")
@calls_server(operator=True, region=False)
def add_key(call: Call, account: Account) -> None:
    """Make an access key; its secret is printed now and never again."""
    key = _ask(call, "create_access_key", accountId=account)
    call.answer(key, f"aws_access_key_id = {key['accessKeyId']}", f"aws_secret_access_key = {key['secretAccessKey']}")


@keys_app.command("list")
@calls_server(operator=True, region=False)
def list_keys(call: Call, account: Account) -> None:
    """List an account's access keys, without their secrets."""
    keys = _ask(call, "list_access_keys", accountId=account).get("accessKeys", [])
    if call.as_json:
        print_json(keys)
        return
    print_table(
        ("access key id", "status", "created"),
        [(k["accessKeyId"], k["status"], k.get("creationDate")) for k in keys],
        empty="no access keys",
    )


@keys_app.command("revoke")
@calls_server(operator=True, region=False)
def revoke_key(
    call: Call,
    account: Account,
    access_key_id: Annotated[str, typer.Argument(metavar="ACCESS_KEY_ID", help="The key.")],
) -> None:
    """Revoke an access key for good."""
    _ask(call, "revoke_access_key", accountId=account, accessKeyId=access_key_id)
    revoked = {"accountId": account, "accessKeyId": access_key_id, "status": "INACTIVE"}
    call.answer(revoked, f"{access_key_id} is revoked")


def _set_status(call: Call, account: str, status: str) -> None:
    answer = _ask(call, "update_account", accountId=account, status=status)
    call.answer(answer, f"{answer['accountId']} is {answer['status']}")


def _ask(call: Call, operation: str, **given: Any) -> dict[str, Any]:
    with call.handfast() as api:
        answer: dict[str, Any] = getattr(api, operation)(**given)
    answer.pop("ResponseMetadata", None)
    return answer
