"""
What must hold for any text that somebody sends as a certificate or signing request.

It is read or refused with `CertificateInputError`, the same way each time, in bounded time. What was
read says what OpenSSL says about the same octets; no rule check, description or name fails on it; and
what breaks no rule is what the rules allow, as far as that can be said without them.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import time
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import crypto
from tests.fuzz.mutation import mutate, mutate_text
from tests.support.blueprint import Blueprint, RequestBlueprint, own_ca, request, signed_by_own_ca
from tests.support.defects import DEFECTS, ODD, REQUESTS
from tests.support.pki import certificate, csr, der, key_of
from tests.support.registry import NOW

from handfast.core.pki import keys
from handfast.core.pki.chain import link_refusals
from handfast.core.pki.describe import describe, describe_chain
from handfast.core.pki.issue import SERIAL_BYTES, prepare, prepare_device, sign
from handfast.core.pki.names import certificate_variables
from handfast.core.pki.pem import (
    ParsedCertificate,
    ParsedRequest,
    encode_certificate,
    read_certificate,
    read_certificate_der,
    read_request,
)
from handfast.core.pki.possession import ca_refusals, common_name, name_digest, possession_refusals
from handfast.core.pki.profile import DEVICE_ISSUER, DEVICE_ISSUER_NAME
from handfast.core.pki.rules import BrokenRule
from handfast.errors import CertificateInputError

LIMIT_S = 1.0
"""Processor time for one input. The worst need some fifty milliseconds; other processes cost none of it."""
MAX_MESSAGE_CHARACTERS = 4000

_PEM_BODY = re.compile("-----BEGIN [A-Z ]+-----(.*)-----END [A-Z ]+-----", re.DOTALL)
_ALLOWED_SIGNATURES = re.compile("(sha(256|384|512)WithRSAEncryption|ecdsa-with-SHA(256|384|512)|RSASSA-PSS)")
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}


@dataclass(frozen=True)
class Input:
    """A text, and whether it is meant to be a request."""

    text: str
    is_request: bool

    def saved(self) -> dict[str, Any]:
        return {"is_request": self.is_request, "text": self.text}


class Target:
    """The corpus and the judge. Inputs follow from the seed and their number, but for keys and signatures."""

    def __init__(self) -> None:
        self.ca = x509.load_der_x509_certificate(own_ca().der)
        good = [signed_by_own_ca().der, own_ca().der]
        good += [der(certificate(key=key_of(kind))) for kind in ("rsa2048", "p384", "p521", "k256")]
        good += [each(signed_by_own_ca()).der for each in ODD.values()]
        bad = [each(signed_by_own_ca()).der for each in DEFECTS.values()]
        # What is nearly right leads further than what is wrong already.
        self.certificates = good * 10 + [each for each in bad if each]
        requests = [request().der, read_request(csr(key=key_of("rsa2048"))).der]
        self.requests = requests * 10 + [each(request()).der for each in REQUESTS.values()]
        self.everything = [*good, *requests, *(each for each in bad if each)]
        key = key_of("p256")
        ticket = prepare(
            DEVICE_ISSUER,
            issuer=None,
            subject=DEVICE_ISSUER_NAME,
            public_key=key.public_key(),
            now=NOW,
            serial=bytes(SERIAL_BYTES),
        )
        self.issuer, self.issuer_key = x509.load_der_x509_certificate(sign(ticket, key)), key
        self.accepted = 0

    def load(self, saved: dict[str, Any]) -> Input:
        return Input(saved["text"], saved["is_request"])

    def make(self, rng: random.Random) -> Input:
        """One input: a corpus entry or a part of a blueprint, changed."""
        is_request = rng.random() < 0.3
        blueprint: Blueprint | RequestBlueprint = request() if is_request else rng.choice((signed_by_own_ca, own_ca))()
        if rng.random() < 0.5:
            # One part is changed and the whole signed, so that what looks at the signature is reached too.
            parts = ["subject", "spki", "algorithm", "attributes" if is_request else "extensions"]
            parts += [] if is_request else ["serial", "issuer", "not_before", "not_after", "version"]
            part = rng.choice(parts)
            content = blueprint.but(**{part: mutate(getattr(blueprint, part), self.everything, rng)}).der
        else:
            corpus = self.requests if is_request else self.certificates
            content = mutate(rng.choice(corpus), self.everything, rng)
        text = blueprint.dress(content)
        return Input(mutate_text(text, rng) if rng.random() < 0.1 else text, is_request)

    def judge(self, given: Input) -> None:
        """Raises AssertionError, or whatever the product should not have raised."""
        began = time.process_time()
        first = self._outcome(given)
        second = self._outcome(given)
        assert first == second, f"read twice, two answers: {first} and {second}"
        spent = (time.process_time() - began) / 2
        assert spent < LIMIT_S, f"{spent:.2f} s of processor time for {len(given.text)} characters"

    def _outcome(self, given: Input) -> str:
        try:
            if given.is_request:
                return self._request(read_request(given.text))
            return self._certificate(read_certificate(given.text))
        except CertificateInputError as refusal:
            _sentences([BrokenRule(refusal.rule, str(refusal))])
            return f"{refusal.rule}: {refusal}"

    # --- certificates -------------------------------------------------------------------------------------------

    def _certificate(self, parsed: ParsedCertificate) -> str:
        self.accepted += 1
        content, cert = parsed.der, parsed.cert
        assert hashlib.sha256(content).hexdigest() == parsed.certificate_id
        assert _body(parsed.pem) == content
        assert parsed.certificate_id == read_certificate(encode_certificate(content)).certificate_id
        assert parsed.certificate_id == read_certificate_der(content).certificate_id
        assert cert.version in (x509.Version.v1, x509.Version.v3)
        assert cert.version == x509.Version.v3 or not list(cert.extensions)
        assert 0 < cert.serial_number < 1 << 160
        assert list(cert.issuer)
        _as_openssl_reads_it(parsed)
        broken = keys.refusals(cert, now=NOW)
        if not broken:
            _allowed(cert.public_key())
            assert _ALLOWED_SIGNATURES.fullmatch(keys.signature_name(cert))
            assert cert.not_valid_before_utc <= NOW
        others = (
            *ca_refusals(cert, now=NOW),
            *possession_refusals(cert, self.ca, now=NOW),
            *link_refusals(self.ca, cert),
        )
        _sentences((*broken, *others))
        describe(cert)
        describe_chain([cert, self.ca], at=NOW)
        certificate_variables(cert)
        common_name(cert)
        name_digest(cert.issuer)
        return f"read: {[each.rule for each in (*broken, *others)]}"

    # --- requests -----------------------------------------------------------------------------------------------

    def _request(self, parsed: ParsedRequest) -> str:
        self.accepted += 1
        assert _body(parsed.pem) == parsed.der
        broken = keys.request_refusals(parsed.request)
        _sentences(broken)
        ticket = prepare_device(parsed, issuer=self.issuer, now=NOW, serial=bytes(SERIAL_BYTES))
        assert not broken, "a certificate was prepared for a request that breaks a rule"
        assert parsed.request.is_signature_valid
        _allowed(parsed.request.public_key())
        issued = read_certificate_der(sign(ticket, self.issuer_key)).cert
        assert parsed.request.subject.public_bytes() == issued.subject.public_bytes()
        assert parsed.request.public_key() == issued.public_key()
        assert not keys.refusals(issued, now=NOW)
        return "read and issued"


def _body(text: str) -> bytes:
    found = _PEM_BODY.search(text)
    assert found is not None
    return base64.b64decode(found[1])


def _as_openssl_reads_it(parsed: ParsedCertificate) -> None:
    """OpenSSL's own parser, which the TLS stack uses, agrees about the octets, the serial number and the dates."""
    theirs = crypto.load_certificate(crypto.FILETYPE_ASN1, parsed.der)
    assert parsed.der == crypto.dump_certificate(crypto.FILETYPE_ASN1, theirs)
    assert parsed.cert.serial_number == theirs.get_serial_number()
    for ours, said in ((parsed.not_before, theirs.get_notBefore()), (parsed.not_after, theirs.get_notAfter())):
        assert said is not None
        assert f"{ours.year:04d}{ours:%m%d%H%M%S}Z".encode() == said


def _allowed(key: object) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert key.curve.name in _CURVES
    else:
        assert isinstance(key, rsa.RSAPublicKey)
        assert 2048 <= key.key_size <= 8192
        numbers = key.public_numbers()
        assert numbers.e % 2 == numbers.n % 2 == 1
        assert 3 <= numbers.e < 1 << 256


def _sentences(broken: tuple[BrokenRule, ...] | list[BrokenRule]) -> None:
    for rule in broken:
        assert re.fullmatch("[a-z_0-9]+", rule.rule)
        assert 0 < len(rule.message) <= MAX_MESSAGE_CHARACTERS
