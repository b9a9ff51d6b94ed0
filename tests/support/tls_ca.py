"""Server chains and client certificates for tests of the front door: valid by default, one defect at a time."""

from __future__ import annotations

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
    now = dt.datetime.now(dt.timezone.utc)
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


@functools.cache
def server_chains(region: str = "us-east-1") -> ServerChains:
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
