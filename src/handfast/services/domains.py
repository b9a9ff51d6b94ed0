"""Domain configurations: made, described, updated, listed, deleted. Serving them is `domain_directory`'s part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from handfast.core.identity.arns import domain_configuration_arn, server_certificate_arn, server_certificate_in_arn
from handfast.core.identity.domains import (
    DATA_ATS,
    DISABLED_BEFORE_DELETION,
    ApplicationProtocol,
    AuthenticationType,
    CertificateHealth,
    DomainConfigurationEdit,
    DomainConfigurationName,
    DomainConfigurationRecord,
    DomainStatus,
    DomainType,
    ServerCertificateId,
    Stapling,
    check_domain_name,
    check_pair,
)
from handfast.core.identity.ids import Scope
from handfast.core.identity.security_policy import SECURITY_POLICIES
from handfast.errors import (
    CertificateValidationError,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Clock, Entropy, Page, PageRequest, Store, Tags
from handfast.services.commit import Committer
from handfast.services.domain_directory import DomainDirectory
from handfast.services.endpoints import ALPHABET, EndpointDirectory, random_text
from handfast.services.server_certificates import ServerCertificates, has_issuer, in_words

QUOTA = 10
"""Domain configurations of an account in a region with AWS's quotas."""
LIMIT = 100
"""The same without them: each costs memory for its TLS contexts."""
PREFIX_LENGTH = 21
SUFFIX_LENGTH = 5
_LETTERS = ALPHABET + ALPHABET[:26].upper()
_ATTEMPTS = 8

