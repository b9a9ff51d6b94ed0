"""The end of a call's time, which also cuts what a thread is waiting for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from handfast.core.provisioning.hooks import HookFailed, HookResult


class Deadline:
    """
    `limit_s` seconds from now, by the machine's own clock.

    A socket's timeout bounds one read; a peer that sends a byte a second is
    never too slow for it. So whoever waits for the whole call `cut`s it: the
    socket that it holds is shut down, which wakes the thread that reads from it.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._end = time.monotonic() + limit_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False

    def left(self) -> float:
        """
        Seconds, more than 0.

        Raises:
            HookFailed: TIMEOUT: none are left, or it was cut.
        """
        left = self._end - time.monotonic()
        if self._cut or left <= 0:
            raise self.passed()
        return left

    def passed(self) -> HookFailed:
        """What a call ends with whose time is over."""
        return HookFailed(HookResult.TIMEOUT, f"no complete answer within {self.limit_s:g} s")

    def hold(self, sock: socket.socket) -> None:
        """`cut` shuts this socket down. HookFailed: the time is over."""
        with self._lock:
            self._socket = sock
        self.left()

    def cut(self) -> None:
        """The call is over, wherever it is."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError, ValueError):
                    # The class's own: that of an SSLSocket would have its reader take ciphertext for the answer.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def release(self) -> None:
        """No socket is held any more."""
        with self._lock:
            self._socket = None
