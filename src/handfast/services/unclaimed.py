"""
Certificates that fleet provisioning made and nobody claimed in time are deleted.

What is due stands in the store, which also decides the race with a device that
claims its certificate at the last moment. Killed in between, the next start goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from handfast.ports import Cause, Change, ChangeKind, Clock, Meter, Notify, Store
from handfast.services.commit import Committer

log = logging.getLogger(__name__)

ACTOR = "handfast:fleet-provisioning"
OPERATION = "ExpireOwnershipToken"
BATCH = 200
RETRY_S = 1.0
MAX_WAIT_S = 60.0
"""What became due is looked for again after this time; its token is refused from the first moment on."""


class UnclaimedSweeper:
    """The task that deletes them. Belongs to one event loop."""

    def __init__(self, store: Store, clock: Clock, notify: Notify, meter: Meter) -> None:
        self._store = store
        self._clock = clock
        self._commit = Committer(notify)
        self._meter = meter
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on they are deleted, until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """What was being deleted is, and that is announced; nothing is deleted any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._commit.settle()

    async def step(self) -> float:
        """One batch of what is due is gone; how many seconds until there is more to do."""
        due_at = await self._store.next_unclaimed_expiry()
        now = self._clock.now()
        if due_at is None:
            return MAX_WAIT_S
        if due_at > now:
            return min((due_at - now).total_seconds(), MAX_WAIT_S)
        cause = Cause(actor=ACTOR, address="", operation=OPERATION, request_id="", at=now)

        async def expire() -> list[Change]:
            changes, _tokens = await self._store.expire_unclaimed(BATCH, cause)
            return changes

        changes = await self._commit(expire())
        deleted = sum(change.kind is ChangeKind.CERTIFICATE for change in changes)
        if deleted:
            self._meter.count("handfast_unclaimed_certificates_deleted_total", deleted)
            log.info("certificates that nobody claimed are deleted", extra={"certificates": deleted})
        return 0.0

    async def _run(self) -> None:
        while True:
            try:
                wait_s = await self.step()
            except Exception:
                log.exception("unclaimed certificates could not be deleted; trying again")
                wait_s = RETRY_S
            await asyncio.sleep(wait_s)
