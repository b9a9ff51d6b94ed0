"""Many certificates registered by one call: the rules of the single operations, one transaction, a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateMode, CertificateRecord, CertificateStatus
from handfast.errors import ResourceNotFoundError, ServiceError, StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Entropy, Store
from handfast.services.certificates import first_status, new_record, registration_refusal
from handfast.services.commit import Committer
from handfast.services.judging import Ask, Fault, Judged, in_thread, judged, signed_by

MAX_CERTIFICATES = 500
"""In one call: bounds the transaction, which others wait for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One certificate to be registered: its PEM, and the status to begin with (None: INACTIVE)."""

    pem: str = field(repr=False)
    status: CertificateStatus | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one certificate.

    Registered: `status`, no fault. Registered before: `status` is the present
    one, `existed` is true. Refused: `fault` says why. `certificate_id` is None
    where the certificate cannot be read.
    """

    certificate_id: CertificateId | None
    status: CertificateStatus | None = None
    existed: bool = False
    fault: Fault | None = None


@dataclass(slots=True)
class _Entry:
    """One certificate on its way: `fault` is the first rule that it breaks."""

    judged: Judged
    fault: Fault | None
    status: CertificateStatus = CertificateStatus.INACTIVE
    ca: CACertificateRecord | None = None


class BulkRegistration:
    """The use case behind RegisterCertificates. One call's certificates are verified at a time."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer, ask: Ask = in_thread) -> None:
        """
        Args:
            ask: Who verifies the certificates.
        """
        self._store = store
        self._entropy = entropy
        self._commit = commit
        self._ask = ask
        self._turn = asyncio.Semaphore(1)

    async def register(
        self,
        scope: Scope,
        cause: Cause,
        wanted: Sequence[Wanted],
        *,
        require_ca: bool = False,
        ca_certificate_id: CertificateId | None = None,
    ) -> list[Outcome]:
        """
        An outcome for each certificate, in order. Those that are registered are so together, in one transaction.

        Args:
            require_ca: Each is registered under the CA that signed it, as
                RegisterCertificate does; else in SNI_ONLY mode, as
                RegisterCertificateWithoutCA does.
            ca_certificate_id: The CA that signed all of them; implies `require_ca`.

        Raises:
            ResourceNotFoundError: No CA of that id is registered here.
        """
        named: CACertificateRecord | None = None
        if ca_certificate_id is not None:
            named = await self._store.ca_certificate(scope, ca_certificate_id)
            if named is None:
                raise ResourceNotFoundError(
                    f"CA certificate {ca_certificate_id} is not registered in this account and region"
                )
        async with self._turn:
            found = await judged(self._ask, [item.pem for item in wanted], cause.at)
            entries = [_entry(item, result) for item, result in zip(wanted, found, strict=True)]
            if require_ca or named is not None:
                await self._find_signers(scope, cause, [entry for entry in entries if entry.fault is None], named)
        good = [entry for entry in entries if entry.fault is None]
        records = await asyncio.to_thread(self._records, scope, cause, good)
        existed = await self._insert(scope, cause, entries, good, records)
        return [_outcome(entry, existed) for entry in entries]

    async def _find_signers(
        self, scope: Scope, cause: Cause, entries: Sequence[_Entry], named: CACertificateRecord | None
    ) -> None:
        """Each entry has the CA that signed it, or a fault."""
        issuers = sorted({entry.judged.issuer for entry in entries})
        of_name = {
            issuer: [named] if named is not None else await self._store.ca_certificates_of_subject(scope, issuer)
            for issuer in issuers
        }
        leaves = [entry.judged for entry in entries]
        candidates = [of_name[leaf.issuer] for leaf in leaves]
        answers = await signed_by(self._ask, leaves, candidates, cause.at, named=named is not None)
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Fault):
                entry.fault = answer
            else:
                entry.ca = answer

    def _records(self, scope: Scope, cause: Cause, entries: Sequence[_Entry]) -> list[CertificateRecord]:
        """What is to be stored of the entries, which break no rule."""
        return [
            new_record(
                scope,
                cause,
                entry.judged,
                entry.status,
                CertificateMode.SNI_ONLY if entry.ca is None else entry.ca.mode,
                generation_id=self._entropy.uuid(),
                ca_certificate_id=None if entry.ca is None else entry.ca.certificate_id,
            )
            for entry in entries
        ]

    async def _insert(
        self,
        scope: Scope,
        cause: Cause,
        entries: Sequence[_Entry],
        good: Sequence[_Entry],
        records: Sequence[CertificateRecord],
    ) -> dict[CertificateId, CertificateStatus]:
        """The good ones are registered; what is returned is the status of those that had been before."""
        results: list[Change | StoreConflict] = []

        async def write() -> list[Change]:
            under_ca = any(record.ca_certificate_id is not None for record in records)
            results.extend(await self._store.insert_certificates(records, cause, require_ca=under_ca))
            return [result for result in results if isinstance(result, Change)]

        if records:
            suspects = [Change(ChangeKind.CERTIFICATE, scope, record.certificate_id) for record in records]
            await self._commit(write(), suspects=suspects)
        for entry, record, result in zip(good, records, results, strict=True):
            if isinstance(result, StoreConflict):
                refused = registration_refusal(record, result)
                if refused is None:
                    raise result
                entry.fault = Fault.of(refused)
        # That it is there already comes before everything else that is wrong with it, as in the single operations.
        doubtful = [e.judged.certificate_id for e in entries if e.fault is not None and e.judged.certificate_id]
        return await self._store.certificate_statuses(scope, doubtful) if doubtful else {}


def _entry(wanted: Wanted, result: Judged) -> _Entry:
    if result.fault is not None:
        return _Entry(result, result.fault)
    try:
        return _Entry(result, None, first_status(result.certificate_id, wanted.status))
    except ServiceError as error:
        return _Entry(result, Fault.of(error))


def _outcome(entry: _Entry, existed: dict[CertificateId, CertificateStatus]) -> Outcome:
    certificate_id = entry.judged.certificate_id or None
    if entry.fault is None:
        return Outcome(certificate_id, entry.status)
    if certificate_id is not None and certificate_id in existed:
        return Outcome(certificate_id, existed[certificate_id], existed=True)
    return Outcome(certificate_id, fault=entry.fault)
