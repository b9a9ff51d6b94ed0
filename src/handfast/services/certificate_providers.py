"""Certificate providers: who issues for signing requests of an account's devices in place of the built-in issuer."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

from handfast.core.identity.arns import certificate_provider_arn
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.pki import keys
from handfast.core.pki.pem import read_request
from handfast.core.provisioning.hooks import HookEvent, HookFailed
from handfast.core.provisioning.provided import certificate_in
from handfast.core.provisioning.records import (
    PROVIDED_OPERATIONS,
    CertificateProviderName,
    CertificateProviderRecord,
)
from handfast.errors import (
    CertificateInputError,
    InvalidRequestError,
    LimitExceededError,
    ProviderFailed,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Clock, Store, Tags
from handfast.services.commit import Committer
from handfast.services.hook_questions import provider_question
from handfast.services.hooks import CallsHooks

log = logging.getLogger(__name__)


class CertificateProviders:
    """The use cases of certificate providers. Raises ServiceErrors, but for `issue`."""

    def __init__(self, store: Store, hooks: CallsHooks, clock: Clock, commit: Committer) -> None:
        self._store = store
        self._hooks = hooks
        self._clock = clock
        self._commit = commit

    # --- issuing ----------------------------------------------------------------------------------------------

    async def issue(self, scope: Scope, csr_pem: str, *, client_id: str | None, principal: CertificateId) -> str | None:
        """
        The certificate that the account's provider made for the request, in PEM; None: the account has no provider.

        It holds the request's key and is one that may be registered now: not a
        CA, inside its validity, of an accepted key and signature. With a provider the
        built-in issuer is never the answer, whatever goes wrong.

        Raises:
            CertificateInputError: The request cannot be used; the provider was not asked.
            ProviderFailed: No certificate, or one that cannot be used.
            StoreUnavailable: Whether there is a provider is not known.
        """
        provider = await self._store.certificate_provider(scope)
        if provider is None:
            return None
        request = read_request(csr_pem)
        broken = keys.request_refusals(request.request)
        if broken:
            raise CertificateInputError(" ".join(rule.message for rule in broken), broken[0].rule)
        document = provider_question(scope, provider.name, csr_pem=csr_pem, principal=principal, client_id=client_id)
        try:
            return await self._hooks.call(
                scope,
                provider.function_arn,
                HookEvent.CERTIFICATE_PROVIDER,
                document,
                lambda answer: certificate_in(answer, request, self._clock.now()),
            )
        except HookFailed as error:
            raise ProviderFailed(f"The certificate provider gave no usable certificate ({error.result})") from error

    # --- the operations ---------------------------------------------------------------------------------------

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: CertificateProviderName,
        function_arn: str,
        operations: Sequence[str],
        *,
        client_token: str | None = None,
        tags: Tags = NO_TAGS,
    ) -> CertificateProviderRecord:
        """The provider, whom devices get from now on. The same call with the same token again is the same provider."""
        _check(operations)
        await self._hooks.require(scope, function_arn)
        record = CertificateProviderRecord(
            scope=scope,
            name=name,
            function_arn=function_arn,
            request_digest=None if client_token is None else _digest(client_token, function_arn, tags),
            creation_date=cause.at,
            last_modified_date=cause.at,
        )
        write = self._store.create_certificate_provider(record, cause, tags=tags)
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            if conflict.kind == "limit":
                raise LimitExceededError(
                    "The account has a certificate provider in this region, and there can be one; update or delete it"
                ) from None
            if conflict.kind != "exists":
                raise
        else:
            return record
        there = await self._store.certificate_provider(scope)
        if there is None or there.name != name:
            raise ServiceUnavailableError(f"Certificate provider {name} was deleted meanwhile; try again")
        if record.request_digest is None or record.request_digest != there.request_digest:
            raise ResourceAlreadyExistsError(
                f"Certificate provider {name} exists already in this account and region",
                resourceId=name,
                resourceArn=certificate_provider_arn(scope, name),
            )
        return there

    async def describe(self, scope: Scope, name: CertificateProviderName) -> CertificateProviderRecord:
        """The provider, or ResourceNotFoundError."""
        record = await self._store.certificate_provider(scope)
        if record is None or record.name != name:
            raise _not_found(name)
        return record

    async def list_all(self, scope: Scope) -> list[CertificateProviderRecord]:
        """The one that there may be."""
        record = await self._store.certificate_provider(scope)
        return [] if record is None else [record]

    async def update(
        self,
        scope: Scope,
        cause: Cause,
        name: CertificateProviderName,
        *,
        function_arn: str | None,
        operations: Sequence[str] | None,
    ) -> None:
        """What is given is so."""
        await self.describe(scope, name)
        _check(PROVIDED_OPERATIONS if operations is None else operations)
        if function_arn is None:
            return
        await self._hooks.require(scope, function_arn)
        write = self._store.update_certificate_provider(scope, name, function_arn=function_arn, cause=cause)
        await self._changed(write, scope, name)

    async def delete(self, scope: Scope, cause: Cause, name: CertificateProviderName) -> None:
        """The provider is gone; the built-in issuer issues again."""
        await self._changed(self._store.delete_certificate_provider(scope, name, cause), scope, name)

    async def _changed(self, write: Any, scope: Scope, name: CertificateProviderName) -> None:
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise _not_found(name) from None


def _check(operations: Sequence[str]) -> None:
    if tuple(operations) != PROVIDED_OPERATIONS:
        raise InvalidRequestError(f"accountDefaultForOperations must be exactly {list(PROVIDED_OPERATIONS)}")


def _digest(client_token: str, function_arn: str, tags: Tags) -> str:
    said = json.dumps([client_token, function_arn, sorted(tags.items())])
    return hashlib.sha256(said.encode()).hexdigest()


def _suspects(scope: Scope, name: CertificateProviderName) -> list[Change]:
    return [Change(ChangeKind.CERTIFICATE_PROVIDER, scope, name)]


def _not_found(name: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"Certificate provider {name} does not exist in this account and region")
