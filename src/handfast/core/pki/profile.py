"""
What each kind of certificate looks like: a `Profile` is checked by `issue.prepare`, and nothing else is ever signed.

The server's trust domain has roots, cross-certificates, intermediates and leaves. The device
trust domain has one self-signed issuer and the device certificates under it. The two never meet.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEVICE_NOT_AFTER = dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
"""The last second that UTCTime can write (RFC 5280 §4.1.2.5), as on the certificates that AWS IoT issues."""
DEVICE_ISSUER_NOT_AFTER = dt.datetime(2050, 12, 31, 23, 59, 59, tzinfo=dt.UTC)

DAY = dt.timedelta(days=1)


class KeyUse(StrEnum):
    """The bits of keyUsage that occur here (RFC 5280 §4.2.1.3)."""

    DIGITAL_SIGNATURE = "digitalSignature"
    KEY_ENCIPHERMENT = "keyEncipherment"
    KEY_CERT_SIGN = "keyCertSign"
    CRL_SIGN = "cRLSign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    What one kind of certificate must look like.

    `backdate` is taken off the moment of issue for notBefore, because device clocks run late. The
    end is notBefore's moment of issue plus `lifetime`, or `not_after` where that is set; `issue`
    cuts it at the issuer's own end.
    """

    name: str
    ca: bool
    path_length: int | None
    key_use: frozenset[KeyUse]
    server_authentication: bool  # EKU serverAuth and clientAuth, and a subjectAltName is required
    backdate: dt.timedelta
    lifetime: dt.timedelta | None = None
    not_after: dt.datetime | None = None

    def key_usage(self) -> x509.KeyUsage:
        """The extension's value."""
        return x509.KeyUsage(
            digital_signature=KeyUse.DIGITAL_SIGNATURE in self.key_use,
            content_commitment=False,
            key_encipherment=KeyUse.KEY_ENCIPHERMENT in self.key_use,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=KeyUse.KEY_CERT_SIGN in self.key_use,
            crl_sign=KeyUse.CRL_SIGN in self.key_use,
            encipher_only=False,
            decipher_only=False,
        )


_CA_USE = frozenset({KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_CERT_SIGN, KeyUse.CRL_SIGN})
EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def root(lifetime: dt.timedelta) -> Profile:
    """A root of the server's trust domain, or its cross-certificate: the same subject and key under another issuer."""
    return Profile(
        name="root",
        ca=True,
        path_length=None,
        key_use=_CA_USE,
        server_authentication=False,
        backdate=DAY,
        lifetime=lifetime,
    )


INTERMEDIATE = Profile(
    name="intermediate",
    ca=True,
    path_length=0,  # it signs leaves, never another CA
    key_use=_CA_USE,
    server_authentication=False,
    backdate=DAY,
    lifetime=5 * 365 * DAY,
)

SERVER_RSA = Profile(
    name="server leaf, RSA",
    ca=False,
    path_length=None,
    # keyEncipherment because the security policies still offer static RSA key exchange in TLS 1.2
    key_use=frozenset({KeyUse.DIGITAL_SIGNATURE, KeyUse.KEY_ENCIPHERMENT}),
    server_authentication=True,
    backdate=dt.timedelta(hours=1),
    lifetime=365 * DAY,
)

SERVER_ECDSA = Profile(
    name="server leaf, ECDSA",
    ca=False,
    path_length=None,
    key_use=frozenset({KeyUse.DIGITAL_SIGNATURE}),
    server_authentication=True,
    backdate=dt.timedelta(hours=1),
    lifetime=365 * DAY,
)

DEVICE_ISSUER = Profile(
    name="device issuer",
    ca=True,
    path_length=0,
    key_use=_CA_USE,
    server_authentication=False,
    backdate=DAY,
    not_after=DEVICE_ISSUER_NOT_AFTER,
)

DEVICE = Profile(
    name="device",
    ca=False,
    path_length=None,
    key_use=frozenset({KeyUse.DIGITAL_SIGNATURE}),
    server_authentication=False,
    backdate=dt.timedelta(seconds=120),
    not_after=DEVICE_NOT_AFTER,
)

CLAIM_LIFETIME = dt.timedelta(minutes=5)
PROVISIONING_CLAIM = Profile(  # AWS IoT: a claim of a trusted user lives for five minutes
    name="provisioning claim",
    ca=False,
    path_length=None,
    key_use=DEVICE.key_use,
    server_authentication=False,
    backdate=DEVICE.backdate,
    lifetime=CLAIM_LIFETIME,
)

ORGANIZATION = "Handfast"
DEVICE_ISSUER_NAME = x509.Name(
    [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Handfast Device Issuing CA O=Handfast")]
)
"""One OU that looks like a whole name, as AWS IoT's does: software that reads it as one attribute keeps working."""
DEVICE_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")])
"""The subject that CreateKeysAndCertificate gives; devices and tools in the field look for it."""


def authority_name(common_name: str) -> x509.Name:
    """`O=Handfast, CN=…` of a CA of the server's trust domain."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def server_subject(region: str, domain: str) -> x509.Name:
    """`CN=*.iot.{region}.{domain}` when it fits the 64 characters of X.520, else the empty name."""
    name = f"*.iot.{region}.{domain}"
    if len(name) > 64:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
