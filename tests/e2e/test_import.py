"""`handfast cert import` and a real server: every form of delivery, a run that is killed, a device that connects."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.e2e.test_ca_and_transfers import allow, lets_in, make_ca, openssl, sign
from tests.support.manifest import Maker
from tests.support.pki import certificate, pem
from tests.support.server import Server, clean_environment


def listed(iot: Any) -> dict[str, str]:
    pages = iot.get_paginator("list_certificates").paginate(pageSize=250)
    return {item["certificateId"]: item["status"] for page in pages for item in page["certificates"]}


def issued(count: int) -> list[x509.Certificate]:
    """Certificates of one device key, because nobody will prove to hold it."""
    today = dt.datetime.now(dt.UTC)
    dates = {"not_before": today - dt.timedelta(days=1), "not_after": today + dt.timedelta(days=9)}
    return [certificate(f"device {number}", **dates) for number in range(count)]


def id_of(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    """A folder with a bundle, PKCS#7 as openssl makes it, and a manifest; the maker's signer beside it."""
    folder = tmp_path / "delivery"
    ca = make_ca(tmp_path / "ca", kind="ec")
    leaves = {stem: sign(ca, stem, stem) for stem in ("one", "two", "three", "four")}
    folder.mkdir()
    (folder / "bundle.pem").write_text("a delivery\n" + leaves["one"] + (ca / "ca.pem").read_text() + leaves["two"])
    openssl(ca, "crl2pkcs7", "-nocrl", "-certfile", "three.pem", "-outform", "DER", "-out", str(folder / "more.p7b"))
    maker = Maker()
    signer = maker.certificate.public_bytes(Encoding.PEM)
    (tmp_path / "signer.pem").write_bytes(signer)
    certificates = [
        x509.load_pem_x509_certificate(text.encode()) for text in (leaves["four"], (ca / "ca.pem").read_text())
    ]
    good, forged = maker.element(*certificates, unique_id="01aa"), Maker().element(certificates[0], unique_id="01bb")
    (folder / "manifest.json").write_text(json.dumps([good, forged]))
    return folder


def test_a_folder_with_every_form_of_delivery_is_registered_and_its_devices_connect(
    server: Server, iot: Any, delivery: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    signer = ("--manifest-cert", str(tmp_path / "signer.pem"))
    command = ("cert", "import", str(delivery), "--report", str(report), "--json")
    refused = server.handfast(*command, check=False)
    assert 1 == refused.returncode
    assert "--manifest-cert" in report.read_text()
    done = server.handfast(*command, *signer, check=False)
    told = json.loads(done.stdout)
    assert (1, 1, 3, 1, 1) == (
        done.returncode,
        told["registered"],
        told["existed"],
        told["failed"],
        told["skipped"],
    )
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    (forged,) = [line for line in lines if line["outcome"] == "failed"]
    assert ("01bb", "ManifestRefused") == (forged["uniqueId"], forged["code"])
    ca = tmp_path / "ca"
    statuses = listed(iot)
    ids = [id_of((ca / f"{stem}.pem").read_text()) for stem in ("one", "two", "three", "four")]
    assert {"INACTIVE"} == {statuses[certificate_id] for certificate_id in ids}
    assert id_of((ca / "ca.pem").read_text()) not in statuses


def test_an_imported_device_connects(server: Server, iot: Any, tmp_path: Path) -> None:
    ca = make_ca(tmp_path / "ca", kind="ec")
    server.handfast("ca", "register", str(ca / "ca.pem"), "--key", str(ca / "ca.key"))
    leaf = sign(ca, "device", "device")
    assert not lets_in(server, ca)
    report = str(tmp_path / "report.csv")
    command = ("cert", "import", str(ca / "device.pem"), "--ca", "--status", "ACTIVE", "--report", report)
    done = server.handfast(*command)
    assert "1 registered, 0 there already, 0 failed" in done.stdout
    assert "0 registered, 1 there already, 0 failed" in server.handfast(*command).stdout
    described = iot.describe_certificate(certificateId=id_of(leaf))["certificateDescription"]
    allow(iot, described["certificateArn"])
    assert lets_in(server, ca)
    iot.update_certificate(certificateId=id_of(leaf), newStatus="REVOKED")
    again = server.handfast(*command, check=False)
    assert (1, True) == (again.returncode, "REVOKED" in again.stderr)


def test_a_run_that_was_killed_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    keys = server.account()
    bundle, report = tmp_path / "bundle.pem", tmp_path / "report.jsonl"
    count = 2500
    bundle.write_text("".join(pem(each) for each in issued(count)))
    environment = {
        **clean_environment(),
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "handfast.cli.main", "cert", "import", str(bundle)]
    command += ["--endpoint-url", server.api, "--report", str(report), "--json"]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = Path(f"{report}.journal")
    deadline = time.monotonic() + 60
    while not journal.exists():
        assert time.monotonic() < deadline
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended before it was killed: {running.wait(0.005)}")
    running.kill()
    running.communicate()
    kept = shutil.copy(journal, tmp_path / "kept")
    assert 0 < json.loads(Path(kept).read_text())["items"] < count
    done = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True, timeout=120)
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert json.loads(Path(kept).read_text())["items"] == told["resumedAfter"]
    assert (count, 0) == (told["registered"] + told["existed"], told["failed"])
    assert not journal.exists()
    assert count == len(listed(server.client(keys=keys)))
