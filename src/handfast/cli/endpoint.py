"""`handfast endpoint`: names that devices connect to, who is still at the legacy one, whose key exchange is ready."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.options import Limit
from handfast.cli.output import print_json, print_table
from handfast.durations import parse_duration

endpoint_app = typer.Typer(help="Endpoints: their names, and the devices that came to them.", no_args_is_help=True)

SHOWN = 200
_MAX_SINCE = dt.timedelta(days=400)
_TYPES = (
    ("endpointAddress", "iot:Data-ATS"),
    ("credentialEndpointAddress", "iot:CredentialProvider"),
    ("jobsEndpointAddress", "iot:Jobs"),
    ("legacyEndpointAddress", "iot:Data"),
)
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only those seen within this time, such as 7d.", show_default="any"),
]


@endpoint_app.command("list")
@calls_server(region=False)
def names(call: Call) -> None:
    """List the names of the account's endpoints in every region, by their type."""
    with call.handfast() as api:
        found: list[dict[str, Any]] = api.list_endpoints().get("endpoints", [])
    if call.as_json:
        print_json(found)
        return
    rows = [(each.get("region"), kind, each[member]) for each in found for member, kind in _TYPES if member in each]
    print_table(("region", "type", "name"), rows, empty="No endpoint was asked for yet.")


@endpoint_app.command("legacy")
@calls_server()
def legacy(call: Call, since: Since = None, limit: Limit = None) -> None:
    """
    List the devices that came to the legacy endpoint (--legacy-endpoint of serve), the last one first.

    Exit status 1 when there is one: when nobody is left, the old root can go. Times are right to the hour.
    """
    rows = _seen(call, "LEGACY_ENDPOINT", "legacyEndpointLastSeen", since)
    if call.as_json:
        print_json(rows[:limit])
    else:
        _print(rows, limit, (("last seen there", "legacyEndpointLastSeen"),), "No device came to the legacy endpoint.")
    if rows:
        raise typer.Exit(1)


@endpoint_app.command("post-quantum")
@calls_server()
def post_quantum(call: Call, since: Since = None, limit: Limit = None) -> None:
    """
    List the devices that offered a post-quantum hybrid key exchange (X25519MLKEM768), and which of them agreed on it.

    One that only offered it cannot use it as it connects now: the record of its TLS version and group says why, which
    is most often TLS 1.2. Times are right to the hour.
    """
    rows = _seen(call, "POST_QUANTUM", "hybridOfferedLastSeen", since)
    if call.as_json:
        print_json(rows[:limit])
        return
    columns = (("last offered", "hybridOfferedLastSeen"), ("last negotiated", "hybridNegotiatedLastSeen"))
    _print(rows, limit, columns, "No device offered a post-quantum key exchange.")
    if rows:
        agreed = sum("hybridNegotiatedLastSeen" in row for row in rows)
        print(f"{len(rows)} could use it, {agreed} of them did.")


def _seen(call: Call, trait: str, member: str, since: str | None) -> list[dict[str, Any]]:
    """The latest first."""
    oldest = None
    if since is not None:
        oldest = dt.datetime.now(dt.UTC) - parse_duration(since, "--since", at_most=_MAX_SINCE)
    with call.handfast() as api:
        found = [each for each in _pages(api, trait) if oldest is None or each[member] >= oldest]
    return sorted(found, key=lambda each: each[member], reverse=True)


def _pages(api: Any, trait: str) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        page = api.list_sightings(trait=trait, maxResults=250, **token)
        yield from page.get("sightings", [])
        if "nextToken" not in page:
            return
        token = {"nextToken": page["nextToken"]}


def _print(rows: list[dict[str, Any]], limit: int | None, columns: tuple[tuple[str, str], ...], empty: str) -> None:
    shown = rows[: limit or SHOWN]
    print_table(
        ("certificate id", *(label for label, _ in columns)),
        [(row["certificateId"], *(row.get(member, "-") for _, member in columns)) for row in shown],
        empty=empty,
    )
    if len(shown) < len(rows):
        print(f"… and {len(rows) - len(shown)} more: --limit N, or --json")