EnsureRegion = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A domain configuration as it is described: its record, what clients call it, how its certificate stands."""

    record: DomainConfigurationRecord
    domain_name: str
    security_policy: str
    certificate_arn: str | None
    health: CertificateHealth | None
    detail: str


class Domains:
    """The use cases of domain configurations. Raises ServiceErrors."""

    def __init__(
        self,
        store: Store,
        directory: DomainDirectory,
        endpoints: EndpointDirectory,
        certificates: ServerCertificates,
        clock: Clock,
        entropy: Entropy,
        commit: Committer,
        ensure_region: EnsureRegion,
        *,
        local_names: Iterable[str] = (),
        security_policy: str,
        limit: int = LIMIT,
    ) -> None:
        """
        Args:
            local_names: Names that lead to the server itself, and so to no account alone.
            security_policy: The server's own: that of a configuration that names none.
        """
        self._store = store
        self._directory = directory
        self._endpoints = endpoints
        self._certificates = certificates
        self._clock = clock
        self._entropy = entropy
        self._commit = commit
        self._ensure_region = ensure_region
        self._local_names = frozenset(name.lower().removesuffix(".") for name in local_names)
        self._security_policy = security_policy
        self._limit = limit

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: DomainConfigurationName,
        *,
        domain_name: str | None = None,
        certificate_arns: Sequence[str] = (),
        validation_certificate_arn: str | None = None,
        security_policy: str | None = None,
        authentication_type: AuthenticationType = AuthenticationType.DEFAULT,
        application_protocol: ApplicationProtocol = ApplicationProtocol.DEFAULT,
        stapling: tuple[bool, str | None] = (False, None),
        tags: Tags = NO_TAGS,
    ) -> DomainConfigurationRecord:
        """Devices connect by the name from now on: one that is generated, or `domain_name` with its certificate."""
        check_pair(authentication_type, application_protocol)
        _check_policy(security_policy)
        if domain_name is None and (certificate_arns or validation_certificate_arn):
            raise InvalidRequestError(
                "serverCertificateArns and validationCertificateArn belong to a domainName of your own; without one "
                "the server generates a name and has its certificate"
            )
        if domain_name is not None and len(certificate_arns) != 1:
            raise InvalidRequestError("A domainName of your own needs exactly one of serverCertificateArns")
        enabled, responder_arn = stapling
        record = DomainConfigurationRecord(
            scope=scope,
            name=name,
            suffix=random_text(self._entropy, SUFFIX_LENGTH, _LETTERS),
            domain_type=DomainType.AWS_MANAGED if domain_name is None else DomainType.CUSTOMER_MANAGED,
            prefix=None,
            domain_name=None if domain_name is None else self._own(domain_name),
            status=DomainStatus.ENABLED,
            status_changed_at=cause.at,
            security_policy=security_policy,
            authentication_type=authentication_type,
            application_protocol=application_protocol,
            certificate_id=_in_scope(scope, certificate_arns[0]) if certificate_arns else None,
            validation_certificate_id=_in_scope(scope, validation_certificate_arn),
            stapling=Stapling(enabled, _in_scope(scope, responder_arn)),
        )
        if record.certificate_id is not None:
            broken = await self._certificates.fit(record)
            if broken:
                raise CertificateValidationError(f"The server certificate cannot be used. {in_words(broken)}")
        await self._check_stapling(record)
        await self._endpoints.ensure(scope, cause)
        await self._ensure_region(scope.region)
        return await self._make(record, cause, tags)

    async def describe(self, scope: Scope, cause: Cause, name: DomainConfigurationName) -> Shown:
        """The configuration, or ResourceNotFoundError. That of the account's own endpoint makes the endpoint."""
        if name == DATA_ATS:
            await self._endpoints.ensure(scope, cause)
            await self._ensure_region(scope.region)
        record = await self._found(scope, name, cause)
        arn = health = None
        detail = ""
        if record.certificate_id is not None:
            served = await self._certificates.get(scope, record.certificate_id)
            arn = server_certificate_arn(scope, record.certificate_id)
            health, detail = self._certificates.standing(served)
            unserved = self._directory.broken(scope, record.certificate_id)
            if unserved:
                health, detail = CertificateHealth.INVALID, "Its private key cannot be used; the server's log says why."
        return Shown(
            record=record,
            domain_name=self._directory.name_of(record),
            security_policy=record.security_policy or self._security_policy,
            certificate_arn=arn,
            health=health,
            detail=detail,
        )

    async def update(
        self,
        scope: Scope,
        cause: Cause,
        name: DomainConfigurationName,
        *,
        status: DomainStatus | None = None,
        security_policy: str | None = None,
        authentication_type: AuthenticationType | None = None,
        application_protocol: ApplicationProtocol | None = None,
        stapling: tuple[bool, str | None] | None = None,
    ) -> DomainConfigurationRecord:
        """What is given is so; what is not stays. Connections by a name that is DISABLED are cut."""
        _check_policy(security_policy)
        if name == DATA_ATS:
            if any(each is not None for each in (status, authentication_type, application_protocol, stapling)):
                raise InvalidRequestError(f"Of {DATA_ATS} only tlsConfig can be updated")
            return await self._update_endpoint(scope, cause, security_policy)
        old = await self._found(scope, name, cause)
        if authentication_type is not None or application_protocol is not None:
            # Both are written, so that whoever else updates meanwhile leaves a pair that goes together.
            authentication_type = authentication_type or old.authentication_type
            application_protocol = application_protocol or old.application_protocol
            check_pair(authentication_type, application_protocol)
        new_stapling = None
        if stapling is not None:
            new_stapling = Stapling(stapling[0], _in_scope(scope, stapling[1]))
            await self._check_stapling(replace(old, stapling=new_stapling))
        edit = DomainConfigurationEdit(
            status=status,
            security_policy=security_policy,
            authentication_type=authentication_type,
            application_protocol=application_protocol,
            stapling=new_stapling,
        )
        await self._changed(self._store.update_domain_configuration(scope, name, edit, cause=cause), scope, name)
        return old

    async def delete(self, scope: Scope, cause: Cause, name: DomainConfigurationName) -> None:
        """The name leads nowhere any more. It must be DISABLED, an AWS-managed one for seven days."""
        until = self._clock.now() - DISABLED_BEFORE_DELETION
        write = self._store.delete_domain_configuration(scope, name, disabled_until=until, cause=cause)
        await self._changed(write, scope, name)

    async def list_page(self, scope: Scope, page: PageRequest) -> Page[str]:
        """Names with the suffix of their ARNs, by name; `iot:Data-ATS` is always among them."""
        try:
            return await self._store.list_domain_configurations(scope, page)
        except StoreConflict as conflict:
            if conflict.kind != "marker":
                raise
            message = "The marker or token does not belong to this listing; start without one"
            raise InvalidRequestError(message) from None

    # --- what they are made of --------------------------------------------------------------------------------

    async def _make(self, record: DomainConfigurationRecord, cause: Cause, tags: Tags) -> DomainConfigurationRecord:
        suspects = [_change(record.scope, record.name)]
        for _ in range(_ATTEMPTS):
            if record.domain_name is None:
                record = replace(record, prefix="d" + random_text(self._entropy, PREFIX_LENGTH - 1))
            write = self._store.create_domain_configuration(record, cause, limit=self._limit, tags=tags)
            try:
                await self._commit(write, suspects=suspects)
                return record
            except StoreConflict as conflict:
                if conflict.kind != "domain" or record.domain_name is not None:
                    raise self._explained(conflict, record) from None
        raise ServiceUnavailableError("No free name was found; try again")

    async def _update_endpoint(
        self, scope: Scope, cause: Cause, security_policy: str | None
    ) -> DomainConfigurationRecord:
        await self._endpoints.ensure(scope, cause)
        await self._ensure_region(scope.region)
        record = await self._found(scope, DATA_ATS, cause)
        if security_policy is not None:
            record = replace(record, security_policy=security_policy)
            await self._changed(self._store.set_endpoint_policy(record, cause=cause), scope, DATA_ATS)
        return record

    async def _found(self, scope: Scope, name: DomainConfigurationName, cause: Cause) -> DomainConfigurationRecord:
        record = await self._store.domain_configuration(scope, name)
        if record is None and name != DATA_ATS:
            raise _not_found(name)
        return record or endpoint_configuration(scope, cause.at)

    async def _check_stapling(self, record: DomainConfigurationRecord) -> None:
        """InvalidRequestError where nothing could ever be stapled."""
        if not record.stapling.enabled:
            if record.stapling.responder_id is not None:
                raise InvalidRequestError("ocspAuthorizedResponderArn needs enableOCSPCheck")
            return
        if record.certificate_id is None:
            raise InvalidRequestError("enableOCSPCheck is for a domainName of your own and its server certificate")
        found = await self._store.server_certificate(record.scope, record.certificate_id)
        if found is None or not has_issuer(found):
            raise InvalidRequestError(
                "enableOCSPCheck needs the issuer of the server certificate, which may be a root, in its chain: import "
                "it again with its chain. A self-signed certificate has no issuer to ask"
            )

    def _own(self, text: str) -> str:
        """The domain name, which is no other's by its form."""
        name = check_domain_name(text)
        below = name == self._endpoints.domain or name.endswith(f".{self._endpoints.domain}")
        if below or name in self._local_names or self._endpoints.is_endpoint(name):
            raise InvalidRequestError(
                "domainName is one of this server's own names, or below its own domain; use a name of another domain"
            )
        return name

    async def _changed(self, write: Awaitable[list[Change]], scope: Scope, name: DomainConfigurationName) -> None:
        try:
            await self._commit(write, suspects=[_change(scope, name)])
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise _not_found(name) from None
                case "status":
                    raise InvalidRequestError(
                        f"Domain configuration {name} is ENABLED; update it to DISABLED before it is deleted"
                    ) from None
                case "waiting":
                    end: dt.datetime = conflict.facts["since"] + DISABLED_BEFORE_DELETION
                    raise InvalidRequestError(
                        f"Domain configuration {name} is AWS-managed and has to be DISABLED for seven days: it can be "
                        f"deleted from {end:%Y-%m-%dT%H:%M:%SZ} on"
                    ) from None
                case "certificate":
                    raise InvalidRequestError("A certificate that is named does not exist any more") from None
            raise

    def _explained(self, conflict: StoreConflict, record: DomainConfigurationRecord) -> Exception:
        match conflict.kind:
            case "exists":
                return ResourceAlreadyExistsError(
                    f"Domain configuration {record.name} exists already in this account and region",
                    resourceId=record.name,
                    resourceArn=domain_configuration_arn(record.scope, conflict.facts["resource"]),
                )
            case "domain":
                # Whose it is, is nobody else's business.
                return ResourceAlreadyExistsError(f"The domain name {record.domain_name} is in use already")
            case "limit":
                return LimitExceededError(
                    f"The account has {self._limit} domain configurations in this region, which is the maximum"
                )
            case "certificate":
                return InvalidRequestError("A certificate that is named does not exist in this account and region")
        return conflict


