"""`handfast policy replay`: which devices a draft would take what from, or give what to."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.output import plain, print_json, print_table
from handfast.cli.policy_files import read_document, statement_text
from handfast.durations import parse_duration
from handfast.errors import ConfigurationError
from handfast.printable import printable

TABLE_ROWS = 200
_COUNTS = ("judged", "concerned", "unregistered", "outdated")


@calls_server()
def replay(
    call: Call,
    draft: Annotated[
        Path | None,
        typer.Argument(metavar="[DRAFT]", help="File with the document to judge by.", show_default=False),
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back, such as 24h or 7d.")] = "24h",
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="NAME", help="The policy.", show_default="the file's name, no suffix"),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Judge as if it were attached to every certificate besides.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Without a draft: judge as if --policy were attached to nobody.")
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="loss|gain|gaps",
            help="Exit status 1 when there is one; repeatable.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Rows of the table.")] = TABLE_ROWS,
) -> None:
    """
    Judge what devices did by a draft, and list what each would lose or gain.

    Nothing is changed. What is not recorded cannot be judged: the answer says
    how far the record reaches.
    """
    wanted = _fail_on(fail_on)
    given = _draft(draft, policy, add=add, remove=remove)
    start = dt.datetime.now(dt.UTC) - parse_duration(since, "--since")
    changes, summary = _ask(call, given, start)
    losses = [change for change in changes if change["change"] == "LOSS"]
    gains = [change for change in changes if change["change"] == "GAIN"]
    record = summary["record"]
    incomplete = bool(record.get("gaps") or record.get("overflowed") or summary["unregistered"])
    if call.as_json:
        print_json({"since": start, **summary, "losses": len(losses), "gains": len(gains), "changes": changes})
    else:
        _print(losses + gains, limit)
        _print_summary(given, start, summary, losses, gains)
    if ("loss" in wanted and losses) or ("gain" in wanted and gains) or ("gaps" in wanted and incomplete):
        raise typer.Exit(1)


def _fail_on(given: list[str] | None) -> set[str]:
    wanted = {each.lower() for each in given or ()}
    if not wanted <= {"loss", "gain", "gaps"}:
        raise ConfigurationError("--fail-on takes loss, gain or gaps")
    return wanted


def _draft(path: Path | None, policy: str | None, *, add: bool, remove: bool) -> dict[str, Any]:
    if remove:
        if path is not None or add or policy is None:
            raise ConfigurationError("--remove takes --policy NAME, and neither a draft nor --add")
        return {"policyName": policy, "use": "REMOVE"}
    if path is None:
        raise ConfigurationError("DRAFT is missing: name the file with the policy document, or give --remove")
    return {
        "policyName": policy or path.stem,
        "policyDocument": read_document(path),
        "use": "ADD" if add else "REPLACE",
    }


def _ask(call: Call, draft: dict[str, Any], since: dt.datetime) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All changes, and the sums of the pages with what the first says about the record."""
    changes: list[dict[str, Any]] = []
    summary: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
    telling = not call.as_json and sys.stderr.isatty()
    with call.handfast() as api:
        marker: dict[str, str] = {}
        while True:
            page = api.replay_policy(draft=draft, since=since, **marker)
            changes += page.get("changes", [])
            for name in _COUNTS:
                summary[name] += page.get(name, 0)
            summary.setdefault("record", page.get("record", {}))
            if telling:
                print(f"\r{summary['judged']} recorded decisions judged", end="", file=sys.stderr, flush=True)
            if not page.get("nextMarker"):
                break
            marker = {"marker": page["nextMarker"]}
    if telling:
        print(file=sys.stderr)
    return changes, summary


def _print(changes: list[dict[str, Any]], limit: int) -> None:
    rows = [
        (
            each["change"].lower(),
            each["action"],
            each["resource"],
            each.get("clientId"),
            each.get("thingName"),
            each["count"],
            each["lastSeen"],
            each["certificateId"],
        )
        for each in changes[:limit]
    ]
    heads = ("change", "action", "resource", "client id", "thing", "count", "last seen", "certificate")
    print_table(heads, rows, empty="The draft changes no recorded decision.")
    if len(changes) > limit:
        print(f"These are the first {limit} of {len(changes)}: --limit N shows N, --json all of them.")
    for change in changes[:1]:
        print(f"\nThe first: {printable(change['action'])} on {printable(change['resource'], limit=400)}")
        for when, before in (("now", True), ("draft", False)):
            outcome = change["before" if before else "after"]
            statements = change.get("beforeStatements" if before else "afterStatements", [])
            by = ", ".join(map(statement_text, statements)) or "no statement allows it"
            print(f"  {when}: {outcome}, {by}")
        if change.get("missing"):
            print(f"  without a usable value: {', '.join(map(printable, change['missing']))}")


def _print_summary(
    draft: dict[str, Any],
    since: dt.datetime,
    summary: dict[str, Any],
    losses: list[dict[str, Any]],
    gains: list[dict[str, Any]],
) -> None:
    devices = {True: len({each["certificateId"] for each in losses}), False: len({e["certificateId"] for e in gains})}
    print(
        f"\n{len(losses)} losses of {devices[True]} certificates, {len(gains)} gains of {devices[False]}; "
        f"{summary['judged']} recorded decisions since {plain(since)} judged, "
        f"of which {summary['concerned']} concern policy {printable(draft['policyName'])}."
    )
    warnings = []
    if not summary["judged"]:
        warnings.append("nothing was recorded in this time: this says nothing about what the draft would do")
    elif not summary["concerned"]:
        warnings.append(
            "none of those who did something in this time has the policy: attach it first, or judge it with --add"
        )
    if summary["outdated"]:
        warnings.append(f"{summary['outdated']} were decided otherwise then: policies have changed since")
    if summary["unregistered"]:
        warnings.append(f"{summary['unregistered']} are of certificates that are gone, and were not judged")
    record = summary["record"]
    for gap in record.get("gaps", []):
        warnings.append(
            f"nothing was recorded from {plain(gap['from'])} to {plain(gap['until'])}: "
            "no server ran, or one with --decisions off"
        )
    if record.get("overflowed"):
        first = record["overflows"][0]
        warnings.append(
            f"of {record['overflowed']} certificates only the latest decisions are recorded, the others were not "
            f"judged; the latest: {printable(plain(first.get('certificateId')))} with {first['lost']} lost"
        )
    for warning in warnings:
        print(f"Note: {warning}.")
