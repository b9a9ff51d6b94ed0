"""The sealer: a checkpoint for every second with changes, whatever happens to its file."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.audit import CountingMeter, sealer_of, verify_directory
from tests.support.registry import NOW, SCOPE, FakeClock, cause, sqlite_store, thing, with_accounts

from handfast.core.identity.audit_chain import FindingKind
from handfast.core.identity.checkpoint import Checkpoint, line_hash, parse_line
from handfast.services.audit import Audit
from handfast.services.checkpoints import FILE
from handfast.storage.sql import SQLStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        await with_accounts(opened)
        yield opened


def lines(directory: Path, name: str = FILE) -> list[Checkpoint]:
    return [parse_line(line)[0] for line in (directory / name).read_bytes().splitlines()]


async def add(store: SQLStore, name: str) -> None:
    await store.create_thing(thing(name), cause())


async def test_the_first_checkpoint_has_every_head_and_later_ones_those_that_moved(
    store: SQLStore, tmp_path: Path
) -> None:
    clock, meter = FakeClock(), CountingMeter()
    sealer = sealer_of(store, clock, meter=meter)
    assert await sealer.seal()
    assert not await sealer.seal(), "nothing was changed"
    await add(store, "lamp")
    clock.instant += dt.timedelta(seconds=1)
    assert await sealer.seal()
    first, second = lines(tmp_path)
    heads = {head.chain: (head.number, head.link) for head in await store.audit_heads()}
    assert (1, True, 2, 2, NOW) == (first.number, first.full, len(first.heads), first.rows, first.time)
    assert (2, False, 3, clock.now()) == (second.number, second.full, second.rows, second.time)
    assert {SCOPE.account: heads[SCOPE.account]} == second.heads
    assert 0o600 == (tmp_path / FILE).stat().st_mode & 0o777
    assert line_hash((tmp_path / FILE).read_bytes().splitlines()[1]) == sealer.last.hash  # type: ignore[union-attr]
    assert (2, 0) == (meter.values["handfast_audit_checkpoint"], meter.values["handfast_audit_breaks"])


async def test_it_seals_by_itself_and_once_more_at_the_end(store: SQLStore, tmp_path: Path) -> None:
    sealer = sealer_of(store, FakeClock())
    await sealer.start()
    async with asyncio.timeout(10):
        first = await sealer.sealed_after(0)
        await add(store, "lamp")
        await sealer.sealed_after(first.number)
    await add(store, "shade")
    await sealer.close()
    heads = {head.chain: head.number for head in await store.audit_heads()}
    assert heads[SCOPE.account] == lines(tmp_path)[-1].heads[SCOPE.account][0]


async def test_a_restart_goes_on_where_the_file_ends(store: SQLStore, tmp_path: Path) -> None:
    first = sealer_of(store, FakeClock())
    await first.seal()
    await first.close()
    await add(store, "lamp")
    second = sealer_of(store, FakeClock())
    await second.seal()
    await second.close()
    written = lines(tmp_path)
    assert [1, 2] == [each.number for each in written]
    assert [True, True] == [each.full for each in written]
    assert first.last is not None
    assert first.last.hash == written[1].previous


async def test_a_line_that_a_power_cut_left_unfinished_is_cut_off(store: SQLStore, tmp_path: Path) -> None:
    first = sealer_of(store, FakeClock())
    await first.seal()
    await first.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"checkpoint":{"br')
    await add(store, "lamp")
    second = sealer_of(store, FakeClock())
    await second.seal()
    await second.close()
    assert [1, 2] == [each.number for each in lines(tmp_path)]
    await store.close()
    assert [] == (await verify_directory(tmp_path)).findings


async def test_files_are_rotated_and_the_oldest_dropped(store: SQLStore, tmp_path: Path) -> None:
    sealer = sealer_of(store, FakeClock(), max_bytes=1000)
    for number in range(12):
        await add(store, f"thing-{number}")
        await sealer.seal()
    await sealer.close()
    before, newest = lines(tmp_path, FILE + ".1"), lines(tmp_path)
    assert before[0].number > 1
    assert before[-1].number + 1 == newest[0].number
    assert (True, True, 12) == (before[0].full, newest[0].full, newest[-1].number)
    assert 2000 > (tmp_path / FILE).stat().st_size
    await store.close()
    report = await verify_directory(tmp_path)
    assert ([], 12, 0) == (report.findings, report.vouched_checkpoint, report.unsealed)


async def test_a_file_that_cannot_be_written_stops_nothing_and_is_counted(
    store: SQLStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meter = CountingMeter()
    (tmp_path / FILE).mkdir()  # also root cannot append to a directory
    sealer = sealer_of(store, FakeClock(), meter=meter)
    with caplog.at_level(logging.WARNING):
        await sealer.start()
        assert 1 <= meter.values["handfast_audit_seal_failures_total"]
        (tmp_path / FILE).rmdir()
        async with asyncio.timeout(10):
            await sealer.sealed_after(0)
        await sealer.close()
    assert "cannot be sealed" in caplog.text
    assert "sealed again" in caplog.text
    assert [1] == [each.number for each in lines(tmp_path)]


@pytest.mark.parametrize("harm", ["cut", "removed", "replaced"])
async def test_a_running_server_notices_what_happens_to_its_file(store: SQLStore, tmp_path: Path, harm: str) -> None:
    clock = FakeClock()
    sealer = sealer_of(store, clock)
    audit = Audit(store, sealer)
    for name in ("a", "b", "c"):
        await add(store, name)
        await sealer.seal()
    assert [] == (await audit.verify(None)).findings
    whole = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).unlink()
    if harm != "removed":
        (tmp_path / FILE).touch(mode=0o600)
        (tmp_path / FILE).write_bytes(whole[0] if harm == "replaced" else b"".join(whole[:2]))
    findings = [finding.kind for finding in (await audit.verify(None)).findings]
    assert FindingKind.CHECKPOINT in findings
    await add(store, "d")
    with pytest.raises(OSError, match="removed, replaced or edited"):
        await sealer.seal()
    await sealer.attempt()
    await sealer.attempt()
    assert (4, True) == (lines(tmp_path)[-1].number, lines(tmp_path)[-1].full), "it goes on, with every head"
    await sealer.close()
