"""`handfast check` against a real server: real clients that share a certificate, weak keys, lists that openssl made."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.e2e.test_ca_and_transfers import make_ca, openssl, sign
from tests.support.device import create_device
from tests.support.mqtt import Client
from tests.support.server import Server
from tests.support.weak import certificate_over, pem_of, primes, roca_modulus

from handfast.wire.client import handfast_client


@pytest.fixture
def keys(server: Server) -> tuple[str, str]:
    """An account of its own: a check looks at everything in it."""
    return server.account()


@pytest.fixture
def own(server: Server, keys: tuple[str, str]) -> Any:
    return server.client(keys=keys)


@pytest.fixture
def check(server: Server, keys: tuple[str, str]) -> Any:
    """`handfast check --json` with the account's key: exit status, findings by code, and the task."""

    def run(*arguments: str | Path) -> tuple[int, dict[str, list[dict[str, Any]]], dict[str, Any]]:
        done = server.handfast("check", "--json", *map(str, arguments), check=False, keys=keys)
        assert done.returncode in (0, 1), done.stderr
        answer = json.loads(done.stdout)
        found: dict[str, list[dict[str, Any]]] = {}
        for each in answer["findings"]:
            found.setdefault(each["reasonForNonComplianceCode"], []).append(each)
        return done.returncode, found, answer["task"]

    return run


def test_two_clients_with_one_certificate_at_once_are_found(server: Server, own: Any, folder: Path, check: Any) -> None:
    device = create_device(server, folder, iot=own)
    with Client(server, device, client_id="pump-a") as one, Client(server, device, client_id="pump-b") as two:
        assert (0, 0) == (one.connect().value, two.connect().value)
        status, found, _ = check("--fail-on", "critical")
    (shared,) = found["CERTIFICATE_SHARED_BY_MULTIPLE_DEVICES"]
    assert 1 == status
    assert ("DEVICE_CERTIFICATE_SHARED_CHECK", "CRITICAL") == (shared["checkName"], shared["severity"])
    assert {
        "resourceType": "DEVICE_CERTIFICATE",
        "resourceIdentifier": {"deviceCertificateId": device.certificate_id},
    } == {k: v for k, v in shared["nonCompliantResource"].items() if k != "additionalInfo"}
    assert ["pump-a", "pump-b"] == [each["resourceIdentifier"]["clientId"] for each in shared["relatedResources"]]


def test_a_client_id_that_two_certificates_take_from_each_other_is_found(
    server: Server, own: Any, folder: Path, check: Any
) -> None:
    one, two = (create_device(server, folder, iot=own) for _ in range(2))
    with Client(server, one, client_id="pump") as first, Client(server, two, client_id="pump") as second:
        assert 0 == first.connect().value
        assert 0 == second.connect().value
        first.disconnected()
        status, found, task = check("--fail-on", "high")
    (conflict,) = found["DUPLICATE_CLIENT_ID_ACROSS_CONNECTIONS"]
    assert (1, "CONFLICTING_CLIENT_IDS_CHECK", "HIGH") == (status, conflict["checkName"], conflict["severity"])
    assert {"clientId": "pump"} == conflict["nonCompliantResource"]["resourceIdentifier"]
    assert {one.certificate_id, two.certificate_id} == {
        each["resourceIdentifier"]["deviceCertificateId"] for each in conflict["relatedResources"]
    }
    assert "CERTIFICATE_SHARED_BY_MULTIPLE_DEVICES" not in found
    assert 2 == task["certificates"]


def test_weak_and_shared_keys_are_found_and_told_in_words(
    server: Server, own: Any, keys: tuple[str, str], check: Any
) -> None:
    p, q, r, _, _, _ = primes()
    register = {
        name: own.register_certificate_without_ca(certificatePem=pem_of(certificate_over(n)), status="ACTIVE")
        for name, n in (("roca", roca_modulus()), ("one", p * q), ("two", p * r))
    }
    assert {"one", "two", "roca"} == set(register)
    _, found, task = check()
    assert {
        "CERTIFICATE_KEY_VULNERABILITY_CVE-2017-15361": [register["roca"]["certificateId"]],
        "HANDFAST_CERTIFICATE_KEY_SHARES_FACTOR": sorted(register[n]["certificateId"] for n in ("one", "two")),
    } == {
        code: sorted(e["nonCompliantResource"]["resourceIdentifier"]["deviceCertificateId"] for e in group)
        for code, group in found.items()
    }
    assert (3, 3, "COMPLETED") == (task["certificates"], task["rsaModuli"], task["taskStatus"])
    assert {"checkRunStatus": "COMPLETED_COMPLIANT", "checkCompliant": True, "nonCompliantResourcesCount": 0} == task[
        "auditDetails"
    ]["DEVICE_CERTIFICATE_EXPIRING_CHECK"]
    said = server.handfast("check", keys=keys).stdout
    assert "CRITICAL  DEVICE_CERTIFICATE_KEY_QUALITY_CHECK: CERTIFICATE_KEY_VULNERABILITY_CVE-2017-15361 (1)" in said
    assert f"    {register['one']['certificateId']}  with {register['two']['certificateId']}" in said
    assert "What to do: " in said
    assert "3 certificates and 0 CA certificates looked at" in said
    assert "--crl" in said


