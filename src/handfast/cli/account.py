"""`handfast account`: accounts and their access keys, through the running server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from handfast.cli.connection import calling, find_server, handfast_api
from handfast.cli.options import AsJson, DataDir, EndpointUrl, Profile
from handfast.cli.output import print_json, print_table
from handfast.printable import printable

account_app = typer.Typer(help="Accounts and their access keys.")
keys_app = typer.Typer(help="The access keys of an account.", rich_markup_mode=None)
account_app.add_typer(keys_app, name="keys")

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Account id, 12 digits.")]


@account_app.command("create")
def create(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A name for people.")] = None,
    account_id: Annotated[
        str | None, typer.Option("--id", metavar="DIGITS", help="12 digits.", show_default="chosen by the server")
    ] = None,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Create an account. It has no key yet: 'handfast account keys add' makes one."""
    given = {k: v for k, v in (("name", name), ("accountId", account_id)) if v is not None}
    account = _call("create_account", data_dir, endpoint_url, profile, **given)
    if as_json:
        print_json(account)
    else:
        print(printable(account["accountId"]))


@account_app.command("list")
def list_accounts(
    data_dir: DataDir = None, endpoint_url: EndpointUrl = None, profile: Profile = None, as_json: AsJson = False
) -> None:
    """List the accounts by creation."""
    accounts = _call("list_accounts", data_dir, endpoint_url, profile).get("accounts", [])
    if as_json:
        print_json(accounts)
        return
    print_table(
        ("account", "status", "created", "name"),
        [(a["accountId"], a["status"], a.get("creationDate"), a.get("name")) for a in accounts],
        empty="no accounts",
    )


@account_app.command("disable")
def disable(
    account: Account,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Disable an account: its keys and devices are refused at once, its resources stay."""
    _set_status(account, "DISABLED", data_dir, endpoint_url, profile, as_json)


@account_app.command("enable")
def enable(
    account: Account,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Enable an account again."""
    _set_status(account, "ENABLED", data_dir, endpoint_url, profile, as_json)


@keys_app.command("add")
def add_key(
    account: Account,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Make an access key; its secret is printed now and never again."""
    key = _call("create_access_key", data_dir, endpoint_url, profile, accountId=account)
    if as_json:
        print_json(key)
        return
    print(f"aws_access_key_id = {printable(key['accessKeyId'])}")
    print(f"aws_secret_access_key = {printable(key['secretAccessKey'])}")


@keys_app.command("list")
def list_keys(
    account: Account,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """List an account's access keys, without their secrets."""
    keys = _call("list_access_keys", data_dir, endpoint_url, profile, accountId=account).get("accessKeys", [])
    if as_json:
        print_json(keys)
        return
    print_table(
        ("access key id", "status", "created"),
        [(k["accessKeyId"], k["status"], k.get("creationDate")) for k in keys],
        empty="no access keys",
    )


@keys_app.command("revoke")
def revoke_key(
    account: Account,
    access_key_id: Annotated[str, typer.Argument(metavar="ACCESS_KEY_ID", help="The key.")],
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an access key for good."""
    _call("revoke_access_key", data_dir, endpoint_url, profile, accountId=account, accessKeyId=access_key_id)
    if as_json:
        print_json({"accountId": account, "accessKeyId": access_key_id, "status": "INACTIVE"})
    else:
        print(f"{printable(access_key_id)} is revoked")


def _set_status(
    account: str, status: str, data_dir: str | None, endpoint_url: str | None, profile: str | None, as_json: bool
) -> None:
    answer = _call("update_account", data_dir, endpoint_url, profile, accountId=account, status=status)
    if as_json:
        print_json(answer)
    else:
        print(f"{printable(answer['accountId'])} is {printable(answer['status'])}")


def _call(
    operation: str, data_dir: str | None, endpoint_url: str | None, profile: str | None, **given: Any
) -> dict[str, Any]:
    server = find_server(data_dir, endpoint_url, profile=profile, operator=True)
    with calling(server):
        answer: dict[str, Any] = getattr(handfast_api(server), operation)(**given)
    answer.pop("ResponseMetadata", None)
    return answer
