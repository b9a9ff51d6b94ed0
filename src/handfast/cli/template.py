"""`handfast template`: what is wrong with a provisioning template, and what it makes of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.options import AsJson
from handfast.cli.output import print_json, print_table
from handfast.cli.policy_files import read_certificate_file, read_json_text
from handfast.core.provisioning.builtin import ID
from handfast.core.provisioning.dangers import warn_of_planned
from handfast.core.provisioning.findings import Findings
from handfast.core.provisioning.plan import Plan, ProvisioningFailed
from handfast.core.provisioning.template import (
    MAX_TEMPLATE_CHARACTERS,
    Finding,
    Severity,
    TemplateKind,
    builtin_parameters,
    lint_template,
    read_template,
    with_certificate,
)
from handfast.errors import ConfigurationError
from handfast.printable import printable

template_app = typer.Typer(
    no_args_is_help=True, help="Provisioning templates: lint them before a fleet depends on them."
)

_STAND_IN_ID = "0" * 64


@template_app.callback()
def group() -> None:
    """Keep the subcommand's name: typer folds a group of one command into it."""


@template_app.command("lint")
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The template.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="fleet|jitp|register|bulk",
            help="What it is for.",
            show_default="fleet; jitp where only that fits",
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="FILE",
            help="A device's certificate in PEM, to see what the template makes of it.",
            show_default=False,
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", metavar="NAME=VALUE", help="What a device says of itself; repeatable.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Find mistakes and dangers in a provisioning template; no server is needed.

    With a certificate or parameters, also the plan: which resources that
    device would get. Without a certificate its id is 64 zeros. Exit status 1
    for a template that is refused or cannot be planned.
    """
    given_kind = None if kind is None else _kind(kind)
    text = read_json_text(file, MAX_TEMPLATE_CHARACTERS, "a provisioning template")
    wanted = given_kind or _kind_of(text)
    given = _given(wanted, sample, parameters or ())
    findings = lint_template(text, wanted)
    plan: Plan | None = None
    failure: ProvisioningFailed | None = None
    refused = any(each.severity is Severity.ERROR for each in findings)
    if given is not None and not refused:
        template = read_template(text, wanted)
        planned = Findings()
        try:
            plan = template.plan(given)
            warn_of_planned(template.content, plan, planned)
        except ProvisioningFailed as error:
            failure = error
        findings += planned.warnings
    if as_json:
        print_json({"type": wanted.value} | _as_dict(findings, plan, failure))
    else:
        if given_kind is None and wanted is TemplateKind.JITP:
            print("Read with --type jitp: as a template of fleet provisioning, it has errors.\n")
        _print(findings, plan, failure)
        if refused:
            _print_kind_that_fits(text, wanted)
    if refused or failure is not None:
        raise typer.Exit(1)


def _kind(given: str) -> TemplateKind:
    try:
        return TemplateKind(given)
    except ValueError:
        raise ConfigurationError(
            f"--type is {printable(given, limit=80)!r}: expected {', '.join(TemplateKind)}"
        ) from None


def _kind_of(text: str) -> TemplateKind:
    """What a template is for whose type nobody says."""
    for kind in (TemplateKind.FLEET, TemplateKind.JITP):
        if _fits(text, kind):
            return kind
    return TemplateKind.FLEET


def _fits(text: str, kind: TemplateKind) -> bool:
    return all(each.severity is not Severity.ERROR for each in lint_template(text, kind))


def _given(kind: TemplateKind, sample: Path | None, parameters: Sequence[str]) -> dict[str, str] | None:
    """The parameters to plan with; None when there is nothing to plan."""
    if sample is None and not parameters:
        return None
    named: dict[str, str] = {}
    for each in parameters:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--parameter is {printable(each, limit=80)!r}: expected NAME=VALUE")
        named[name] = value
    if not kind.is_for_a_certificate:
        if sample is not None:
            raise ConfigurationError("--sample goes with --type fleet and jitp: name the parameters with --parameter")
        return named
    if sample is None:
        return {ID: _STAND_IN_ID} | named
    own = builtin_parameters(read_certificate_file(sample))
    return with_certificate(named, {name: own[name] for name in kind.built_in & own.keys()})


# --- for people -------------------------------------------------------------------------------------------------------


def _print(findings: Sequence[Finding], plan: Plan | None, failure: ProvisioningFailed | None) -> None:
    for each in findings:
        print(f"{each.severity.upper()}  {printable(each.path, limit=400)}  {each.code}")
        print(f"  {printable(each.message, limit=1000)}\n")
    errors = sum(each.severity is Severity.ERROR for each in findings)
    print(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}.")
    if failure is not None:
        print(f"\nNo plan: {printable(failure.resource or 'the template')}: {printable(str(failure), limit=1000)}")
    if plan is not None:
        print()
        heads = ("resource", "type", "property", "if it exists", "value")
        print_table(heads, _rows(plan), empty="no resources")


def _print_kind_that_fits(text: str, tried: TemplateKind) -> None:
    """What is refused as one kind of template may be meant as another."""
    for kind in TemplateKind:
        if kind is not tried and _fits(text, kind):
            print(f"It was read with --type {tried}. With --type {kind} it has no errors.")
            return


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _rows(plan: Plan) -> Iterator[tuple[str, str, str, str, str]]:
    """One row for each value of the plan."""
    thing, certificate = plan.thing, plan.certificate
    if thing is not None:
        name = thing.logical_name
        existing = "is taken over" if thing.takes_over else "FAIL unless its own"
        yield name, "thing", "ThingName", existing, thing.thing_name
        for key, value in (thing.attributes or {}).items():
            yield name, "thing", f"AttributePayload.{key}", thing.attributes_override, value
        if thing.thing_type_name is not None:
            yield name, "thing", "ThingTypeName", thing.thing_type_override, thing.thing_type_name
        for group_name in thing.thing_groups or ():
            yield name, "thing", "ThingGroups", thing.thing_groups_override, group_name
        if thing.billing_group_name is not None:
            yield name, "thing", "BillingGroup", "-", thing.billing_group_name
    if certificate is not None:
        name = certificate.logical_name
        source = (
            ("CertificateId", certificate.certificate_id)
            if certificate.certificate_id is not None
            else ("CertificateSigningRequest", "(given)")
            if certificate.csr_pem is not None
            else ("CertificatePem", "(given)")
        )
        yield name, "certificate", source[0], "-", str(source[1])
        yield name, "certificate", "Status", certificate.status_override, certificate.status
    for policy in plan.policies:
        yield policy.logical_name, "policy", "PolicyName", "-", policy.policy_name
        if policy.document is not None:
            yield policy.logical_name, "policy", "PolicyDocument", "-", policy.document
    for key, value in plan.device_configuration.items():
        yield "-", "configuration", key, "-", value


# --- for programs -----------------------------------------------------------------------------------------------------


def _as_dict(findings: Sequence[Finding], plan: Plan | None, failure: ProvisioningFailed | None) -> dict[str, Any]:
    found: dict[str, Any] = {"findings": [each.as_dict() for each in findings]}
    if failure is not None:
        found["failure"] = {"kind": failure.kind, "resource": failure.resource, "message": str(failure)}
    if plan is not None:
        found["plan"] = _members(plan)
    return found


def _members(value: Any) -> Any:
    """Records as JSON has them, camelCase; what the template does not say is left out."""
    if hasattr(value, "__slots__") and not isinstance(value, str):
        given = {name: getattr(value, name) for name in value.__slots__}
        return {_camel(name): _members(each) for name, each in given.items() if each is not None}
    if isinstance(value, tuple):
        return [_members(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
