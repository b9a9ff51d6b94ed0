"""Versions of policies: only the default one is obeyed, by everything that the policy is attached to."""

from __future__ import annotations

from handfast.core.identity.ids import PolicyName, Scope
from handfast.core.identity.records import PolicyVersionRecord
from handfast.errors import (
    HandfastError,
    InvalidRequestError,
    ResourceNotFoundError,
    StoreConflict,
    VersionsLimitExceededError,
)
from handfast.ports import Cause, Change, ChangeKind, Entropy, Store
from handfast.services.commit import Committer
from handfast.services.policies import check_document, not_found

VERSIONS_PER_POLICY = 5


class PolicyVersions:
    """The use cases of policy versions. Raises ServiceErrors; the next packet obeys what a call returned from."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def create(
        self, scope: Scope, cause: Cause, name: PolicyName, document: str, *, set_as_default: bool
    ) -> PolicyVersionRecord:
        """The document as a further version, obeyed at once when it is the default. A policy holds five."""
        check_document(document)
        made: list[PolicyVersionRecord] = []

        async def write() -> list[Change]:
            version, changes = await self._store.create_policy_version(
                scope,
                name,
                document,
                set_as_default=set_as_default,
                limit=VERSIONS_PER_POLICY,
                generation_id=self._generation(),
                cause=cause,
            )
            made.append(version)
            return changes

        try:
            await self._commit(write(), suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            if conflict.kind != "limit":
                raise _refusal(conflict, name, "") from None
            raise VersionsLimitExceededError(
                f"The policy {name} already has the maximum number of versions ({VERSIONS_PER_POLICY})"
            ) from None
        return made[0]

    async def get(self, scope: Scope, name: PolicyName, version_id: str) -> PolicyVersionRecord:
        """The version, or ResourceNotFoundError."""
        record = await self._store.policy_version(scope, name, version_id)
        if record is None:
            raise _version_not_found(name, version_id)
        return record

    async def list_all(self, scope: Scope, name: PolicyName) -> list[PolicyVersionRecord]:
        """Every version, the newest first."""
        try:
            return await self._store.policy_versions(scope, name)
        except StoreConflict as conflict:
            raise _refusal(conflict, name, "") from None

    async def set_default(self, scope: Scope, cause: Cause, name: PolicyName, version_id: str) -> None:
        """The version is the one that is obeyed; again is success."""
        write = self._store.set_default_policy_version(
            scope, name, version_id, generation_id=self._generation(), cause=cause
        )
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            raise _refusal(conflict, name, version_id) from None

    async def delete(self, scope: Scope, cause: Cause, name: PolicyName, version_id: str) -> None:
        """The version is gone, and its id does not come back. The default one stays."""
        write = self._store.delete_policy_version(
            scope, name, version_id, generation_id=self._generation(), cause=cause
        )
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            if conflict.kind != "default":
                raise _refusal(conflict, name, version_id) from None
            raise InvalidRequestError("Cannot delete the default version of a policy") from None

    def _generation(self) -> str:
        return self._entropy.token_bytes(32).hex()


def _suspects(scope: Scope, name: PolicyName) -> list[Change]:
    return [Change(ChangeKind.POLICY, scope, name)]


def _refusal(conflict: StoreConflict, name: PolicyName, version_id: str) -> HandfastError:
    match conflict.kind:
        case "missing":
            return not_found(name)
        case "version":
            return _version_not_found(name, version_id)
        case _:
            return conflict


def _version_not_found(name: PolicyName, version_id: str) -> ResourceNotFoundError:
    return ResourceNotFoundError(
        f"Policy {name} has no version {version_id} in this account and region, or does not exist"
    )
