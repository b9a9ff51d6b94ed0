"""
Chains: verified link by link when they are loaded, and every way up from a leaf through cross-certificates.

Signatures, names, key identifiers, basic constraints, key usage, validity, the name constraints of every CA above and
critical extensions are checked, as RFC 5280 §6.1 asks. Policies are not evaluated: a certificate that constrains them
is refused. Names are compared octet by octet: §4.1.2.6 has a CA write its name in the same way wherever it stands.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.pki.keys import BrokenRule, extension_refusals, validity_refusals
from handfast.core.pki.name_constraints import name_refusals
from handfast.core.pki.names import display

MAX_PATH_LENGTH = 8
MAX_PATHS = 32
MAX_SIGNATURE_CHECKS = 400  # a pool that a peer made can be a labyrinth


def verify(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], *, at: dt.datetime
) -> tuple[BrokenRule, ...]:
    """
    Every rule that a chain breaks; empty when it leads from its first certificate to an anchor.

    Args:
        chain: Leaf first, each certificate signed by the next; the anchor itself is not part of it.
        anchors: Trusted certificates; any of them may have signed the last one.
        at: The instant at which all of them, the anchor included, must be valid.
    """
    if not chain:
        return (BrokenRule("chain_empty", "The chain is empty."),)
    broken: list[BrokenRule] = []
    for position, cert in enumerate(chain):
        broken += [_about(cert, rule) for rule in validity_refusals(cert, at)]
        issues = position > 0 or _is_ca(cert)
        broken += [_about(cert, rule) for rule in extension_refusals(cert, issues=issues)]
        broken += place_refusals(chain, position)
    last = chain[-1]
    tried = [anchor for anchor in anchors if anchor.subject == last.issuer]
    if not tried:
        broken.append(
            BrokenRule("chain_no_anchor", f"No trusted root is named {display(last.issuer)}, the top of the chain.")
        )
        return tuple(broken)
    return (*broken, *min((_anchor_refusals(chain, anchor, at) for anchor in tried), key=len))


def _anchor_refusals(chain: Sequence[x509.Certificate], anchor: x509.Certificate, at: dt.datetime) -> list[BrokenRule]:
    about = (*validity_refusals(anchor, at), *extension_refusals(anchor, issues=True))
    return [*place_refusals((*chain, anchor), len(chain) - 1), *(_about(anchor, rule) for rule in about)] + [
        rule for position in range(len(chain) - 1) for rule in _names_held(chain, position, anchor)
    ]


def place_refusals(chain: Sequence[x509.Certificate], position: int) -> tuple[BrokenRule, ...]:
    """
    Every rule that a certificate breaks where it stands in a chain: the link to the next one, and the names that the
    ones above that constrain; () for the last one.

    Certificates that a CA issued to itself, as for a new key, count in no path length and are held to no constraints,
    unless they stand at the end (RFC 5280 §6.1.4 (b), (l)).
    """
    cert, above = chain[position], chain[position + 1 :]
    if not above:
        return ()
    # CAs below this issuer, the leaf not counted (RFC 5280 §4.2.1.9)
    below = sum(not self_issued(each) for each in chain[1 : position + 1])
    held = position == 0 or not self_issued(cert)
    broken = link_refusals(cert, above[0], cas_below=below, held_to_names=held)
    return (*broken, *(rule for issuer in above[1:] for rule in _names_held(chain, position, issuer)))


def _names_held(chain: Sequence[x509.Certificate], position: int, issuer: x509.Certificate) -> tuple[BrokenRule, ...]:
    if position and self_issued(chain[position]):
        return ()
    return name_refusals(chain[position], issuer)


def link_refusals(
    cert: x509.Certificate, issuer: x509.Certificate, *, cas_below: int = 0, held_to_names: bool = True
) -> tuple[BrokenRule, ...]:
    """
    Every rule that the link from `cert` up to `issuer` breaks.

    Args:
        cas_below: How many CA certificates, not self-issued, stand between `issuer` and the leaf.
        held_to_names: Whether the issuer's name constraints are about `cert`.
    """
    broken: list[BrokenRule] = []

    def say(rule: str, text: str) -> None:
        broken.append(BrokenRule(rule, f"{display(cert.subject)} ← {display(issuer.subject)}: {text}"))

    if cert.issuer != issuer.subject:
        say("chain_name", f"it names {display(cert.issuer)} as its issuer.")
    wanted, offered = authority_key_identifier(cert), subject_key_identifier(issuer)
    if wanted is not None and offered is not None and wanted != offered:
        say("chain_key_identifier", f"it wants the key {wanted.hex()}, the issuer has {offered.hex()}.")
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            say("chain_not_ca", "the issuer is not a CA.")
        elif constraints.path_length is not None and cas_below > constraints.path_length:
            say("chain_path_length", f"the issuer allows {constraints.path_length} CAs below itself, not {cas_below}.")
    except x509.ExtensionNotFound:
        say("chain_not_ca", "the issuer has no basicConstraints.")
    try:
        if not issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            say("chain_key_usage", "the issuer's key may not sign certificates.")
    except x509.ExtensionNotFound:
        pass  # RFC 5280 §6.1.4 (n): only checked where it is present
    if held_to_names:
        broken += name_refusals(cert, issuer)
    if not signed_by(cert, issuer):
        say("chain_signature", "the signature is not the issuer's.")
    return tuple(broken)


def paths(
    leaf: x509.Certificate, pool: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> list[tuple[x509.Certificate, ...]]:
    """
    Every way from `leaf` up to an anchor, the anchor included, shortest first.

    Args:
        pool: Intermediates and cross-certificates, in any order.
        anchors: Trusted certificates; a path ends at the first one it meets.

    Validity is not looked at. At most `MAX_PATHS` paths of at most `MAX_PATH_LENGTH` certificates, and
    `MAX_SIGNATURE_CHECKS` signatures verified: the pool may come from a peer.
    """
    found: list[tuple[x509.Certificate, ...]] = []
    for path in _climb((leaf,), pool, anchors, iter(range(MAX_SIGNATURE_CHECKS))):
        found.append(path)
        if len(found) >= MAX_PATHS:
            break
    return sorted(found, key=len)


class Form(NamedTuple):
    """A chain as a server may send it: whether a cross-certificate ends it, and whether this is what was sent."""

    chain: tuple[x509.Certificate, ...]
    cross: bool
    sent: bool


def with_and_without(chain: Sequence[x509.Certificate], cross: Sequence[x509.Certificate]) -> list[Form]:
    """
    A chain without and with the cross-certificate of its root, as far as either is known.

    Args:
        chain: As it was sent, leaf first.
        cross: Known cross-certificates, of which the one that signed the top of `chain`, or stands there already, is
            used.
    """
    whole = tuple(chain)
    if not whole:
        return []
    if len(whole) > 1 and any(same_key(whole[-1], each) and whole[-1].subject == each.subject for each in cross):
        return [Form(whole[:-1], cross=False, sent=False), Form(whole, cross=True, sent=True)]
    forms = [Form(whole, cross=False, sent=True)]
    forms += [Form((*whole, each), cross=True, sent=False) for each in cross if signed_by(whole[-1], each)][:1]
    return forms


def signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key made the signature on `cert`, and the names agree."""
    try:
        cert.verify_directly_issued_by(issuer)
    except Exception:  # InvalidSignature, ValueError for names, TypeError and UnsupportedAlgorithm for keys: all a no
        return False
    return True


