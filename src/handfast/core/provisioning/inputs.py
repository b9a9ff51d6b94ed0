"""The buckets that bulk registration tasks may read from, as the operator configured them. Nothing is opened here."""

from __future__ import annotations

from dataclasses import dataclass, field

from handfast.core.identity.ids import AccountId

EVERY_ACCOUNT = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryBucket:
    """A directory that stands for a bucket: a key is the path of a file below it."""

    directory: str
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Bucket:
    """A bucket of an endpoint that speaks S3. `secret` is the access key's."""

    endpoint_url: str
    bucket: str
    region: str
    access_key_id: str
    secret: str = field(repr=False)
    ca_bundle: str | None = None
    accounts: tuple[str, ...] = ()


Bucket = DirectoryBucket | S3Bucket


def may_read(bucket: Bucket, account: AccountId, first_account: AccountId) -> bool:
    """Whether the account is among the bucket's; of a bucket that names none it is the first account alone."""
    if not bucket.accounts:
        return account == first_account
    return account in bucket.accounts or EVERY_ACCOUNT in bucket.accounts
