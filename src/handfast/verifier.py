"""
A second process that verifies certificates for bulk registration, so that connected devices keep their latency.

It is started by the first question and ended when none came for a while. Questions and answers are JSON, each behind
its length in four bytes; it reads nothing else and ends with the server, whatever ends that. When it fails, a thread
of the server answers instead. As a program: `python -P -m handfast.verifier`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import sys
from typing import IO, Any

from handfast.services.judging import answer, in_thread

log = logging.getLogger(__name__)

IDLE_S = 30.0
ANSWER_S = 60.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
FEW = 20
"""A question about fewer certificates is not worth a process."""

_LENGTH = struct.Struct(">I")


class Verifier:
    """Answers questions of `services.judging`, one at a time. Belongs to one event loop."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-P", "-m", "handfast.verifier")) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None

    async def ask(self, question: dict[str, Any]) -> list[Any]:
        """The answer, of the process or else of a thread."""
        if self._closed or len(question.get("pems", question.get("leaves", ()))) < FEW:
            return await in_thread(question)
        async with self._turn:
            self._stay()
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._exchange(question)
            except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
                log.warning("the verifying process failed, a thread takes over: %s", error or type(error).__name__)
                await self._end()
            except asyncio.CancelledError:
                await self._end()  # an answer that nobody took would be taken for the next one
                raise
            finally:
                self._leave_later()
        return await in_thread(question)

    async def close(self) -> None:
        """The process is gone."""
        self._closed = True
        async with self._turn:
            self._stay()
            await self._end()

    async def _exchange(self, question: dict[str, Any]) -> list[Any]:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the server to answer
            )
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None
        assert writer is not None
        message = await asyncio.to_thread(_encode, question)
        writer.write(message)
        await writer.drain()
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"an answer of {length} bytes")
        found = await asyncio.to_thread(json.loads, await reader.readexactly(length))
        if not isinstance(found, list):
            raise ValueError("an answer that is no list")
        return found

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave_later(self) -> None:
        if not self._closed:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._leave)

    def _leave(self) -> None:
        self._idle = None
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()  # at the end of its input it ends


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer questions until there are no more."""
    while len(prefix := questions.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(prefix)
        if length > MAX_MESSAGE_BYTES:
            return
        answers.write(_encode(answer(json.loads(questions.read(length)))))
        answers.flush()


def _encode(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return _LENGTH.pack(len(text)) + text


def main() -> None:
    """Serve standard input and output."""
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
