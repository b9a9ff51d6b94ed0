"""
The state of one certificate as its CA's OCSP responder tells it (RFC 6960): asked for, and verified.

Responses are read as a server does that staples them (RFC 6066 §8, RFC 5019): whole, signed, about exactly this
certificate, and with an end. Nothing is fetched here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, SignatureAlgorithmOID

from handfast.core.pki.chain import signed_by, subject_key_identifier
from handfast.errors import HandfastError

MAX_RESPONSE_BYTES = 4096
"""As AWS IoT has it; a staple is sent in every handshake that asks for one."""
MAX_CERTIFICATES = 8
"""In one response."""
CLOCK_SKEW = dt.timedelta(minutes=5)
"""How far a responder's clock may be ahead."""

_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_RSA = {
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
}


class CertificateState(StrEnum):
    """What a responder says of a certificate, in RFC 6960's words."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class AskResult(StrEnum):
    """How asking a responder ended."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # the responder does not know the certificate
    INVALID = "invalid"  # what it answered is no response, or breaks a rule
    OVERSIZED = "oversized"  # more than MAX_RESPONSE_BYTES
    REFUSED = "refused"  # another HTTP status than 200: redirects are not followed
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # no connection, or no HTTP
    FORBIDDEN = "forbidden"  # no URL, or one that leads where none of a certificate's may
    FAILED = "failed"  # an error of ours


class ResponderFailed(HandfastError):
    """A responder gave nothing that can be stapled. The message is for the operator."""

    def __init__(self, result: AskResult, message: str) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True, kw_only=True)
class Staple:
    """A response that was verified: its DER, what it says, and from when to when it holds (aware UTC)."""

    der: bytes = field(repr=False)
    state: CertificateState
    this_update: dt.datetime
    next_update: dt.datetime
    revoked_at: dt.datetime | None = None


def responder_url(leaf: x509.Certificate) -> str | None:
    """The first OCSP responder over http that the certificate names (authorityInfoAccess), if it names one."""
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    for description in access:
        location = description.access_location
        if (
            description.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(location, x509.UniformResourceIdentifier)
            and location.value.lower().startswith("http://")
        ):
            return location.value
    return None


def build_request(leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """DER of the request: SHA-1 in the CertID (RFC 5019 §2.1.1) and no nonce, so that answers can be cached."""
    return _asked(leaf, issuer, hashes.SHA1()).public_bytes(Encoding.DER)  # noqa: S303  names a certificate only


def read_response(
    der: bytes,
    leaf: x509.Certificate,
    issuer: x509.Certificate,
    *,
    now: dt.datetime,
    authorized: x509.Certificate | None = None,
) -> Staple:
    """
    What the response says of `leaf`, when it may be believed and stapled at `now`.

    Args:
        issuer: The CA that signed `leaf`.
        authorized: A responder's certificate that the operator trusts, besides the issuer and whom it delegated to.

    Raises:
        ResponderFailed: OVERSIZED, or INVALID with the first broken rule: no successful response, about another
            certificate, signed by somebody else, of the future, over, or without an end.
    """
    if len(der) > MAX_RESPONSE_BYTES:
        raise ResponderFailed(
            AskResult.OVERSIZED, f"the response has {len(der)} bytes, at most {MAX_RESPONSE_BYTES} are taken"
        )
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _invalid(f"the responder answered {response.response_status.name.lower()}")
        for extension in response.extensions:
            if extension.critical:
                raise _invalid(f"it has the unknown critical extension {extension.oid.dotted_string}")
        single = _about(response, leaf, issuer)
        _insist_on_signature(response, issuer, authorized, now)
        state = CertificateState(single.certificate_status.name.lower())
        begin, end, revoked = single.this_update_utc, single.next_update_utc, single.revocation_time_utc
    except ResponderFailed:
        raise
    except Exception as error:  # the library's parser is lazy, and raises what it likes
        raise _invalid(f"it is not an OCSP response ({type(error).__name__})") from error
    if begin > now + CLOCK_SKEW:
        raise _invalid(f"it is of the future: thisUpdate {_instant(begin)}")
    if end is None:
        raise _invalid("it has no nextUpdate, so nobody can say how long it holds")
    if end <= now or end <= begin:
        raise _invalid(f"it is over: nextUpdate {_instant(end)}")
    return Staple(der=der, state=state, this_update=begin, next_update=end, revoked_at=revoked)


def _about(response: ocsp.OCSPResponse, leaf: x509.Certificate, issuer: x509.Certificate) -> ocsp.OCSPSingleResponse:
    """The one of the response that is about this certificate, whatever hash its CertID was made with."""
    for single in response.responses:
        if single.serial_number != leaf.serial_number:
            continue
        wanted = _asked(leaf, issuer, single.hash_algorithm)
        if (single.issuer_name_hash, single.issuer_key_hash) == (wanted.issuer_name_hash, wanted.issuer_key_hash):
            return single
    raise _invalid(f"it is about another certificate than the one with the serial number {leaf.serial_number:x}")


def _insist_on_signature(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, authorized: x509.Certificate | None, now: dt.datetime
) -> None:
    """RFC 6960 §4.2.2.2: by the CA itself, by whom the CA delegated it to, or by whom the operator trusts."""
    sent = response.certificates
    if len(sent) > MAX_CERTIFICATES:
        raise _invalid(f"it holds {len(sent)} certificates, at most {MAX_CERTIFICATES} are looked at")
    trusted = [issuer, *([authorized] if authorized is not None else [])]
    candidates = [*trusted, *(cert for cert in sent if cert not in trusted)]
    named = [cert for cert in candidates if _is_responder(response, cert)]
    if not named:
        raise _invalid("its signer is neither the issuing CA nor a responder whose certificate is at hand")
    problems = []
    for cert in named:
        if not _signed(response, cert):
            problems.append("its signature is not its signer's, or of an algorithm that is not accepted")
        elif cert in trusted or _is_delegate(cert, issuer, now):
            return
        else:
            problems.append("its signer is not authorized by the issuing CA: OCSPSigning, in date, signed by the CA")
    raise _invalid(problems[0])


def _is_responder(response: ocsp.OCSPResponse, cert: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name == cert.subject
    key_hash = x509.SubjectKeyIdentifier.from_public_key(cert.public_key()).digest
    return response.responder_key_hash in (key_hash, subject_key_identifier(cert))


def _is_delegate(cert: x509.Certificate, issuer: x509.Certificate, now: dt.datetime) -> bool:
    try:
        usage: Sequence[x509.ObjectIdentifier] = list(
            cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        )
    except x509.ExtensionNotFound:
        return False
    return (
        ExtendedKeyUsageOID.OCSP_SIGNING in usage
        and cert.not_valid_before_utc <= now <= cert.not_valid_after_utc
        and signed_by(cert, issuer)
    )


def _signed(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    try:
        digest = response.signature_hash_algorithm
        key = signer.public_key()
        if not isinstance(digest, _DIGESTS):
            return False
        if isinstance(key, rsa.RSAPublicKey) and response.signature_algorithm_oid in _RSA:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
        else:
            return False
    except Exception:  # another algorithm than the key's, or no signature of it: proves nothing
        return False
    return True


def _asked(leaf: x509.Certificate, issuer: x509.Certificate, digest: hashes.HashAlgorithm) -> ocsp.OCSPRequest:
    return ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, digest).build()


def _invalid(why: str) -> ResponderFailed:
    return ResponderFailed(AskResult.INVALID, why)


def _instant(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
