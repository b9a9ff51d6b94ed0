"""`handfast audit`: what was changed, by whom and from where, and whether the record still is what it was."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from handfast.cli.call import Call, calls_server
from handfast.cli.connection import server_runs
from handfast.cli.options import data_directory
from handfast.cli.output import WIDTH, plain, print_json, print_table
from handfast.config.file import config_file
from handfast.config.resolving import resolve
from handfast.durations import UNITS, parse_duration
from handfast.errors import ConfigurationError
from handfast.printable import printable

VERIFICATION_LIMIT_S = 6 * 3600
_PAGE = 250


class _ListByDefault(TyperGroup):
    """`handfast audit …` without a subcommand is `handfast audit list …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("--help", "-h")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


audit_app = typer.Typer(
    cls=_ListByDefault,
    help="What was changed, by whom and from where. Without a subcommand: list.",
)

Account = Annotated[
    str | None,
    typer.Option(
        "--account",
        metavar="ACCOUNT",
        help="Account id, or 'operator' for what belongs to no account.",
        show_default="all, or the account of the profile",
    ),
]


@audit_app.command("list")
@calls_server(operator=True, region=False)
def list_events(
    call: Call,
    certificate: Annotated[
        str | None,
        typer.Option("--certificate", metavar="ID", help="Of this certificate or CA, with its policies and things."),
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="NAME", help="Of this thing, policy, account or key.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help="certificate, ca_certificate, policy …")
    ] = None,
    operation: Annotated[
        str | None, typer.Option("--operation", metavar="NAME", help="UpdateCertificate, AttachPolicy …")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="An instant (ISO 8601), or an age: 90s, 15m, 24h, 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="The same.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most the newest N.")] = 100,
    account: Account = None,
) -> None:
    """List changes in the order they were made, the newest at the end."""
    if certificate is not None and subject is not None:
        raise ConfigurationError("--certificate and --subject ask for two things: give one of them")
    given = {
        "accountId": account,
        "kinds": kind or None,
        "subject": certificate.lower() if certificate is not None else subject,
        "operation": operation,
        "since": instant(since, "--since"),
        "until": instant(until, "--until"),
    }
    asked = {name: value for name, value in given.items() if value is not None}
    with call.handfast() as api:
        found = list(itertools.islice(_events(api, asked, limit), limit))[::-1]
    if call.as_json:
        print_json(found)
        return
    print_table(
        ("when", "account", "no.", "operation"),
        [
            (event.get("at"), event.get("accountId", "operator"), event.get("number"), event.get("operation"))
            for event in found
        ],
        beneath=[_told(event) for event in found],
        empty="nothing was changed, as far as was asked for",
    )
    if len(found) == limit:
        print(f"The newest {limit}; --limit shows more.", file=sys.stderr)


@audit_app.command("verify")
@calls_server(operator=True, region=False)
def verify(
    call: Call,
    account: Account = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            help="The audit key as it was noted elsewhere; only where no server runs.",
            show_default="the key in the data directory",
        ),
    ] = None,
) -> None:
    """
    Find rows that were changed, removed or reordered, and say up to when nothing was.

    Asks the server, or reads the data directory when no server runs on it. Exit status 1 when something is wrong.
    """
    directory = data_directory(call.data_dir)
    if call.endpoint_url is None and not server_runs(directory):
        report = _verify_files(directory, public_key, account)
    elif public_key is not None:
        raise ConfigurationError("--public-key is for a directory that no server runs on: stop the server, or leave it")
    else:
        report = _verify_running(call, account)
    if call.as_json:
        print_json(report)
    else:
        print("\n".join(in_words(report)))
    if report.get("findings"):
        raise typer.Exit(1)


@audit_app.command("key")
@calls_server(operator=True, region=False)
def key(
    call: Call,
) -> None:
    """Print the public key that verifies the checkpoints; note it elsewhere, with the newest checkpoint's hash."""
    with call.handfast() as api:
        answer = api.describe_audit_key()
    answer.pop("ResponseMetadata", None)
    if call.as_json:
        print_json(answer)
        return
    print(answer["publicKey"], end="")
    print(f"fingerprint {printable(answer['fingerprint'])}", file=sys.stderr)
    if "lastCheckpoint" in answer:
        said = f"checkpoint {answer['lastCheckpoint']} has the hash {printable(answer['lastCheckpointHash'])}"
        print(said, file=sys.stderr)


def instant(text: str | None, flag: str) -> dt.datetime | None:
    """What a person gave as a time: an age such as `24h`, or ISO 8601, UTC where it has no offset."""
    if text is None:
        return None
    if text.strip()[-1:] in UNITS:
        return dt.datetime.now(dt.UTC) - parse_duration(text, flag)
    try:
        given = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{flag} is {printable(text, limit=60)!r}: expected an age such as 24h, or an instant such as "
            "2030-01-02T03:04:05Z"
        ) from None
    return given if given.tzinfo is not None else given.replace(tzinfo=dt.UTC)


def difference(before: str | None, after: str | None) -> str:
    """What a change did, in a few words: `status ACTIVE → REVOKED`."""
    old, new = _facts(before), _facts(after)
    if old is None or new is None:
        return "(not readable)"
    told = []
    for name in [*old, *(name for name in new if name not in old)]:
        was, became = _value(old.get(name)), _value(new.get(name))
        if name in old and name in new:
            told.append(f"{name} {was} → {became}" if old[name] != new[name] else f"{name} {was}")
        elif old.get(name) not in _NOTHING or new.get(name) not in _NOTHING:
            told.append(f"+{name} {became}" if name in new else f"-{name} {was}")
    return ", ".join(told)


_NOTHING: list[Any] = [None, "", [], {}]
_MAX_VALUE = 80


def _value(value: Any) -> str:
    """A recorded value in plain words; a long one is cut, `--json` has it whole."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in _NOTHING:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}… ({len(text) - _MAX_VALUE} more characters)"


def _told(event: dict[str, Any]) -> list[str]:
    """What an event did to what, and who did it from where."""
    done = difference(event.get("before"), event.get("after"))
    address = f" from {event['address']}" if event.get("address") else ""
    what = f"{event.get('kind')} {event.get('subject')}"
    by = f"by {event.get('actor')}{address}"
    if not done:
        return [what, by]
    return [f"{what}: {done}", by] if len(what) + len(done) < WIDTH - 4 else [what, done, by]


def in_words(report: dict[str, Any]) -> list[str]:
    """The outcome of a verification for a person, one line each."""
    lines = [
        f"{report['events']} events of {report['chains']} chains, {report['checkpoints']} checkpoints"
        + (f" from {report['firstCheckpoint']} to {report['lastCheckpoint']}" if report["checkpoints"] else "")
    ]
    lines += [f"{printable(f['kind'])}: {printable(f['detail'], limit=400)}" for f in report.get("findings", ())]
    if report.get("moreFindings"):
        lines.append(f"and {report['moreFindings']} more")
    if report.get("vouchedUntil") is not None:
        until, number = plain(report["vouchedUntil"]), report["vouchedCheckpoint"]
        lines.append(f"vouches for everything up to {until} (checkpoint {number})")
        if not report.get("findings"):
            lines.append(f"{report['unsealedEvents']} events after it are chained but not sealed")
    else:
        lines.append("vouches for nothing: no checkpoint precedes what is in doubt")
    return lines


def _events(api: Any, asked: dict[str, Any], limit: int) -> Iterator[dict[str, Any]]:
    """From the newest to the oldest; a page may be empty and still have a next one."""
    token: dict[str, str] = {}
    while True:
        page = api.list_audit_events(**asked, **token, maxResults=min(limit, _PAGE))
        yield from page.get("events", ())
        if not page.get("nextToken"):
            return
        token = {"nextToken": page["nextToken"]}


def _verify_running(call: Call, account: str | None) -> dict[str, Any]:
    print("verifying; a million events take up to a minute", file=sys.stderr)
    with call.handfast(patience_s=VERIFICATION_LIMIT_S) as api:
        answer: dict[str, Any] = api.verify_audit(**({"accountId": account} if account is not None else {}))
    answer.pop("ResponseMetadata", None)
    return answer


def _verify_files(directory: Path, public_key: Path | None, account: str | None) -> dict[str, Any]:
    from handfast.audit_trail import verify_stopped

    print(f"no server runs on {directory}: reading its files", file=sys.stderr)
    settings, _ = resolve({"data_dir": str(directory)}, os.environ, config_file(None, os.environ))
    return verify_stopped(directory, settings.database_url, public_key=public_key, chain=account, progress=_progress())


def _progress() -> Any:
    if not sys.stderr.isatty():
        return None
    ended = "\n"

    def show(done: int, total: int) -> None:
        print(f"\r{done} of {total} events", end=ended if done >= total else "", file=sys.stderr, flush=True)

    return show


def _facts(text: str | None) -> dict[str, Any] | None:
    try:
        facts = json.loads(text) if text is not None else {}
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
