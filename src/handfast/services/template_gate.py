"""What the operator lets templates give to devices: read here, whoever keeps or uses them."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.breadth import refuse_broad_plan, refuse_broad_template
from handfast.core.provisioning.plan import Plan
from handfast.core.provisioning.template import Template, TemplateError, TemplateKind, read_template
from handfast.errors import InvalidRequestError


class TemplateGate:
    """`mode` is the setting `template_lint`: with "refuse", policies that are too broad are not given out."""

    def __init__(self, mode: Literal["warn", "refuse"] = "warn") -> None:
        self._refuses = mode == "refuse"

    def accept(self, scope: Scope, body: str, kind: TemplateKind) -> Template:
        """
        The template, which may be kept.

        Raises:
            InvalidRequestError: It names every mistake with its place.
        """
        try:
            template = _read(body, kind)
            if self._refuses:
                refuse_broad_template(template, scope)
        except TemplateError as error:
            raise InvalidRequestError(str(error)) from None
        return template

    def check_plan(self, scope: Scope, plan: Plan) -> None:
        """The plan may be carried out, or ProvisioningFailed."""
        if self._refuses:
            refuse_broad_plan(plan, scope)


@lru_cache(maxsize=128)
def _read(body: str, kind: TemplateKind) -> Template:
    """A fleet that comes up has one template for all of it; a `Template` does not change."""
    return read_template(body, kind)
