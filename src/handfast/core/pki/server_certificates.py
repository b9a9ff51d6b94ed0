"""
Server certificates that somebody else issued: which of them a device can be shown, and every reason why not.

The rules are those of AWS IoT Core for customer-managed domains: extended key
usage serverAuth, RSA 2048 or P-256, up to five certificates and 16 KB, up to
four names. The names are those of the subjectAltName; only a certificate
without one is named by its CN (RFC 6125 §6.4.4).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from handfast.core.pki import chain as chains
from handfast.core.pki import keys
from handfast.core.pki.describe import covers, server_names
from handfast.core.pki.issue import SigningKey, spki
from handfast.core.pki.names import common_name, display
from handfast.core.pki.pem import read_certificates
from handfast.core.pki.rules import BrokenRule

MAX_CERTIFICATES = 5
MAX_CHAIN_BYTES = 16 * 1024
MAX_NAMES = 4

Chain = tuple[x509.Certificate, ...]


def read_chain(certificate_pem: str, chain_pem: str = "") -> Chain:
    """
    The certificates of both texts, the leaf first, the first text's before the second's.

    Raises:
        CertificateInputError: Not PEM of certificates, or more than twice as many as a chain may have.
    """
    found = read_certificates(certificate_pem, at_most=2 * MAX_CERTIFICATES)
    if chain_pem.strip():
        found += read_certificates(chain_pem, at_most=2 * MAX_CERTIFICATES)
    return tuple(each.cert for each in found)


def served_part(chain: Chain) -> Chain:
    """The chain as it is sent: without a root at its end, which a client has or does not trust."""
    return chain[:-1] if len(chain) > 1 and self_signed(chain[-1]) else chain


def encode_chain(chain: Sequence[x509.Certificate]) -> str:
    """PEM, in the same order."""
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in chain)


def self_signed(cert: x509.Certificate) -> bool:
    """Whether the certificate's own key made its signature."""
    return chains.self_issued(cert) and chains.signed_by(cert, cert)


def belongs(key: SigningKey, cert: x509.Certificate) -> bool:
    """Whether the certificate certifies the key's public half."""
    try:
        return spki(key.public_key()) == spki(cert.public_key())  # type: ignore[arg-type]
    except Exception:  # a key that the library cannot read belongs to nobody
        return False


def chain_kind(cert: x509.Certificate) -> Literal["rsa", "ecdsa"]:
    """Which kind of TLS authentication the certificate's key serves. Only for one without `refusals`."""
    return "rsa" if isinstance(cert.public_key(), rsa.RSAPublicKey) else "ecdsa"


def names_of(cert: x509.Certificate) -> tuple[str, ...]:
    """The names that a client may find in it: the subjectAltName's where it has one, else the CN."""
    try:
        cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        name = common_name(cert.subject)
        return () if name is None else (name,)
    return server_names(cert)


def named(cert: x509.Certificate, domain_name: str) -> tuple[BrokenRule, ...]:
    """The rule that a certificate for other names breaks; empty where it is one for `domain_name`."""
    names = names_of(cert)
    if covers(names, domain_name):
        return ()
    has = ", ".join(names[:MAX_NAMES]) or "none"
    return (BrokenRule("server_name", f"It is not for {domain_name}; the names in it: {has}."),)


def refusals(chain: Chain, now: dt.datetime) -> tuple[BrokenRule, ...]:
    """Every rule that a chain breaks as it was given, leaf first, with its root or not; empty when it can be served."""
    leaf = chain[0]
    broken = [*_key_refusals(leaf), *_usage_refusals(leaf), *_name_refusals(leaf)]
    if len(chain) > MAX_CERTIFICATES:
        broken.append(
            BrokenRule(
                "chain_depth", f"The chain has {len(chain)} certificates; at most {MAX_CERTIFICATES} are served."
            )
        )
    size = sum(len(each.public_bytes(Encoding.DER)) for each in chain)
    if size > MAX_CHAIN_BYTES:
        broken.append(BrokenRule("chain_size", f"The chain has {size} bytes; at most {MAX_CHAIN_BYTES} are served."))
    for each in chain:
        about = "" if each is leaf else f"{display(each.subject)}: "
        found = [*keys.validity_refusals(each, now), *(() if self_signed(each) else keys.signature_refusals(each))]
        broken += [BrokenRule(rule.rule, about + rule.message) for rule in found]
    for position, (cert, issuer) in enumerate(itertools.pairwise(chain)):
        broken += chains.link_refusals(cert, issuer, cas_below=position)
    return tuple(broken)


def rotation_refusals(old: x509.Certificate, new: x509.Certificate) -> tuple[BrokenRule, ...]:
    """Every rule that forbids the one certificate to take the place of the other under the same ARN."""
    broken = []
    was, is_now = keys.certificate_key_kind(old), keys.certificate_key_kind(new)
    if was != is_now:
        broken.append(BrokenRule("rotation_algorithm", f"Its key is {is_now}, that of the one before {was}."))
    same_cn = common_name(old.subject) is not None and common_name(old.subject) == common_name(new.subject)
    if not same_cn and set(names_of(old)) != set(names_of(new)):
        said = ", ".join(names_of(new)[:MAX_NAMES]) or "none"
        had = ", ".join(names_of(old)[:MAX_NAMES])
        broken.append(
            BrokenRule("rotation_names", f"Neither CN nor subjectAltName are those of before: {said} instead of {had}.")
        )
    return tuple(broken)


def leads_to(chain: Chain, anchors: Sequence[x509.Certificate], now: dt.datetime) -> bool:
    """Whether a client that trusts these anchors verifies the chain; a certificate may be its own anchor."""
    served = served_part(chain)
    if any(each == anchor for each in chain for anchor in anchors):
        return True
    return not chains.verify(served, anchors, at=now)


def _key_refusals(leaf: x509.Certificate) -> list[BrokenRule]:
    try:
        key: object = leaf.public_key()
    except Exception:
        key = None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048:
        return list(keys.key_refusals(key))
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return []
    return [
        BrokenRule("key_algorithm", f"Its key is {keys.certificate_key_kind(leaf)}; RSA 2048 and P-256 are served.")
    ]


def _usage_refusals(leaf: x509.Certificate) -> list[BrokenRule]:
    broken = []
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        server = ExtendedKeyUsageOID.SERVER_AUTH in usages
    except (x509.ExtensionNotFound, ValueError):
        server = False
    if not server:
        broken.append(BrokenRule("extended_key_usage", "Its extendedKeyUsage does not name serverAuth."))
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return broken
    if not usage.digital_signature:
        broken.append(BrokenRule("key_usage", "Its keyUsage has no digitalSignature, without which TLS refuses."))
    return broken


def _name_refusals(leaf: x509.Certificate) -> list[BrokenRule]:
    names = names_of(leaf)
    if not names:
        return [BrokenRule("server_name", "It has no name: neither a subjectAltName nor a CN.")]
    if len(names) > MAX_NAMES:
        return [BrokenRule("server_name", f"It has {len(names)} names; at most {MAX_NAMES} are served.")]
    return []
