"""Files that a check needs, uploaded in parts: revocation lists and lists of weak keys, in memory for a short time."""

from __future__ import annotations

from dataclasses import dataclass, field

from handfast.core.identity.ids import Scope
from handfast.errors import LimitExceededError, ResourceNotFoundError
from handfast.ports import Clock, Entropy

MAX_BYTES_PER_SCOPE = 64 * 1024 * 1024
MAX_BYTES = 256 * 1024 * 1024
"""Of all accounts together."""
LIFETIME_S = 600.0


@dataclass(slots=True)
class _Upload:
    scope: Scope
    touched: float
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Uploads:
    """Each belongs to an account and region, is used once, and is forgotten ten minutes after its last part."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self._uploads: dict[str, _Upload] = {}

    def add(self, scope: Scope, upload_id: str | None, data: bytes) -> str:
        """
        The part is kept; the id to go on with, a new one when none is given.

        Raises:
            ResourceNotFoundError: No such upload of this account and region, or it was forgotten.
            LimitExceededError: Too much at once.
        """
        self._forget()
        now = self._clock.monotonic()
        if upload_id is None:
            upload_id = self._entropy.uuid().replace("-", "")
            upload = _Upload(scope, now)
        else:
            upload = self._own(scope, upload_id)
        own = sum(each.size for each in self._uploads.values() if each.scope == scope)
        if own + len(data) > MAX_BYTES_PER_SCOPE:
            raise LimitExceededError(f"At most {MAX_BYTES_PER_SCOPE // 2**20} MiB of files can be uploaded for a check")
        if sum(each.size for each in self._uploads.values()) + len(data) > MAX_BYTES:
            raise LimitExceededError("Other accounts have uploaded too much just now; try again in ten minutes")
        self._uploads[upload_id] = upload
        upload.parts.append(data)
        upload.size += len(data)
        upload.touched = now
        return upload_id

    def take(self, scope: Scope, upload_id: str) -> bytes:
        """The whole file, which is forgotten. ResourceNotFoundError as `add`."""
        self._forget()
        upload = self._own(scope, upload_id)
        del self._uploads[upload_id]
        return b"".join(upload.parts)

    def _own(self, scope: Scope, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.scope != scope:
            raise ResourceNotFoundError("There is no such upload in this account and region: send the file again")
        return upload

    def _forget(self) -> None:
        oldest = self._clock.monotonic() - LIFETIME_S
        for upload_id in [key for key, upload in self._uploads.items() if upload.touched < oldest]:
            del self._uploads[upload_id]
