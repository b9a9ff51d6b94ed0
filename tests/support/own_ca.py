"""A customer's own CA: valid by default, one defect at a time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.registry import NOW, pem_id

from handfast.core.identity.ids import CertificateId

DAY = dt.timedelta(days=1)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class OwnCA:
    """A self-signed CA, or one below `parent`. `ca` None: no basicConstraints."""

    name: str = "Own CA"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    parent: OwnCA | None = None
    ca: bool | None = True
    key_cert_sign: bool | None = None
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    not_before: dt.datetime = NOW - DAY
    not_after: dt.datetime = NOW + 365 * DAY
    path_length: int | None = None
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()  # further ones, and whether each is critical

    def __post_init__(self) -> None:
        builder = _builder(named(self.name), self.key.public_key(), self.not_before, self.not_after)
        if self.ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(self.ca, self.path_length), critical=True)
        if self.key_cert_sign is not None:
            usage: dict[str, Any] = dict.fromkeys(
                ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
            )
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=self.key_cert_sign,
                    encipher_only=False,
                    decipher_only=False,
                    **usage,
                ),
                critical=True,
            )
        for extension, critical in self.extensions:
            builder = builder.add_extension(extension, critical)
        issuer = self.parent or self
        self.cert = builder.issuer_name(named(issuer.name)).sign(issuer.key, self.digest)
        self.pem = _pem(self.cert)

    @property
    def id(self) -> CertificateId:
        return pem_id(self.pem)

    def issue(
        self,
        name: str = "device",
        *,
        digest: hashes.HashAlgorithm | None = None,
        not_before: dt.datetime = NOW - DAY,
        not_after: dt.datetime = NOW + DAY,
        issuer: str | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
        subject: x509.Name | None = None,
    ) -> str:
        """A certificate that this CA signed, in PEM; also the verification certificate, named after a code."""
        public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
        builder = _builder(subject or named(name), public, not_before, not_after).issuer_name(
            named(issuer or self.name)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return _pem(builder.sign(self.key, digest or hashes.SHA256()))


def _builder(subject: x509.Name, key: Any, not_before: dt.datetime, not_after: dt.datetime) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )


def _pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()
