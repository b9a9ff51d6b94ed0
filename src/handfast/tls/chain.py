"""Which of the two server chains a client gets: decided from its ClientHello, before OpenSSL is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from handfast.core.identity.refusal import ReasonCode
from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES, SecurityPolicy
from handfast.tls import iana
from handfast.tls.client_hello import (
    ALERT_HANDSHAKE_FAILURE,
    ALERT_MISSING_EXTENSION,
    ALERT_PROTOCOL_VERSION,
    ClientHello,
)

ChainKind = Literal["rsa", "ecdsa"]


class Reject(NamedTuple):
    """Nothing that both sides can do."""

    alert: int
    code: ReasonCode
    detail: str


_SECP256R1: Final = 0x0017
# What contexts.py configures, by number.
GROUPS: Final = frozenset({0x11EC, 0x001D, _SECP256R1, 0x0018, 0x0019})
_FFDHE2048: Final = 0x0100
_FFDHE_GROUPS: Final = range(0x0100, 0x0200)  # RFC 7919 §2

# Suites up to TLS 1.2 whose server authenticates with a certificate of that kind, in our policy or not:
# `openssl s_client -cipher aECDSA` names ChaCha20 and CCM too.
_ECDSA_SUITES: Final = frozenset(number for number, name in iana.CIPHER_SUITES.items() if "_ECDSA_WITH_" in name)
_RSA_SUITES: Final = frozenset(
    number
    for number, name in iana.CIPHER_SUITES.items()
    if "_RSA_WITH_" in name or name.startswith("TLS_RSA_PSK_WITH_")
)

_RSA_PSS_SCHEMES: Final = frozenset({0x0804, 0x0805, 0x0806})
_RSA_SCHEMES: Final = _RSA_PSS_SCHEMES | {0x0401, 0x0501, 0x0601}
_ECDSA_SCHEMES: Final = frozenset({0x0403, 0x0503, 0x0603})
_ECDSA_P256_SHA256: Final = 0x0403
_RSA_PKCS1_SHA256: Final = 0x0401


_DEFAULT_POLICY: Final = SECURITY_POLICIES[DEFAULT_SECURITY_POLICY]


def choose_chain(
    hello: ClientHello,
    prefer: ChainKind,
    policy: SecurityPolicy = _DEFAULT_POLICY,
    *,
    only: ChainKind | None = None,
) -> ChainKind | Reject:
    """
    The kind of chain that the client can verify, in the version that will be negotiated under `policy`.

    Where it can verify both it gets `prefer`, unless the suites that it offers for
    TLS 1.2 and below name one kind only: then that one, in TLS 1.3 too. Where there is
    `only` one kind, a client gets it that can verify it, and any other is refused.

    The chains are as the PKI issues them: an RSA 2048 or a P-256 leaf, each signed
    by its issuer with SHA-256.
    """
    if hello.offers_tls13 and policy.tls13_suites:
        return _tls13(hello, prefer, policy, only)
    if hello.offers_tls12 and policy.tls12_suites:
        return _tls12(hello, prefer, policy, only)
    versions = hello.versions if hello.versions is not None else (hello.legacy_version,)
    offered = iana.names(iana.VERSIONS, versions, 16)
    return Reject(
        ALERT_PROTOCOL_VERSION,
        ReasonCode.NO_COMMON_VERSION,
        f"offered {offered}; {policy.name} serves {policy.versions}",
    )


def _tls13(hello: ClientHello, prefer: ChainKind, policy: SecurityPolicy, only: ChainKind | None) -> ChainKind | Reject:
    suites = hello.cipher_suites
    if policy.tls13.isdisjoint(suites):
        return _no_cipher(f"TLS 1.3 without any suite that {policy.name} has for it: {', '.join(policy.tls13_suites)}")
    schemes = hello.signature_schemes
    if schemes is None:
        # RFC 8446 §9.2: without a pre-shared key, and none is ever accepted here, the extension is required.
        return Reject(ALERT_MISSING_EXTENSION, ReasonCode.MALFORMED_CLIENT_HELLO, "no signature_algorithms extension")
    rsa = not _RSA_PSS_SCHEMES.isdisjoint(schemes)
    ecdsa = _ECDSA_P256_SHA256 in schemes
    for_chain = hello.signature_schemes_cert
    if for_chain is not None:
        rsa = rsa and _RSA_PKCS1_SHA256 in for_chain
        ecdsa = ecdsa and _ECDSA_P256_SHA256 in for_chain
    rsa, ecdsa = rsa and only != "ecdsa", ecdsa and only != "rsa"
    if rsa and ecdsa:
        named_rsa = not _RSA_SUITES.isdisjoint(suites)
        named_ecdsa = not _ECDSA_SUITES.isdisjoint(suites)
        if named_rsa != named_ecdsa:
            return "rsa" if named_rsa else "ecdsa"
        return prefer
    if rsa:
        return "rsa"
    if ecdsa:
        return "ecdsa"
    offered = iana.names(iana.SIGNATURE_SCHEMES, for_chain if for_chain is not None else schemes, 16)
    return _no_cipher(f"no signature algorithm of a server chain is offered: {offered}")


def _tls12(hello: ClientHello, prefer: ChainKind, policy: SecurityPolicy, only: ChainKind | None) -> ChainKind | Reject:
    suites = hello.cipher_suites
    # RFC 8422 §4: without supported_groups the server may choose any curve.
    groups = hello.groups
    ecdhe = groups is None or not GROUPS.isdisjoint(groups)
    # RFC 5246 §7.4.1.4.1: without signature_algorithms the client means SHA-1, which is not signed with here.
    schemes = hello.signature_schemes or ()
    rsa = not policy.static_rsa.isdisjoint(suites) or (
        not _RSA_SCHEMES.isdisjoint(schemes)
        and ((ecdhe and not policy.ecdhe_rsa.isdisjoint(suites)) or _dhe(suites, groups, policy))
    )
    ecdsa = (
        ecdhe
        and not policy.ecdhe_ecdsa.isdisjoint(suites)
        and not _ECDSA_SCHEMES.isdisjoint(schemes)
        and (groups is None or _SECP256R1 in groups)
    )
    for_chain = hello.signature_schemes_cert
    if for_chain is not None:
        rsa = rsa and _RSA_PKCS1_SHA256 in for_chain
        ecdsa = ecdsa and _ECDSA_P256_SHA256 in for_chain
    rsa, ecdsa = rsa and only != "ecdsa", ecdsa and only != "rsa"
    if rsa and ecdsa:
        return prefer
    if rsa:
        return "rsa"
    if ecdsa:
        return "ecdsa"
    return _no_cipher(
        f"no suite that {policy.name} has for TLS 1.2 fits what was offered: "
        + iana.names(iana.CIPHER_SUITES, suites, 16)
        + "; signature algorithms "
        + (iana.names(iana.SIGNATURE_SCHEMES, schemes, 16) or "none")
        + "; groups "
        + (iana.names(iana.GROUPS, groups, 16) if groups is not None else "any")
    )


def _dhe(suites: Sequence[int], groups: Sequence[int] | None, policy: SecurityPolicy) -> bool:
    """RFC 7919 §4: a client that names finite-field groups takes one of those only."""
    if policy.dhe_rsa.isdisjoint(suites):
        return False
    return groups is None or _FFDHE2048 in groups or not any(group in _FFDHE_GROUPS for group in groups)


def takes_rsa_signatures(hello: ClientHello) -> bool:
    """
    Whether the client says that it can verify certificates which an RSA key signed with SHA-256.

    One that does not is to be sent none (RFC 5246 §7.4.2, RFC 8446 §4.4.2.2): a stack built for ECDSA alone may fail to
    parse a chain that holds one, though it would trust what stands below.
    """
    schemes = hello.signature_schemes_cert
    if schemes is None:
        schemes = hello.signature_schemes
    return schemes is not None and _RSA_PKCS1_SHA256 in schemes


def _no_cipher(detail: str) -> Reject:
    return Reject(ALERT_HANDSHAKE_FAILURE, ReasonCode.NO_COMMON_CIPHER, detail)
