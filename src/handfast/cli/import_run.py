"""The run of `cert import`: batches to the server, several under way, their answers taken in order."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from handfast.cli.connection import ServerAddress, calling
from handfast.cli.import_journal import Journal, Mark, Report, Totals
from handfast.cli.import_sources import SKIPPED, Item, Sources
from handfast.core.pki.ids import certificate_id
from handfast.core.pki.pem import encode_certificate
from handfast.printable import printable

BATCH_CERTIFICATES = 500
BATCH_BYTES = 2 * 1024 * 1024
"""Of DER; as PEM in JSON it stays below the 4 MB that the server reads."""
BATCH_ITEMS = 5000
"""Also with what is not sent: bounds what a crash repeats."""
UNDER_WAY = 3
ATTEMPTS = 8
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 20.0
_PASSING = frozenset({"ThrottlingException", "ServiceUnavailableException", "InternalFailureException"})

USABLE = ("ACTIVE", "INACTIVE")
ALREADY_DIFFERENT = "ResourceAlreadyExistsException"


class Progress(Protocol):
    """Shown while the import runs."""

    def update(self, totals: Totals, read_bytes: int) -> None: ...


class Send(Protocol):
    """Registers one batch; see `Sender`."""

    def __call__(self, certificates: list[bytes]) -> list[dict[str, Any]]: ...
    def stop(self) -> None: ...


class Registers(Protocol):
    """What registers a batch: the client of /handfast/v1."""

    def register_certificates(self, **members: Any) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How the certificates are to be registered. `status` None: INACTIVE; those that are there may be ACTIVE too."""

    status: str | None = None
    require_ca: bool = False


class Sender:
    """Registers one batch and tells the result of each certificate. Called from several threads."""

    def __init__(self, server: ServerAddress, api: Registers, wishes: Wishes) -> None:
        self._server = server
        self._api = api
        self._wishes = wishes
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Nothing is tried again."""
        self._stopped.set()

    def __call__(self, certificates: list[bytes]) -> list[dict[str, Any]]:
        """
        The results, in order.

        Registering is idempotent, so an answer that did not come is asked for
        again: `ATTEMPTS` times, with growing pauses.

        Raises:
            CallFailed: Refused, or no answer at the last attempt.
        """
        if not certificates:
            return []
        status = {} if self._wishes.status is None else {"status": self._wishes.status}
        entries = [{"certificatePem": encode_certificate(der), **status} for der in certificates]
        for attempt in range(1, ATTEMPTS + 1):
            with calling(self._server):
                try:
                    answer = self._api.register_certificates(certificates=entries, requireCa=self._wishes.require_ca)
                    return list(answer["results"])
                except Exception as error:
                    if attempt == ATTEMPTS or not _passes(error) or self._stopped.is_set():
                        raise
            delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (attempt - 1))
            self._stopped.wait(delay * random.uniform(0.5, 1.0))  # noqa: S311  spreads clients, guards nothing
        raise AssertionError("unreachable")


def _passes(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") in _PASSING
    return isinstance(error, BotoCoreError)


@dataclass(slots=True)
class _Batch:
    """Items in order; `sent` are those with a certificate to register. `mark` is how far they reach."""

    items: list[Item] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    size: int = 0
    count: int = 0
    digest: str = ""
    answer: Future[list[dict[str, Any]]] | None = None

    @property
    def full(self) -> bool:
        return len(self.sent) >= BATCH_CERTIFICATES or self.size >= BATCH_BYTES or len(self.items) >= BATCH_ITEMS


@dataclass(slots=True)
class Outcome:
    """What an import came to. `failures` are the report's first lines, for those who gave no `--report`."""

    totals: Totals
    failures: list[dict[str, str | None]] = field(default_factory=list)
    resumed_after: int = 0
    restarted: bool = False


