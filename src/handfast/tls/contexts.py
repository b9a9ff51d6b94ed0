"""Which certificate and settings a connection gets: OpenSSL contexts, made anew with every certificate."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES, SecurityPolicy
from handfast.errors import ConfigurationError
from handfast.tls.chain import ChainKind
from handfast.tls.openssl.choice import default_engine
from handfast.tls.openssl.engine import AcceptCertificate, Context, Engine, accept_any
from handfast.tls.openssl.staples import Staple, attach

ALPN_MQTT: Final = "x-amzn-mqtt-ca"
ALPN_HTTPS: Final = "x-amzn-http-ca"
ALPN_HTTP11: Final = "http/1.1"
ALPN_CUSTOM_AUTH: Final = "mqtt"


_Use = tuple[SecurityPolicy, bool, str | None, bool]
"""What a context is for: policy, whether a client certificate is required, ALPN, whether the whole chain is sent."""


@dataclass(frozen=True, slots=True)
class _Material:
    chain: tuple[x509.Certificate, ...]
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    own: tuple[x509.Certificate, ...]
    """`chain` without cross-certificates that a key of the other kind signed: for who verifies signatures of one."""
    staple: Staple = field(default_factory=Staple, compare=False)
    """The leaf's, for every context of this material."""
    contexts: dict[_Use, Context] = field(default_factory=dict, compare=False)


class Contexts:
    """
    The server's certificates by name of their set and kind, and the OpenSSL contexts made of them.

    A context that a connection uses is never changed: `install` makes new ones, and
    connections that are open keep the old. Contexts are per ALPN protocol, so that
    OpenSSL itself can select nothing but what was decided from the ClientHello.
    All of it is for the event loop's thread.
    """

    __slots__ = ("_accept", "_engine", "_material", "policy", "prefer")

    def __init__(
        self,
        prefer: ChainKind = "rsa",
        policy: str = DEFAULT_SECURITY_POLICY,
        *,
        engine: type[Engine] | None = None,
        accept: AcceptCertificate | None = None,
    ) -> None:
        """
        Args:
            prefer: The kind that a client gets that can verify both.
            policy: The name of the security policy that holds where a connection asks for no other.
            engine: For tests; what `default_engine` says otherwise.
            accept: For tests; replaces the verify callback's answer.

        Raises:
            ConfigurationError: There is no policy of that name.
        """
        if policy not in SECURITY_POLICIES:
            raise ConfigurationError(f"no security policy is named {policy!r}; {', '.join(SECURITY_POLICIES)} are")
        self.policy: SecurityPolicy = SECURITY_POLICIES[policy]
        self.prefer: ChainKind = prefer
        self._engine = engine or default_engine()
        self._accept = accept or accept_any
        self._material: dict[tuple[str, ChainKind], _Material] = {}

    @property
    def engine(self) -> type[Engine]:
        """The engine that the contexts are for."""
        return self._engine

    def install(self, name: str, kind: ChainKind, chain_pem: bytes, key_pem: bytes) -> None:
        """
        Serve `name` with this certificate from the next connection on.

        Args:
            name: Of the set: a region for the built-in certificates; others have a prefix that no region has.
            chain_pem: Leaf, intermediate and any cross-certificates, sent exactly so to who can verify all their
                signatures. Never a root.
            key_pem: The leaf's private key, not encrypted.

        Raises:
            ConfigurationError: Not a chain, of another kind, with a root in it, or the key of another certificate.
                What was served before still is.
        """
        material = _load(name, kind, chain_pem, key_pem)
        current = self._material.get((name, kind))
        if current is not None and current.chain[0] == material.chain[0]:
            material.staple.response = current.staple.response
        # The usual contexts are made now, so that what is wrong is found now; the others when first asked for.
        for client_auth, alpn in ((True, None), (True, ALPN_MQTT), (False, None)):
            self._made(material, (self.policy, client_auth, alpn, True))
        self._material[name, kind] = material

    def staple(self, name: str, kind: ChainKind, leaf: x509.Certificate, response: bytes | None) -> None:
        """
        Handshakes that come from now on and ask for it are stapled this OCSP response (DER); None: none.

        Nothing happens where another leaf than `leaf` is served by now.
        """
        material = self._material.get((name, kind))
        if material is not None and material.chain[0] == leaf:
            material.staple.response = response

    def remove(self, name: str) -> None:
        """No connection gets the set any more; open ones keep what they have."""
        for key in [key for key in self._material if key[0] == name]:
            del self._material[key]

    def names(self) -> frozenset[str]:
        """The sets that have a certificate of either kind."""
        return frozenset(name for name, _ in self._material)

    def leaf(self, name: str, kind: ChainKind) -> x509.Certificate | None:
        """The leaf that is served now."""
        material = self._material.get((name, kind))
        return None if material is None else material.chain[0]

    def get(
        self,
        name: str,
        kind: ChainKind,
        client_auth: bool,
        alpn: str | None,
        policy: SecurityPolicy | None = None,
        *,
        whole: bool = True,
    ) -> Context | None:
        """
        The context for a connection; None where no such certificate is installed.

        Args:
            policy: Another than `self.policy`.
            whole: Whether the client verifies signatures of the other kind too, and so may be sent all of the chain.
        """
        material = self._material.get((name, kind))
        if material is None:
            return None
        use = (policy or self.policy, client_auth, alpn, whole or material.own == material.chain)
        return material.contexts.get(use) or self._made(material, use)

    def _made(self, material: _Material, use: _Use) -> Context:
        policy, client_auth, alpn, whole = use
        context = self._engine.context(
            list(material.chain if whole else material.own),
            material.key,
            client_auth=client_auth,
            alpn=None if alpn is None else alpn.encode("ascii"),
            policy=policy,
            accept=self._accept,
        )
        attach(context, material.staple, self._engine)
        material.contexts[use] = context
        return context


def _load(name: str, kind: ChainKind, chain_pem: bytes, key_pem: bytes) -> _Material:
    what = f"the {kind} server certificate of {name}"
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_pem))
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as exc:
        raise ConfigurationError(f"{what} cannot be read: {exc}") from exc
    if not isinstance(key, rsa.RSAPrivateKey if kind == "rsa" else ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{what} has a key of another kind")
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    if key.public_key() != chain[0].public_key():
        raise ConfigurationError(f"{what} and its private key do not belong together")
    for certificate, issuer in itertools.pairwise(chain):
        # A cross-certificate may follow: each is signed by the one behind it.
        try:
            certificate.verify_directly_issued_by(issuer)
        except Exception as exc:
            subject = issuer.subject.rfc4514_string()
            raise ConfigurationError(f"{what}: the chain is out of order at {subject}") from exc
    for certificate in chain[1:]:
        if certificate.subject == certificate.issuer:
            raise ConfigurationError(f"{what}: the chain holds the root {certificate.subject.rfc4514_string()}")
    alike = itertools.takewhile(lambda cert: _signed_by_rsa(cert) == (kind == "rsa"), chain)
    # Leaf and intermediate are sent however they are signed: without them there is no path at all.
    return _Material(chain, key, chain[: max(2, len(list(alike)))])


def _signed_by_rsa(certificate: x509.Certificate) -> bool:
    return isinstance(certificate.signature_algorithm_parameters, padding.PKCS1v15 | padding.PSS)
