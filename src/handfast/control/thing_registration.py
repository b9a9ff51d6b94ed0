"""RegisterThing."""

from __future__ import annotations

from collections.abc import Mapping

from handfast.control.context import Handler, Result, cause_of, present, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.core.provisioning.template import TemplateError, TemplateKind, read_template
from handfast.errors import InvalidRequestError, ResourceRegistrationFailureError, ServiceError
from handfast.services.thing_registration import ThingRegistration


class ThingRegistrationHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, registration: ThingRegistration) -> None:
        self._registration = registration
        self.handlers: dict[str, Handler] = {"RegisterThing": self.register_thing}

    async def register_thing(
        self, ctx: Caller, *, template_body: str, parameters: Mapping[str, str] | None = None
    ) -> Result:
        scope = scope_of(ctx)
        try:
            template = read_template(template_body, TemplateKind.REGISTER_THING)
            made = await self._registration.register_thing(
                scope, cause_of(ctx, "RegisterThing"), template, parameters or {}
            )
        except TemplateError as error:
            raise InvalidRequestError(f"The template cannot be used: {error}") from error
        except ProvisioningFailed as failed:
            raise refusal(failed) from failed
        return present(certificate_pem=made.certificate_pem, resource_arns=dict(made.resource_arns))


def refusal(failed: ProvisioningFailed) -> ServiceError:
    """What the caller of an operation is told of a plan that was not carried out."""
    message = f"{failed.resource}: {failed}" if failed.resource else str(failed)
    if failed.kind in (FailureKind.TEMPLATE, FailureKind.INVALID):
        return InvalidRequestError(message)
    return ResourceRegistrationFailureError(message)
