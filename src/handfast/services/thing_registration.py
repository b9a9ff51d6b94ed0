"""RegisterThing: a template and one device's parameters, carried out; for the API, and line by line for bulk tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateRecord
from handfast.core.provisioning.plan import CertificateResource, FailureKind, ProvisioningFailed
from handfast.core.provisioning.tasks import TaskLine
from handfast.core.provisioning.template import Template
from handfast.errors import (
    CertificateConflictError,
    CertificateStateError,
    CertificateValidationError,
    ConflictingResourceUpdateError,
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ServiceError,
)
from handfast.ports import Cause, Store
from handfast.ports.provisioning import Provisioned
from handfast.services.certificates import Certificates, read
from handfast.services.provisioner import Provisioner

_KINDS: Mapping[type[ServiceError], FailureKind] = {
    InvalidRequestError: FailureKind.INVALID,
    CertificateValidationError: FailureKind.CERTIFICATE,
    CertificateConflictError: FailureKind.CERTIFICATE,
    CertificateStateError: FailureKind.CERTIFICATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What RegisterThing answers: the certificate's PEM (None: the template has none) and the ARNs by logical name."""

    certificate_pem: str | None = field(repr=False)
    resource_arns: Mapping[str, str]
    provisioned: Provisioned


class _Basis(NamedTuple):
    """What the registry said when the certificate was judged."""

    registered: CertificateRecord | None
    ca: CACertificateRecord | None


class ThingRegistration:
    """The use case behind RegisterThing."""

    def __init__(self, store: Store, certificates: Certificates, provisioner: Provisioner) -> None:
        self._store = store
        self._certificates = certificates
        self._provisioner = provisioner

    async def register_thing(
        self,
        scope: Scope,
        cause: Cause,
        template: Template,
        parameters: Mapping[str, str],
        *,
        task_line: TaskLine | None = None,
    ) -> Registered:
        """
        Everything that the template makes of the parameters is there; or nothing changed, no certificate either.

        A certificate in PEM is registered with the rules of RegisterCertificate,
        or taken as it is where it is registered here already. `task_line`: the line
        of a bulk registration task that is done with it.

        Raises:
            ProvisioningFailed: Which resource, and why.
            ConflictingResourceUpdateError: What was judged changed meanwhile; the same call may succeed now.
            StoreConflict: "task": the line's task does not go on.
        """
        plan = template.plan(parameters)
        wanted = plan.certificate
        if wanted is None:
            provisioned = await self._provisioner.carry_out(scope, cause, plan, task_line=task_line)
            return Registered(certificate_pem=None, resource_arns=provisioned.resource_arns, provisioned=provisioned)
        certificate_id = _named(wanted)
        registered = None if certificate_id is None else await self._store.certificate(scope, certificate_id)
        new = None if registered is not None else await self._new(scope, cause, wanted)
        basis = _Basis(registered, await self._ca_of(scope, new))
        try:
            provisioned = await self._provisioner.carry_out(
                scope,
                cause,
                plan,
                register=new,
                certificate_id=certificate_id if new is None else None,
                task_line=task_line,
            )
        except ProvisioningFailed as failed:
            if failed.kind is FailureKind.CERTIFICATE and basis != await self._basis_now(scope, certificate_id, new):
                raise _changed_meanwhile(failed) from None
            raise
        record = new or registered
        return Registered(
            certificate_pem=None if record is None else record.pem,
            resource_arns=provisioned.resource_arns,
            provisioned=provisioned,
        )

    async def _new(self, scope: Scope, cause: Cause, wanted: CertificateResource) -> CertificateRecord | None:
        """The certificate to be registered with the plan; None where the template names a registered one."""
        try:
            if wanted.csr_pem is not None:
                return await self._certificates.issued_from_csr(scope, cause, wanted.csr_pem, wanted.status)
            if wanted.certificate_pem is not None:
                return await self._certificates.signed_by_ca(
                    scope, cause, wanted.certificate_pem, ca_pem=wanted.ca_certificate_pem, status=wanted.status
                )
        except ResourceAlreadyExistsError as error:  # it was not there a moment ago
            raise _changed_meanwhile(error) from None
        except ServiceError as error:
            kind = _KINDS.get(type(error))
            if kind is None:
                raise
            raise ProvisioningFailed(kind, wanted.logical_name, error.message) from None
        return None

    async def _ca_of(self, scope: Scope, new: CertificateRecord | None) -> CACertificateRecord | None:
        if new is None or new.ca_certificate_id is None:
            return None
        return await self._store.ca_certificate(scope, new.ca_certificate_id)

    async def _basis_now(
        self, scope: Scope, certificate_id: CertificateId | None, new: CertificateRecord | None
    ) -> _Basis:
        registered = None if certificate_id is None else await self._store.certificate(scope, certificate_id)
        return _Basis(registered, await self._ca_of(scope, new))


def _named(wanted: CertificateResource) -> CertificateId | None:
    """Whose registration may be there already."""
    if wanted.certificate_pem is None:
        return wanted.certificate_id
    try:
        return read(wanted.certificate_pem, "certificate").certificate_id
    except CertificateValidationError as error:
        raise ProvisioningFailed(FailureKind.INVALID, wanted.logical_name, error.message) from None


def _changed_meanwhile(error: Exception) -> ConflictingResourceUpdateError:
    return ConflictingResourceUpdateError(f"The certificate or its CA was changed meanwhile; try again: {error}")
