"""
Proof that somebody holds a CA's key: the verification certificate that RegisterCACertificate asks for.

In one go with the key at hand, or in two halves round a machine that is offline:
`prepare` writes what must be signed, `collect` reads what was.
"""

from __future__ import annotations

import datetime as dt
import shlex
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from handfast.core.pki.pem import ParsedCertificate, read_certificate
from handfast.core.pki.possession import common_name
from handfast.errors import CertificateInputError, ConfigurationError

LIFETIME = dt.timedelta(days=1)
CLOCK_SKEW = dt.timedelta(minutes=5)
REQUEST, ANSWER, SCRIPT = "verification.csr", "verification.pem", "sign.sh"


def read_ca(path: Path) -> ParsedCertificate:
    """The one certificate in the file; ConfigurationError says what else is there."""
    try:
        return read_certificate(path.read_text(encoding="ascii"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not PEM: convert it with 'openssl x509 -inform DER'") from None
    except CertificateInputError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def verification_certificate(ca: ParsedCertificate, key_file: Path, passphrase: bytes | None, code: str) -> str:
    """
    A certificate named after the registration code, signed with the CA's key, as PEM.

    Its own key is made here and thrown away. ConfigurationError: the key file
    cannot be used, or is not the CA's.
    """
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), passphrase)
    except OSError as error:
        raise ConfigurationError(f"{key_file} cannot be read: {error.strerror}") from None
    except TypeError:
        hint = "is not encrypted: leave --passphrase-file out" if passphrase else "is encrypted: give --passphrase-file"
        raise ConfigurationError(f"{key_file} {hint}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{key_file} is no private key in PEM, or the passphrase is wrong") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{key_file} is neither an RSA nor an EC key")
    if key.public_key() != ca.cert.public_key():
        raise ConfigurationError(f"{key_file} is not the key of the CA certificate")
    now = dt.datetime.now(dt.UTC)
    own = ec.generate_private_key(ec.SECP256R1())
    cert = (
        x509.CertificateBuilder()
        .subject_name(_named(code))
        .issuer_name(ca.cert.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(ca.not_before, now - CLOCK_SKEW))
        .not_valid_after(min(ca.not_after, now + LIFETIME))
        .sign(key, hashes.SHA256())
    )
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def prepare(folder: Path, ca: ParsedCertificate, code: str) -> None:
    """The folder holds what the machine with the CA's key needs: a request, the CA certificate and a script."""
    own = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_named(code)).sign(own, hashes.SHA256())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.pem").write_text(ca.pem, encoding="ascii")
        (folder / REQUEST).write_bytes(request.public_bytes(serialization.Encoding.PEM))
        (folder / SCRIPT).write_text(_SCRIPT, encoding="ascii")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from None


def collect(folder: Path, code: str) -> str | None:
    """The signed certificate as PEM, or None while there is none. ConfigurationError: it is of another code."""
    path = folder / ANSWER
    if not path.exists():
        return None
    answer = read_ca(path)
    if common_name(answer.cert) != code:
        raise ConfigurationError(
            f"{path} was made for another registration code, account or region: remove {shlex.quote(str(folder))} and "
            "begin again"
        )
    return answer.pem


def _named(code: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, code)])


_SCRIPT = f"""\
#!/bin/sh
# Run this where the CA's key is:  sh {SCRIPT} /path/to/ca.key
# It signs {REQUEST} and writes {ANSWER}. Bring this folder back afterwards.
set -eu
cd "$(dirname "$0")"
openssl x509 -req -in {REQUEST} -CA ca.pem -CAkey "${{1:?the CA's private key}}" \\
  -set_serial "0x$(openssl rand -hex 16 | sed 's/^./4/')" -days 7 -sha256 -out {ANSWER}
echo "{ANSWER} is written"
"""