def test_what_an_issuer_revoked_is_found_by_its_list(server: Server, own: Any, tmp_path: Path, check: Any) -> None:
    ca = make_ca(tmp_path / "ca", kind="ec")
    stolen, fine = sign(ca, "stolen", "stolen"), sign(ca, "fine", "fine")
    own.register_ca_certificate(caCertificate=(ca / "ca.pem").read_text(), certificateMode="SNI_ONLY", setAsActive=True)
    ids = [
        own.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")["certificateId"]
        for pem in (stolen, fine)
    ]
    (ca / "ca.cnf").write_text(
        "[ca]\ndefault_ca = this\n[this]\ndatabase = index.txt\ndefault_md = sha256\ndefault_crl_days = 9\n"
    )
    (ca / "index.txt").touch()
    sign_list = ("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key")
    openssl(ca, *sign_list, "-revoke", "stolen.pem")
    openssl(ca, *sign_list, "-gencrl", "-out", "list.pem")
    status, found, task = check("--crl", ca / "list.pem", "--fail-on", "critical")
    (revoked,) = found["CERTIFICATE_REVOKED_BY_ISSUER"]
    assert (0, 1, "MEDIUM") == (status, task["revocationLists"], revoked["severity"])
    assert {"deviceCertificateId": ids[0]} == revoked["nonCompliantResource"]["resourceIdentifier"]
    other = make_ca(tmp_path / "other", kind="ec")
    (other / "index.txt").touch()
    (other / "ca.cnf").write_text((ca / "ca.cnf").read_text())
    openssl(other, *sign_list, "-gencrl", "-out", "list.pem")
    _, found, task = check("--crl", other / "list.pem")
    assert "CERTIFICATE_REVOKED_BY_ISSUER" not in found
    assert "is registered here" in task["warnings"][0]
    assert "NOT_RUN" == task["auditDetails"]["REVOKED_DEVICE_CERTIFICATE_STILL_ACTIVE_CHECK"]["checkRunStatus"]


def test_expiry_and_the_list_of_weak_keys_are_chosen_by_flags(
    server: Server, own: Any, tmp_path: Path, check: Any
) -> None:
    modulus = primes()[0] * primes()[1]
    own.register_certificate_without_ca(certificatePem=pem_of(certificate_over(modulus)), status="ACTIVE")
    listed = tmp_path / "blacklist.RSA-2048"
    listed.write_text("# weak\n" + hashlib.sha1(f"Modulus={modulus:X}\n".encode()).hexdigest()[20:] + "\n")
    assert {} == check()[1]
    _, found, _ = check("--debian-blocklist", listed, "--expiring-within", "400d")
    assert {"CERTIFICATE_KEY_VULNERABILITY_CVE-2008-0166", "CERTIFICATE_APPROACHING_EXPIRATION"} == set(found)
    status, found, _ = check("--debian-blocklist", listed, "--only", "DEVICE_CERTIFICATE_EXPIRING", "--fail-on", "low")
    assert (0, {}) == (status, found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "NONSENSE"], "known are DEVICE_CERTIFICATE_KEY_QUALITY"),
        (["--expiring-within", "soon"], "such as 30d"),
        (["--fail-on", "bad"], "expected critical, high, medium or low"),
        (["--crl", "/nowhere"], "No such file"),
        (["--age-days", "3"], "30"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(server: Server, arguments: list[str], said: str) -> None:
    done = server.handfast("check", *arguments, check=False)
    assert 2 == done.returncode
    assert said in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_a_check_is_its_accounts_alone_and_the_operators_key_has_none(server: Server, keys: tuple[str, str]) -> None:
    mine = handfast_client(server.api, "us-east-1", *keys)
    theirs = handfast_client(server.api, "us-east-1", *server.account())
    task = mine.start_check()["taskId"]
    for call in (theirs.describe_check, theirs.list_check_findings, theirs.cancel_check):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            call(taskId=task)
    mine.cancel_check(taskId=task)
    operator = handfast_client(server.api, "us-east-1", *server.credentials("handfast-operator"))
    with pytest.raises(ClientError, match="AccessDeniedException"):
        operator.start_check()
    with pytest.raises(ClientError, match="InvalidRequestException"):
        mine.start_check(targetCheckNames=["NO_SUCH_CHECK"])
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        mine.start_check(revocationListUploadIds=[uuid.uuid4().hex])


def test_asking_again_finds_the_same(server: Server, own: Any, folder: Path, check: Any) -> None:
    device = create_device(server, folder, iot=own)
    with Client(server, device, client_id="a") as one, Client(server, device, client_id="b") as two:
        assert (0, 0) == (one.connect().value, two.connect().value)
    first = check()[1]["CERTIFICATE_SHARED_BY_MULTIPLE_DEVICES"][0]["nonCompliantResource"]["additionalInfo"]
    again = check()[1]["CERTIFICATE_SHARED_BY_MULTIPLE_DEVICES"][0]["nonCompliantResource"]["additionalInfo"]
    assert ("1", first) == (first["COUNT"], again)
    assert (server.data_dir / "observations.db").exists()
