"""A chain as a person wants to read it: link by link, and which root a device needs for it."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.pki import chain as chains
from handfast.core.pki.keys import certificate_key_kind, signature_name, validity_refusals
from handfast.core.pki.names import display


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """
    One certificate. Texts may quote whoever made it: they are bounded, and escaped where they are shown.

    `fingerprint` is the SHA-256 of the certificate, `pin` of its SubjectPublicKeyInfo, both in hex; a pin
    survives cross-signing, a fingerprint does not. `problems` are sentences, empty when all is well.
    """

    subject: str
    issuer: str
    serial_number: str
    subject_key_identifier: str | None
    authority_key_identifier: str | None
    key: str
    signature: str
    not_before: dt.datetime
    not_after: dt.datetime
    size_bytes: int
    fingerprint: str
    pin: str | None
    names: tuple[str, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RootNeeded:
    """A root that verifies the chain: `file` of the trust folder, and how many cross-certificates lie between."""

    file: str
    subject: str
    not_after: dt.datetime
    through: tuple[str, ...]


def describe(cert: x509.Certificate, problems: Sequence[str] = ()) -> Described:
    """One certificate on its own."""
    ski, aki = chains.subject_key_identifier(cert), chains.authority_key_identifier(cert)
    return Described(
        subject=display(cert.subject),
        issuer=display(cert.issuer),
        serial_number=f"{cert.serial_number:x}",
        subject_key_identifier=ski.hex() if ski is not None else None,
        authority_key_identifier=aki.hex() if aki is not None else None,
        key=certificate_key_kind(cert),
        signature=signature_name(cert),
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        size_bytes=len(cert.public_bytes(Encoding.DER)),
        fingerprint=cert.fingerprint(hashes.SHA256()).hex(),
        pin=pin(cert),
        names=server_names(cert),
        problems=tuple(problems),
    )


def describe_chain(chain: Sequence[x509.Certificate], *, at: dt.datetime) -> list[Described]:
    """Every certificate as it was sent, each with what is wrong with it and with its link to the next."""
    described = []
    for position, cert in enumerate(chain):
        problems = [rule.message for rule in validity_refusals(cert, at)]
        if position + 1 < len(chain):
            problems += [rule.message for rule in chains.place_refusals(chain, position)]
        elif position and chains.self_issued(cert):
            problems.append("This is a root: a server need not send it, and a device does not trust it for being sent.")
        described.append(describe(cert, problems))
    return described


def roots_needed(
    chain: Sequence[x509.Certificate], roots: Mapping[str, x509.Certificate], *, at: dt.datetime
) -> list[RootNeeded]:
    """
    Every root of a trust folder that a device may embed to verify this chain as it was sent, fewest steps first.

    Args:
        chain: As the server sent it, leaf first.
        roots: By file name.
    """
    if not chain:
        return []
    needed = []
    for file, root in roots.items():
        if validity_refusals(root, at):
            continue
        for path in chains.paths(chain[0], chain[1:], [root]):
            between = tuple(display(cert.subject) for cert in path[1:-1])
            needed.append(
                (
                    len(path),
                    RootNeeded(
                        file=file, subject=display(root.subject), not_after=root.not_valid_after_utc, through=between
                    ),
                )
            )
            break
    return [each for _, each in sorted(needed, key=lambda item: item[0])]


def pin(cert: x509.Certificate) -> str | None:
    """SHA-256 of the SubjectPublicKeyInfo in hex; None where the library cannot read the key."""
    try:
        spki = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:
        return None
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    return digest.finalize().hex()


def server_names(cert: x509.Certificate) -> tuple[str, ...]:
    """DNS names and addresses of the subjectAltName, at most 50."""
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    found = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    return tuple(found[:50])


def covers(names: Sequence[str], host: str) -> bool:
    """Whether a server with these names may call itself `host` (RFC 6125 §6.4.3: a wildcard is one whole label)."""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        host = host.lower().rstrip(".")
        _, _, parent = host.partition(".")
        return any(name.lower() in (host, f"*.{parent}" if parent else host) for name in names)
    return address in names
