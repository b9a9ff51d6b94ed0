"""
What ends a rotation without anybody asking: the successor was let in, or the deadline passed.

Which successors are awaited is known in memory, so that a connection asks one
set, once. What was seen is written by one task; killed before that, the next
connection or the next start makes up for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.rotation import RotationEnd, RotationState
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Clock, Notify, Store
from handfast.services.commit import Committer
from handfast.services.principals import Key

log = logging.getLogger(__name__)

ACTOR = "handfast:rotation"
OPERATION = "RetireCertificate"
BATCH = 200
"""Rotations that are ended together: they share the store's commits."""
RETRY_S = 1.0
MAX_WAIT_S = 60.0
"""Deadlines are looked at again after this time, whatever was announced."""


class RotationWatch:
    """
    The awaited successors, and the task that ends rotations.

    Belongs to one event loop. `load` before connections are accepted, `changed`
    after each commit, `start` once; `awaits` and `arrived` are synchronous and cheap.
    """

    def __init__(self, store: Store, clock: Clock, notify: Notify) -> None:
        self._store = store
        self._clock = clock
        self._commit = Committer(notify)
        self._awaited: dict[Scope, set[CertificateId]] = {}
        self._arrivals: dict[Key, str] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Every successor that the store says is awaited is known here."""
        for scope, successor_id in await self._store.waiting_successors():
            self._add(scope, successor_id)

    async def changed(self, changes: Sequence[Change]) -> None:
        """Obeys `changes` when it returns. Never raises: of what cannot be read, the store will say that it ended."""
        for change in changes:
            if change.kind is not ChangeKind.ROTATION or change.scope is None:
                continue
            successor_id = CertificateId(change.subject)
            try:
                rotation = await self._store.rotation(change.scope, successor_id)
                waiting = (
                    rotation is not None
                    and rotation.successor_id == successor_id
                    and rotation.state is RotationState.WAITING
                )
            except Exception as error:
                log.error("a rotation cannot be read; its end is found out later: %s", error)
                waiting = True
            if waiting:
                self._add(change.scope, successor_id)
            else:
                self._discard(change.scope, successor_id)
            self._wake.set()

    def awaits(self, key: Key) -> bool:
        """Whether the certificate is a successor that has not been let in yet."""
        awaited = self._awaited.get(key[0])
        return awaited is not None and key[1] in awaited

    def arrived(self, key: Key, address: str) -> None:
        """The successor was let in from this address: the old certificate is retired as soon as that is written."""
        if self.awaits(key):
            self._arrivals.setdefault(key, address)
            self._wake.set()

    def start(self) -> None:
        """From now on rotations end by themselves, until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """What was being written is written and announced; nothing ends any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._commit.settle()

    async def step(self) -> float | None:
        """Everything that is due by now has ended; how many seconds until the next may be. None: some failed."""
        arrivals, self._arrivals = self._arrivals, {}
        failed = await self._finish(arrivals.items(), RotationEnd.CONNECTED)
        for key in failed:
            self._arrivals.setdefault(key, arrivals[key])
        upcoming = await self._store.upcoming_rotations(BATCH)
        now = self._clock.now()
        due = [(each.scope, each.successor_id) for each in upcoming if each.deadline <= now]
        failed += await self._finish([(key, "") for key in due], RotationEnd.DEADLINE)
        if failed:
            return None
        if len(due) == len(upcoming):
            return 0.0 if due else MAX_WAIT_S
        return min((upcoming[len(due)].deadline - now).total_seconds(), MAX_WAIT_S)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait_s = await self.step()
            except Exception:
                log.exception("rotations could not be looked at; trying again")
                wait_s = None
            if wait_s is None:
                await asyncio.sleep(RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # wait_for of Python 3.11 can swallow the cancellation of `close`
                    await self._wake.wait()

    async def _finish(self, keys: Iterable[tuple[Key, str]], end: RotationEnd) -> list[Key]:
        """Those whose end could not be written."""
        failed: list[Key] = []
        waiting = list(keys)
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            results = await asyncio.gather(*(self._end(key, address, end) for key, address in batch))
            failed += [key for (key, _), ended in zip(batch, results, strict=True) if not ended]
        return failed

    async def _end(self, key: Key, address: str, end: RotationEnd) -> bool:
        scope, successor_id = key
        cause = Cause(actor=ACTOR, address=address, operation=OPERATION, request_id="", at=self._clock.now())
        try:
            changes = await self._commit(
                self._store.finish_rotation(scope, successor_id, end, cause),
                suspects=[Change(ChangeKind.ROTATION, scope, successor_id)],
            )
        except StoreConflict:
            self._discard(scope, successor_id)  # it ended otherwise in the meantime
            return True
        except Exception as error:
            log.error("a rotation could not be ended; trying again: %s", error)
            return False
        log.info(
            "rotation ended",
            extra={"successor": successor_id, "by": end.value, "changes": len(changes)},
        )
        return True

    def _add(self, scope: Scope, successor_id: CertificateId) -> None:
        self._awaited.setdefault(scope, set()).add(successor_id)

    def _discard(self, scope: Scope, successor_id: CertificateId) -> None:
        awaited = self._awaited.get(scope)
        if awaited is not None:
            awaited.discard(successor_id)
            if not awaited:
                del self._awaited[scope]
