"""
Which registered CA vouches for a certificate that nobody registered.

Only the keys of CAs that are registered in the very scope, ACTIVE and auto-registering, count; nothing of what
a peer sends along with its certificate is looked at.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import AutoRegistrationStatus, CACertificateRecord, CACertificateStatus
from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.core.pki import keys
from handfast.core.pki.chain import link_refusals, signed_by
from handfast.core.pki.keys import BrokenRule, validity_refusals
from handfast.core.pki.pem import ParsedCertificate, read_certificate_der
from handfast.core.pki.possession import name_digest
from handfast.errors import CertificateInputError
from handfast.ports import Change, ChangeKind, Clock, Store
from handfast.seam import TLSFacts
from handfast.services.certificate_rules import rule_reason

log = logging.getLogger(__name__)

MAX_CANDIDATES = 16
"""CAs of one name in one scope whose key is tried for one certificate; the registry takes ten of a subject."""
MAX_ANSWERS = 20_000
MAX_READ = 1_024
"""Certificates that were read at the handshake and are read again, if at all, a moment later."""
_NOT_SIGNED = {"chain_name", "chain_signature"}


@dataclass(frozen=True, slots=True, eq=False)
class _CA:
    """A registered CA that takes in what it signed."""

    record: CACertificateRecord
    cert: x509.Certificate


class _Signer(NamedTuple):
    """A CA whose key made the signature, and every rule but validity that the link to it breaks."""

    ca: _CA
    broken: tuple[BrokenRule, ...]


class _Answer(NamedTuple):
    """What time does not change: who signed the certificate, how many bear the issuer's name, which rules it breaks."""

    signers: tuple[_Signer, ...]
    namesakes: int
    broken: tuple[BrokenRule, ...]
    not_before: dt.datetime
    not_after: dt.datetime


