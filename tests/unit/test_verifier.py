"""The verifying process: answers as a thread does, and is not missed when it is gone."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.own_ca import OwnCA
from tests.support.registry import NOW, self_signed

from handfast import verifier
from handfast.services.judging import answer
from handfast.verifier import Verifier, serve

CA = OwnCA()
LEAVES = [CA.issue(f"device {number}") for number in range(25)]
PEMS = {"pems": [*LEAVES, "no PEM", self_signed(not_after=NOW)], "at": NOW.isoformat()}
SIGNERS: dict[str, Any] = {
    "leaves": [[leaf, ["aa", "bb"]] for leaf in LEAVES] + [[self_signed(), ["aa"]]],
    "cas": {"aa": [CA.pem, "ACTIVE"], "bb": [OwnCA("Another").pem, "ACTIVE"]},
    "named": False,
    "at": NOW.isoformat(),
}


def plain(value: Any) -> Any:
    """As JSON has it: tuples are lists."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.fixture
async def process() -> AsyncIterator[Verifier]:
    made = Verifier()
    yield made
    await made.close()
    assert not made.running


async def test_the_process_answers_what_a_thread_answers(process: Verifier) -> None:
    assert plain(answer(PEMS)) == await process.ask(PEMS)
    assert process.running
    assert plain(answer(SIGNERS)) == await process.ask(SIGNERS)
    signed, foreign = answer(SIGNERS)[0], answer(SIGNERS)[-1]
    assert ("aa", "CertificateValidationException") == (signed, foreign[0])


async def test_many_questions_at_once_are_answered_one_by_one(process: Verifier) -> None:
    questions = [{"pems": LEAVES[n:] + LEAVES[:n], "at": NOW.isoformat()} for n in range(4)]
    assert [plain(answer(question)) for question in questions] == await asyncio.gather(*map(process.ask, questions))


async def test_a_few_certificates_start_no_process(process: Verifier) -> None:
    question = {"pems": LEAVES[:3], "at": NOW.isoformat()}
    assert answer(question) == await process.ask(question)
    assert not process.running


async def test_a_process_that_was_killed_is_replaced(process: Verifier) -> None:
    await process.ask(PEMS)
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    await process._process.wait()
    assert plain(answer(PEMS)) == plain(await process.ask(PEMS))
    await process.ask(PEMS)
    assert process.running


@pytest.mark.parametrize(
    "program",
    ["raise SystemExit", "import sys; sys.stdout.write('x' * 100)", "import sys; sys.stdout.write('\\0\\0\\0\\4true')"],
)
async def test_a_process_that_talks_nonsense_is_ended_and_a_thread_answers(program: str) -> None:
    process = Verifier((sys.executable, "-c", program))
    assert plain(answer(PEMS)) == plain(await process.ask(PEMS))
    assert not process.running
    await process.close()


async def test_a_program_that_is_missing_is_not_missed() -> None:
    process = Verifier(("/nonexistent/python",))
    assert plain(answer(PEMS)) == plain(await process.ask(PEMS))
    await process.close()


async def test_the_process_leaves_when_nobody_asks(process: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "IDLE_S", 0.0)
    await process.ask(PEMS)
    child = process._process
    assert child is not None
    assert 0 == await asyncio.wait_for(child.wait(), 20)
    assert not process.running


async def test_a_question_that_was_given_up_is_not_answered_to_the_next(process: Verifier) -> None:
    await process.ask(PEMS)
    asking = asyncio.ensure_future(process.ask(PEMS))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert plain(answer(SIGNERS)) == plain(await process.ask(SIGNERS))


def test_it_ends_at_the_end_of_its_input_and_reads_nothing_absurd() -> None:
    out = io.BytesIO()
    serve(io.BytesIO(b"\xff\xff\xff\xff" + b"x" * 99), out)
    serve(io.BytesIO(b"\0\0"), out)
    assert b"" == out.getvalue()


def test_the_program_reads_no_modules_of_the_folder_that_it_is_started_in(tmp_path: Any) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('mine')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = Verifier()._command
    done = subprocess.run(command, cwd=tmp_path, env=environment, input=b"", capture_output=True, timeout=30)
    assert (0, b"") == (done.returncode, done.stderr)
