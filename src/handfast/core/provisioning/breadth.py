"""
Which templates and plans give devices a policy that is broader than a fleet's operator may want.

AWS IoT's own tutorials give devices `*`, so that nothing is refused here by
itself: an operator who asks for it calls these.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from handfast.core.identity.ids import PolicyName, Scope
from handfast.core.policy.lint import OVERLY_PERMISSIVE, lint_document
from handfast.core.policy.lint import Finding as PolicyFinding
from handfast.core.provisioning.dangers import DEVICE_CHOOSES_POLICY, document_path
from handfast.core.provisioning.findings import Finding, TemplateError, child
from handfast.core.provisioning.plan import FailureKind, Plan, ProvisioningFailed
from handfast.core.provisioning.resources import PolicyPart, constant_document
from handfast.core.provisioning.template import Template

_REMEDY: Final = "this server refuses that (--template-lint refuse)"


@lru_cache(maxsize=256)
def too_broad(document: str, scope: Scope) -> tuple[PolicyFinding, ...]:
    """The findings of AWS IoT Device Defender's check for overly permissive policies, in this account and region."""
    found = lint_document(document, account=scope.account, region=scope.region)
    return tuple(each for each in found if each.check == OVERLY_PERMISSIVE)


def refuse_broad_template(template: Template, scope: Scope) -> None:
    """
    TemplateError, when a policy document is too broad, or a device may choose its policy.

    Documents that depend on the device, and those of policies that it names, are `refuse_broad_plan`'s.
    """
    found = [each for each in template.warnings if each.code == DEVICE_CHOOSES_POLICY]
    for part in template.content.resources:
        if not isinstance(part, PolicyPart) or part.document is None:
            continue
        document = constant_document(part.document)
        path = f"{child('$.Resources', part.logical_name)}.Properties.PolicyDocument"
        for each in () if document is None else too_broad(document, scope):
            found.append(Finding(path=document_path(part, path, each.path), message=each.message, code=each.code))
    if found:
        raise TemplateError([Finding(path=each.path, message=f"{each.message}; {_REMEDY}") for each in found])


def refuse_broad_plan(plan: Plan, scope: Scope, existing: Mapping[PolicyName, str]) -> None:
    """
    ProvisioningFailed (INVALID), when a policy that the plan gives is too broad.

    `existing` are the documents of policies that the plan names without one.
    """
    for policy in plan.policies:
        what, document = "The policy document", policy.document
        if document is None:
            what, document = f"Policy {policy.policy_name}", existing.get(policy.policy_name)
        for each in () if document is None else too_broad(document, scope):
            raise ProvisioningFailed(
                FailureKind.INVALID,
                policy.logical_name,
                f"{what} is too broad at {each.path}: {each.message} Expected {each.instead}; {_REMEDY}",
            )
