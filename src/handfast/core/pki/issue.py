"""
Issue a certificate in two steps: `prepare` checks and returns a single-use Ticket, `sign` redeems it with the key.

Nothing unchecked meets a key, and nothing is signed twice.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import threading
from collections.abc import Sequence
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.pki import profile as profiles
from handfast.core.pki.keys import key_kind, key_refusals, request_refusals
from handfast.core.pki.pem import ParsedRequest
from handfast.core.pki.pointers import Pointers
from handfast.core.pki.profile import Profile
from handfast.errors import CertificateInputError, IssuerMismatch, TicketSpent

SigningKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
VerifyingKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

SERIAL_BYTES = 20
"""How much entropy `prepare` takes for a serial number."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


class Ticket:
    """
    A checked certificate that waits for its issuer's key; made by `prepare`, spent by `sign`.

    `issuer_key` is the public key that must sign; None stands for the certificate's own.
    """

    __slots__ = ("_builder", "_lock", "issuer_key")

    def __init__(self, builder: x509.CertificateBuilder, issuer_key: VerifyingKey) -> None:
        self._builder: x509.CertificateBuilder | None = builder
        self._lock = threading.Lock()
        self.issuer_key = issuer_key

    def redeem(self) -> x509.CertificateBuilder:
        """The builder, once. Raises TicketSpent afterwards. Only `sign` calls it."""
        with self._lock:
            builder, self._builder = self._builder, None
        if builder is None:
            raise TicketSpent("This ticket was redeemed before; prepare the certificate anew.")
        return builder


def prepare(
    profile: Profile,
    *,
    issuer: x509.Certificate | None,
    subject: x509.Name,
    public_key: VerifyingKey,
    now: dt.datetime,
    serial: bytes,
    server_names: Sequence[str] = (),
    pointers: Pointers | None = None,
) -> Ticket:
    """
    Check one certificate against its profile and its issuer.

    Args:
        profile: What it must look like.
        issuer: The issuing CA's certificate; None for a self-signed one.
        subject: Its subject, kept as it is, attribute order and string types included.
        public_key: Its key.
        now: The moment of issue, aware; notBefore lies `profile.backdate` before it.
        serial: `SERIAL_BYTES` random bytes; the number is positive and has exactly 20 octets.
        server_names: DNS names (a leading `*.` is a wildcard) and IP addresses, for a server
            profile only, where at least one is needed.
        pointers: Where the issuer's certificate and list of revocations are published; None: nowhere.

    Returns:
        A ticket for `sign`, to be redeemed with the issuer's key. notAfter never lies beyond the
        issuer's own.

    Raises:
        CertificateInputError: The first reason why it must not be signed.
    """
    for broken in key_refusals(public_key):
        raise CertificateInputError(broken.message, broken.rule)
    if now.tzinfo is None:
        raise CertificateInputError("The moment of issue has no time zone.", "validity_zone")
    if bool(server_names) != profile.server_authentication:
        raise CertificateInputError(
            f"A certificate of the profile {profile.name} must {'' if profile.server_authentication else 'not '}"
            "name a server.",
            "server_names",
        )
    not_before = (now - profile.backdate).replace(microsecond=0)
    not_after = profile.not_after or (now + (profile.lifetime or dt.timedelta())).replace(microsecond=0)
    issuer_key = public_key
    issuer_name = subject
    if issuer is not None:
        _check_issuer(profile, issuer, now)
        loaded = issuer.public_key()
        assert isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        issuer_key, issuer_name = loaded, issuer.subject
        not_after = min(not_after, issuer.not_valid_after_utc)
    if not_after <= now:
        raise CertificateInputError("Its validity would end before it begins.", "validity_order")
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(public_key)
        .serial_number(serial_number(serial))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(_authority_key_identifier(issuer, public_key), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.BasicConstraints(ca=profile.ca, path_length=profile.path_length), critical=True)
        .add_extension(profile.key_usage(), critical=True)
    )
    if profile.server_authentication:
        builder = builder.add_extension(profiles.EXTENDED_KEY_USAGE, critical=False).add_extension(
            # RFC 5280 §4.2.1.6: critical where the subject is empty
            x509.SubjectAlternativeName([general_name(name) for name in dict.fromkeys(server_names)]),
            critical=not list(subject),
        )
    for extension in pointers.extensions() if pointers is not None else ():
        builder = builder.add_extension(extension, critical=False)
    return Ticket(builder, issuer_key)


