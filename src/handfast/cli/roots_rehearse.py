"""`handfast roots rehearse`: the next chain for a few, and a list of the devices that would go dark."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.output import plain, print_json, print_table
from handfast.printable import printable

rehearse_app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Serve the next chain on a canary name or to a share of the connections, and see who does not verify it. "
        "Whoever does not gets the old chain at the next attempt."
    ),
)


class Kind(StrEnum):
    """Of a chain."""

    RSA = "rsa"
    ECDSA = "ecdsa"


@rehearse_app.command("start")
@calls_server(operator=True, region=False)
def start(
    call: Call,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Canary: who connects to this name (SNI) gets the next chain always."
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option("--share", metavar="PERCENT", help="Sample this share of all connections.", min=0.0, max=100.0),
    ] = None,
    stop_after: Annotated[
        int,
        typer.Option("--stop-after", metavar="N", help="End when so many clients have failed.", min=1, max=1000),
    ] = 5,
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--kind", help="Chains of this kind; repeatable.", show_default="those with a next chain"),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Send nothing that older roots signed, as after their retirement."),
    ] = False,
) -> None:
    """
    Begin a rehearsal: the chain below the root that waits for its promotion, or with --alone the one of later.

    It ends at its stop limit, with 'stop', with a promotion and with the server. At most N clients fail, each once.
    """
    given: dict[str, Any] = {"stopAfter": stop_after, "alone": alone}
    if name is not None:
        given["serverName"] = name
    if share is not None:
        given["share"] = share
    if kind:
        given["kinds"] = [each.value for each in kind]
    _show(call, _ask(call, "start_rehearsal", **given))


@rehearse_app.command("status")
@calls_server(operator=True, region=False)
def status(call: Call) -> None:
    """Say what the rehearsal that runs, or the last one, found: who would go dark and why we think so, and who not."""
    _show(call, _ask(call, "describe_rehearsal"))


@rehearse_app.command("stop")
@calls_server(operator=True, region=False)
def stop(call: Call) -> None:
    """End the rehearsal: no connection gets the next chain any more."""
    _show(call, _ask(call, "stop_rehearsal"))


def _ask(call: Call, operation: str, **members: Any) -> dict[str, Any]:
    with call.handfast(patience_s=60.0) as api:
        answer: dict[str, Any] = getattr(api, operation)(**members)
    answer.pop("ResponseMetadata", None)
    return answer


def _show(call: Call, report: dict[str, Any]) -> None:
    if call.as_json:
        print_json(report)
        return
    for chain in report["chains"]:
        vouching = ", as " + ", ".join(chain["signers"]) + " signed it" if chain.get("signers") else ", alone"
        print(
            printable(
                f"Next {chain['kind'].upper()} chain: {chain['intermediate']} under {chain['rootName']}{vouching}; "
                f"about {chain['sentBytes']} bytes"
            )
        )
    where = [f"{report['share']:g} % of the connections"] if report.get("share") else []
    where += [f"every connection to {report['serverName']}"] if report.get("serverName") else []
    ended = f"ended {plain(report['endedAt'])}: {report['endReason']}" if not report["running"] else "running"
    print(printable(f"Since {plain(report['startedAt'])} to {' and '.join(where)}; {ended}", limit=400))
    print(
        f"{report['attempts']} connections got it; {report['verifiedCount']} devices verified it; "
        f"{len(report['wouldGoDark'])} of at most {report['stopAfter']} clients did not.\n"
    )
    rows: list[tuple[Any, ...]] = []
    for each in report["wouldGoDark"]:
        first = (each["certainty"], each.get("alert") or each["how"], each["address"], plain(each["failedAt"]))
        candidates = each["candidates"] or [{}]
        for number, one in enumerate(candidates):
            last = plain(one["lastSeen"]) if one else None
            rows.append((*(first if not number else ("", "", "", "")), one.get("certificateId"), last))
    print_table(
        ("would go dark", "said", "address", "failed at", "certificate", "seen last"),
        rows,
        empty="Nobody would go dark, as far as this rehearsal saw.",
    )
    for each in report["wouldGoDark"]:
        print(printable(f"{each['address']}: {each['why']}.", limit=600))
    if report["verified"]:
        print()
        print_table(
            ("verified it", "chains", "since", "seen last"),
            [
                (each["certificateId"], ", ".join(each["kinds"]), plain(each["firstSeen"]), plain(each["lastSeen"]))
                for each in report["verified"][:20]
            ],
            empty="",
        )
        if report["verifiedCount"] > 20:
            print(f"… and {report['verifiedCount'] - 20} more: --json")
