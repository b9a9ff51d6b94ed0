"""Policies and the certificates they are attached to."""

from __future__ import annotations

from handfast.core.identity.arns import policy_arn
from handfast.core.identity.ids import CertificateId, PolicyName, Scope
from handfast.core.identity.records import PolicyRecord
from handfast.core.policy.document import parse_document
from handfast.errors import (
    DeleteConflictError,
    LimitExceededError,
    MalformedPolicyError,
    PolicySyntaxError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreConflict,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store, Tags
from handfast.services.certificates import being_transferred
from handfast.services.certificates import not_found as certificate_not_found
from handfast.services.commit import Committer
from handfast.services.paging import page_of

POLICIES_PER_CERTIFICATE = 10
_FIRST_VERSION = "1"


class Policies:
    """The use cases of policies. Raises ServiceErrors; the next packet obeys what a call returned from."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def create(
        self, scope: Scope, cause: Cause, name: PolicyName, document: str, tags: Tags = NO_TAGS
    ) -> PolicyRecord:
        """The policy with this document as version 1. A name that is taken is refused even for the same document."""
        try:
            document.encode()  # JSON can spell what is no Unicode text: half of a surrogate pair
            parse_document(document)
        except UnicodeEncodeError:
            raise MalformedPolicyError("The policy document holds half of a surrogate pair") from None
        except PolicySyntaxError as error:
            raise MalformedPolicyError(f"The policy document cannot be used: {error}") from error
        record = PolicyRecord(
            scope=scope,
            policy_name=name,
            default_version_id=_FIRST_VERSION,
            document=document,
            creation_date=cause.at,
            last_modified_date=cause.at,
            generation_id=self._entropy.token_bytes(32).hex(),
        )
        try:
            await self._commit(
                self._store.create_policy(record, cause, tags=tags),
                suspects=[Change(ChangeKind.POLICY, scope, name)],
            )
        except StoreConflict as conflict:
            if conflict.kind != "exists":
                raise
            raise ResourceAlreadyExistsError(
                f"Policy cannot be created - name already exists (name={name})",
                resourceId=name,
                resourceArn=policy_arn(scope, name),
            ) from None
        return record

    async def get(self, scope: Scope, name: PolicyName) -> PolicyRecord:
        """The policy with its default version's document, or ResourceNotFoundError."""
        record = await self._store.policy(scope, name)
        if record is None:
            raise not_found(name)
        return record

    async def delete(self, scope: Scope, cause: Cause, name: PolicyName) -> None:
        """The policy is gone; it was attached to nothing and had no version besides the default."""
        try:
            await self._commit(
                self._store.delete_policy(scope, name, cause), suspects=[Change(ChangeKind.POLICY, scope, name)]
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise not_found(name) from None
                case "targets":
                    raise DeleteConflictError(
                        "The policy cannot be deleted as the policy is attached to one or more principals "
                        f"(name={name})"
                    ) from None
                case "versions":
                    raise DeleteConflictError(
                        f"Cannot delete the policy because it has one or more policy versions attached to it "
                        f"(name={name})"
                    ) from None
                case _:
                    raise

    async def list_page(self, scope: Scope, page: PageRequest) -> Page[PolicyRecord]:
        """One page, newest first unless `page.ascending`."""
        return await page_of(self._store.list_policies(scope, page))

    async def attach(self, scope: Scope, cause: Cause, name: PolicyName, certificate_id: CertificateId) -> None:
        """The policy is attached to the certificate; again is success."""
        try:
            await self._commit(
                self._store.attach_policy(scope, name, certificate_id, limit=POLICIES_PER_CERTIFICATE, cause=cause),
                suspects=[Change(ChangeKind.PRINCIPAL_POLICIES, scope, certificate_id)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "policy":
                    raise not_found(name) from None
                case "certificate":
                    raise certificate_not_found(certificate_id) from None
                case "status":
                    raise being_transferred(certificate_id) from None
                case "limit":
                    raise LimitExceededError(
                        f"Certificate {certificate_id} already has {POLICIES_PER_CERTIFICATE} policies attached, "
                        "which is the maximum"
                    ) from None
                case _:
                    raise

    async def detach(self, scope: Scope, cause: Cause, name: PolicyName, certificate_id: CertificateId) -> None:
        """The policy is not attached to the certificate, whether or not it was, or either of them exists."""
        await self._commit(
            self._store.detach_policy(scope, name, certificate_id, cause),
            suspects=[Change(ChangeKind.PRINCIPAL_POLICIES, scope, certificate_id)],
        )

    async def list_attached(self, scope: Scope, certificate_id: CertificateId, page: PageRequest) -> Page[PolicyRecord]:
        """One page of the policies attached to the certificate, by name."""
        try:
            return await page_of(self._store.attached_policies(scope, certificate_id, page))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise certificate_not_found(certificate_id) from None

    async def list_targets(self, scope: Scope, name: PolicyName, page: PageRequest) -> Page[CertificateId]:
        """One page of the certificates that the policy is attached to."""
        try:
            return await page_of(self._store.policy_targets(scope, name, page))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise not_found(name) from None


def not_found(name: PolicyName) -> ResourceNotFoundError:
    """The answer for an unknown policy, another account's included."""
    return ResourceNotFoundError(f"Policy {name} does not exist in this account and region")
