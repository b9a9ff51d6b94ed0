"""Policies and what they are attached to."""

from __future__ import annotations

from handfast.core.identity.arns import policy_arn, thing_group_arn
from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingGroupName
from handfast.core.identity.records import PolicyRecord, PolicyTarget, TargetKind
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
POLICIES_PER_GROUP = 2
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
        check_document(document)
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

    async def attach(self, scope: Scope, cause: Cause, name: PolicyName, target: PolicyTarget) -> None:
        """The policy is attached to the certificate or thing group; again is success."""
        if target.kind is TargetKind.THING_GROUP:
            await self._attach_to_group(scope, cause, name, ThingGroupName(target.name))
        else:
            await self._attach_to_certificate(scope, cause, name, CertificateId(target.name))

    async def _attach_to_group(self, scope: Scope, cause: Cause, name: PolicyName, group: ThingGroupName) -> None:
        try:
            await self._commit(
                self._store.attach_group_policy(scope, name, group, limit=POLICIES_PER_GROUP, cause=cause),
                suspects=[Change(ChangeKind.GROUP_POLICIES, scope, group)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "policy":
                    raise not_found(name) from None
                case "group":
                    raise group_not_found(scope, group) from None
                case "limit":
                    raise LimitExceededError(
                        f"Thing group {group} already has {POLICIES_PER_GROUP} policies attached, which is the maximum"
                    ) from None
                case _:
                    raise

    async def _attach_to_certificate(
        self, scope: Scope, cause: Cause, name: PolicyName, certificate_id: CertificateId
    ) -> None:
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

    async def detach(self, scope: Scope, cause: Cause, name: PolicyName, target: PolicyTarget) -> None:
        """The policy is not attached to the target, whether or not it was, or either of them exists."""
        if target.kind is TargetKind.THING_GROUP:
            write = self._store.detach_group_policy(scope, name, ThingGroupName(target.name), cause)
            suspect = Change(ChangeKind.GROUP_POLICIES, scope, target.name)
        else:
            write = self._store.detach_policy(scope, name, CertificateId(target.name), cause)
            suspect = Change(ChangeKind.PRINCIPAL_POLICIES, scope, target.name)
        await self._commit(write, suspects=[suspect])

    async def list_attached(
        self, scope: Scope, target: PolicyTarget, page: PageRequest, *, recursive: bool
    ) -> Page[PolicyRecord]:
        """One page of the policies attached to the target, by name; recursive: and to the group's ancestors."""
        group = ThingGroupName(target.name) if target.kind is TargetKind.THING_GROUP else None
        try:
            if group is not None:
                listing = self._store.attached_group_policies(scope, group, page, recursive=recursive)
            else:
                listing = self._store.attached_policies(scope, CertificateId(target.name), page)
            return await page_of(listing)
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            if group is not None:
                raise group_not_found(scope, group) from None
            raise certificate_not_found(CertificateId(target.name)) from None

    async def list_targets(
        self, scope: Scope, name: PolicyName, page: PageRequest, *, kind: TargetKind | None = None
    ) -> Page[PolicyTarget]:
        """One page of what the policy is attached to, certificates first; `kind`: only of that kind."""
        try:
            return await page_of(self._store.policy_targets(scope, name, page, kind=kind))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise not_found(name) from None


def check_document(document: str) -> None:
    """MalformedPolicyError, which names the place, for what is not a policy document."""
    try:
        document.encode()  # JSON can spell what is no Unicode text: half of a surrogate pair
        parse_document(document)
    except UnicodeEncodeError:
        raise MalformedPolicyError("The policy document holds half of a surrogate pair") from None
    except PolicySyntaxError as error:
        raise MalformedPolicyError(f"The policy document cannot be used: {error}") from error


def group_not_found(scope: Scope, group: ThingGroupName) -> ResourceNotFoundError:
    """The answer where an unknown thing group's ARN was given."""
    return ResourceNotFoundError(f"Thing group {thing_group_arn(scope, group)} does not exist")


def not_found(name: PolicyName) -> ResourceNotFoundError:
    """The answer for an unknown policy, another account's included."""
    return ResourceNotFoundError(f"Policy {name} does not exist in this account and region")