def self_issued(cert: x509.Certificate) -> bool:
    """Whether subject and issuer are the same name."""
    return cert.subject == cert.issuer


def subject_key_identifier(cert: x509.Certificate) -> bytes | None:
    """The SKI's octets, or None."""
    try:
        return cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return None


def authority_key_identifier(cert: x509.Certificate) -> bytes | None:
    """The AKI's keyid octets, or None."""
    try:
        return cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return None


def same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether both certify the same key: what makes a cross-certificate the twin of a root."""
    try:
        return _spki(one) == _spki(other)
    except Exception:  # a key that the library cannot read is nobody's twin
        return False


def _climb(
    path: tuple[x509.Certificate, ...],
    pool: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    budget: Iterator[int],
) -> Iterator[tuple[x509.Certificate, ...]]:
    """`budget` gives one item for each signature that may still be verified."""
    top = path[-1]
    if any(top == anchor for anchor in anchors):
        yield path
        return
    if len(path) >= MAX_PATH_LENGTH:
        return
    for anchor in anchors:
        if _could_sign(top, anchor) and next(budget, None) is not None and signed_by(top, anchor):
            yield (*path, anchor)
    for candidate in pool:
        # A key that was passed before leads round in a circle: roots that sign each other.
        if any(same_key(candidate, passed) for passed in path):
            continue
        if _could_sign(top, candidate) and next(budget, None) is not None and signed_by(top, candidate):
            yield from _climb((*path, candidate), pool, anchors, budget)


def _could_sign(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    if cert.issuer != issuer.subject:
        return False
    wanted, offered = authority_key_identifier(cert), subject_key_identifier(issuer)
    return wanted is None or offered is None or wanted == offered


def _is_ca(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _spki(cert: x509.Certificate) -> bytes:
    return cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _about(cert: x509.Certificate, rule: BrokenRule) -> BrokenRule:
    return BrokenRule(rule.rule, f"{display(cert.subject)}: {rule.message}")
