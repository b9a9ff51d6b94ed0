"""
The lists of revocations that are published: one for each issuing CA whose key is here.

A list is on disk before anybody can fetch it, and its number is the seconds since 1970 or one more than the last, which
is read back from the file: neither a crash nor a backup that is restored lets it go back. The list of the device
issuing CA is made of the registry's revocations, each of which is read, verified and encoded once. Reading and signing
are done in threads; no request waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from handfast.core.pki.chain import signed_by
from handfast.core.pki.reasons import REASONS
from handfast.core.pki.revocation_list import encode_entry, entries_of, sign_list
from handfast.datadir import write_atomically
from handfast.ports import Change, ChangeKind, Clock, Meter
from handfast.ports.revocations import RevocationRecord, RevocationStore
from handfast.services.pki_folder import DEVICE_CA, ListIssuer, PkiFolder

log = logging.getLogger(__name__)

LIFETIME: Final = dt.timedelta(days=7)
REFRESH: Final = dt.timedelta(days=1)
BACKDATE: Final = dt.timedelta(hours=1)
"""Devices' clocks run late."""
PACE_S: Final = 10.0
"""At least so long between two lists that revocations cause; the first after a quiet time comes at once."""
PAUSE: Final = 0.1
"""What part of that is between two looks at the registry that find nothing."""
LOOK_S: Final = 3600.0
PAGE: Final = 200


@dataclass(slots=True)
class _List:
    """A published list and what the next one is made of."""

    der: bytes
    number: int
    this_update: dt.datetime
    entries: bytearray
    serials: set[int]
    through: int
    """The last of the registry's revocations that was looked at for `entries`."""
    signed: int = -1
    """How much of `entries` is in `der`."""


