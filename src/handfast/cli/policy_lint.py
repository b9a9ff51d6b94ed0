"""`handfast policy lint`: what is wrong with policy documents, of files or of an account."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.options import fail_on_severity
from handfast.cli.output import print_json
from handfast.cli.policy_files import read_document
from handfast.core.policy.lint import Finding, Severity, lint_document
from handfast.errors import ConfigurationError
from handfast.printable import printable


@calls_server()
def lint(
    call: Call,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Policy documents.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The default versions of the account's policies.")] = False,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="low|medium|high|critical",
            help="Exit status 1 when a finding is at least so severe.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """
    Find misconfigurations in policies; of files without a server.

    The findings of the AWS IoT Device Defender audit checks on policies carry
    the reason codes that AWS gives them.
    """
    least = fail_on_severity(fail_on, Severity)
    if bool(files) is every:
        raise ConfigurationError("name the files to look at, or give --all for the account's policies")
    found: list[tuple[str, Finding]] = []
    count = 0
    documents = _of_account(call) if every else ((str(path), read_document(path), None) for path in files or ())
    for name, text, place in documents:
        count += 1
        account, region = place or (None, None)
        found += [(name, finding) for finding in lint_document(text, account=account, region=region)]
    if call.as_json:
        print_json([{"policy": name} | finding.as_dict() for name, finding in found])
    else:
        for name, finding in found:
            _print(name, finding)
        policies = "1 policy" if count == 1 else f"{count} policies"
        print(f"{len(found)} findings in {policies}." if found else f"Nothing found in {policies}.")
    if least is not None and any(finding.severity >= least for _, finding in found):
        raise typer.Exit(1)


def _of_account(call: Call) -> Iterator[tuple[str, str, tuple[str, str] | None]]:
    telling = not call.as_json and sys.stderr.isatty()
    with call.iot() as iot:
        for page in iot.get_paginator("list_policies").paginate():
            for number, policy in enumerate(page["policies"], 1):
                if telling and number % 50 == 0:
                    print(f"\r{number} policies read", end="", file=sys.stderr, flush=True)
                found: dict[str, Any] = iot.get_policy(policyName=policy["policyName"])
                _, _, _, region, account, _ = found["policyArn"].split(":", 5)
                yield found["policyName"], found["policyDocument"], (account, region)


def _print(name: str, finding: Finding) -> None:
    print(f"{printable(name)}  {finding.severity.name}  {printable(finding.path, limit=400)}")
    print(f"  {finding.code}")
    print(f"  {printable(finding.message, limit=1000)}")
    print(f"  Instead: {printable(finding.instead, limit=1000)}\n")
