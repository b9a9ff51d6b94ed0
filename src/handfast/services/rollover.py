"""
Root changes of a running server: rehearsed, promoted, retired, without a restart and without a connection dropped.

What is changed is files (`root_changes`, `root_ceremony`); here the audit is told first, then the file is changed, then
new connections get the new chains. A rehearsal does not outlive its server: what it found does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from handfast.errors import ConfigurationError, InvalidRequestError, ResourceNotFoundError
from handfast.ports import Cause, Change, Clock, Entropy, Meter, Notify
from handfast.ports.roots import RootAuditStore
from handfast.services import rehearsal_report, root_changes
from handfast.services.authorities import ServerAuthority, ServerChain
from handfast.services.pki_folder import KINDS, ChainKind, Intermediate
from handfast.services.rehearsal import MAX_STOP_AFTER, Rehearsal
from handfast.services.rehearsal_report import NextChain, Report

_log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 1.0
NEXT = "next:"
"""What the names of sets begin with that hold the next chains of a region."""
BEFORE = "before:"
"""The same for the present chains, with the canary name in them."""
_NAME = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


class ServedSets(Protocol):
    """The certificates that connections may get, by the names of their sets (tls.contexts.Contexts)."""

    def install(self, name: str, kind: ChainKind, chain_pem: bytes, key_pem: bytes) -> None: ...
    def remove(self, name: str) -> None: ...
    def names(self) -> frozenset[str]: ...


class Rollover:
    """The operator's root changes. All methods are for the event loop; what takes long runs in a thread."""

    def __init__(
        self,
        authority: ServerAuthority,
        sets: ServedSets,
        store: RootAuditStore,
        *,
        clock: Clock,
        entropy: Entropy,
        meter: Meter,
        notify: Notify,
        present: Callable[[ServerChain], None],
        serves_cross: bool,
        is_endpoint: Callable[[str], bool],
    ) -> None:
        """
        Args:
            sets: What is served by name.
            present: New connections get this chain.
            serves_cross: Whether what the legacy root signed is sent as well.
            is_endpoint: Whether a name is an account's already.
        """
        self._authority = authority
        self._sets = sets
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._meter = meter
        self._notify = notify
        self._present = present
        self._serves_cross = serves_cross
        self._is_endpoint = is_endpoint
        self._data_dir: Path = authority.data_dir
        self._earlier: list[Report] = []
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dirty = False
        self._saving = False
        self._ending: Cause | None = None
        self.rehearsal: Rehearsal | None = None
        """The one that runs, or the last one of this server."""

    async def open(self) -> None:
        """What earlier rehearsals found is known. ConfigurationError: its file is damaged."""
        self._meter.gauge("handfast_rehearsal_running", 0)
        self._earlier = await asyncio.to_thread(rehearsal_report.load, self._data_dir)
        cut_off = [each for each in self._earlier if each.ended is None]
        for report in cut_off:
            report.ended, report.end = self._clock.now(), "the server was restarted"
        if cut_off:
            await asyncio.to_thread(rehearsal_report.save, self._data_dir, self._earlier)

    async def close(self) -> None:
        """What was found is on the disk."""
        rehearsal = self.rehearsal
        if rehearsal is not None and rehearsal.running:
            rehearsal.end("the server was stopped")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if rehearsal is not None:
            await asyncio.to_thread(rehearsal_report.save, self._data_dir, self._reports())

    def is_canary(self, name: str) -> bool:
        """Whether a rehearsal serves its chain on this name now."""
        rehearsal = self.rehearsal
        return rehearsal is not None and rehearsal.running and rehearsal.report.name == name

    # --- rehearsal -------------------------------------------------------------------------------------------------

    async def start_rehearsal(
        self,
        cause: Cause,
        *,
        kinds: Sequence[ChainKind] = (),
        share: float = 0.0,
        stop_after: int,
        name: str | None = None,
        alone: bool = False,
    ) -> Report:
        """
        From now on some connections get the next chain.

        Args:
            kinds: Of chains; none: those that have a next one.
            share: The percentage of connections that are sampled.
            stop_after: How many clients may fail before it ends.
            name: The canary: whoever names it (SNI) gets the next chain always.
            alone: Without what older roots signed, as after their retirement.

        Raises:
            InvalidRequestError: One runs already, there is no next chain, or a value is out of its range.
        """
        if not 0 <= share <= 100 or (not share and name is None):
            raise InvalidRequestError("A rehearsal needs a share above 0 and up to 100 percent, or a name, or both")
        if not 1 <= stop_after <= MAX_STOP_AFTER:
            raise InvalidRequestError(f"stopAfter must be 1 to {MAX_STOP_AFTER}")
        name = None if name is None else name.lower().rstrip(".")
        if name is not None and (not _NAME.fullmatch(name) or self._is_endpoint(name)):
            raise InvalidRequestError(f"{name[:80]} cannot be the canary: a DNS name that is no endpoint is needed")
        async with self._changing:
            if self.rehearsal is not None and self.rehearsal.running:
                raise InvalidRequestError("A rehearsal runs already: stop it first")
            regions = sorted(each for each in self._sets.names() if ":" not in each)
            if not share:
                regions = [self._authority.region]
            with _as_requests():
                served, chains = await asyncio.to_thread(self._made, kinds, regions, name, alone)
            report = Report(
                rehearsal_id=self._entropy.uuid(),
                started=self._clock.now(),
                share=share,
                stop_after=stop_after,
                name=name,
                alone=alone,
                chains=chains,
            )
            facts = {"share": share, "stopAfter": stop_after, "name": name, "alone": alone}
            await self._note(report.rehearsal_id, {**facts, "roots": [each.root for each in chains]}, cause)
            for set_name, chain in served:
                self._sets.install(set_name, chain.kind, self._sent(chain, alone), chain.key_pem)
                await asyncio.sleep(0)  # with many regions there are many; nobody gets them yet
            if self.rehearsal is not None:
                self._earlier.append(self.rehearsal.report)
            self._ending = dataclasses.replace(cause, operation="EndRehearsal", actor="handfast:rehearsal", address="")
            self.rehearsal = Rehearsal(
                report,
                clock=self._clock,
                draw=self._draw,
                changed=self._changed,
                ended=self._over,
                count=self._count,
            )
            self._meter.gauge("handfast_rehearsal_running", 1)
            await asyncio.to_thread(rehearsal_report.save, self._data_dir, [*self._earlier, _copy(report)])
            return report

    async def stop_rehearsal(self, cause: Cause) -> Report:
        """No connection gets the next chain any more. ResourceNotFoundError: none runs."""
        async with self._changing:
            rehearsal = self.rehearsal
            if rehearsal is None or not rehearsal.running:
                raise ResourceNotFoundError("No rehearsal runs")
            self._ending = cause
            rehearsal.end("stopped")
            return rehearsal.report

    def describe(self) -> Report:
        """The rehearsal that runs, else the last one. ResourceNotFoundError: there was none."""
        reports = self._reports()
        if not reports:
            raise ResourceNotFoundError("There was no rehearsal yet")
        return reports[-1]

    # --- changes ---------------------------------------------------------------------------------------------------

    async def promote(self, cause: Cause, number: int, *, alone: bool) -> root_changes.Promotion:
        """
        New connections get a chain that hangs on the root. What is so already is not noted in the audit again.

        Raises:
            InvalidRequestError: No such root, no intermediate below it, or one that cannot sign leaves.
        """
        folder = self._authority.folder
        async with self._changing:
            with _as_requests():
                chosen = await asyncio.to_thread(root_changes.promotable, folder, number)
                await asyncio.to_thread(self._authority.check_intermediate, chosen)
                planned, _ = await asyncio.to_thread(root_changes.promotion, folder, number, alone=alone)
                if planned.changed:
                    # Noted first: a change that nobody can find in the audit is worse than a note of one that failed.
                    await self._note(f"root-ca-{number}", {"promoted": chosen.name, "alone": alone}, cause)
                done = await asyncio.to_thread(root_changes.promote, folder, number, alone=alone)
                if done.changed and self.rehearsal is not None and self.rehearsal.running:
                    self.rehearsal.end(f"{done.after} was promoted")
                await self._take_up()
            return done

    async def retire(self, cause: Cause, number: int, *, force: bool) -> tuple[bool, list[root_changes.Blocker]]:
        """
        Whether the root was retired, and what speaks, or spoke, against it.

        Raises:
            InvalidRequestError: No such root.
        """
        folder = self._authority.folder
        async with self._changing:
            with _as_requests():
                now = self._clock.now()
                reports = [_copy(each) for each in self._reports()]
                found = await asyncio.to_thread(root_changes.blockers, folder, number, reports, now=now)
                if not root_changes.may_retire(found, force=force):
                    return False, found
                after = {"retired": True, "force": force, "blockers": [each.code for each in found]}
                await self._note(f"root-ca-{number}", after, cause)
                await asyncio.to_thread(root_changes.retire, folder, number, self._authority.trust_dir)
                await self._take_up()
            return True, found

    async def take_up(self, cause: Cause) -> int:
        """What was installed in the PKI's folder is served from now on; how many chains changed."""
        async with self._changing:
            names = [spec.file for spec in await asyncio.to_thread(self._authority.folder.rooted)]
            await self._note("roots", {"roots": names}, cause)
            with _as_requests():
                return await self._take_up()

    async def _take_up(self) -> int:
        renewed = await asyncio.to_thread(self._authority.renew_due, self._clock.now())
        for chain in renewed:
            self._present(chain)
        return len(renewed)

    # --- parts -----------------------------------------------------------------------------------------------------

    def _made(
        self, kinds: Sequence[ChainKind], regions: Sequence[str], name: str | None, alone: bool
    ) -> tuple[list[tuple[str, ServerChain]], tuple[NextChain, ...]]:
        """In a thread: every chain that the rehearsal serves, by the name of its set, and what they are."""
        folder, authority = self._authority.folder, self._authority
        following: dict[ChainKind, Intermediate] = {}
        for kind in kinds or KINDS:
            staged = folder.staged(kind)
            if staged is not None:
                following[kind] = staged
            elif alone:
                following[kind] = folder.intermediate(kind)
            elif kinds:
                raise ConfigurationError(
                    f"No next {kind.upper()} intermediate waits: handfast roots add, or handfast roots request DIR "
                    f"--act next-{kind} --under N. To rehearse the present chain without older roots: --alone."
                )
        if not following:
            raise ConfigurationError("No next intermediate waits: handfast roots add --key …, or rehearse with --alone")
        names = [name] if name is not None else []
        served: list[tuple[str, ServerChain]] = []
        described: list[NextChain] = []
        for region in regions:
            for kind in KINDS:
                present = folder.intermediate(kind)
                bridged = folder.served(kind).bridged
                if kind in following:
                    chain = authority.unpublished(following[kind], region, bridged=not alone, more_names=names)
                elif names:
                    chain = authority.unpublished(present, region, bridged=bridged, more_names=names)
                else:
                    chain = authority.chain(kind, region)
                served.append((f"{NEXT}{region}", chain))
                if names and region == authority.region:
                    before = authority.unpublished(present, region, bridged=bridged, more_names=names)
                    served.append((f"{BEFORE}{region}", before))
                if kind in following and kind not in {each.kind for each in described}:
                    described.append(self._described(following[kind], chain, alone))
        return served, tuple(described)

    def _described(self, intermediate: Intermediate, chain: ServerChain, alone: bool) -> NextChain:
        folder = self._authority.folder
        root = next(
            spec.file
            for spec, cert in folder.rooted().items()
            if cert.subject == intermediate.certificate.issuer and spec.kind == intermediate.kind
        )
        signers = () if alone else tuple(each.signer for each in folder.way_back(root))
        sent = self._sent(chain, alone)
        size = sum(len(each) for each in re.findall(rb"^[A-Za-z0-9+/=]+$", sent, re.MULTILINE)) * 3 // 4
        return NextChain(
            kind=intermediate.kind, root=root, signers=signers, intermediate=intermediate.name, sent_bytes=size
        )

    def _sent(self, chain: ServerChain, alone: bool) -> bytes:
        return chain.presented(cross=self._serves_cross and not alone)

    def _draw(self) -> float:
        return int.from_bytes(self._entropy.token_bytes(4), "big") / 2**32

    def _count(self, outcome: str) -> None:
        self._meter.count("handfast_rehearsal_connections_total", labels={"outcome": outcome})

    def _over(self) -> None:
        """A rehearsal ended: its certificates are gone before the next ClientHello is read."""
        for name in self._sets.names():
            if name.startswith((NEXT, BEFORE)):
                self._sets.remove(name)
        assert self.rehearsal is not None
        self._meter.gauge("handfast_rehearsal_running", 0)
        self._spawn(self._note_end(self.rehearsal.report, self._ending))

    async def _note_end(self, report: Report, cause: Cause | None) -> None:
        if cause is not None:
            after = {"end": report.end, "failed": len(report.failures), "verified": len(report.good)}
            await self._note(report.rehearsal_id, after, dataclasses.replace(cause, at=self._clock.now()))

    async def _note(self, subject: str, after: Mapping[str, Any], cause: Cause) -> None:
        changes: list[Change] = await self._store.note_roots(subject, after, cause)
        await self._notify(changes)

    def _changed(self) -> None:
        self._dirty = True
        if not self._saving:
            self._saving = True
            self._spawn(self._save())

    async def _save(self) -> None:
        """Written at most once in `SAVE_EVERY_S`, however much is found."""
        try:
            while self._dirty:
                self._dirty = False
                await asyncio.to_thread(
                    rehearsal_report.save, self._data_dir, [_copy(each) for each in self._reports()]
                )
                await asyncio.sleep(SAVE_EVERY_S)
        finally:
            self._saving = False

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("what a rehearsal found could not be kept", exc_info=task.exception())

    def _reports(self) -> list[Report]:
        return [*self._earlier, *([self.rehearsal.report] if self.rehearsal is not None else [])]


class _as_requests:  # noqa: N801  reads as the words of a `with`
    """What a command would say and exit with is what the caller is told."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ConfigurationError):
            raise InvalidRequestError(str(error)) from error


def _copy(report: Report) -> Report:
    """For a thread: what the loop goes on adding to is not iterated there."""
    return dataclasses.replace(report, good=dict(report.good), failures=list(report.failures))