def endpoint_configuration(scope: Scope, at: dt.datetime) -> DomainConfigurationRecord:
    """The configuration of the account's own endpoint as long as nobody has updated it."""
    return DomainConfigurationRecord(
        scope=scope,
        name=DATA_ATS,
        suffix="",
        domain_type=DomainType.ENDPOINT,
        prefix=None,
        domain_name=None,
        status=DomainStatus.ENABLED,
        status_changed_at=at,
        security_policy=None,
        authentication_type=AuthenticationType.DEFAULT,
        application_protocol=ApplicationProtocol.DEFAULT,
        certificate_id=None,
        validation_certificate_id=None,
        stapling=Stapling(),
    )


def _check_policy(name: str | None) -> None:
    if name is not None and name not in SECURITY_POLICIES:
        raise InvalidRequestError(f"tlsConfig.securityPolicy must be one of {', '.join(SECURITY_POLICIES)}")


def _in_scope(scope: Scope, arn: str | None) -> ServerCertificateId | None:
    """The certificate that the ARN names; of another account or region it does not exist."""
    if arn is None:
        return None
    where, certificate_id = server_certificate_in_arn(arn)
    if where != scope:
        raise InvalidRequestError("A certificate that is named does not exist in this account and region")
    return certificate_id


def _not_found(name: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Domain configuration {name} does not exist in this account and region")


def _change(scope: Scope, name: DomainConfigurationName) -> Change:
    return Change(ChangeKind.DOMAIN_CONFIGURATION, scope, name)
