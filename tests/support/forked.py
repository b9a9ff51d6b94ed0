"""
`handfast` in a process of its own, without the seconds that an interpreter takes to load it: forked from one that has.

Run as a program this loads every module of the command line and of the server, and forks for each request on its
standard input, a socket. A test may have a program of its own run there too. What begins there is a whole process: its
number, environment, folder, streams, signals, exit status and kill -9 are its own, and it is a child of the process
that asked for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
_LARGEST = 200_000
"""Of a request in bytes: arguments and environment."""
_PR_SET_CHILD_SUBREAPER = 36
_asking = threading.Lock()


class Forked:
    """What `subprocess.Popen` offers of a process whose streams are files."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with self._lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    os.close(self._handle)
            return self.returncode

    def wait(self, timeout: float = LIMIT_S) -> int:
        """
        The exit status, once there is one.

        Raises:
            subprocess.TimeoutExpired: It still runs after `timeout` seconds.
        """
        if self.poll() is None:
            waiting = select.poll()
            waiting.register(self._handle, select.POLLIN)
            waiting.poll(timeout * 1000)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Started = Forked | subprocess.Popen[bytes]


def begin(
    arguments: list[str],
    environment: dict[str, str],
    out: int,
    err: int,
    cwd: Path | None = None,
    *,
    program: str | None = None,
) -> Started:
    """
    Start `handfast ARGUMENTS` with these descriptors as its standard output and error, and nothing to read.

    With a `program`, that is run instead, as by `python -c PROGRAM ARGUMENTS`. Where the system cannot adopt a forked
    process, an interpreter is started as usual.
    """
    if not can_adopt():
        what = ["-m", "handfast.cli.main"] if program is None else ["-c", program]
        command = [sys.executable, *what, *arguments]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=cwd)
    folder = str(cwd or Path.cwd())
    request = {"arguments": arguments, "environment": environment, "cwd": folder, "program": program}
    with _asking, _adopting():  # one at a time: answers carry no name, and who adopts is a matter of the whole process
        channel = _loaded()
        socket.send_fds(channel, [json.dumps(request).encode()], [out, err])
        answer = channel.recv(16)
    assert answer, "the process that forks has ended; see its standard error"
    return Forked(int(answer))


def ran(arguments: list[str], environment: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`handfast ARGUMENTS` has run: its exit status and what it printed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = begin(arguments, environment, out.fileno(), err.fileno(), cwd)
        try:
            status = process.wait(LIMIT_S)
        finally:
            process.kill()
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, status, *printed)


@functools.cache
def can_adopt() -> bool:
    """Whether this is a Linux that lets a process adopt what it did not start, and wait for it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
        return 0 == int(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0))
    except (AttributeError, OSError):
        return False


@functools.cache
def _loaded() -> socket.socket:
    """The way to the process that forks, which ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(LIMIT_S)
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "src"))
    # Its standard output is one that does not belong to a terminal, as what is forked expects its own to be.
    subprocess.Popen(
        [sys.executable, "-m", "tests.support.forked"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    theirs.close()
    return ours


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Meanwhile a grandchild whose parent ends becomes a child, which can be waited for as any other."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert 0 == prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


# --- the process that forks


def main() -> None:
    """Fork for each request until nobody can ask any more; in each fork, be `handfast`."""
    from handfast.cli import main as command_line

    for command in command_line.COMMANDS:
        importlib.import_module(command.module)
    importlib.import_module("handfast.app")
    gc.collect()
    gc.freeze()  # a fork that looked through all of it for garbage would copy it
    channel = socket.socket(fileno=os.dup(0))
    while True:
        request, streams, _, _ = socket.recv_fds(channel, _LARGEST, 2)
        if not request:
            return
        told = json.loads(request)
        if _forks(channel):
            break
        for stream in streams:
            os.close(stream)
    channel.close()
    with open(os.devnull, "rb") as nothing:
        for number, stream in enumerate((nothing.fileno(), *streams)):
            os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["cwd"])
    if told["program"] is not None:
        sys.argv = ["-c", *told["arguments"]]
        exec(compile(told["program"], "<program>", "exec"), {"__name__": "__main__"})
        return
    sys.argv = [str(command_line.__file__), *told["arguments"]]
    command_line.main()


def _forks(channel: socket.socket) -> bool:
    """True in the new process; False in the old one, which has told the new one's number."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild:
            os.write(writing, str(grandchild).encode())
            os._exit(0)
        os.close(reading)
        os.close(writing)
        return True
    os.waitpid(child, 0)
    os.close(writing)
    channel.send(os.read(reading, 16))
    os.close(reading)
    return False


if __name__ == "__main__":
    main()
