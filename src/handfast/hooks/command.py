"""
One call of a local command: JSON on its standard input, JSON on its standard output, killed with its group.

Run without a shell, with an environment of four variables, in a session of its own, in `/`. Runs in a thread.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import stat
import subprocess
from pathlib import Path
from typing import IO

from handfast.core.provisioning.hooks import MAX_ANSWER_BYTES, Command, HookEvent, HookFailed, HookResult
from handfast.hooks.deadline import Deadline
from handfast.printable import printable

_CHUNK = 65_536
_MAX_COMPLAINT_BYTES = 2048
"""Of standard error, whose first line the operator sees when the command fails."""


def run(hook: Command, event: HookEvent, body: bytes, deadline: Deadline) -> bytes:
    """What the command printed, its exit status being 0. HookFailed: anything else."""
    problem = unusable(Path(hook.argv[0]))
    if problem:
        raise HookFailed(HookResult.UNREACHABLE, problem)
    deadline.left()
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HANDFAST_HOOK": hook.name,
        "HANDFAST_EVENT": event.value,
    }
    try:
        process = subprocess.Popen(
            hook.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise HookFailed(HookResult.UNREACHABLE, f"it cannot be run: {error.strerror}") from error
    with process:
        try:
            answer, complaint = _converse(process, body, deadline)
        finally:
            # Before the command itself is reaped: until then nobody else can have its number, nor its group's.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        status = process.wait()
    if status != 0:
        how = f"exited with {status}" if status > 0 else f"was ended by signal {-status}"
        first = complaint.decode("utf-8", "replace").strip().partition("\n")[0]
        said = f": {printable(first, limit=200)}" if first else ""
        raise HookFailed(HookResult.REFUSED, f"it {how}{said}")
    return answer


def unusable(path: Path) -> str | None:
    """Why the file may not be run; None: it may, and nobody else can put another in its place."""
    if not path.is_absolute():
        return f"{path} is no absolute path"
    problem = unsafe(path)
    if problem:
        return problem
    if not path.is_file() or not os.access(path, os.X_OK):
        return f"{path} is no file that can be run: chmod +x {path}"
    return None


def unsafe(path: Path) -> str | None:
    """
    Who else could put something else in the file's place, as a sentence; None: nobody.

    It and the directories above it belong to root or to this process's user, and no other can write to them.
    """
    try:
        real = path.resolve(strict=True)
        places = [(place, place.stat()) for place in (real, *real.parents)]
    except (OSError, RuntimeError) as error:
        return f"{path} cannot be found ({getattr(error, 'strerror', None) or 'a loop of links'})"
    for place, found in places:
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to another user: it must be root's or the server's"
        sticky = place is not real and found.st_mode & stat.S_ISVTX  # as /tmp: nobody replaces what is another's
        if found.st_mode & 0o022 and not sticky:
            return f"{place} can be written by others: chmod go-w {place}"
    return None


def _converse(process: subprocess.Popen[bytes], body: bytes, deadline: Deadline) -> tuple[bytes, bytes]:
    """
    Standard output and error, until the command itself has ended, whoever else holds them open.

    Raises:
        HookFailed: TIMEOUT, or INVALID: more output than is read.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    ended = os.pidfd_open(process.pid)
    unsent = memoryview(body)
    answer, complaint = bytearray(), bytearray()
    streams: dict[IO[bytes], bytearray] = {process.stdout: answer, process.stderr: complaint}
    try:
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdin, *streams):
                os.set_blocking(stream.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            running = True
            while running:
                ready = [key.fileobj for key, _ in selector.select(deadline.left())]
                # What it wrote before it ended is there by now, and read in this same turn.
                running = ended not in ready
                if process.stdin in ready:
                    unsent = _send(process.stdin, unsent)
                    if not unsent:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                for stream, kept in streams.items():
                    at_end = (stream in ready or not running) and _take(stream, kept, to_the_end=not running)
                    if at_end and running:
                        selector.unregister(stream)
                del complaint[_MAX_COMPLAINT_BYTES:]
                if len(answer) > MAX_ANSWER_BYTES:
                    raise HookFailed(HookResult.INVALID, f"it printed more than {MAX_ANSWER_BYTES} bytes")
    finally:
        os.close(ended)
    return bytes(answer), bytes(complaint)


def _send(stream: IO[bytes], unsent: memoryview) -> memoryview:
    """What is still to be sent; a command that does not read its input is no failure."""
    try:
        return unsent[os.write(stream.fileno(), unsent[:_CHUNK]) :]
    except BlockingIOError:
        return unsent
    except BrokenPipeError:
        return unsent[:0]


def _take(stream: IO[bytes], kept: bytearray, *, to_the_end: bool) -> bool:
    """Some of what there is, or with `to_the_end` all up to a bound; True: no more will come."""
    while True:
        try:
            chunk = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        kept += chunk
        if not chunk:
            return True
        if not to_the_end or len(kept) > MAX_ANSWER_BYTES:
            return False
