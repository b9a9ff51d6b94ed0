"""
Certificate revocation lists that an operator hands over (RFC 5280 §5): read, and verified against their issuer.

Only complete, direct lists count: a delta list says nothing without its base, an indirect one speaks for CAs whose
word nobody has checked, and neither is guessed at. A list that has expired is still used, and named: what was revoked
stays revoked. Nothing is fetched.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from handfast.core.pki.chain import authority_key_identifier, signed_by, subject_key_identifier
from handfast.core.pki.keys import BrokenRule
from handfast.core.pki.names import display
from handfast.core.pki.pem import read_certificate
from handfast.errors import CertificateInputError

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 2_000_000
MAX_BLOCKS = 64
"""Lists and issuer certificates in one file."""
CLOCK_SKEW = dt.timedelta(minutes=5)
"""How far a list's issuer may be ahead."""

_BLOCK = re.compile(rb"-----BEGIN (X509 CRL|CERTIFICATE)-----(.*?)-----END \1-----", re.DOTALL)
_KNOWN_CRITICAL = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT})


class Revocation(NamedTuple):
    """An entry of a list. `reason` is RFC 5280's word for it: `keyCompromise`, `unspecified` …"""

    at: dt.datetime
    reason: str


class RevocationFile(NamedTuple):
    """What one file holds: lists, and certificates of their issuers beside them."""

    lists: tuple[x509.CertificateRevocationList, ...]
    certificates: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature is its issuer's. `revoked` is by serial number; instants are aware UTC."""

    issuer: x509.Certificate
    this_update: dt.datetime
    next_update: dt.datetime | None
    covers_cas: bool
    covers_leaves: bool
    revoked: dict[int, Revocation] = field(repr=False)

    def expired(self, now: dt.datetime) -> bool:
        """Whether its issuer has promised a newer one by now."""
        return self.next_update is not None and now > self.next_update

    def revocation(self, cert: x509.Certificate, *, is_ca: bool) -> Revocation | None:
        """The entry of a certificate that the list's issuer signed; None for every other one."""
        if cert.issuer != self.issuer.subject or not (self.covers_cas if is_ca else self.covers_leaves):
            return None
        entry = self.revoked.get(cert.serial_number)
        return entry if entry is not None and signed_by(cert, self.issuer) else None


