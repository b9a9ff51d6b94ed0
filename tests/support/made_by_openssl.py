"""Keys, certificates and requests that `openssl` made: the kinds that fleets hold, and those that they should not."""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.pki import openssl

_RSA_PRIMES = {"3072": "3", "4096": "4"}
"""RSA of several primes is made many times faster, and its public half looks like any other."""

DAYS = "3650"
_serials = itertools.count(0x2001)


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="handfast-openssl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def key_file(kind: str) -> Path:
    """
    A private key, made once per process.

    Args:
        kind: `RSA 2048` (or 1024, 3072, 4096, 7640), `RSA-PSS 2048`, `EC secp384r1`, `EC secp256k1`, `DSA 1024`,
            `Ed25519`, `X25519`; with a further word, `RSA-PSS 2048 sha256`, a key bound to that hash.
    """
    path = _folder() / f"{kind.replace(' ', '-')}.pem"
    algorithm, *words = kind.split()
    if kind == "RSA 7640":
        path.write_bytes(_large_rsa_key())
    elif algorithm.startswith("RSA"):
        options = ["-pkeyopt", f"rsa_keygen_bits:{words[0]}"]
        if words[0] in _RSA_PRIMES:
            options += ["-pkeyopt", f"rsa_keygen_primes:{_RSA_PRIMES[words[0]]}"]
        for digest in words[1:]:
            options += ["-pkeyopt", f"rsa_pss_keygen_md:{digest}", "-pkeyopt", f"rsa_pss_keygen_mgf1_md:{digest}"]
        openssl("genpkey", "-algorithm", algorithm, *options, "-out", path)
    elif algorithm == "EC":
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{words[0]}", "-out", path)
    elif algorithm == "DSA":
        parameters = _folder() / "dsa-parameters.pem"
        openssl("dsaparam", "-out", parameters, words[0])
        openssl("genpkey", "-paramfile", parameters, "-out", path)
    else:
        openssl("genpkey", "-algorithm", algorithm, "-out", path)
    return path


def _large_rsa_key() -> bytes:
    """RSA of 7640 bits at once: its primes, 2^3217 - 1 and 2^4423 - 1, are known; 8192 take half a minute."""
    p, q, e = 2**4423 - 1, 2**3217 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_signed(kind: str, *signing: str, ca: bool = False) -> str:
    """A certificate in PEM, signed by its own key; `signing` as `openssl req` takes it (`-sha384`, `-sigopt` …)."""
    constraints = ["-addext", "basicConstraints=critical,CA:TRUE"] if ca else []
    return _certificate(
        openssl(
            "req",
            "-x509",
            "-new",
            "-key",
            key_file(kind),
            "-subj",
            f"/CN={_name()}",
            "-days",
            DAYS,
            *signing,
            *constraints,
        )
    )


def issued(ca: str, ca_kind: str, *signing: str, kind: str = "EC prime256v1", name: str | None = None) -> str:
    """A certificate in PEM for a key of this kind, signed by the CA of `self_signed(ca_kind, ca=True)`."""
    issuer = _folder() / f"{_name()}.pem"
    issuer.write_text(ca)
    return _certificate(
        openssl(
            "x509", "-new", "-subj", f"/CN={name or _name()}", "-force_pubkey", _public_file(kind),
            "-CA", issuer, "-CAkey", key_file(ca_kind), "-days", DAYS, "-set_serial", str(next(_serials)), *signing,
        )
    )  # fmt: skip


@functools.cache
def _public_file(kind: str) -> Path:
    path = _folder() / f"{kind.replace(' ', '-')}.public.pem"
    openssl("pkey", "-in", key_file(kind), "-pubout", "-out", path)
    return path


def request(kind: str, *signing: str) -> str:
    """A signing request in PEM."""
    printed = openssl("req", "-new", "-key", key_file(kind), "-subj", f"/CN={_name()}", *signing)
    return printed[printed.index("-----BEGIN CERTIFICATE REQUEST") :]


def _name() -> str:
    return f"made-{next(_serials)}"


def _certificate(printed: str) -> str:
    """Without what openssl tells beside it."""
    end = "-----END CERTIFICATE-----\n"
    return printed[printed.index("-----BEGIN CERTIFICATE-----") : printed.index(end)] + end


def identifier(pem: str) -> str:
    """The certificateId, as openssl computes it."""
    printed = openssl("x509", "-noout", "-fingerprint", "-sha256", text=pem)
    return printed.strip().partition("=")[2].replace(":", "").lower()
