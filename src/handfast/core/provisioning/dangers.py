"""
What a template that can be used may do that nobody meant.

A claim certificate is shared by many devices and is the first secret to leak:
what whoever holds one may choose decides how much it is worth to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from handfast.core.policy.lint import lint_document
from handfast.core.provisioning.builtin import ID
from handfast.core.provisioning.findings import Findings, child
from handfast.core.provisioning.functions import references
from handfast.core.provisioning.plan import Override, Plan
from handfast.core.provisioning.reader import JsonText
from handfast.core.provisioning.resources import (
    CertificatePart,
    Content,
    PolicyPart,
    ResourcePart,
    TemplateKind,
    ThingPart,
    all_references,
    constant_document,
    identity_references,
)
from handfast.core.provisioning.values import shown

UNUSED_PARAMETER: Final = "UNUSED_PARAMETER"
PARAMETER_HIDES_RESOURCE: Final = "PARAMETER_HIDES_RESOURCE"
POLICY_WITHOUT_CERTIFICATE: Final = "POLICY_WITHOUT_CERTIFICATE"
DEVICE_TAKES_OVER_THINGS: Final = "DEVICE_TAKES_OVER_THINGS"
DEVICE_CHOOSES_POLICY: Final = "DEVICE_CHOOSES_POLICY"
DEVICE_CHOOSES_GROUP: Final = "DEVICE_CHOOSES_GROUP"
DEVICE_CHOOSES_RESOURCES: Final = "DEVICE_CHOOSES_RESOURCES"


def warn_of_dangers(content: Content, findings: Findings) -> None:
    """Every warning about a template that has no error."""
    for part in content.resources:
        path = child("$.Resources", part.logical_name)
        if content.is_parameter(part.logical_name):
            findings.warning(
                path, "a parameter has this name too, and Ref means the parameter", PARAMETER_HIDES_RESOURCE
            )
        match part:
            case PolicyPart():
                _lint_policy(part, f"{path}.Properties.PolicyDocument", findings)
        if content.kind is TemplateKind.FLEET:
            _warn_of_choices(part, path, content, findings)
    _warn_of_unused(content, findings)
    if not any(isinstance(part, CertificatePart) for part in content.resources):
        for part in content.resources:
            if isinstance(part, PolicyPart):
                findings.warning(
                    child("$.Resources", part.logical_name),
                    "there is no certificate that the policy could be attached to",
                    POLICY_WITHOUT_CERTIFICATE,
                )


def warn_of_planned(content: Content, plan: Plan, findings: Findings) -> None:
    """Warnings about the policy documents of a plan that are not the same for every device."""
    constant = {
        part.logical_name
        for part in content.resources
        if isinstance(part, PolicyPart) and part.document is not None and constant_document(part.document) is not None
    }
    for policy in plan.policies:
        if policy.document is None or policy.logical_name in constant:
            continue
        path = f"{child('$.Resources', policy.logical_name)}.Properties.PolicyDocument"
        for finding in lint_document(policy.document):
            findings.warning(
                path, f"as planned, at {finding.path}: {finding.message} Instead: {finding.instead}.", finding.code
            )


def _lint_policy(part: PolicyPart, path: str, findings: Findings) -> None:
    """A document that depends on nothing is looked at now, any other when it is planned."""
    document = None if part.document is None else constant_document(part.document)
    if document is None:
        return
    for finding in lint_document(document):
        findings.warning(
            document_path(part, path, finding.path), f"{finding.message} Instead: {finding.instead}.", finding.code
        )


def document_path(part: PolicyPart, path: str, inside: str) -> str:
    """The path of a place inside of a policy document, which stands at `path`; of one in a string, the string's."""
    return path + inside.removeprefix("$") if isinstance(part.document, JsonText) else path


def _warn_of_choices(part: ResourcePart, path: str, content: Content, findings: Findings) -> None:
    """Under fleet provisioning the device chooses every parameter but the certificate's id."""

    def chosen(names: Iterator[str]) -> list[str]:
        known = sorted({name for name in names if content.is_parameter(name) and name != ID})
        return [shown(name) for name in known]

    match part:
        case ThingPart():
            by = chosen(references(part.name, as_values=True))
            if by and part.overrides and Override.FAIL not in part.overrides.values():
                findings.warning(
                    f"{path}.OverrideSettings",
                    f"whoever holds a claim chooses {', '.join(by)}, and with OverrideSettings takes over any thing "
                    "that exists; remove OverrideSettings, or have a pre-provisioning hook check the name",
                    DEVICE_TAKES_OVER_THINGS,
                )
            by = [] if part.groups is None else chosen(references(part.groups, as_values=True))
            if by:
                findings.warning(
                    f"{path}.Properties.ThingGroups",
                    f"whoever holds a claim chooses {', '.join(by)}, and gets the policies of any thing group; choose "
                    "among a fixed few with Fn::FindInMap, or have a pre-provisioning hook check it",
                    DEVICE_CHOOSES_GROUP,
                )
        case PolicyPart(document=None):
            by = chosen(identity_references(part, as_values=True))
            if by:
                findings.warning(
                    f"{path}.Properties.PolicyName",
                    f"whoever holds a claim chooses {', '.join(by)}, and gets any policy of the account; choose among "
                    "a fixed few with Fn::FindInMap, or have a pre-provisioning hook check it",
                    DEVICE_CHOOSES_POLICY,
                )
        case PolicyPart():
            by = chosen(identity_references(part, as_values=True))
            if by:
                findings.warning(
                    f"{path}.Properties.PolicyDocument",
                    f"whoever holds a claim chooses {', '.join(by)}, and so what the policy allows; name the thing by "
                    "${iot:Connection.Thing.ThingName}, or have a pre-provisioning hook check it",
                    DEVICE_CHOOSES_RESOURCES,
                )


def _warn_of_unused(content: Content, findings: Findings) -> None:
    used = {name for part in content.resources for name in all_references(part)}
    for expression in content.device_configuration.values():
        used.update(references(expression))
    for name in content.parameters:
        if name in used:
            continue
        if name in content.kind.built_in:
            if name == ID or content.parameters[name] is not None:
                continue  # every sample declares ::Id
            why = "is used nowhere, and yet a certificate without it is not provisioned; remove it, or give a Default"
        elif content.kind is TemplateKind.FLEET:
            why = "is used nowhere but by a pre-provisioning hook, if there is one"
        else:
            why = "is used nowhere; remove it"
        findings.warning(child("$.Parameters", name), f"the parameter {why}", UNUSED_PARAMETER)
