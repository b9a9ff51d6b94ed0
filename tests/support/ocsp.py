"""A CA made by `openssl`, its `openssl ocsp` responder, and responses with one thing wrong at a time."""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from tests.support.pki import MovableClock, certificate, key_of, openssl

from handfast.core.pki.ocsp import AskResult, ResponderFailed

_P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_ENTRY = "{status}\t350101000000Z\t{revoked}\t{serial}\tunknown\t/CN=leaf\n"


class OpenSSLAuthority:
    """An issuing CA with one server certificate for `localhost`, and a responder that it delegated to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ca = ("req", "-x509", *_P256, "-days", "3650", "-subj", "/CN=Operator CA")
        openssl(*ca, "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
        self._issue("leaf", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n")
        self._issue("delegate", "extendedKeyUsage=OCSPSigning\n")
        self._issue("stranger", "extendedKeyUsage=serverAuth\n")

    def _issue(self, name: str, extensions: str) -> None:
        file = self.folder / name
        file.with_suffix(".ext").write_text(extensions)
        openssl("req", "-new", *_P256, "-subj", f"/CN={name}", "-keyout", f"{file}.key", "-out", f"{file}.csr")
        openssl(
            "x509", "-req", "-in", f"{file}.csr", "-CA", self.folder / "ca.pem", "-CAkey", self.folder / "ca.key",
            "-days", "3650", "-extfile", f"{file}.ext", "-out", f"{file}.pem",
        )  # fmt: skip

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes())

    def key_pem(self, name: str) -> bytes:
        key = serialization.load_pem_private_key((self.folder / f"{name}.key").read_bytes(), None)
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def leaf_of_responder(self, url: str, name: str, number: int) -> x509.Certificate:
        """A server certificate for `name` with the key of `leaf` and this serial number, which names the responder."""
        responder = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
        extensions = (
            x509.SubjectAlternativeName([x509.DNSName(name)]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.AuthorityInformationAccess([responder]),
        )
        leaf = self.certificate("leaf")
        builder = (
            x509.CertificateBuilder()
            .subject_name(leaf.subject)
            .issuer_name(leaf.issuer)
            .public_key(leaf.public_key())
            .serial_number(number)
            .not_valid_before(leaf.not_valid_before_utc)
            .not_valid_after(leaf.not_valid_after_utc)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        key = serialization.load_pem_private_key(self.key_pem("ca"), None)
        return builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]

    @contextlib.contextmanager
    def responder(
        self, *, signer: str = "ca", status: str = "V", minutes: int = 60, number: int | None = None
    ) -> Iterator[str]:
        """
        `openssl ocsp` while inside; its URL.

        Args:
            status: of the leaf in the CA's index: V (valid), R (revoked), "" (not in it).
            number: The serial number of another leaf than `leaf`.
        """
        with tempfile.TemporaryDirectory(prefix="handfast-ocsp-") as folder:
            index = Path(folder) / "index.txt"
            serial = f"{number or self.certificate('leaf').serial_number:X}"
            serial = serial if len(serial) % 2 == 0 else f"0{serial}"
            revoked = "260101000000Z" if status == "R" else ""
            index.write_text(_ENTRY.format(status=status, revoked=revoked, serial=serial) if status else "")
            command = [
                "openssl", "ocsp", "-port", "0", "-index", index, "-CA", self.folder / "ca.pem", "-ignore_err",
                "-rsigner", self.folder / f"{signer}.pem", "-rkey", self.folder / f"{signer}.key",
                "-nmin", str(minutes),
            ]  # fmt: skip
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            try:
                assert process.stdout is not None
                found = re.match(r"ACCEPT .*:(\d+) ", process.stdout.readline())  # ends with the process at the latest
                assert found is not None
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                process.kill()
                process.communicate(timeout=10)


@functools.cache
def openssl_authority() -> OpenSSLAuthority:
    """The same one for the whole process."""
    folder = Path(tempfile.mkdtemp(prefix="handfast-openssl-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return OpenSSLAuthority(folder)


# --- responses made to order

ISSUER_KEY = key_of("p384")
DELEGATE_KEY = key_of("p521")


@functools.cache
def issuer() -> x509.Certificate:
    """An issuing CA; its key is ISSUER_KEY."""
    return certificate("Issuing CA", key=ISSUER_KEY, ca=True)


@functools.cache
def leaf(url: str | None = "http://ocsp.example.test") -> x509.Certificate:
    """A server certificate that `issuer` signed and that names this responder."""
    access = x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url or "ldap://x"))]
    )
    return certificate("server", issuer=issuer(), issuer_key=ISSUER_KEY, extensions=[access])


def response(
    clock: MovableClock,
    *,
    about: x509.Certificate | None = None,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    begins: dt.timedelta = -dt.timedelta(minutes=1),
    ends: dt.timedelta | None = dt.timedelta(days=1),
    signer: x509.Certificate | None = None,
    key: object = ISSUER_KEY,
    enclosed: tuple[x509.Certificate, ...] = (),
    digest: hashes.HashAlgorithm | None = None,
    by_key: bool = False,
) -> bytes:
    """A good response about `leaf()` from its issuer, at the clock's instant; each argument changes one thing."""
    now = clock.now()
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    encoding = ocsp.OCSPResponderEncoding.HASH if by_key else ocsp.OCSPResponderEncoding.NAME
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            about or leaf(),
            issuer(),
            hashes.SHA1(),
            status,
            now + begins,
            None if ends is None else now + ends,
            now - dt.timedelta(days=1) if revoked else None,
            x509.ReasonFlags.key_compromise if revoked else None,
        )
        .responder_id(encoding, signer or issuer())
    )
    if enclosed:
        builder = builder.certificates(enclosed)
    return builder.sign(key, digest or hashes.SHA256()).public_bytes(serialization.Encoding.DER)  # type: ignore[arg-type]


class ScriptedResponders:
    """`ports.ocsp.Responders`: answers what `answer` is, a response or a failure, and notes what was asked."""

    def __init__(self, answer: bytes | ResponderFailed) -> None:
        self.answer = answer
        self.asked: list[tuple[str, bytes, bool]] = []

    async def ask(self, url: str, request: bytes, *, trusted: bool) -> bytes:
        self.asked.append((url, request, trusted))
        if isinstance(self.answer, ResponderFailed):
            raise self.answer
        return self.answer


DOWN = ResponderFailed(AskResult.UNREACHABLE, "ConnectionRefusedError")
