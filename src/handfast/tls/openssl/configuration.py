"""What OpenSSL is configured to, whichever engine calls it: versions, suites, groups, options."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate
from OpenSSL import SSL

from handfast.core.identity.security_policy import SecurityPolicy
from handfast.tls.openssl.engine import Context

# Preference goes by the tuples between slashes; within one the group that needs no second round trip wins.
# P-256, P-384 and P-521 also decide which EC client certificates TLS 1.2 takes.
GROUPS: Final = "X25519MLKEM768/X25519:P-256/P-384:P-521"
# RFC 7919 §4: a client that names finite-field groups gets DHE in one of those or not at all.
GROUPS_WITH_DHE: Final = GROUPS + "/ffdhe2048"
_FFDHE2048: Final = Path(__file__).with_name("ffdhe2048.pem")

_OPTIONS: Final = (
    SSL.OP_NO_TICKET
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_IGNORE_UNEXPECTED_EOF
)

VERIFY: Final = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
"""A client certificate is required; what is thought of it is the verify callback's."""

CB_ACCEPT_EXIT: Final = 0x2002
"""
Told to the info callback when the state machine ran after the handshake: once for a KeyUpdate or a renegotiation taken
up, once for an answer sent; never for application data.
"""


def build_context(
    chain: list[Certificate],
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    client_auth: bool,
    policy: SecurityPolicy,
) -> Context:
    """A server's context with this chain and key; callbacks and the choice of groups are the engine's."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION if policy.tls12_suites else SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION if policy.tls13_suites else SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Nothing is ever resumed. In TLS 1.3 OpenSSL names sessions to the client all the same, and the binding lacks
    # SSL_CTX_set_num_tickets; what can be said is that they are good for a second (RFC 8446 §4.6.1).
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_timeout(1)
    if policy.tls12_suites:
        context.set_cipher_list(":".join(policy.tls12_suites).encode())
    if policy.tls13_suites:
        context.set_tls13_ciphersuites(":".join(policy.tls13_suites).encode())
    if policy.dhe_rsa:
        context.load_tmp_dh(str(_FFDHE2048))
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)
    context.check_privatekey()
    if not client_auth:
        context.set_verify(SSL.VERIFY_NONE)
    return context
