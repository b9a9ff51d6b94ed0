"""Server chains and client certificates for tests of the front door: valid by default, one defect at a time."""

from __future__ import annotations

import base64
import datetime as dt
import functools
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Issued:
    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return self.pem + b"".join(link.public_bytes(serialization.Encoding.PEM) for link in self.chain)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, directory: Path, name: str) -> tuple[str, str]:
        """`NAME.crt` (with the chain) and `NAME.key` below `directory`."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(self.chain_pem)
        key.write_bytes(self.key_pem)
        return str(certificate), str(key)


@functools.cache
def new_key(kind: str, which: int = 0) -> Key:
    """`rsa2048`, `p256`, …; the same one for the same arguments, since RSA keys are slow to make."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1, "k256": ec.SECP256K1}
    return ec.generate_private_key(curves[kind]())


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def issue(
    subject: str,
    key: Key,
    issuer: Issued | None = None,
    *,
    ca: bool = False,
    names: tuple[str, ...] = (),
    not_before_days: int = -1,
    not_after_days: int = 365,
    padding_bytes: int = 0,
    algorithm: hashes.HashAlgorithm | None = None,
) -> Issued:
    """Signed by `issuer`, or by itself; `padding_bytes` makes it that much larger."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=not_before_days))
        .not_valid_after(now + dt.timedelta(days=not_after_days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    if padding_bytes:
        filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), bytes(padding_bytes))
        builder = builder.add_extension(filler, critical=False)
    signing_key = issuer.key if issuer else key
    if algorithm is None and not isinstance(signing_key, ed25519.Ed25519PrivateKey):
        algorithm = hashes.SHA256()
    certificate = builder.sign(signing_key, algorithm)  # type: ignore[arg-type]
    return Issued(certificate, key, (issuer.certificate, *issuer.chain) if issuer and issuer.chain else ())


@dataclass(frozen=True)
class ServerChains:
    """One RSA and one ECDSA chain of root, intermediate and leaf; `roots` is the bundle of both."""

    rsa_root: Issued
    ecdsa_root: Issued
    rsa: Issued
    ecdsa: Issued

    @property
    def roots(self) -> bytes:
        return self.rsa_root.pem + self.ecdsa_root.pem


def server_chains(region: str = "us-east-1") -> ServerChains:
    """The same ones for the same region."""
    return _server_chains(region)


@functools.cache
def _server_chains(region: str) -> ServerChains:
    made = {}
    for kind, algorithm in (("rsa", "rsa2048"), ("ecdsa", "p256")):
        root = issue(f"Test Root {kind}", new_key(algorithm, 1), ca=True)
        intermediate = issue(f"Test Intermediate {kind}", new_key(algorithm, 2), root, ca=True)
        leaf = issue(f"leaf.{region}.{kind}", new_key(algorithm, 3), intermediate, names=("localhost", region))
        made[kind] = (root, Issued(leaf.certificate, leaf.key, (intermediate.certificate,)))
    return ServerChains(made["rsa"][0], made["ecdsa"][0], made["rsa"][1], made["ecdsa"][1])


@functools.cache
def device(kind: str = "p256") -> Issued:
    """A valid client certificate of an issuer that nobody knows."""
    authority = issue("Unknown CA", new_key("p256", 9), ca=True)
    return issue(f"device-{kind}", new_key(kind, 10), authority)


@dataclass(frozen=True)
class Forged(Issued):
    """A victim's certificate with a key file that shows the victim's public key around another private one."""

    @property
    def key_pem(self) -> bytes:
        victim = self.certificate.public_key()
        if isinstance(victim, ec.EllipticCurvePublicKey):
            der = _forged_ec(victim, new_key("p256", 77))
            label = b"EC PRIVATE KEY"
        else:
            assert isinstance(victim, rsa.RSAPublicKey)
            der = _forged_rsa(victim, new_key("rsa2048", 77))
            label = b"RSA PRIVATE KEY"
        body = base64.encodebytes(der)
        return b"-----BEGIN " + label + b"-----\n" + body + b"-----END " + label + b"-----\n"


def forged(kind: str) -> Forged:
    victim = device(kind)
    return Forged(victim.certificate, victim.key)


def _tlv(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def _integer(value: int) -> bytes:
    return _tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _forged_ec(victim: ec.EllipticCurvePublicKey, other: Key) -> bytes:
    assert isinstance(other, ec.EllipticCurvePrivateKey)
    scalar = other.private_numbers().private_value.to_bytes(32, "big")
    point = victim.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    prime256v1 = bytes.fromhex("06082a8648ce3d030107")
    fields = _integer(1) + _tlv(4, scalar) + _tlv(0xA0, prime256v1) + _tlv(0xA1, _tlv(3, b"\0" + point))
    return _tlv(0x30, fields)  # RFC 5915 §3


def _forged_rsa(victim: rsa.RSAPublicKey, other: Key) -> bytes:
    assert isinstance(other, rsa.RSAPrivateKey)
    public = victim.public_numbers()
    private = other.private_numbers()
    numbers = (0, public.n, public.e, private.d, private.p, private.q, private.dmp1, private.dmq1, private.iqmp)
    return _tlv(0x30, b"".join(map(_integer, numbers)))  # RFC 8017 §A.1.2
