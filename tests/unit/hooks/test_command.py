"""A command of the configuration file is asked in JSON, and nothing of it outlives its time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handfast.core.provisioning.hooks import Command, HookEvent, HookFailed, HookName
from handfast.hooks.command import unusable
from handfast.hooks.runner import ThreadedHooks

EVENT = HookEvent.PRE_PROVISIONING
BODY = json.dumps({"clientId": "device-1", "padding": "x" * 100_000}).encode()  # more than a pipe holds


@pytest.fixture
async def runner() -> AsyncIterator[ThreadedHooks]:
    made = ThreadedHooks()
    yield made
    await made.close()


def script(directory: Path, text: str, *, mode: int = 0o755) -> Path:
    path = directory / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def hook_of(path: Path, *arguments: str, timeout_s: float = 5.0) -> Command:
    return Command(name=HookName("local"), argv=(str(path), *arguments), timeout_s=timeout_s)


async def failure(runner: ThreadedHooks, hook: Command) -> HookFailed:
    begun = time.monotonic()
    with pytest.raises(HookFailed) as caught:
        await runner.run(hook, EVENT, BODY)
    assert time.monotonic() - begun < hook.timeout_s + 3
    return caught.value


async def test_a_command_reads_the_question_and_prints_the_answer(
    tmp_path: Path, runner: ThreadedHooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    told = "print(json.dumps([json.load(sys.stdin)['clientId'], sys.argv[1:], sorted(os.environ), os.getcwd(), "
    told += "os.getsid(0) == os.getpid(), os.environ['HANDFAST_EVENT']]))"
    path = tmp_path / "hook.py"
    path.write_text(f"#!{sys.executable} -IS\nimport json, os, sys\n{told}\n")
    path.chmod(0o700)
    answer = json.loads(await runner.run(hook_of(path, "a b", "$HOME; true"), EVENT, BODY))
    assert ["device-1", ["a b", "$HOME; true"]] == answer[:2]
    assert {"HANDFAST_EVENT", "HANDFAST_HOOK", "LANG", "PATH"} == {*answer[2]} - {"LC_CTYPE"}
    assert ["/", True, "PreProvisioning"] == answer[3:]


async def test_a_command_need_not_read_its_input(tmp_path: Path, runner: ThreadedHooks) -> None:
    assert b"{}\n" == await runner.run(hook_of(script(tmp_path, "echo '{}'")), EVENT, BODY)


@pytest.mark.parametrize(
    ("text", "result", "said"),
    [
        ("echo '{}'; echo 'no \033[31m such device' >&2; echo more >&2; exit 3", "refused", r"exited with 3: no \x1b"),
        ("echo '{}'; kill -9 $$", "refused", "signal 9"),
        ("exit 1", "refused", "exited with 1"),
        ("cat /dev/zero", "invalid", "printed more"),
        ("head -c 131073 /dev/zero", "invalid", "printed more"),
    ],
)
async def test_a_command_that_fails(tmp_path: Path, runner: ThreadedHooks, text: str, result: str, said: str) -> None:
    found = await failure(runner, hook_of(script(tmp_path, text)))
    assert result == found.result
    assert said in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "sleep 60",
        "trap '' TERM; sleep 60",
        "sleep 60 & sleep 60 & wait",
        "cat /dev/zero >&2",
        "exec >&- 2>&- <&-; sleep 60",
    ],
    ids=["hangs", "ignores signals", "with children", "endless complaints", "closes its output"],
)
async def test_a_command_that_does_not_end_is_killed_with_its_children(
    tmp_path: Path, runner: ThreadedHooks, text: str
) -> None:
    pids = tmp_path / "pid"
    found = await failure(runner, hook_of(script(tmp_path, f"echo $$ > {pids}\n{text}"), timeout_s=0.4))
    assert "timeout" == found.result
    await gone(int(pids.read_text()))


async def test_a_child_that_holds_the_output_open_is_not_waited_for(tmp_path: Path, runner: ThreadedHooks) -> None:
    pids = tmp_path / "pid"
    text = f"echo $$ > {pids}; sleep 60 & echo '{{}}'"
    begun = time.monotonic()
    assert b"{}\n" == await runner.run(hook_of(script(tmp_path, text)), EVENT, BODY)
    assert time.monotonic() - begun < 4
    await gone(int(pids.read_text()))


async def test_what_may_not_be_run(tmp_path: Path, runner: ThreadedHooks) -> None:
    path = script(tmp_path, "touch ran")
    assert unusable(path) is None
    cases: list[tuple[int, str]] = [(0o775, "written by others"), (0o757, "written by others"), (0o644, "chmod +x")]
    for mode, said in cases:
        path.chmod(mode)
        found = await failure(runner, hook_of(path))
        assert "unreachable" == found.result
        assert said in str(found)
    path.chmod(0o755)
    tmp_path.chmod(0o777)
    assert "written by others" in (unusable(path) or "")
    tmp_path.chmod(0o1777)  # as /tmp: what stands there is still its owner's
    assert unusable(path) is None
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    assert "cannot be found" in (unusable(link) or "")
    assert "absolute" in (unusable(Path("hook.sh")) or "")
    tmp_path.chmod(0o755)
    assert "no file" in (unusable(tmp_path) or "")


async def test_another_user_s_file_is_not_run(tmp_path: Path) -> None:
    path = script(tmp_path, "true")
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
        assert "another user" in (unusable(path) or "")
    else:
        assert unusable(Path("/bin/true")) is None  # root's


async def gone(pid: int) -> None:
    """Nothing of the process group is left."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if not [each for each in os.listdir("/proc") if each.isdigit() and _group(each) == pid]:
            return
    raise AssertionError(f"the process group {pid} is still there")


def _group(pid: str) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if stat[0] == "Z" else int(stat[2])
