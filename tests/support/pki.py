"""A PKI made once per test process and copied; certificates with one thing wrong at a time; openssl as the judge."""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import ipaddress
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from handfast.core.pki.issue import SigningKey
from handfast.keystore.file import FileKeyStore
from handfast.services.authorities import ServerAuthority

START = dt.datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=dt.UTC)
REGION = "us-east-1"
DOMAIN = "example.test"
ROOT_PASSPHRASE = b"correct horse battery staple"


class MovableClock:
    """Stands at START until `at` is set."""

    def __init__(self, at: dt.datetime = START) -> None:
        self.at = at

    def now(self) -> dt.datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - START).total_seconds()


class RealEntropy:
    """The operating system's: serial numbers of one test must not meet those of another."""

    def token_bytes(self, n: int) -> bytes:
        return secrets.token_bytes(n)

    def uuid(self) -> str:
        return str(uuid.uuid4())


def open_authority(data_dir: Path, clock: MovableClock | None = None, **changes: Any) -> ServerAuthority:
    """`ServerAuthority.open` with the defaults of these tests."""
    options: dict[str, Any] = {
        "region": REGION,
        "domain": DOMAIN,
        "server_names": (),
        "clock": clock or MovableClock(),
        "entropy": RealEntropy(),
        "keystore": FileKeyStore,
        "root_passphrase": ROOT_PASSPHRASE,
    }
    return ServerAuthority.open(data_dir, **(options | changes))


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="handfast-pki-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o700)
    open_authority(data_dir)
    return data_dir


def copied_pki(tmp_path: Path) -> Path:
    """A data directory of its own whose PKI was made at START, root keys under ROOT_PASSPHRASE."""
    return Path(shutil.copytree(_template(), tmp_path / "data"))


@functools.cache
def key_of(kind: str) -> SigningKey:
    """One key of a kind for the whole process: `rsa1024` to `rsa4096`, or a curve's name."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "k256": ec.SECP256K1()}
    return ec.generate_private_key(curves[kind])


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(
    subject: str | x509.Name = "device",
    *,
    key: Any = None,
    issuer: x509.Certificate | None = None,
    issuer_key: Any = None,
    not_before: dt.datetime = START - dt.timedelta(days=1),
    not_after: dt.datetime = START + dt.timedelta(days=365),
    ca: bool = False,
    path_length: int | None = None,
    extensions: Sequence[x509.ExtensionType] = (),
    digest: Any = None,
    padding: Any = None,
    issuer_name: x509.Name | None = None,
    ski: bool = True,
    aki: bytes | None = None,
) -> x509.Certificate:
    """A valid certificate, self-signed unless an issuer is given; each argument spoils or changes one thing."""
    own = key or key_of("p256")
    signer = issuer_key or own
    subject_name = name(subject) if isinstance(subject, str) else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer_name or (issuer.subject if issuer else subject_name))
        .public_key(own.public_key())
        .serial_number(int.from_bytes(secrets.token_bytes(8), "big") + 1)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    if ski:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
    if aki is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(aki, None, None), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, digest or hashes.SHA256(), rsa_padding=padding)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode("ascii") for each in certificates)


def der(value: x509.Certificate) -> bytes:
    return value.public_bytes(serialization.Encoding.DER)


def csr(subject: x509.Name | str = "device", *, key: Any = None, digest: Any = None) -> str:
    """A signing request as PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        name(subject) if isinstance(subject, str) else subject
    )
    request = builder.sign(key or key_of("p256"), digest or hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")


def openssl(*arguments: str | Path, check: bool = True, text: str | None = None) -> str:
    """What `openssl` prints, both streams; its exit status must be 0 unless `check` is off."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, input=text, timeout=30, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0 or not check, printed
    return printed


def openssl_verifies(
    tmp_path: Path,
    cert: x509.Certificate,
    *,
    trusted: Sequence[x509.Certificate],
    untrusted: Sequence[x509.Certificate] = (),
    purpose: str | None = None,
    host: str | None = None,
    at: dt.datetime = START,
    partial: bool = False,
) -> str:
    """`openssl verify -x509_strict` with exactly these anchors: "" when it verifies, else what openssl says."""
    files = {}
    for label, certificates in (("leaf", [cert]), ("trusted", trusted), ("untrusted", untrusted)):
        files[label] = tmp_path / f"{label}-{secrets.token_hex(4)}.pem"
        files[label].write_text(pem(*certificates))
    arguments: list[str | Path] = ["verify", "-x509_strict", "-attime", str(int(at.timestamp()))]
    arguments += ["-no-CApath", "-no-CAstore", "-CAfile", files["trusted"]]
    arguments += ["-untrusted", files["untrusted"]] if untrusted else []
    arguments += ["-purpose", purpose] if purpose else []
    arguments += ["-partial_chain"] if partial else []
    if host is not None:
        try:
            ipaddress.ip_address(host)
            arguments += ["-verify_ip", host]
        except ValueError:
            arguments += ["-verify_hostname", host]
    printed = openssl(*arguments, files["leaf"], check=False)
    return "" if printed.strip().endswith("OK") else printed
