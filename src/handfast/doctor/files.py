"""A device's files: readable, of one piece, and good enough to be let in."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from handfast.core.pki import keys
from handfast.core.pki.names import display
from handfast.core.pki.pem import ParsedCertificate, read_certificates
from handfast.doctor.report import Step, fail, ok, warn
from handfast.errors import CertificateInputError

MAX_FILE_BYTES = 1 << 20
EXPIRES_SOON = dt.timedelta(days=30)
MAX_ROOTS = 400
"""In one bundle; a system's has about 150."""


def examine_certificate(path: Path, now: dt.datetime) -> tuple[list[Step], ParsedCertificate | None]:
    """The device's certificate, the first of its file, against every rule and the clock; None: not readable."""
    name = "certificate"
    text = _text(path)
    if isinstance(text, str):
        return [fail(name, f"{path} cannot be read: {text}", "A device needs it.", "Give a readable PEM file.")], None
    try:
        leaf = read_certificates(text[0])[0]
    except CertificateInputError as error:
        return [
            fail(
                name,
                f"{path}: {error}",
                "The server would not be able to read it either.",
                "Give the device's certificate in PEM, alone or with its chain behind it.",
            )
        ], None
    saw = (
        f"{display(leaf.cert.subject) or 'no subject'}, {keys.certificate_key_kind(leaf.cert)}, "
        f"id {leaf.certificate_id}"
    )
    broken = keys.refusals(leaf.cert)
    if broken:
        why = " ".join(rule.message for rule in broken)
        return [fail(name, saw, why, "Issue a certificate that keeps the rules (see docs/certificates.md).")], leaf
    return [ok(name, saw), _validity(leaf, now)], leaf


def _validity(leaf: ParsedCertificate, now: dt.datetime) -> Step:
    name = "validity"
    saw = f"{leaf.not_before:%Y-%m-%dT%H:%M:%SZ} to {leaf.not_after:%Y-%m-%dT%H:%M:%SZ}"
    outside = keys.validity_refusals(leaf.cert, now)
    if outside:
        clock = f"This machine's clock says {now:%Y-%m-%dT%H:%M:%SZ}."
        renew = "Give the device a new certificate" if now > leaf.not_after else "Wait, or issue it anew"
        return fail(name, saw, " ".join([*(rule.message for rule in outside), clock]), f"{renew}; check the clock.")
    if leaf.not_after - now < EXPIRES_SOON:
        left = (leaf.not_after - now).days
        why = f"It expires in {left} days."
        return warn(name, saw, why, f"Replace it: `handfast cert rotate {leaf.certificate_id}`.")
    return ok(name, saw)


def examine_key(path: Path, leaf: ParsedCertificate) -> list[Step]:
    """The private key: readable without a passphrase, the certificate's own, and nobody else's to read."""
    name = "private key"
    text = _text(path)
    if isinstance(text, str):
        why = "Without it the device cannot prove who it is."
        return [fail(name, f"{path} cannot be read: {text}", why, "Give a readable PEM file.")]
    try:
        public = load_pem_private_key(text[0].encode(), None).public_key()
    except TypeError:
        why = "The doctor asks for no passphrase."
        return [fail(name, f"{path} is encrypted", why, "Give a copy without a passphrase (`openssl pkey -in KEY`).")]
    except Exception:  # whatever the library says may quote the key: none of it is told
        why = "Expected one private key in PEM, PKCS #8 or traditional."
        return [fail(name, f"{path} is not a private key", why, "Give the file that belongs to the certificate.")]
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        own = public.public_bytes(*spki) == leaf.cert.public_key().public_bytes(*spki)
    except Exception:  # a key that the library cannot read has failed as a certificate already
        own = False
    kind = keys.key_kind(public)
    if not own:
        return [
            fail(
                name,
                f"{path} holds another key ({kind})",
                "Certificate and private key do not belong together, so the handshake cannot be completed.",
                "Compare `openssl x509 -in CERTIFICATE -noout -pubkey` with `openssl pkey -in KEY -pubout`.",
            )
        ]
    if path.stat().st_mode & 0o077:
        why = "Others on this machine may read it."
        return [warn(name, f"{path}, {kind}, belongs to the certificate", why, f"chmod 600 {path}")]
    return [ok(name, f"{path}, {kind}, belongs to the certificate")]


def examine_roots(path: Path, now: dt.datetime) -> list[Step]:
    """What the device trusts the server by."""
    name = "roots"
    text = _text(path)
    if isinstance(text, str):
        why = "Without roots no server can be verified."
        return [fail(name, f"{path} cannot be read: {text}", why, "Give the device's roots with --root.")]
    try:
        found = read_certificates(text[0], at_most=MAX_ROOTS)
    except CertificateInputError as error:
        return [fail(name, f"{path}: {error}", "Expected certificates in PEM.", "Give the device's roots with --root.")]
    over = [display(each.cert.subject) for each in found if keys.validity_refusals(each.cert, now)]
    saw = f"{path}, {len(found)} certificate{'s' if len(found) != 1 else ''}"
    if len(over) == len(found):
        why = "None of them is inside its validity, so no server can be verified."
        return [fail(name, saw, why, "Give the device current roots (`handfast trust bundle`); check the clock.")]
    if over:
        return [warn(name, saw, f"Outside their validity: {', '.join(over[:5])}.", "Replace them.")]
    return [ok(name, saw)]


def _text(path: Path) -> tuple[str] | str:
    """The text of a small file, or in words why not."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return error.strerror or type(error).__name__
    if len(data) > MAX_FILE_BYTES:
        return "it is larger than 1 MiB"
    try:
        return (data.decode("ascii"),)
    except UnicodeDecodeError:
        return "it is not text (DER? `openssl x509 -inform DER` makes PEM of it)"
