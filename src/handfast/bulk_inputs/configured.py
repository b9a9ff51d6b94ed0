"""`ports.registration_tasks.TaskInputs` over the buckets that the operator configured."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from handfast.bulk_inputs.changed import changed
from handfast.bulk_inputs.directory import open_below
from handfast.core.identity.ids import AccountId
from handfast.core.provisioning.inputs import Bucket, DirectoryBucket, S3Bucket, may_read
from handfast.errors import InputUnavailable
from handfast.ports.registration_tasks import TaskInput

if TYPE_CHECKING:
    from handfast.bulk_inputs.s3 import S3Client

MAX_INPUT_BYTES: Final = 1024 * 1024 * 1024


class ConfiguredInputs:
    """
    The buckets by name.

    A bucket that the account may not read is answered as one that does not exist.
    """

    def __init__(self, buckets: Mapping[str, Bucket], first_account: AccountId) -> None:
        self._buckets = buckets
        self._first = first_account
        self._clients: dict[str, S3Client] = {}
        self._making = threading.Lock()

    def check(self, account: AccountId, bucket: str, key: str) -> None:
        """A file is opened; an endpoint is asked when the task reads."""
        if isinstance(self._of(account, bucket), DirectoryBucket):
            self.open(account, bucket, key, offset=0, version=None).close()

    def open(self, account: AccountId, bucket: str, key: str, *, offset: int, version: str | None) -> TaskInput:
        """As the port says; refuses what is larger than `MAX_INPUT_BYTES`."""
        place = self._of(account, bucket)
        found: TaskInput
        if isinstance(place, S3Bucket):
            found = self._client(bucket, place).open(key, offset=offset, version=version)
        else:
            file = open_below(place.directory, key)
            file.skip(offset)
            found = file
        problem = None
        if found.size > MAX_INPUT_BYTES:
            problem = InputUnavailable(
                f"The input has {found.size} bytes; expected at most {MAX_INPUT_BYTES}; split it"
            )
        elif version is not None and found.version != version:
            problem = changed()
        if problem is not None:
            found.close()
            raise problem
        return found

    def _of(self, account: AccountId, name: str) -> Bucket:
        found = self._buckets.get(name)
        if found is None or not may_read(found, account, self._first):
            raise InputUnavailable(
                "inputFileBucket names no bucket of this server that the account may read; the operator configures "
                "them as [bulk-input.NAME] in handfast.toml, which a server reads when it starts: one that was added "
                "later needs a restart"
            )
        return found

    def _client(self, name: str, bucket: S3Bucket) -> S3Client:
        # Here, in the task's thread: botocore's client takes a third of a second to import, and few servers read S3.
        from handfast.bulk_inputs.s3 import S3Client

        with self._making:
            if name not in self._clients:
                self._clients[name] = S3Client(bucket)
            return self._clients[name]
