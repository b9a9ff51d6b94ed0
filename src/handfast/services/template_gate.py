"""Templates as they are taken from callers: read, and held to what the operator lets them give to devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from handfast.core.identity.ids import PolicyName, Scope
from handfast.core.provisioning.breadth import refuse_broad_plan, refuse_broad_template
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.template import Template, TemplateError, TemplateKind, read_template
from handfast.errors import InvalidRequestError


class TemplateGate:
    """`mode` is the setting `template_lint`: with "refuse", policies that are too broad are not given out."""

    def __init__(self, mode: Literal["warn", "refuse"] = "warn") -> None:
        self.refuses = mode == "refuse"

    def accept(self, scope: Scope, body: str, kind: TemplateKind) -> Template:
        """
        The template that a `templateBody` holds, which may be kept and used in this account and region.

        Raises:
            InvalidRequestError: It cannot be used; the message names every place.
        """
        template = read_body(body, kind)
        if self.refuses:
            try:
                refuse_broad_template(template, scope)
            except TemplateError as error:
                raise InvalidRequestError(str(error)) from error
        return template

    def check_plan(self, scope: Scope, plan: Plan, existing: Mapping[PolicyName, str]) -> None:
        """The plan may be carried out, or ProvisioningFailed. `existing` as `refuse_broad_plan` has it."""
        if self.refuses:
            refuse_broad_plan(plan, scope, existing)


def read_body(body: str, kind: TemplateKind) -> Template:
    """
    The template that a `templateBody` holds.

    Raises:
        InvalidRequestError: It cannot be used; the message names every place.
    """
    try:
        return read_template(body, kind)
    except TemplateError as error:
        raise InvalidRequestError(str(error)) from error