class RevocationLists:
    """
    Keeps every list fresh. Belongs to one event loop: `start` once, `changed` after each commit, `close` at the end.

    `get` is synchronous and cheap.
    """

    def __init__(
        self,
        store: RevocationStore,
        folder: PkiFolder,
        issuers: Callable[[], Sequence[ListIssuer]],
        clock: Clock,
        meter: Meter,
    ) -> None:
        """
        Args:
            issuers: Blocking; asked every hour, since intermediates come and go.
        """
        self._store = store
        self._folder = folder
        self._issuers = issuers
        self._clock = clock
        self._meter = meter
        self._lists: dict[str, _List] = {}
        self._device: ListIssuer | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def get(self, name: str) -> bytes | None:
        """DER of the list of this name (`device-ca-1`, `rsa-1`); None where there is none."""
        found = self._lists.get(name)
        return None if found is None else found.der

    async def start(self) -> None:
        """
        Every list is there and fresh, and stays so until `close`.

        Raises:
            ConfigurationError: An issuer's certificate or key cannot be read.
        """
        await self._look()
        self._task = asyncio.create_task(self._run(), name="revocation lists")

    def changed(self, changes: Sequence[Change]) -> None:
        """A revocation among the changes is in the list within `PACE_S`."""
        if any(change.kind is ChangeKind.CERTIFICATE for change in changes):
            self._wake.set()

    async def close(self) -> None:
        """No list is made any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- making them

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()
            made = False
            try:
                if loop.time() - looked >= LOOK_S:
                    looked = loop.time()
                    await self._look()
                elif (issuer := self._device) is not None:
                    made = await self._renew(issuer)
            except Exception:
                log.exception("a list of revocations could not be made; trying again")
                self._wake.set()
                made = True
            if made:
                await asyncio.sleep(PACE_S)
            else:
                # Registrations wake it too, by the thousand: one look at the registry does for many of them.
                await asyncio.sleep(PACE_S * PAUSE)

    async def _look(self) -> None:
        for issuer in await asyncio.to_thread(self._issuers):
            if issuer.name == DEVICE_CA:
                self._device = issuer
            await self._renew(issuer)

    async def _renew(self, issuer: ListIssuer) -> bool:
        """A new list where the last one is a day old or lacks a revocation; whether there was one."""
        found = self._lists.get(issuer.name)
        if found is None:
            found = await asyncio.to_thread(self._stored, issuer)
            if found.der:
                self._lists[issuer.name] = found
            if not await self._knows(found.through):
                found.through = 0
        if issuer.name == DEVICE_CA:
            await self._take_in(found, issuer)
        now = self._clock.now()
        if len(found.entries) == found.signed and found.this_update <= now < found.this_update + REFRESH:
            return False
        await asyncio.to_thread(self._sign, found, issuer, now)
        self._lists[issuer.name] = found
        self._meter.gauge("handfast_crl_entries", len(found.serials), {"issuer": issuer.name})
        self._meter.gauge(
            "handfast_crl_next_update_seconds", int((now + LIFETIME).timestamp()), {"issuer": issuer.name}
        )
        log.info("list of revocations %s number %d: %d certificates", issuer.name, found.number, len(found.serials))
        return True

    async def _knows(self, sequence: int) -> bool:
        """Whether the registry still has this revocation: one from an older backup has not."""
        return sequence == 0 or any(
            record.sequence == sequence for record in await self._store.revocations_after(sequence - 1, 1)
        )

    async def _take_in(self, found: _List, issuer: ListIssuer) -> None:
        while records := await self._store.revocations_after(found.through, PAGE):
            await asyncio.to_thread(_encode, found, issuer.certificate, records)
            found.through = records[-1].sequence

    def _sign(self, found: _List, issuer: ListIssuer, now: dt.datetime) -> None:
        number = max(found.number + 1, int(now.timestamp()))
        begin = now - BACKDATE
        der = sign_list(
            bytes(found.entries),
            issuer=issuer.certificate,
            key=issuer.key,
            number=number,
            this_update=begin,
            next_update=now + LIFETIME,
        )
        self._folder.write_list(issuer.name, der)
        sidecar = {"sha256": hashlib.sha256(der).hexdigest(), "through": found.through}
        write_atomically(self._sidecar(issuer.name), json.dumps(sidecar).encode() + b"\n")
        found.der, found.number, found.this_update, found.signed = der, number, now, len(found.entries)

    def _stored(self, issuer: ListIssuer) -> _List:
        """The list on disk, where it is this issuer's; an empty one otherwise, whose number it still counts from."""
        empty = _List(b"", 0, dt.datetime.min.replace(tzinfo=dt.UTC), bytearray(), set(), 0)
        der = self._folder.list_of(issuer.name)
        if der is None:
            return empty
        try:
            crl = x509.load_der_x509_crl(der)
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            if not crl.is_signature_valid(issuer.certificate.public_key()):  # type: ignore[arg-type]
                raise ValueError("not signed by the issuer")
            this_update = crl.last_update_utc + BACKDATE
            if issuer.name != DEVICE_CA:
                return _List(der, number, this_update, bytearray(), set(), 0, 0)
            through = self._through(issuer.name, der)
            if through is None:  # killed between the two files: the registry tells all of it again
                return _List(b"", number, this_update, bytearray(), set(), 0)
            serials = {entry.serial_number for entry in crl}
            entries = bytearray(entries_of(der))
            return _List(der, number, this_update, entries, serials, through, len(entries))
        except Exception as error:  # the library raises what it likes; a new list takes its place
            log.warning("the list of revocations %s on disk cannot be used: %s", issuer.name, error)
            return empty

    def _through(self, name: str, der: bytes) -> int | None:
        try:
            sidecar: Any = json.loads(self._sidecar(name).read_bytes())
            if sidecar["sha256"] == hashlib.sha256(der).hexdigest() and isinstance(sidecar["through"], int):
                return int(sidecar["through"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _sidecar(self, name: str) -> Any:
        return self._folder.path / "crl" / f"{name}.json"


def _encode(found: _List, issuer: x509.Certificate, records: Sequence[RevocationRecord]) -> None:
    for record in records:
        try:
            cert = x509.load_pem_x509_certificate(record.pem.encode())
            if cert.serial_number in found.serials or not signed_by(cert, issuer):
                continue  # another CA's: of an operator's certificate provider, for instance
            reason = record.reason if record.reason in REASONS else "unspecified"
            found.entries += encode_entry(cert.serial_number, record.revoked_at, reason)
            found.serials.add(cert.serial_number)
        except ValueError as error:
            log.warning("revocation %d cannot be read: %s", record.sequence, error)
