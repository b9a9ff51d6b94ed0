"""`handfast trust lint`: what a device with this trust store can verify, and when it goes blind."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.options import AsJson, DataDir, fail_on_severity
from handfast.cli.output import print_json, print_table
from handfast.config.file import config_file
from handfast.config.resolving import resolve
from handfast.core.pki.trust_lint import Finding, Severity, Status, Verdict
from handfast.printable import printable
from handfast.services import trust_forecast
from handfast.services.pki_folder import PkiFolder


def lint(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The device's store: files or folders.", show_default=False)
    ],
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer-chain",
            metavar="rsa|ecdsa",
            help="What a client gets that can verify both.",
            show_default="as serve would",
        ),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(
            "--chain",
            metavar="FILE",
            help="A server certificate of your own with its chain, as imported for a domain; repeatable.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="low|medium|high|critical",
            help="Exit status 1 when a finding is at least so severe.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Say what a device with this trust store verifies today and after each planned change, and when it goes blind.

    Reads PEM, DER, PKCS#7, folders of these, and text with SPKI pins; several make one store. Every path is verified as
    the device would, signatures, dates and all. Domain names of your own are judged with --chain. Needs no running
    server; docs/trust.md tells what each finding means.
    """
    least = fail_on_severity(fail_on, Severity)
    settings, _ = resolve({"data_dir": data_dir, "prefer_chain": prefer}, os.environ, config_file(None, os.environ))
    report = trust_forecast.lint(
        PkiFolder(settings.data_dir / "pki"),
        files,
        prefer=settings.prefer_chain,
        sends_cross=settings.serve_cross,
        now=dt.datetime.now(dt.UTC),
        own_chains=chain or (),
    )
    if as_json:
        print_json(
            {
                "certificates": len(report.store.certificates),
                "pins": len(report.store.pins),
                "verdicts": [dataclasses.asdict(each) for each in report.verdicts],
                "findings": [_finding(each) for each in report.findings],
            }
        )
    else:
        print(f"The store: {len(report.store.certificates)} certificates, {len(report.store.pins)} pins.\n")
        _print_verdicts(report.verdicts)
        sent = "sends them" if settings.serve_cross else "does not send them: --serve-cross of serve is off"
        print(f"\nOf cross-certificates: this server {sent}.")
        for each in report.findings:
            print(f"\n{each.severity.name}  {each.code}  {printable(each.place, limit=400)}")
            print(f"  {printable(each.message, limit=1000)}")
        count = len(report.findings)
        print(f"\n{count} finding{'s' if count > 1 else ''}." if count else "\nNothing found.")
    if least is not None and any(each.severity >= least for each in report.findings):
        raise typer.Exit(1)


def _print_verdicts(verdicts: list[Verdict]) -> None:
    """One row for a chain at a time: without a cross-certificate, and with it."""
    rows: dict[tuple[str, str, str | None], dict[bool, Verdict]] = {}
    for each in verdicts:
        rows.setdefault((each.when, each.kind, each.region), {})[each.cross] = each
    several = len({region for _, _, region in rows if region}) > 1
    print_table(
        ("when", "chain", "verifies it", "with a cross-certificate"),
        [
            (
                f"{when}, {region}" if several and region else when,
                kind.upper(),
                _cell(forms.get(False)),
                _cell(forms.get(True)),
            )
            for (when, kind, region), forms in rows.items()
        ],
        empty="This server has no chains yet.",
    )
    reasons = dict.fromkeys(f"{each.kind.upper()}: {each.why}" for each in verdicts if each.why)
    if reasons:
        print()
    for reason in reasons:
        print(printable(reason, limit=1000))


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    if verdict.status is Status.NO or verdict.until is None:
        return str(verdict.status)
    return f"{verdict.status}, until {verdict.until:%Y-%m-%d}"


def _finding(found: Finding) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"severity": found.severity.name}
