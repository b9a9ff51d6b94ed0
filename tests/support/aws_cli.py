"""
The AWS CLI for many lines: its own driver in a process of its own, so that a line costs no start of an interpreter.

Run as a program it reads one JSON object a line, `{"words": […], "environment": {…}}`, and answers with
`{"status": …, "printed": …, "complaint": …}`. Each set of credentials has a driver, that is a session, of its own.
The AWS CLI brings its own botocore, which is why it cannot be driven in a process that imported another.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

LIMIT_S = 30


class AwsCli:
    """The AWS CLI in a folder, as a person there would use it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            text=True,
        )

    def run(self, words: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of `aws` with these words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = threading.Timer(LIMIT_S, self._process.kill)
        limit.start()
        try:
            self._process.stdin.write(json.dumps({"words": words, "environment": environment}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        finally:
            limit.cancel()
        assert answer, f"the AWS CLI gave no answer to {words} within {LIMIT_S} s"
        told = json.loads(answer)
        return told["status"], told["printed"], told["complaint"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()

    def __enter__(self) -> AwsCli:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer(drivers: dict[str, Any], words: list[str], environment: dict[str, str]) -> dict[str, Any]:
    from awscli.clidriver import create_clidriver

    os.environ.update(environment)
    printed, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaint):
        driver = drivers.setdefault(environment["AWS_ACCESS_KEY_ID"], None) or create_clidriver()
        drivers[environment["AWS_ACCESS_KEY_ID"]] = driver
        try:
            status = driver.main(words)
        except SystemExit as stopped:
            status = stopped.code
    return {"status": int(status or 0), "printed": printed.getvalue(), "complaint": complaint.getvalue()}


if __name__ == "__main__":
    known: dict[str, Any] = {}
    for line in sys.stdin:
        print(json.dumps(_answer(known, **json.loads(line))), flush=True)
