"""`--public-url` from outside: curl fetches what certificates name, openssl reads it, kill -9 takes nothing back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.pki import openssl
from tests.support.server import Server, after_first_run, start

URL = "http://pki.example.test/fleet"
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("public") / "data"
    after_first_run(made)
    return made


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[Server]:
    running = start(data_dir, "--public-url", URL)
    yield running
    if running.process.poll() is None:
        running.stop()


def curl(server: Server, url: str, into: Path) -> Path:
    """The file behind the URL, which leads to this server."""
    target = server.api.removeprefix("http://")
    command = ["curl", "-sS", "--fail", "--max-time", "10", "--connect-to", f"pki.example.test:80:{target}"]
    done = subprocess.run([*command, "-o", str(into), url], capture_output=True, text=True, timeout=20, check=False)
    assert 0 == done.returncode, done.stderr
    return into


def device_list(server: Server, folder: Path) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(curl(server, f"{URL}/crl/device-ca-1.crl", folder / "device.crl").read_bytes())


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def awaited(server: Server, folder: Path, serial: int) -> x509.RevokedCertificate:
    """The entry, as soon as there is one."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        found = device_list(server, folder).get_revoked_certificate_by_serial_number(serial)
        if found is not None:
            return found
        assert time.monotonic() < deadline, "the revocation is not in the list"
        time.sleep(0.1)


def test_what_a_served_leaf_names_is_there(server: Server, tmp_path: Path) -> None:
    target = f"127.0.0.1:{server.https_port}"
    served = openssl("s_client", "-connect", target, "-servername", server.endpoint, check=False, text="")
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(
        served[served.index("-----BEGIN CERT") : served.index("-----END CERT")] + "-----END CERTIFICATE-----\n"
    )
    text = openssl("x509", "-in", leaf, "-noout", "-text")
    assert f"CA Issuers - URI:{URL}/aia/rsa-1.cer" in text
    assert f"URI:{URL}/crl/rsa-1.crl" in text
    issuer = curl(server, f"{URL}/aia/rsa-1.cer", tmp_path / "rsa-1.cer")
    crl = curl(server, f"{URL}/crl/rsa-1.crl", tmp_path / "rsa-1.crl")
    openssl("x509", "-inform", "DER", "-in", issuer, "-out", tmp_path / "rsa-1.pem")
    assert "verify OK" in openssl("crl", "-inform", "DER", "-in", crl, "-noout", "-CAfile", tmp_path / "rsa-1.pem")
    verify = ("verify", "-crl_check", "-CAfile", server.trust / "bundle.pem", "-untrusted", tmp_path / "rsa-1.pem")
    openssl("crl", "-inform", "DER", "-in", crl, "-out", tmp_path / "crl.pem")
    assert openssl(*verify, "-CRLfile", tmp_path / "crl.pem", leaf).strip().endswith("OK")


def test_a_revoked_device_is_in_the_list_and_kill_9_takes_nothing_back(
    server: Server, data_dir: Path, tmp_path: Path
) -> None:
    iot = server.client()
    made = [iot.create_keys_and_certificate(setAsActive=True) for _ in range(2)]
    serials = [x509.load_pem_x509_certificate(each["certificatePem"].encode()).serial_number for each in made]
    first = number(device_list(server, tmp_path))
    server.handfast("cert", "revoke", made[0]["certificateId"], "--reason", "keyCompromise")
    entry = awaited(server, tmp_path, serials[0])
    assert "key_compromise" == entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.name
    second = number(device_list(server, tmp_path))
    assert first < second
    # Killed before a list is made of it (the next one is due in some seconds), and deleted as well.
    iot.update_certificate(certificateId=made[1]["certificateId"], newStatus="REVOKED")
    iot.delete_certificate(certificateId=made[1]["certificateId"])
    server.kill()
    again = start(data_dir, "--public-url", URL)
    try:
        awaited(again, tmp_path, serials[0])
        assert 0 == len(awaited(again, tmp_path, serials[1]).extensions)
        crl = device_list(again, tmp_path)
        assert second < number(crl)
        ca = tmp_path / "ca.pem"
        openssl(
            "x509", "-inform", "DER", "-in", curl(again, f"{URL}/aia/device-ca-1.cer", tmp_path / "ca.cer"), "-out", ca
        )
        (tmp_path / "device.pem").write_text(made[0]["certificatePem"])
        openssl("crl", "-inform", "DER", "-in", tmp_path / "device.crl", "-out", tmp_path / "crl.pem")
        said = openssl(
            "verify",
            "-crl_check",
            "-CAfile",
            ca,
            "-CRLfile",
            tmp_path / "crl.pem",
            tmp_path / "device.pem",
            check=False,
        )
        assert "certificate revoked" in said
    finally:
        again.stop()