def prepare_device(request: ParsedRequest, *, issuer: x509.Certificate, now: dt.datetime, serial: bytes) -> Ticket:
    """
    Check a device's signing request: key, self-signature, and that its subject can be copied verbatim.

    The request's extensions and attributes are not carried over (AWS IoT does not either).

    Raises:
        CertificateInputError: With the first broken rule; the message names all of them.
    """
    broken = request_refusals(request.request)
    if broken:
        raise CertificateInputError(" ".join(rule.message for rule in broken), broken[0].rule)
    subject = request.request.subject
    if subject.public_bytes() not in request.request.tbs_certrequest_bytes:
        raise CertificateInputError("The request's subject is encoded in a way that cannot be copied.", "name")
    key = request.request.public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return prepare(profiles.DEVICE, issuer=issuer, subject=subject, public_key=key, now=now, serial=serial)


def sign(ticket: Ticket, key: SigningKey) -> bytes:
    """
    Sign the certificate that `prepare` checked, once.

    Args:
        ticket: From `prepare` on the same issuer; spent by this call.
        key: The issuer's private key; never leaves the KeyStore's process.

    Returns:
        DER, X.509 v3. Times are whole UTC seconds; the serial number is positive and has 20 octets
        (RFC 5280 §4.1.2.2). Signed with SHA-256, or SHA-384 where the issuer's key is RSA 4096 or
        P-384.

    Raises:
        TicketSpent: The ticket was redeemed before.
        IssuerMismatch: The key is not the ticket's issuer's; the ticket stays good.

    The chain is not verified here again; `chain.verify` did so at load.
    """
    if spki(key.public_key()) != spki(ticket.issuer_key):
        raise IssuerMismatch(
            f"The signing key ({key_kind(key.public_key())}) is not the issuer's ({key_kind(ticket.issuer_key)})."
        )
    return ticket.redeem().sign(key, digest_for(key)).public_bytes(Encoding.DER)


def serial_number(entropy: bytes) -> int:
    """A positive number of exactly 20 octets out of `SERIAL_BYTES` random bytes; 158 bits of them are kept."""
    assert len(entropy) == SERIAL_BYTES
    # The first bit is the sign and must be 0; the second is set, so that no leading octet is dropped.
    return int.from_bytes(bytes([entropy[0] & 0x7F | 0x40]) + entropy[1:], "big")


def spki(key: VerifyingKey) -> bytes:
    """SubjectPublicKeyInfo in DER: what a pin is the SHA-256 of."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def general_name(name: str) -> x509.GeneralName:
    """
    An IP address or DNS name as subjectAltName holds it.

    Raises:
        CertificateInputError: `server_name`: neither, not lower-case ASCII, or too long.
    """
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    if address is not None and "%" not in name:  # a zone has no place in a certificate
        return x509.IPAddress(address)
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise CertificateInputError(
            f"{name[:80]!r} is neither an IP address nor a DNS name in lower-case ASCII.", "server_name"
        )
    return x509.DNSName(name)


def _check_issuer(profile: Profile, issuer: x509.Certificate, now: dt.datetime) -> None:
    """The issuer may sign such a certificate now (RFC 5280 §4.2.1.3, §4.2.1.9)."""
    extensions = issuer.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    if not constraints.ca or not usage.key_cert_sign:
        raise CertificateInputError("The issuer is not a CA.", "issuer_not_ca")
    if profile.ca and constraints.path_length == 0:
        raise CertificateInputError("The issuer may not sign another CA (pathlen 0).", "issuer_path_length")
    if not issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc:
        raise CertificateInputError(
            f"The issuer is valid from {issuer.not_valid_before_utc:%Y-%m-%d} to "
            f"{issuer.not_valid_after_utc:%Y-%m-%d}, not at {now:%Y-%m-%d}.",
            "issuer_validity",
        )


def _authority_key_identifier(issuer: x509.Certificate | None, own_key: VerifyingKey) -> x509.AuthorityKeyIdentifier:
    """keyid only: the very octets of the issuer's subjectKeyIdentifier (RFC 5280 §4.2.1.1)."""
    if issuer is None:
        identifier = x509.SubjectKeyIdentifier.from_public_key(own_key)
    else:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier(identifier.digest, None, None)


def digest_for(key: SigningKey) -> hashes.SHA256 | hashes.SHA384:
    """What a key signs with: SHA-256, or SHA-384 where it is RSA 4096 or P-384."""
    strong = key.key_size >= 4096 if isinstance(key, rsa.RSAPrivateKey) else key.curve.key_size >= 384
    return hashes.SHA384() if strong else hashes.SHA256()
