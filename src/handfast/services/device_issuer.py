"""
The device issuing CA: certificates for CreateKeysAndCertificate and CreateCertificateFromCsr.

A trust domain of its own. Its issuer is self-signed, under no root of the server and cross-signed
by none, and stands in no trust bundle: a device certificate whose name is the endpoint's can
never be taken for the server. What lets a device in is its registration, not this signature.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from handfast.core.pki import profile as profiles
from handfast.core.pki.chain import signed_by
from handfast.core.pki.issue import SERIAL_BYTES, SigningKey, Ticket, prepare, prepare_device, sign
from handfast.core.pki.pem import encode_certificate, read_request
from handfast.errors import ConfigurationError
from handfast.ports import Clock, Entropy
from handfast.services.pki_folder import KeyFolder, PkiFolder, holds

_LONGEST_CLAIM = profiles.CLAIM_LIFETIME + profiles.PROVISIONING_CLAIM.backdate


class DeviceKeys(Protocol):
    """Where new RSA 2048 keys come from: `keystore.pool.KeyPool`."""

    async def take(self) -> rsa.RSAPrivateKey: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKeys:
    """
    A new key pair with its certificate, as CreateKeysAndCertificate returns it once.

    `certificate_pem` X.509, `public_key_pem` SubjectPublicKeyInfo (BEGIN PUBLIC KEY), `private_key_pem`
    PKCS#1 (BEGIN RSA PRIVATE KEY); each ends with a newline. The private key exists nowhere else.
    """

    certificate_pem: str
    public_key_pem: str
    private_key_pem: str = field(repr=False)


class DeviceIssuer:
    """
    Issues device certificates with the profile that AWS IoT's have: 20-octet serial number, notBefore 120 s
    before the moment of issue, notAfter 2049-12-31T23:59:59Z, AKI, SKI, basicConstraints and keyUsage in
    this order and nothing else, signed sha256WithRSAEncryption whatever the subject's key is.
    """

    def __init__(
        self, certificate: x509.Certificate, key: SigningKey, keys: DeviceKeys, clock: Clock, entropy: Entropy
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._keys = keys
        self._clock = clock
        self._entropy = entropy

    @classmethod
    def open(
        cls, folder: PkiFolder, online: KeyFolder, keys: DeviceKeys, *, clock: Clock, entropy: Entropy
    ) -> DeviceIssuer:
        """
        The issuer of a PKI that exists.

        Raises:
            ConfigurationError: Certificate or key missing, damaged, or not of each other.
        """
        certificate = folder.device_issuer()
        key = online.signing_key("device-ca/issuer-1")
        if not holds(key, certificate):
            raise ConfigurationError(
                f"{folder.path}/device-ca/issuer-1.key is not the key of issuer-1.pem: restore both from one backup."
            )
        return cls(certificate, key, keys, clock, entropy)

    @property
    def certificate(self) -> x509.Certificate:
        """The issuer's own certificate; in no trust bundle."""
        return self._certificate

    def issued_claim(self, der: bytes) -> bool:
        """Whether this issuer made the certificate as a provisioning claim, whatever became of it since."""
        try:
            certificate = x509.load_der_x509_certificate(der)
            life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            # Dates first: a signature is verified of those alone that could be one.
            return life <= _LONGEST_CLAIM and signed_by(certificate, self._certificate)
        except Exception:  # whatever the parser finds wrong with a peer's certificate: nobody here made it
            return False

    async def create_keys_and_certificate(self) -> IssuedKeys:
        """
        A new RSA 2048 key and its certificate, `CN=AWS IoT Certificate`.

        Raises:
            ServiceUnavailableError: More keys are asked for than can be made.
        """
        return await self._issue_with_key(profiles.DEVICE)

    async def create_provisioning_claim(self) -> IssuedKeys:
        """The same, of a certificate that is over five minutes from now. Raises as above."""
        return await self._issue_with_key(profiles.PROVISIONING_CLAIM)

    async def _issue_with_key(self, profile: profiles.Profile) -> IssuedKeys:
        key = await self._keys.take()
        ticket = prepare(
            profile,
            issuer=self._certificate,
            subject=profiles.DEVICE_SUBJECT,
            public_key=key.public_key(),
            now=self._clock.now(),
            serial=self._entropy.token_bytes(SERIAL_BYTES),
        )
        return IssuedKeys(
            certificate_pem=await self._sign(ticket),
            public_key_pem=key.public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            .decode("ascii"),
            private_key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(
                "ascii"
            ),
        )

    async def issue_from_csr(self, csr_pem: str) -> str:
        """
        The certificate, as PEM, for the request's key and subject; the same request twice gives two certificates.

        Raises:
            CertificateInputError: Not a request, not signed by its own key, or a key or algorithm that is not
                accepted; the message names every reason.
        """
        ticket = prepare_device(
            read_request(csr_pem),
            issuer=self._certificate,
            now=self._clock.now(),
            serial=self._entropy.token_bytes(SERIAL_BYTES),
        )
        return await self._sign(ticket)

    async def _sign(self, ticket: Ticket) -> str:
        # An RSA signature takes a millisecond, in which the event loop can do better.
        return encode_certificate(await asyncio.to_thread(sign, ticket, self._key))
