"""`handfast provisioning`: what came of devices that were provisioned at their first connection."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.options import Limit
from handfast.cli.output import print_json, print_table

provisioning_app = typer.Typer(help="Devices that the template of their CA provisions at their first connection.")

SHOWN = 200


@provisioning_app.command("runs")
@calls_server()
def runs(
    call: Call,
    failed: Annotated[bool, typer.Option("--failed", help="Only devices that wait: their last run failed.")] = False,
    certificate: Annotated[
        str | None,
        typer.Option("--certificate", metavar="CERTIFICATE_ID", help="Only those of this device.", show_default=False),
    ] = None,
    limit: Limit = None,
) -> None:
    """
    List what came of provisioning devices, the newest first.

    Attempts of a device that failed alike are one run, with their number. With --failed a device is listed
    once, and no longer when a later run of it succeeded, or when its certificate was given another status than
    PENDING_ACTIVATION by hand.
    """
    wanted = limit or (None if call.as_json else SHOWN)
    more: dict[str, Any] = {"outcome": "FAILED", "latest": True} if failed else {}
    if certificate is not None:
        more["certificateId"] = certificate
    found: list[dict[str, Any]] = []
    with call.handfast() as api:
        while True:
            page = api.list_provisioning_runs(maxResults=250, **more)
            found += page["runs"]
            more["nextToken"] = page.get("nextToken")
            if more["nextToken"] is None or (wanted is not None and len(found) >= wanted):
                break
    if call.as_json:
        print_json(found[:wanted])
        return
    print_table(
        ("date", "outcome", "attempts", "run"),
        [(run["date"], run["outcome"], run["attempts"], run["runId"]) for run in found[:wanted]],
        beneath=[_details(run) for run in found[:wanted]],
        empty="no device whose last run failed" if failed else "no runs",
    )
    if more["nextToken"] is not None or len(found) > len(found[:wanted]):
        print(f"(the newest {wanted}; --limit N shows more)")


@provisioning_app.command("retry")
@calls_server()
def retry(
    call: Call,
    target: Annotated[str, typer.Argument(metavar="RUN|CERTIFICATE_ID", help="A run, or the certificate of a device.")],
) -> None:
    """
    Carry out the template of its CA, as it is now, for a device whose certificate is PENDING_ACTIVATION.

    The device need not be connected; it gets in when it comes back. Exit status 1 when it fails again.
    """
    with call.handfast() as api:
        run = api.retry_provisioning_run(target=target)
    run.pop("ResponseMetadata", None)
    thing = run.get("thingName")
    call.answer_facts(
        run,
        (
            ("outcome", run["outcome"]),
            ("certificate", run["certificateId"]),
            ("template", _template(run)),
            ("thing", thing),
            ("what failed", _what_failed(run)),
            ("run", run["runId"]),
        ),
    )
    if run["outcome"] != "SUCCEEDED":
        raise typer.Exit(1)


def _details(run: dict[str, Any]) -> list[str]:
    thing = run.get("thingName")
    what = f"template {_template(run)}" + ("" if thing is None else f", thing {thing}")
    failed = _what_failed(run)
    return [f"certificate {run['certificateId']}", what, *([] if failed is None else [f"failed: {failed}"])]


def _template(run: dict[str, Any]) -> str:
    name = run.get("templateName")
    return "(in the CA)" if name is None else f"{name} version {run.get('templateVersion', '-')}"


def _what_failed(run: dict[str, Any]) -> str | None:
    message = run.get("message")
    if message is None:
        return None
    return f"{run['resource']}: {message}" if run.get("resource") else str(message)