def read_revocation_file(data: bytes) -> RevocationFile:
    """
    The lists of a file: one in DER, or PEM blocks, certificates of issuers among them.

    Raises:
        CertificateInputError: None in it, not readable, or more than `MAX_BLOCKS`, `MAX_FILE_BYTES`.
    """
    if len(data) > MAX_FILE_BYTES:
        raise CertificateInputError(
            f"The file has {len(data)} bytes; at most {MAX_FILE_BYTES} are read.", "crl_too_long"
        )
    if not data.lstrip().startswith(b"-----BEGIN") and b"-----BEGIN X509 CRL-----" not in data:
        return RevocationFile((_parsed(data),), ())
    lists: list[x509.CertificateRevocationList] = []
    certificates: list[x509.Certificate] = []
    for block in _BLOCK.finditer(data):
        if len(lists) + len(certificates) >= MAX_BLOCKS:
            raise CertificateInputError(f"The file has more than {MAX_BLOCKS} PEM blocks.", "crl_blocks")
        if block[1] == b"CERTIFICATE":
            certificates.append(read_certificate(block[0].decode("ascii", "replace")).cert)
            continue
        try:
            der = base64.b64decode(b"".join(block[2].split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise CertificateInputError("The list is not base64 between its BEGIN and END lines.", "base64") from error
        lists.append(_parsed(der))
    if not lists:
        raise CertificateInputError(
            "The file holds no certificate revocation list: expected DER, or PEM between BEGIN X509 CRL and END "
            "X509 CRL.",
            "crl_missing",
        )
    return RevocationFile(tuple(lists), tuple(certificates))


def _parsed(der: bytes) -> x509.CertificateRevocationList:
    try:
        crl = x509.load_der_x509_crl(der)
        # The parser is lazy: each part once, so that nothing fails later.
        list(crl.extensions), crl.issuer, crl.last_update_utc, crl.next_update_utc
    except Exception as error:
        raise CertificateInputError("This is not DER of a certificate revocation list.", "crl_syntax") from error
    return crl


def genuine_issuers(
    candidates: Sequence[x509.Certificate], registered: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Those of `candidates` that signed one of the `registered` CAs, and so may revoke it."""
    return [
        candidate
        for candidate in candidates
        if _is_ca(candidate) and any(ca.issuer == candidate.subject and signed_by(ca, candidate) for ca in registered)
    ]


def verified_list(
    crl: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate], *, now: dt.datetime
) -> RevocationList | tuple[BrokenRule, ...]:
    """
    The list, its signature verified; or every rule that it breaks.

    Args:
        issuers: Trusted: the CAs that are registered, and those that signed them.
        now: Lists of the future are refused. Expired ones are not: ask `RevocationList.expired`.
    """
    name = display(crl.issuer)
    broken = list(_extension_refusals(crl, name))
    if crl.last_update_utc > now + CLOCK_SKEW:
        broken.append(
            BrokenRule("crl_future", f"The list of {name} is from the future: {_instant(crl.last_update_utc)}.")
        )
    if len(crl) > MAX_ENTRIES:
        broken.append(BrokenRule("crl_entries", f"The list of {name} has {len(crl)} entries; at most {MAX_ENTRIES}."))
    named = [issuer for issuer in issuers if issuer.subject == crl.issuer]
    signers = [issuer for issuer in named if _made_by(crl, issuer)]
    if not named:
        broken.append(
            BrokenRule(
                "crl_issuer",
                f"No CA named {name} is registered here, nor one that signed a registered CA: register it, or put "
                "its certificate into the same file.",
            )
        )
    elif not signers:
        broken.append(
            BrokenRule("crl_signature", f"The list of {name} is not signed by the key of the CA of this name here.")
        )
    if broken:
        return tuple(broken)
    revoked: dict[int, Revocation] = {}
    for entry in crl:
        revoked[entry.serial_number] = Revocation(entry.revocation_date_utc, _reason(entry))
    point = _distribution_point(crl)
    return RevocationList(
        signers[0],
        crl.last_update_utc,
        crl.next_update_utc,
        covers_cas=point is None or not point.only_contains_user_certs,
        covers_leaves=point is None or not point.only_contains_ca_certs,
        revoked=revoked,
    )


def _extension_refusals(crl: x509.CertificateRevocationList, name: str) -> list[BrokenRule]:
    broken = []
    for extension in crl.extensions:
        if extension.oid == ExtensionOID.DELTA_CRL_INDICATOR:
            broken.append(BrokenRule("crl_delta", f"The list of {name} is a delta list; give the complete one."))
        elif extension.critical and extension.oid not in _KNOWN_CRITICAL:
            broken.append(
                BrokenRule(
                    "crl_extension",
                    f"The list of {name} has the critical extension {extension.oid.dotted_string}, which is not known "
                    "here (RFC 5280 §5.2: it must not be used then).",
                )
            )
    point = _distribution_point(crl)
    if point is not None and point.indirect_crl:
        broken.append(
            BrokenRule("crl_indirect", f"The list of {name} is indirect; give the list of the certificates' own CA.")
        )
    if point is not None and point.only_contains_attribute_certs:
        broken.append(BrokenRule("crl_attributes", f"The list of {name} is about attribute certificates only."))
    return broken


def _distribution_point(crl: x509.CertificateRevocationList) -> x509.IssuingDistributionPoint | None:
    try:
        return crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return None


def _made_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key signed the list and may sign lists (RFC 5280 §6.3.3 (f), (g))."""
    if not _is_ca(issuer):
        return False
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.crl_sign:
        return False
    try:
        return bool(crl.is_signature_valid(issuer.public_key()))  # type: ignore[arg-type]  # DH keys raise
    except Exception:  # an algorithm or a key that the library does not know proves nothing
        return False


def _is_ca(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def may_have_signed(issuer: x509.Certificate, cert: x509.Certificate) -> bool:
    """Whether names and key identifiers allow it; the signature is not looked at."""
    wanted, offered = authority_key_identifier(cert), subject_key_identifier(issuer)
    return cert.issuer == issuer.subject and (wanted is None or offered is None or wanted == offered)


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except Exception:  # absent, or unreadable: revoked all the same
        return "unspecified"


def _instant(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