class Vouching:
    """
    The auto-registering CAs of all scopes, in memory.

    Belongs to one event loop. `load` before use; `changed` after each commit.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._cas: dict[tuple[Scope, CertificateId], _CA] = {}
        self._by_subject: dict[tuple[Scope, str], dict[CertificateId, _CA]] = {}
        self._answers: dict[tuple[Scope, CertificateId], _Answer] = {}
        self._turns: dict[Scope, asyncio.Lock] = {}  # of scopes that have such a CA
        self._read: dict[CertificateId, ParsedCertificate] = {}
        self._generation = 0
        self._reloads = 0
        self._tickets = itertools.count(1)
        self._reading: dict[tuple[Scope, CertificateId], int] = {}

    async def load(self) -> None:
        """What the store holds now is what vouches."""
        while True:
            before = self._reloads
            records = await self._store.auto_registering_cas()
            if before == self._reloads:
                break  # else one of them changed meanwhile
        self._clear()
        for record in records:
            self._add(record)

    async def changed(self, changes: Sequence[Change]) -> None:
        """Obeys `changes` when it returns. Never raises: a CA that cannot be read vouches for nobody."""
        concerned = [change for change in changes if change.kind is ChangeKind.CA_CERTIFICATE]
        if not concerned:
            return
        try:
            if any(change.scope is None for change in concerned):
                await self.load()
                return
            for change in concerned:
                assert change.scope is not None
                await self._reload(change.scope, CertificateId(change.subject))
        except Exception as error:
            log.error("a registered CA cannot be read; it registers no devices: %s", error)

    def ca(self, scope: Scope, ca_certificate_id: CertificateId) -> CACertificateRecord | None:
        """The CA if it registers what it signed."""
        found = self._cas.get((scope, ca_certificate_id))
        return None if found is None else found.record

    async def vouch(self, scope: Scope, facts: TLSFacts) -> CACertificateRecord | tuple[Reason, ...]:
        """
        The one CA that vouches for the certificate now; else why none does, () when none bears its issuer's name.

        The handshake proved possession of the key; `facts.certificate_id` is that of the certificate.
        """
        answer = self._answers.get((scope, facts.certificate_id))
        if answer is None:
            generation = self._generation  # what is chosen now is worth remembering until the next change
            candidates = list(self._candidates(scope, facts.certificate_der).values())
            if not candidates:
                return ()  # cheap, and the peer's certificate leaves nothing behind here
            # One of a scope in a turn of the loop: the devices of a fleet that come at once keep those that are
            # connected waiting for one signature, not for all.
            async with self._turns.setdefault(scope, asyncio.Lock()):
                try:
                    answer = await self._judged(scope, facts, candidates, generation)
                except CertificateInputError as error:
                    return (Reason(ReasonCode.CERTIFICATE_KEY_REFUSED, f"it cannot be read strictly: {error}"),)
        return self._decide(answer)

    async def _judged(self, scope: Scope, facts: TLSFacts, candidates: Sequence[_CA], generation: int) -> _Answer:
        """Verifies signatures, of one CA in a turn of the loop, and remembers what came of it."""
        key = (scope, facts.certificate_id)
        answer = self._answers.get(key)
        if answer is not None:
            return answer
        await asyncio.sleep(0)  # whoever came in the same turn waits behind this one
        answer = await _judge(self.read(facts), candidates)
        if generation == self._generation:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[key] = answer
        return answer

    def _candidates(self, scope: Scope, der: bytes) -> dict[CertificateId, _CA]:
        """The CAs that bear the name of its issuer."""
        try:
            issuer = x509.load_der_x509_certificate(der).issuer
            return self._by_subject.get((scope, name_digest(issuer)), {}) if self._by_subject else {}
        except Exception:  # whatever the parser finds wrong with a peer's certificate: nobody signed it
            return {}

    def read(self, facts: TLSFacts) -> ParsedCertificate:
        """The certificate, read strictly; CertificateInputError where it cannot be."""
        parsed = self._read.pop(facts.certificate_id, None)
        if parsed is None:
            parsed = read_certificate_der(facts.certificate_der)
            if len(self._read) >= MAX_READ:
                self._read.pop(next(iter(self._read)))
            self._read[facts.certificate_id] = parsed
        return parsed

    async def why_not(self, scope: Scope, der: bytes) -> tuple[Reason, ...]:
        """For the record: a CA registered in the scope signed it, and takes nothing in. Reads the store."""
        try:
            leaf = x509.load_der_x509_certificate(der)
            found = await self._store.ca_certificates_of_subject(scope, name_digest(leaf.issuer))
        except Exception:
            return ()
        reasons = []
        for record in found[:MAX_CANDIDATES]:
            if self._cas.get((scope, record.certificate_id)) is None and signed_by(leaf, _parsed(record)):
                missing = [
                    text
                    for text, wanting in (
                        ("its status is INACTIVE", record.status is not CACertificateStatus.ACTIVE),
                        (
                            "its autoRegistrationStatus is DISABLE",
                            record.auto_registration_status is not AutoRegistrationStatus.ENABLE,
                        ),
                    )
                    if wanting
                ]
                text = f"CA certificate {record.certificate_id} signed it: " + (" and ".join(missing) or "it changes")
                reasons.append(Reason(ReasonCode.CA_DOES_NOT_REGISTER, text, record.certificate_id))
        return tuple(reasons)

    def _decide(self, answer: _Answer) -> CACertificateRecord | tuple[Reason, ...]:
        now = self._clock.now()
        if not answer.signers:
            text = (
                f"{answer.namesakes} registered CA certificates bear the name of its issuer, and the key of none made "
                "the signature"
            )
            return (Reason(ReasonCode.CA_DOES_NOT_VOUCH, text),)
        reasons = [rule_reason(*rule) for rule in (*answer.broken, *_leaf_validity(answer, now))]
        refused: list[Reason] = []
        good: list[CACertificateRecord] = []
        for signer in answer.signers:
            broken = (*signer.broken, *validity_refusals(signer.ca.cert, now))
            if broken:
                texts = " ".join(rule.message for rule in broken)
                about = f"CA certificate {signer.ca.record.certificate_id}: {texts}"
                refused.append(Reason(ReasonCode.CA_DOES_NOT_VOUCH, about))
            else:
                good.append(signer.ca.record)
        if len(good) > 1:
            ids = ", ".join(sorted(ca.certificate_id for ca in good))
            text = f"several registered CA certificates have its issuer's name and key: {ids}"
            reasons.append(Reason(ReasonCode.CA_DOES_NOT_VOUCH, text))
        if not good:
            reasons.extend(refused)
        return tuple(reasons) or good[0]

    # --- what is kept -----------------------------------------------------------------------------------------

    async def _reload(self, scope: Scope, ca_certificate_id: CertificateId) -> None:
        key = (scope, ca_certificate_id)
        # Gone before it is read: whatever becomes of the read, it vouches for nobody meanwhile.
        self._remove(key)
        self._reloads += 1
        ticket = self._reading[key] = next(self._tickets)
        try:
            record = await self._store.ca_certificate(scope, ca_certificate_id)
        finally:
            latest = self._reading.get(key) == ticket
            if latest:
                del self._reading[key]
        if latest and record is not None:
            self._add(record)

    def _add(self, record: CACertificateRecord) -> None:
        if (
            record.status is not CACertificateStatus.ACTIVE
            or record.auto_registration_status is not AutoRegistrationStatus.ENABLE
        ):
            return
        try:
            ca = _CA(record, _parsed(record))
        except ValueError as error:
            log.error("CA certificate %s cannot be read and registers no devices: %s", record.certificate_id, error)
            return
        self._cas[record.scope, record.certificate_id] = ca
        self._by_subject.setdefault((record.scope, record.subject), {})[record.certificate_id] = ca
        self._forget_answers()

    def _remove(self, key: tuple[Scope, CertificateId]) -> None:
        ca = self._cas.pop(key, None)
        if ca is None:
            return
        place = (key[0], ca.record.subject)
        namesakes = self._by_subject[place]
        del namesakes[key[1]]
        if not namesakes:
            del self._by_subject[place]
        self._forget_answers()

    def _clear(self) -> None:
        self._cas, self._by_subject = {}, {}
        self._reading.clear()  # what is being read is older than what is about to be known
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._generation += 1
        self._answers.clear()


async def _judge(parsed: ParsedCertificate, candidates: Sequence[_CA]) -> _Answer:
    """Who signed it, and what is wrong with it."""
    leaf = parsed.cert
    signers: list[_Signer] = []
    for ca in candidates[:MAX_CANDIDATES]:
        broken_link = link_refusals(leaf, ca.cert)
        if not _NOT_SIGNED & {rule.rule for rule in broken_link}:
            signers.append(_Signer(ca, broken_link))
        if len(candidates) > 1:
            await asyncio.sleep(0)
    broken = (*keys.refusals(leaf), *_device_refusals(leaf)) if signers else ()
    return _Answer(tuple(signers), len(candidates), broken, parsed.not_before, parsed.not_after)


def _device_refusals(leaf: x509.Certificate) -> Iterable[BrokenRule]:
    """What no one looked at before registering it: whether its issuer meant it for a device that authenticates."""
    extensions = leaf.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            yield BrokenRule("extension_ca", "It is the certificate of a CA (CA:TRUE), not of a device.")
    except x509.ExtensionNotFound:
        pass
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
            yield BrokenRule("extension_key_usage", "Its keyUsage does not allow digitalSignature.")
    except x509.ExtensionNotFound:
        pass
    try:
        purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    if not purposes & {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}:
        yield BrokenRule("extension_purpose", "Its extendedKeyUsage names other purposes and not clientAuth.")


def _leaf_validity(answer: _Answer, now: dt.datetime) -> Iterable[BrokenRule]:
    if now < answer.not_before:
        yield BrokenRule("validity_not_yet", f"It is not valid before {answer.not_before:%Y-%m-%dT%H:%M:%SZ}.")
    if now.replace(microsecond=0) > answer.not_after or answer.not_after < answer.not_before:
        yield BrokenRule("validity_expired", f"It expired at {answer.not_after:%Y-%m-%dT%H:%M:%SZ}.")


def _parsed(record: CACertificateRecord) -> x509.Certificate:
    return x509.load_pem_x509_certificate(record.pem.encode())
