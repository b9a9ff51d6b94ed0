"""A committed change is announced before anyone is told that it happened, come what may to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from handfast.errors import StoreUnavailable
from handfast.ports import Change, Notify


class Committer:
    """
    Runs writes to the store so that every committed change reaches `notify`.

    The write and its announcement finish even when the caller is cancelled in
    between (a client that hangs up, a shutdown): otherwise a revoked certificate
    would keep its connections.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._running: set[asyncio.Future[list[Change]]] = set()

    async def __call__(self, write: Awaitable[list[Change]], *, suspects: Sequence[Change] = ()) -> list[Change]:
        """
        The write's changes, announced.

        `suspects` are announced instead when the store gives no answer: the
        write may have happened, so whoever caches must look again.
        """
        task = asyncio.ensure_future(self._run(write, suspects))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _run(self, write: Awaitable[list[Change]], suspects: Sequence[Change]) -> list[Change]:
        try:
            changes = await write
        except StoreUnavailable:
            if suspects:
                await self._notify(suspects)
            raise
        if changes:
            await self._notify(changes)
        return changes

    def _forget(self, task: asyncio.Future[list[Change]]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen: a caller that was cancelled does not read it

    async def settle(self) -> None:
        """Every write that was under way is done and announced; for shutdown, before the store closes."""
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
