"""Bad certificates over the wire: what is too long, and private keys where a certificate belongs."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.device import key_pem, private_key, self_signed
from tests.support.server import Server

MEGABYTE = 1_000_000


@pytest.fixture
def unchecked(server: Server) -> Any:
    """A client that leaves all checks to the server."""
    return server.client(config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))


def with_extension(octets: int) -> str:
    """A self-signed certificate with an extension of this size, in PEM."""
    key = private_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "large")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555"), bytes(octets)), False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def calls(iot: Any, text: str) -> dict[str, Callable[[], Any]]:
    """Every member that takes a certificate or a request."""
    return {
        "certificatePem": lambda: iot.register_certificate(certificatePem=text),
        "caCertificatePem": lambda: iot.register_certificate(
            certificatePem=self_signed()[0].decode(), caCertificatePem=text
        ),
        "certificatePem without CA": lambda: iot.register_certificate_without_ca(certificatePem=text),
        "caCertificate": lambda: iot.register_ca_certificate(caCertificate=text, certificateMode="SNI_ONLY"),
        "verificationCertificate": lambda: iot.register_ca_certificate(
            caCertificate=self_signed()[0].decode(), verificationCertificate=text
        ),
        "certificateSigningRequest": lambda: iot.create_certificate_from_csr(certificateSigningRequest=text),
    }


def refused(call: Callable[[], Any]) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_a_megabyte_is_refused_by_the_model_everywhere(unchecked: Any) -> None:
    for member, call in calls(unchecked, with_extension(MEGABYTE)).items():
        began = time.monotonic()
        code, status, message = refused(call)
        assert ("InvalidRequestException", 400) == (code, status)
        assert member.partition(" ")[0] in message
        assert time.monotonic() - began < 5


def test_just_below_the_limit_is_registered_and_just_above_is_not(unchecked: Any) -> None:
    below, above = with_extension(47_900), with_extension(48_400)
    assert 64_000 < len(below) <= 65_536 < len(above)
    made = unchecked.register_certificate_without_ca(certificatePem=below)
    shown = unchecked.describe_certificate(certificateId=made["certificateId"])
    assert below == shown["certificateDescription"]["certificatePem"]
    assert (
        "InvalidRequestException" == refused(lambda: unchecked.register_certificate_without_ca(certificatePem=above))[0]
    )


def test_a_private_key_is_refused_and_kept_nowhere(server: Server, unchecked: Any) -> None:
    text = key_pem(private_key()).decode()
    certificate, key = self_signed()
    secrets = [text.splitlines()[1][:40], key.decode().splitlines()[1][:40]]
    for given in (text, certificate.decode() + key.decode()):
        for call in calls(unchecked, given).values():
            code, status, message = refused(call)
            assert code in ("CertificateValidationException", "InvalidRequestException")
            assert 400 == status
            assert not any(secret in message for secret in secrets)
    assert not any(secret in server.log.read_text() for secret in secrets)
    for file in kept(server):
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), file


def kept(server: Server) -> list[Path]:
    """The files of the registry, with all that was committed in them."""
    database = server.data_dir / "handfast.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        connection.execute("select count(*) from sqlite_master").fetchone()
    return [each for each in server.data_dir.iterdir() if each.is_file()]


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "-----BEGIN CERTIFICATE-----", "é" * 1000, "[1]" * 9000])
def test_a_text_that_is_nothing_is_refused_everywhere(unchecked: Any, text: str) -> None:
    for call in calls(unchecked, text).values():
        code, status, message = refused(call)
        assert code in ("CertificateValidationException", "InvalidRequestException", "SerializationException")
        assert 400 == status
        assert message
