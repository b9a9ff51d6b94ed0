"""`ports.hooks.HookRunner`: every hook has threads of its own, so that a slow one holds up no other."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from handfast.core.provisioning.hooks import Hook, HookEvent, HookFailed, HookName, HookResult, Webhook
from handfast.hooks import command, webhook
from handfast.hooks.deadline import Deadline

CALLS_AT_ONCE = 8
CALLS_WAITING = 32
"""Of one hook, beside those under way; the wait counts against the call's time."""


class _Lane:
    """The threads of one hook. `pending`: calls that are under way or wait for a thread."""

    def __init__(self, name: HookName, at_once: int) -> None:
        self.executor = ThreadPoolExecutor(at_once, thread_name_prefix=f"handfast-hook-{name}")
        self.pending = 0
        self.lock = threading.Lock()

    def done(self, _: Future[bytes]) -> None:
        with self.lock:
            self.pending -= 1


class ThreadedHooks:
    """Belongs to one event loop; threads are made when a hook is first called."""

    def __init__(self, *, at_once: int = CALLS_AT_ONCE, waiting: int = CALLS_WAITING) -> None:
        self._at_once = at_once
        self._limit = at_once + waiting
        self._lanes: dict[HookName, _Lane] = {}
        self._live: set[Deadline] = set()
        self._closed = False

    async def run(self, hook: Hook, event: HookEvent, body: bytes) -> bytes:
        """As `HookRunner` says. A call whose caller leaves is cut."""
        if self._closed:
            raise HookFailed(HookResult.BUSY, "the server is stopping")
        lane = self._lanes.get(hook.name)
        if lane is None:
            lane = self._lanes[hook.name] = _Lane(hook.name, self._at_once)
        with lane.lock:
            # A call that was given up still counts as long as its thread is stuck, in a resolver for instance.
            if lane.pending >= self._limit:
                raise HookFailed(HookResult.BUSY, f"{self._limit} calls of it are under way or wait already")
            lane.pending += 1
        deadline = Deadline(hook.timeout_s)
        self._live.add(deadline)
        future = lane.executor.submit(_call, hook, event, body, deadline)
        future.add_done_callback(lane.done)
        try:
            async with asyncio.timeout(hook.timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise deadline.passed() from None
        finally:
            deadline.cut()
            self._live.discard(deadline)

    async def close(self) -> None:
        """Every call is cut, and no thread begins another."""
        self._closed = True
        for deadline in tuple(self._live):
            deadline.cut()
        for lane in self._lanes.values():
            lane.executor.shutdown(wait=False, cancel_futures=True)


def _call(hook: Hook, event: HookEvent, body: bytes, deadline: Deadline) -> bytes:
    deadline.left()
    if isinstance(hook, Webhook):
        return webhook.post(hook, event, body, deadline)
    return command.run(hook, event, body, deadline)
