"""
An object of an endpoint that speaks S3. botocore is imported here alone for it.

Nothing of the environment counts: endpoint, region and key are the operator's.
"""

from __future__ import annotations

import os
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from handfast.bulk_inputs.changed import changed
from handfast.core.provisioning.inputs import S3Bucket
from handfast.errors import InputUnavailable
from handfast.printable import printable

CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 5
_UNREADABLE = (BotoCoreError, OSError)


class ObjectInput:
    """`ports.registration_tasks.TaskInput` of an object, from a byte on."""

    def __init__(self, answer: Any, size: int) -> None:
        self.size = size
        self.version = str(answer["ETag"])
        self._body = answer["Body"]

    def read(self, limit: int) -> bytes:
        """The next bytes; an object that ends too early is an error, not an end."""
        try:
            return bytes(self._body.read(limit))
        except _UNREADABLE as error:
            raise InputUnavailable(f"The input was cut off: {printable(str(error), limit=200)}") from error

    def close(self) -> None:
        self._body.close()


class _NothingLeft:
    """The input whose last byte was read before."""

    def __init__(self, size: int, version: str) -> None:
        self.size = size
        self.version = version

    def read(self, limit: int) -> bytes:
        del limit
        return b""

    def close(self) -> None:
        pass


class S3Client:
    """Reads objects of one bucket. Blocking; for any thread."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        session = Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        self._client: Any = session.create_client(
            "s3",
            region_name=bucket.region,
            endpoint_url=bucket.endpoint_url,
            aws_access_key_id=bucket.access_key_id,
            aws_secret_access_key=bucket.secret,
            verify=bucket.ca_bundle if bucket.ca_bundle is not None else True,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": 2},
                s3={"addressing_style": "path"},
                proxies={},
                response_checksum_validation="when_required",
            ),
        )

    def open(self, key: str, *, offset: int, version: str | None) -> ObjectInput | _NothingLeft:
        """
        The object from this byte on; `version`: only if it is still this one.

        Raises:
            InputUnavailable: There is none, it may not be read, or it is another one by now.
        """
        wanted: dict[str, Any] = {"Bucket": self._bucket.bucket, "Key": key}
        if version is not None:
            wanted["IfMatch"] = version
        if offset:
            wanted["Range"] = f"bytes={offset}-"
        try:
            answer = self._client.get_object(**wanted)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code == "InvalidRange" and version is not None:
                return _NothingLeft(offset, version)
            if code in ("PreconditionFailed", "412"):
                raise changed() from error
            raise InputUnavailable(f"The bucket's endpoint answered {printable(code, limit=60)}") from error
        except _UNREADABLE as error:
            raise InputUnavailable(
                f"The bucket's endpoint cannot be read: {printable(str(error), limit=200)}"
            ) from error
        length = answer.get("ContentLength")
        if not isinstance(length, int) or not answer.get("ETag"):
            raise InputUnavailable("The bucket's endpoint tells no length or no ETag of the object")
        if offset and not str(answer.get("ContentRange", "")).startswith(f"bytes {offset}-"):
            answer["Body"].close()
            raise InputUnavailable("The bucket's endpoint does not answer ranges, which resuming the task needs")
        return ObjectInput(answer, offset + length)
