"""Verification of the audit trail: every row against its chain, every chain against the checkpoints."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handfast.core.identity.audit_chain import AuditHead, ChainCheck, Finding, FindingKind, Seal
from handfast.core.identity.checkpoint import CheckpointCheck, CheckpointKey
from handfast.ports import AuditSource

CHUNK = 1000
"""Rows read and hashed at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """
    What verification found.

    `vouched_checkpoint` and `vouched_until` name the last checkpoint whose rows are all beyond doubt, None where
    there is none. `unsealed` rows are chained, but no checkpoint holds them yet. `more` findings were not listed.
    """

    findings: Sequence[Finding]
    more: int
    chains: int
    rows: int
    unsealed: int
    checkpoints: int
    first_checkpoint: int | None
    last_checkpoint: int | None
    vouched_checkpoint: int | None
    vouched_until: dt.datetime | None
    key: CheckpointKey


async def verify(
    source: AuditSource,
    lines: Sequence[bytes],
    key: CheckpointKey,
    *,
    torn: bool = False,
    expected: tuple[int, str] | None = None,
    chain: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """
    The whole trail verified, or one chain of it, up to the rows that are there now.

    Args:
        lines: The checkpoints that are kept, read before this call; `torn`: a line without end follows.
        expected: Number and hash of the checkpoint that is known to have been written last.
        chain: Only this one; the checkpoints are verified all the same.
        progress: Called with the rows verified so far and their total.

    Reads in pieces and computes in threads. Raises StoreUnavailable.
    """
    seals = await asyncio.to_thread(_read, lines, torn, key)
    findings = [*seals.findings]
    if expected is not None and seals.hashes.get(expected[0]) != expected[1]:
        findings.append(
            Finding(
                FindingKind.CHECKPOINT,
                None,
                None,
                f"checkpoints: {expected[0]} was written last and is not there: the file was cut off or replaced",
            )
        )
    sealed: dict[str, dict[int, Seal]] = {}
    for checkpoint in seals.good:
        for name, (number, link) in checkpoint.heads.items():
            sealed.setdefault(name, {}).setdefault(number, Seal(link, checkpoint.number))
    heads = {head.chain: head for head in await source.audit_heads()}
    extents = await source.audit_extents()
    names = sorted({*heads, *extents, *sealed}) if chain is None else [chain]
    totals = {name: max(extents.get(name, 0), heads[name].number if name in heads else 0) for name in names}
    checks: list[ChainCheck] = []
    done, total = 0, sum(totals.values())
    for name in names:
        check = ChainCheck(name, sealed.get(name, {}))
        after = 0
        while rows := await source.audit_rows(name, after, totals[name], CHUNK):
            await asyncio.to_thread(check.feed, rows)
            after = rows[-1].number
            done += len(rows)
            if progress is not None:
                progress(done, total)
        if totals[name] or name in sealed:
            check.finish(heads.get(name))
        checks.append(check)
        findings += check.findings
    findings += _breaks(seals, checks)
    if not seals.good and any(totals.values()):
        findings.append(Finding(FindingKind.CHECKPOINT, None, None, "checkpoints: there is none to compare with"))
    vouched = _vouched(seals, checks)
    return AuditReport(
        findings=findings,
        more=sum(check.uncounted for check in checks),
        chains=sum(1 for name in names if totals[name]),
        rows=sum(check.rows for check in checks),
        unsealed=sum(max(0, totals[name] - max(sealed.get(name, {}), default=0)) for name in names),
        checkpoints=len(seals.good),
        first_checkpoint=seals.good[0].number if seals.good else None,
        last_checkpoint=seals.good[-1].number if seals.good else None,
        vouched_checkpoint=None if vouched is None else seals.good[vouched].number,
        vouched_until=None if vouched is None else seals.good[vouched].time,
        key=key,
    )


def _read(lines: Sequence[bytes], torn: bool, key: CheckpointKey) -> CheckpointCheck:
    found = CheckpointCheck(key)
    for line in lines:
        found.feed(line)
    found.finish(torn=torn)
    return found


def _breaks(seals: CheckpointCheck, checks: Sequence[ChainCheck]) -> list[Finding]:
    """What the sealer itself missed, of chains in which nothing else is wrong (its checkpoints may be gone by now)."""
    broken: Sequence[AuditHead] = seals.good[-1].breaks if seals.good else ()
    clean = {check.chain: check for check in checks if check.damaged is None}
    found = []
    for head in broken:
        if head.chain in clean:
            clean[head.chain].damaged = 1
            detail = f"{head.chain}: row {head.number} was sealed once with another link than it had later"
            found.append(Finding(FindingKind.REWRITTEN, head.chain, 1, detail))
    return found


def _vouched(seals: CheckpointCheck, checks: Sequence[ChainCheck]) -> int | None:
    """The place of the last good checkpoint before the first that sealed a row in doubt."""
    damaged = {check.chain: check.damaged for check in checks if check.damaged is not None}
    for place, checkpoint in enumerate(seals.good):
        for name, (number, _) in checkpoint.heads.items():
            if name in damaged and number >= damaged[name]:
                return place - 1 if place else None
    return len(seals.good) - 1 if seals.good else None
