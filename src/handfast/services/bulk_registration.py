"""Many certificates registered by one call: the rules of the single operations, one transaction, a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CACertificateRecord, CertificateMode, CertificateRecord, CertificateStatus
from handfast.core.pki import keys
from handfast.core.pki.pem import ParsedCertificate
from handfast.core.pki.possession import name_digest
from handfast.errors import ResourceNotFoundError, ServiceError, StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Entropy, Store
from handfast.services.certificates import (
    chosen_signer,
    first_status,
    new_record,
    read,
    refuse_broken,
    registration_refusal,
)
from handfast.services.commit import Committer

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

    Registered: `status`, no error. Registered before: `status` is the present
    one, `existed` is true. Refused: `error` says why. `certificate_id` is None
    where the certificate cannot be read.
    """

    certificate_id: CertificateId | None
    status: CertificateStatus | None = None
    existed: bool = False
    error: ServiceError | None = None


@dataclass(slots=True)
class _Entry:
    """One certificate on its way: `error` is set by the first rule that it breaks."""

    wanted: Wanted
    parsed: ParsedCertificate | None = None
    status: CertificateStatus | None = None
    ca: CACertificateRecord | None = None
    error: ServiceError | None = None


class BulkRegistration:
    """The use case behind RegisterCertificates. One call's certificates are verified at a time, in a thread."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit
        # More threads would only contend with the event loop for the interpreter's lock.
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
        entries = [_Entry(item) for item in wanted]
        async with self._turn:
            await asyncio.to_thread(_verify_all, entries, cause)
            if require_ca or named is not None:
                candidates = await self._candidates(scope, entries, named)
                await asyncio.to_thread(_find_signers, entries, candidates, cause, named=named is not None)
            good = await asyncio.to_thread(self._records, scope, cause, entries)
        existed = await self._insert(scope, cause, entries, good)
        return [_outcome(entry, existed) for entry in entries]

    async def _candidates(
        self, scope: Scope, entries: Sequence[_Entry], named: CACertificateRecord | None
    ) -> dict[str, list[CACertificateRecord]]:
        """The CAs that may have signed, by the issuer's name."""
        issuers = {name_digest(e.parsed.cert.issuer) for e in entries if e.parsed is not None and e.error is None}
        if named is not None:
            return {issuer: [named] for issuer in issuers}
        return {issuer: await self._store.ca_certificates_of_subject(scope, issuer) for issuer in sorted(issuers)}

    async def _insert(
        self, scope: Scope, cause: Cause, entries: Sequence[_Entry], good: Sequence[tuple[_Entry, CertificateRecord]]
    ) -> dict[CertificateId, CertificateStatus]:
        """The good ones are registered; what is returned is the status of those that had been before."""
        results: list[Change | StoreConflict] = []

        async def write() -> list[Change]:
            records = [record for _, record in good]
            under_ca = any(record.ca_certificate_id is not None for record in records)
            results.extend(await self._store.insert_certificates(records, cause, require_ca=under_ca))
            return [result for result in results if isinstance(result, Change)]

        if good:
            suspects = [Change(ChangeKind.CERTIFICATE, scope, record.certificate_id) for _, record in good]
            await self._commit(write(), suspects=suspects)
        for (entry, record), result in zip(good, results, strict=True):
            if isinstance(result, StoreConflict):
                entry.error = registration_refusal(record, result)
                if entry.error is None:
                    raise result
        # That it is there already comes before everything else that is wrong with it, as in the single operations.
        doubtful = [e.parsed.certificate_id for e in entries if e.error is not None and e.parsed is not None]
        return await self._store.certificate_statuses(scope, doubtful) if doubtful else {}

    def _records(self, scope: Scope, cause: Cause, entries: Sequence[_Entry]) -> list[tuple[_Entry, CertificateRecord]]:
        """What is to be stored of the entries that break no rule."""
        good = []
        for entry in entries:
            if entry.error is not None:
                continue
            assert entry.parsed is not None
            assert entry.status is not None
            ca = entry.ca
            record = new_record(
                scope,
                cause,
                entry.parsed,
                entry.status,
                CertificateMode.SNI_ONLY if ca is None else ca.mode,
                generation_id=self._entropy.uuid(),
                ca_certificate_id=None if ca is None else ca.certificate_id,
            )
            good.append((entry, record))
        return good


def _verify_all(entries: Sequence[_Entry], cause: Cause) -> None:
    for entry in entries:
        try:
            entry.parsed = read(entry.wanted.pem, "certificate")
            entry.status = first_status(entry.parsed.certificate_id, entry.wanted.status)
            refuse_broken(keys.refusals(entry.parsed.cert, now=cause.at))
        except ServiceError as error:
            entry.error = error


def _find_signers(
    entries: Sequence[_Entry], candidates: dict[str, list[CACertificateRecord]], cause: Cause, *, named: bool
) -> None:
    for entry in entries:
        if entry.parsed is None or entry.error is not None:
            continue
        try:
            of_name = candidates[name_digest(entry.parsed.cert.issuer)]
            entry.ca = chosen_signer(entry.parsed, of_name, cause.at, named=named)
        except ServiceError as error:
            entry.error = error


def _outcome(entry: _Entry, existed: dict[CertificateId, CertificateStatus]) -> Outcome:
    certificate_id = None if entry.parsed is None else entry.parsed.certificate_id
    if entry.error is None:
        return Outcome(certificate_id, entry.status)
    if certificate_id is not None and certificate_id in existed:
        return Outcome(certificate_id, existed[certificate_id], existed=True)
    return Outcome(certificate_id, error=entry.error)