class ImportRun:
    """One import from beginning to end, or from where an earlier one was stopped."""

    FAILURES_KEPT = 20

    def __init__(
        self,
        sources: Sources,
        send: Send,
        wishes: Wishes,
        *,
        journal: Journal,
        open_report: Callable[[int | None], Report | None],
        progress: Progress,
    ) -> None:
        """
        Args:
            open_report: The report, with the length to keep of an earlier one; None for none.
        """
        self._sources = sources
        self._send = send
        self._wishes = wishes
        self._journal = journal
        self._open_report = open_report
        self._progress = progress

    def __call__(self, *, resume: bool = False) -> Outcome:
        """
        Everything is registered or reported, and the journal is gone.

        Raises:
            CallFailed: The server refused or went away; what was acknowledged stands in the journal.
        """
        mark = self._journal.read() if resume else None
        digest = hashlib.sha256()
        items = iter(self._sources)
        outcome = Outcome(Totals())
        if mark is not None:
            if self._passed(items, mark, digest):
                outcome.totals = mark.totals
                outcome.resumed_after = mark.items
            else:  # the sources are not what they were
                outcome.restarted = True
                mark, digest, items = None, hashlib.sha256(), iter(self._sources)
        report = self._open_report(None if mark is None else mark.report_bytes)
        try:
            self._register(items, digest, outcome, report)
        finally:
            if report is not None:
                report.close()
        self._journal.remove()
        return outcome

    def _passed(self, items: Iterator[Item], mark: Mark, digest: Any) -> bool:
        """The items before the mark are read and found to be the same."""
        for _ in range(mark.items):
            item = next(items, None)
            if item is None:
                return False
            _hash(digest, item)
        return bool(digest.hexdigest() == mark.digest)

    def _register(self, items: Iterator[Item], digest: Any, outcome: Outcome, report: Report | None) -> None:
        under_way: deque[_Batch] = deque()
        pool = ThreadPoolExecutor(UNDER_WAY, thread_name_prefix="handfast-import")
        try:
            for batch in _batches(items, digest, outcome.totals.items):
                batch.answer = pool.submit(self._send, batch.sent)
                under_way.append(batch)
                if len(under_way) >= UNDER_WAY:
                    self._settle(under_way.popleft(), outcome, report)
            while under_way:
                self._settle(under_way.popleft(), outcome, report)
        finally:
            self._send.stop()
            pool.shutdown(cancel_futures=True)

    def _settle(self, batch: _Batch, outcome: Outcome, report: Report | None) -> None:
        """The batch is counted, reported and in the journal, in this order."""
        assert batch.answer is not None
        results = iter(batch.answer.result())
        for item in batch.items:
            row = self._judge(item, next(results) if _is_sent(item) else None, outcome.totals)
            if row is None:
                continue
            if report is not None:
                report.add(row)
            if row["outcome"] == "failed" and len(outcome.failures) < self.FAILURES_KEPT:
                outcome.failures.append(row)
        report_bytes = report.flush() if report is not None else 0
        totals = replace(outcome.totals)
        self._journal.write(Mark(items=batch.count, digest=batch.digest, totals=totals, report_bytes=report_bytes))
        self._progress.update(outcome.totals, batch.items[-1].read_bytes)

    def _judge(self, item: Item, result: dict[str, Any] | None, totals: Totals) -> dict[str, str | None] | None:
        """Count the item; a line for the report unless it is registered as wished."""
        if result is None:
            if item.code == SKIPPED:
                totals.skipped += 1
                return _row("skipped", item, item.code, item.message)
            totals.failed += 1
            return _row("failed", item, item.code, item.message)
        if result["outcome"] == "registered":
            totals.registered += 1
            return None
        if result["outcome"] == "exists":
            status = str(result.get("certificateStatus"))
            if status in ((self._wishes.status,) if self._wishes.status else USABLE):
                totals.existed += 1
                return None
            totals.failed += 1
            text = f"It is registered already with status {status}, which was left as it is."
            return _row("failed", item, ALREADY_DIFFERENT, text)
        totals.failed += 1
        return _row("failed", item, str(result.get("errorCode")), str(result.get("errorMessage")))


def _is_sent(item: Item) -> bool:
    return item.der is not None and not item.code


def _batches(items: Iterator[Item], digest: Any, count: int) -> Iterator[_Batch]:
    batch = _Batch()
    for item in items:
        _hash(digest, item)
        count += 1
        batch.items.append(item)
        if _is_sent(item):
            assert item.der is not None
            batch.sent.append(item.der)
            batch.size += len(item.der)
        if batch.full:
            batch.count, batch.digest = count, digest.hexdigest()
            yield batch
            batch = _Batch()
    if batch.items:
        batch.count, batch.digest = count, digest.hexdigest()
        yield batch


def _hash(digest: Any, item: Item) -> None:
    for part in (item.source, item.place, item.code, item.message):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(item.der or b"")


def _row(outcome: str, item: Item, code: str, message: str) -> dict[str, str | None]:
    return {
        "outcome": outcome,
        "source": printable(item.source),
        "place": item.place,
        "uniqueId": None if item.unique_id is None else printable(item.unique_id),
        "certificateId": None if item.der is None else certificate_id(item.der),
        "code": printable(code),
        "message": printable(message),
    }
