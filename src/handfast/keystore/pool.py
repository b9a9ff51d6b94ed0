"""RSA keys made ahead, off the event loop, for CreateKeysAndCertificate."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import rsa

from handfast.errors import ServiceUnavailableError


class KeyPool:
    """
    RSA 2048 device keys: a few wait ready, more are made on demand, each is handed out once.

    The pool begins small, since many servers never make a device's key, and doubles with each key that is taken.

    Making one takes 0.05 to 0.5 s of CPU, outside the interpreter's lock and at a lower priority
    than the event loop. Keys exist in memory only; those left at `close` are dropped.
    """

    def __init__(self, *, size: int = 8, at_first: int = 2, workers: int | None = None, max_waiting: int = 256) -> None:
        self._size = size
        self._wanted = min(at_first, size)
        self._max_waiting = max_waiting
        self._ready: deque[rsa.RSAPrivateKey] = deque()
        self._making = 0
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        count = workers or max(1, min(4, (os.cpu_count() or 2) - 1))
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="handfast-keygen", initializer=_be_nice)

    @property
    def ready(self) -> int:
        """How many keys wait."""
        return len(self._ready)

    def fill(self) -> None:
        """Start making what is missing; returns at once. Called by `take` after each key, and once at the start."""
        loop = asyncio.get_running_loop()
        while not self._closed and len(self._ready) + self._making < self._wanted:
            self._making += 1
            task = loop.create_task(self._make())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def take(self) -> rsa.RSAPrivateKey:
        """
        A key that nobody else gets.

        Raises:
            ServiceUnavailableError: Closed, or `max_waiting` callers wait for keys already.
        """
        self._wanted = min(self._wanted * 2, self._size)
        if self._ready:
            key = self._ready.popleft()
            self.fill()
            return key
        if self._closed or self._waiting >= self._max_waiting:
            raise ServiceUnavailableError("Too many keys are asked for at once; try again, or send signing requests.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _generate)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.fill()

    async def close(self) -> None:
        """Nothing is made any more and the keys are gone; a key that is just being made is waited for."""
        self._closed = True
        self._ready.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _make(self) -> None:
        try:
            key = await asyncio.get_running_loop().run_in_executor(self._executor, _generate)
        finally:
            self._making -= 1
        if not self._closed:
            self._ready.append(key)


def _generate() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _be_nice() -> None:
    """Linux gives each thread a priority of its own; elsewhere the number would name a process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
