"""
The checks on a whole fleet's certificates: one certificate at a time, then what needs all of them.

Pure: certificates, lists and observations go in, findings come out. Certificates count while they are ACTIVE or
PENDING_TRANSFER, CAs while they are ACTIVE, as in AWS's audit.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.identity.checks import (
    MAX_RELATED,
    ON_LISTS,
    CheckName,
    Finding,
    FindingCode,
    Resource,
    ResourceType,
    finding,
)
from handfast.core.identity.observations import LOOK_BACK, Observation, Sighting
from handfast.core.identity.records import CACertificateStatus, CertificateStatus
from handfast.core.pki import weak_keys
from handfast.core.pki.batch_gcd import Progress, common_factors, partners
from handfast.core.pki.chain import signed_by
from handfast.core.pki.crl import RevocationFile, RevocationList, genuine_issuers, may_have_signed, verified_list
from handfast.core.pki.keys import key_kind
from handfast.core.pki.weak_keys import Weakness

DEFAULT_EXPIRING_WITHIN = dt.timedelta(days=30)
MIN_AGE_DAYS, MAX_AGE_DAYS = 30, 3652
MAX_CHAIN = 8

_COUNTED = frozenset({CertificateStatus.ACTIVE, CertificateStatus.PENDING_TRANSFER})
_WEAKNESS = {
    Weakness.ROCA: FindingCode.ROCA,
    Weakness.DEBIAN: FindingCode.DEBIAN,
    Weakness.SMALL_FACTOR: FindingCode.SMALL_FACTOR,
    Weakness.CLOSE_PRIMES: FindingCode.CLOSE_PRIMES,
    Weakness.EXPONENT: FindingCode.EXPONENT,
}


class FleetCertificate(NamedTuple):
    """A registered certificate as the checks see it; of a CA `is_ca` is True."""

    certificate_id: str
    cert: x509.Certificate
    status: str
    creation_date: dt.datetime
    is_ca: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """
    What is to be checked, and with what.

    Attributes:
        age: None: DEVICE_CERTIFICATE_AGE_CHECK does not run.
        debian: Entries of `weak_keys.read_debian_blocklist`; empty: Debian's keys are not looked for.
    """

    now: dt.datetime
    checks: frozenset[CheckName] = frozenset(CheckName)
    expiring_within: dt.timedelta = DEFAULT_EXPIRING_WITHIN
    age: dt.timedelta | None = None
    debian: frozenset[bytes] = frozenset()
    files: Sequence[RevocationFile] = ()
    observations: Sequence[Observation] = ()


@dataclass(slots=True)
class Tally:
    """What was looked at."""

    certificates: int = 0
    ca_certificates: int = 0
    not_counted: int = 0
    """Registered, but neither ACTIVE nor PENDING_TRANSFER: no check applies."""
    unreadable: int = 0
    moduli: int = 0
    lists: int = 0
    warnings: list[str] = field(default_factory=list)
    by_check: Counter[CheckName] = field(default_factory=Counter)
    ran: list[CheckName] = field(default_factory=list)


class FleetCheck:
    """One run: `add_ca` for every CA, then `begin`, `add` for every certificate, then `finish`."""

    def __init__(self, request: CheckRequest, report: Callable[[Finding], None]) -> None:
        self._request = request
        self._report = report
        self.tally = Tally()
        self._cas: list[FleetCertificate] = []
        self._cas_by_name: dict[x509.Name, list[FleetCertificate]] = {}
        self._revoked_cas: dict[str, str] = {}
        self._lists_by_name: dict[x509.Name, list[RevocationList]] = {}
        self._shared = {
            seen.subject: seen
            for seen in request.observations
            if seen.sighting is Sighting.SHARED_CERTIFICATE and request.now - seen.last_seen <= LOOK_BACK
        }
        # For a million keys: digests and numbers only, no objects.
        self._holders: dict[bytes, str | list[str]] = {}
        self._moduli: dict[int, str] = {}
        self._ca_ids: set[str] = set()

    def runs(self, check: CheckName) -> bool:
        """Whether the check was asked for and has what it needs."""
        if check not in self._request.checks:
            return False
        if check is CheckName.DEVICE_CERTIFICATE_AGE:
            return self._request.age is not None
        return check not in ON_LISTS or self.tally.lists > 0

    def add_ca(self, ca: FleetCertificate) -> None:
        """A registered CA, whatever its status: it may have to verify a list."""
        self._cas.append(ca)
        self._cas_by_name.setdefault(ca.cert.subject, []).append(ca)

    def begin(self) -> None:
        """Every CA is there: the lists are verified and the CAs checked."""
        self._verify_lists()
        self.tally.ran = [check for check in CheckName if self.runs(check)]
        for ca in self._cas:
            self._find_revoked(ca)
        for ca in self._cas:
            if ca.status == CACertificateStatus.ACTIVE:
                self.tally.ca_certificates += 1
                self._check_ca(ca)
            else:
                self.tally.not_counted += 1
        self._check_client_ids()

    def add(self, certificate: FleetCertificate) -> None:
        """A device certificate."""
        if certificate.status not in _COUNTED:
            self.tally.not_counted += 1
            return
        self.tally.certificates += 1
        kind, identifier = ResourceType.DEVICE_CERTIFICATE, certificate.certificate_id
        self._check_expiry(CheckName.DEVICE_CERTIFICATE_EXPIRING, certificate)
        if self.runs(CheckName.DEVICE_CERTIFICATE_AGE) and self._request.age is not None:
            age = self._request.now - certificate.creation_date
            if age >= self._request.age:
                info = {"AGE_DAYS": str(age.days)}
                self._find(CheckName.DEVICE_CERTIFICATE_AGE, FindingCode.PAST_AGE, kind, identifier, info)
        if self.runs(CheckName.DEVICE_CERTIFICATE_KEY_QUALITY):
            self._check_key(CheckName.DEVICE_CERTIFICATE_KEY_QUALITY, certificate)
        seen = self._shared.get(identifier)
        if seen is not None and self.runs(CheckName.DEVICE_CERTIFICATE_SHARED):
            related = tuple(Resource(ResourceType.CLIENT_ID, party) for party in seen.parties)
            self._find(
                CheckName.DEVICE_CERTIFICATE_SHARED, FindingCode.SHARED, kind, identifier, _sighting(seen), related
            )
        self._check_revocation(certificate)

    def unreadable(self) -> None:
        """A registration whose certificate cannot be read any more."""
        self.tally.unreadable += 1

    def finish(self, progress: Progress | None = None) -> None:
        """Every certificate was added: what keys have in common is found. Minutes for 100,000 RSA keys."""
        for holders in self._holders.values():
            if isinstance(holders, list):
                self._shared_key(holders)
        self._holders = {}
        if len(self._moduli) > 1:
            moduli, ids = list(self._moduli), list(self._moduli.values())
            self._moduli = {}
            factors = common_factors(moduli, progress)
            for position, others in partners(moduli, factors, at_most=MAX_RELATED).items():
                related = tuple(self._certificate(ids[other]) for other in others)
                self._find_on_key(ids[position], FindingCode.SHARED_FACTOR, related)

    # --- one certificate

    def _check_ca(self, ca: FleetCertificate) -> None:
        self._check_expiry(CheckName.CA_CERTIFICATE_EXPIRING, ca)
        self._ca_ids.add(ca.certificate_id)
        if self.runs(CheckName.CA_CERTIFICATE_KEY_QUALITY):
            self._check_key(CheckName.CA_CERTIFICATE_KEY_QUALITY, ca)
        if ca.certificate_id in self._revoked_cas and self.runs(CheckName.REVOKED_CA_CERTIFICATE_STILL_ACTIVE):
            self._find(
                CheckName.REVOKED_CA_CERTIFICATE_STILL_ACTIVE,
                FindingCode.REVOKED,
                ResourceType.CA_CERTIFICATE,
                ca.certificate_id,
                {"REVOKED": self._revoked_cas[ca.certificate_id]},
            )

    def _check_expiry(self, check: CheckName, certificate: FleetCertificate) -> None:
        if not self.runs(check):
            return
        now, not_after = self._request.now, certificate.cert.not_valid_after_utc
        if now.replace(microsecond=0) > not_after:
            code = FindingCode.PAST_EXPIRATION
        elif not_after - now <= self._request.expiring_within:
            code = FindingCode.APPROACHING_EXPIRATION
        else:
            return
        kind = ResourceType.CA_CERTIFICATE if certificate.is_ca else ResourceType.DEVICE_CERTIFICATE
        info = {"EXPIRATION_TIME": f"{not_after:%Y-%m-%dT%H:%M:%SZ}"}
        self._find(check, code, kind, certificate.certificate_id, info)

    def _check_key(self, check: CheckName, certificate: FleetCertificate) -> None:
        try:
            key = certificate.cert.public_key()
            spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except Exception:  # registered before a library forgot the algorithm: counted, and named by nothing else
            self.tally.unreadable += 1
            return
        identifier = certificate.certificate_id
        numbers = key.public_numbers() if isinstance(key, rsa.RSAPublicKey) else None
        # One modulus under two exponents is one key.
        same = spki if numbers is None else numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
        digest = hashlib.sha256(same).digest()[:16]
        holder = self._holders.get(digest)
        if holder is None:
            self._holders[digest] = identifier
        elif isinstance(holder, list):
            holder.append(identifier)
        else:
            self._holders[digest] = [holder, identifier]
        if numbers is None:
            return
        if holder is None:
            self._moduli.setdefault(numbers.n, identifier)
            self.tally.moduli += 1
        kind = ResourceType.CA_CERTIFICATE if certificate.is_ca else ResourceType.DEVICE_CERTIFICATE
        for weakness in weak_keys.weaknesses(numbers.n, numbers.e, self._request.debian):
            self._find(check, _WEAKNESS[weakness], kind, identifier, {"KEY": key_kind(key)})

    def _check_revocation(self, certificate: FleetCertificate) -> None:
        cert, identifier = certificate.cert, certificate.certificate_id
        kind = ResourceType.DEVICE_CERTIFICATE
        if self.runs(CheckName.REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE):
            entry = self._revocation(cert, is_ca=False)
            if entry is not None:
                check = CheckName.REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE
                self._find(check, FindingCode.REVOKED, kind, identifier, {"REVOKED": entry})
        if not self._revoked_cas or not self.runs(CheckName.INTERMEDIATE_CA_REVOKED):
            return
        for ca in self._cas_by_name.get(cert.issuer, ()):
            revoked = self._revoked_above(ca)
            if revoked and may_have_signed(ca.cert, cert) and signed_by(cert, ca.cert):
                related = tuple(Resource(ResourceType.CA_CERTIFICATE, each) for each in revoked)
                info = {"REVOKED": self._revoked_cas[revoked[0]]}
                self._find(
                    CheckName.INTERMEDIATE_CA_REVOKED, FindingCode.INTERMEDIATE_REVOKED, kind, identifier, info, related
                )
                return

    # --- lists

    def _verify_lists(self) -> None:
        registered = [ca.cert for ca in self._cas]
        for number, file in enumerate(self._request.files, 1):
            issuers = [*registered, *genuine_issuers(file.certificates, registered)]
            for crl in file.lists:
                outcome = verified_list(crl, issuers, now=self._request.now)
                if isinstance(outcome, tuple):
                    self.tally.warnings += [f"Revocation list {number} is not used: {rule.message}" for rule in outcome]
                    continue
                self.tally.lists += 1
                self._lists_by_name.setdefault(outcome.issuer.subject, []).append(outcome)
                if outcome.expired(self._request.now):
                    self.tally.warnings.append(
                        f"Revocation list {number} expired at {outcome.next_update:%Y-%m-%dT%H:%M:%SZ}: what it "
                        "revokes is reported, what was revoked since is missing; get a newer one."
                    )

    def _revocation(self, cert: x509.Certificate, *, is_ca: bool) -> str | None:
        for crl in self._lists_by_name.get(cert.issuer, ()):
            entry = crl.revocation(cert, is_ca=is_ca)
            if entry is not None:
                return f"{entry.at:%Y-%m-%dT%H:%M:%SZ} {entry.reason}"
        return None

    def _find_revoked(self, ca: FleetCertificate) -> None:
        if ca.cert.issuer == ca.cert.subject:
            return  # a root on its own list is its own word against itself
        entry = self._revocation(ca.cert, is_ca=True)
        if entry is not None:
            self._revoked_cas[ca.certificate_id] = entry

    def _revoked_above(self, ca: FleetCertificate) -> list[str]:
        """The revoked ones among a CA and the registered CAs above it."""
        found: list[str] = []
        level: list[FleetCertificate] = [ca]
        passed: set[str] = set()
        for _ in range(MAX_CHAIN):
            above: list[FleetCertificate] = []
            for each in level:
                if each.certificate_id in passed:
                    continue
                passed.add(each.certificate_id)
                if each.certificate_id in self._revoked_cas:
                    found.append(each.certificate_id)
                above += [
                    parent
                    for parent in self._cas_by_name.get(each.cert.issuer, ())
                    if parent.certificate_id not in passed and signed_by(each.cert, parent.cert)
                ]
            level = above
        return found

    # --- the whole fleet

    def _check_client_ids(self) -> None:
        if not self.runs(CheckName.CONFLICTING_CLIENT_IDS):
            return
        for seen in self._request.observations:
            if seen.sighting is Sighting.CLIENT_ID_TAKEN and self._request.now - seen.last_seen <= LOOK_BACK:
                related = tuple(Resource(ResourceType.DEVICE_CERTIFICATE, party) for party in seen.parties)
                self._find(
                    CheckName.CONFLICTING_CLIENT_IDS,
                    FindingCode.DUPLICATE_CLIENT_ID,
                    ResourceType.CLIENT_ID,
                    seen.subject,
                    _sighting(seen),
                    related,
                )

    def _shared_key(self, holders: Sequence[str]) -> None:
        # CAs of one key are usual: renewed, or cross-signed. A device with a CA's key, or another device's, is not.
        if all(holder in self._ca_ids for holder in holders):
            return
        resources = [self._certificate(holder) for holder in holders[: MAX_RELATED + 1]]
        for at, holder in enumerate(holders):
            some = [each for place, each in enumerate(resources[: MAX_RELATED + 1]) if place != at]
            self._find_on_key(holder, FindingCode.SHARED_KEY, tuple(some[:MAX_RELATED]), len(holders) - 1)

    def _certificate(self, identifier: str) -> Resource:
        is_ca = identifier in self._ca_ids
        return Resource(ResourceType.CA_CERTIFICATE if is_ca else ResourceType.DEVICE_CERTIFICATE, identifier)

    def _find_on_key(
        self, identifier: str, code: FindingCode, related: tuple[Resource, ...], others: int | None = None
    ) -> None:
        """`others`: how many there are, where that is known and `related` names some of them."""
        resource = self._certificate(identifier)
        is_ca = resource.type is ResourceType.CA_CERTIFICATE
        check = CheckName.CA_CERTIFICATE_KEY_QUALITY if is_ca else CheckName.DEVICE_CERTIFICATE_KEY_QUALITY
        info = {"OTHERS": str(others)} if others is not None else {}
        self._find(check, code, resource.type, identifier, info, related)

    def _find(
        self,
        check: CheckName,
        code: FindingCode,
        resource_type: ResourceType,
        identifier: str,
        info: Mapping[str, str],
        related: tuple[Resource, ...] = (),
    ) -> None:
        self.tally.by_check[check] += 1
        self._report(finding(check, code, resource_type, identifier, info=info, related=related))


def _sighting(seen: Observation) -> dict[str, str]:
    return {
        "FIRST_SEEN": f"{seen.first_seen:%Y-%m-%dT%H:%M:%SZ}",
        "LAST_SEEN": f"{seen.last_seen:%Y-%m-%dT%H:%M:%SZ}",
        "COUNT": str(seen.count),
        "ADDRESSES": ", ".join(seen.addresses),
    }


def known_checks(names: Iterable[str]) -> frozenset[CheckName]:
    """The checks of those names, with or without `_CHECK`. ValueError names the first unknown one."""
    found = set()
    for name in names:
        full = name.upper().replace("-", "_")
        full = full if full.endswith("_CHECK") else f"{full}_CHECK"
        found.add(CheckName(full))
    return frozenset(found)
