"""The audit trail of a real server: every step explained, and whatever is done to the files afterwards found."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from tests.support.server import Server, start

from handfast.wire.client import handfast_client


def events(server: Server, *flags: str) -> list[dict[str, Any]]:
    return list(json.loads(server.handfast("audit", "--json", *flags).stdout))


def facts(event: dict[str, Any]) -> tuple[Any, Any]:
    return json.loads(event.get("before") or "null"), json.loads(event.get("after") or "null")


def account_of(server: Server, keys: tuple[str, str]) -> str:
    """Whose keys they are, as the endpoints say that they see."""
    found = handfast_client(server.api, "us-east-1", *keys).list_endpoints()["endpoints"]
    return str(found[0]["accountId"])


def test_the_trail_explains_each_step_of_a_certificates_life(server: Server) -> None:
    iot, other = server.client(), server.account()
    theirs = server.client(keys=other)
    theirs.describe_endpoint(endpointType="iot:Data-ATS")
    target, source = account_of(server, other), server.ready["account"]
    made = iot.create_keys_and_certificate(setAsActive=True)
    certificate_id = made["certificateId"]
    request_id = iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")["ResponseMetadata"][
        "RequestId"
    ]
    iot.transfer_certificate(certificateId=certificate_id, targetAwsAccount=target, transferMessage="yours")
    theirs.reject_certificate_transfer(certificateId=certificate_id, rejectReason="no")
    iot.transfer_certificate(certificateId=certificate_id, targetAwsAccount=target)
    theirs.accept_certificate_transfer(certificateId=certificate_id, setAsActive=True)
    theirs.update_certificate(certificateId=certificate_id, newStatus="REVOKED")
    theirs.delete_certificate(certificateId=certificate_id)
    server.handfast("cert", "forget", certificate_id, "--account", target)

    given = events(server, "--certificate", certificate_id, "--account", source)
    offered = {"status": "PENDING_TRANSFER", "transferTarget": target}
    back = {"status": "INACTIVE", "transferTarget": None, "rejectReason": "no"}
    accepted = (
        {"status": "PENDING_TRANSFER", "ownedBy": source, "customerVersion": 1},
        {"status": "ACTIVE", "ownedBy": target, "customerVersion": 2},
    )
    assert [
        ("CreateKeysAndCertificate", (None, {"status": "ACTIVE", "mode": "DEFAULT"})),
        ("UpdateCertificate", ({"status": "ACTIVE"}, {"status": "INACTIVE"})),
        ("TransferCertificate", ({"status": "INACTIVE"}, offered | {"transferMessage": "yours"})),
        ("RejectCertificateTransfer", (offered, back)),
        ("TransferCertificate", ({"status": "INACTIVE"}, offered | {"transferMessage": None})),
        ("AcceptCertificateTransfer", accepted),
    ] == [(event["operation"], facts(event)) for event in given]
    assert request_id == given[1]["requestId"]
    assert "127.0.0.1" == given[1]["address"]
    assert server.credentials()[0] in given[1]["actor"]
    numbers = [event["number"] for event in given]
    assert sorted(numbers) == numbers

    taken = events(server, "--certificate", certificate_id, "--account", target)
    assert [
        "TransferCertificate",
        "RejectCertificateTransfer",
        "TransferCertificate",
        "AcceptCertificateTransfer",
        "UpdateCertificate",
        "DeleteCertificate",
        "ForgetCertificate",
    ] == [event["operation"] for event in taken]
    assert ({"tombstone": "REVOKED"}, None) == facts(taken[-1])
    assert other[0] in taken[4]["actor"]
    table = server.handfast("audit", "--certificate", certificate_id, "--account", target).stdout
    assert "status ACTIVE → REVOKED" in table


def test_the_registration_code_and_cas_are_in_the_trail_and_the_code_itself_is_not(server: Server) -> None:
    iot = server.client(keys=server.account())
    code = iot.get_registration_code()["registrationCode"]
    iot.delete_registration_code()
    found = events(server, "--kind", "registration_code", "--limit", "2")
    assert ["GetRegistrationCode", "DeleteRegistrationCode"] == [event["operation"] for event in found]
    assert facts(found[0])[1] == facts(found[1])[0]
    assert code not in json.dumps(found)


def test_an_account_reads_its_own_trail_and_no_other(server: Server) -> None:
    keys = server.account()
    server.client(keys=keys).create_thing(thingName="mine")
    own = handfast_client(server.api, "eu-west-1", *keys)
    found = own.list_audit_events(kinds=["thing"])["events"]
    assert [("CreateThing", "mine", "us-east-1")] == [(e["operation"], e["subject"], e["region"]) for e in found]
    report = own.verify_audit()
    assert ([], 1) == (report["findings"], report["chains"])
    for account in (server.ready["account"], "operator"):
        try:
            own.list_audit_events(accountId=account)
        except own.exceptions.AccessDeniedException:
            continue
        raise AssertionError(f"read the trail of {account}")


def test_after_kill_9_the_trail_is_whole_with_and_without_a_server(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    try:
        for name in ("a", "b", "c"):
            server.client().create_thing(thingName=name)
        server.kill()
        stopped = server.handfast("audit", "verify")
        assert "no server runs on" in stopped.stderr
        server = start(tmp_path / "data")
        server.client().create_thing(thingName="d")
        running = server.handfast("audit", "verify", "--json")
        report = json.loads(running.stdout)
        assert ([], 0) == (report["findings"], report["moreFindings"])
        assert 4 == len(events(server, "--kind", "thing"))
        assert report["vouchedCheckpoint"] == report["lastCheckpoint"]
        assert 0 == server.stop()
        report = json.loads(server.handfast("audit", "verify", "--json").stdout)
        assert ([], 0) == (report["findings"], report["unsealedEvents"]), "a clean stop seals everything"
    finally:
        server.kill()


def test_a_restored_backup_verifies_as_it_lies_there(server: Server, tmp_path: Path) -> None:
    archive, restored = tmp_path / "b.tar", tmp_path / "restored"
    server.client().create_thing(thingName="before-the-backup")
    server.handfast("backup", "--out", str(archive))
    server.client().create_thing(thingName="after-the-backup")
    server.handfast("restore", str(archive), "--data-dir", str(restored))
    done = server.handfast("audit", "verify", "--data-dir", str(restored), "--json")
    assert ([], 0) == (json.loads(done.stdout)["findings"], json.loads(done.stdout)["moreFindings"])


def test_what_is_done_to_the_files_of_a_stopped_server_is_found_also_after_it_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start(data)
    server.client().create_thing(thingName="a")
    assert 0 == server.stop()
    shutil.copy(data / "handfast.db", tmp_path / "old.db")
    server = start(data)
    server.client().create_thing(thingName="b")
    server.client().create_thing(thingName="c")
    assert 0 == server.stop()
    shutil.copy(tmp_path / "old.db", data / "handfast.db")
    done = server.handfast("audit", "verify", check=False)
    assert 1 == done.returncode
    assert "TRUNCATED" in done.stdout
    assert "vouches for everything up to" in done.stdout
    server = start(data)
    try:
        server.client().create_thing(thingName="d")
        server.client().create_thing(thingName="e")
        server.client().create_thing(thingName="f")
        done = server.handfast("audit", "verify", check=False)
        assert (1, True) == (done.returncode, "REWRITTEN" in done.stdout)
        assert "run 'handfast audit verify'" in server.log.read_text()
    finally:
        assert 0 == server.stop()


def test_a_row_that_is_edited_in_the_file_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start(data)
    for name in ("a", "b", "c"):
        server.client().create_thing(thingName=name)
    account = server.ready["account"]
    number = events(server, "--subject", "b")[0]["number"]
    assert 0 == server.stop()
    with sqlite3.connect(data / "handfast.db") as raw:
        raw.execute("DROP TRIGGER audit_append_only_update")
        raw.execute("UPDATE audit SET actor = 'nobody' WHERE subject = 'b'")
    raw.close()
    done = server.handfast("audit", "verify", check=False)
    assert 1 == done.returncode
    assert f"CHANGED: {account}: row {number} does not hash to its link" in done.stdout


def test_openssl_verifies_a_checkpoint_with_the_published_key(server: Server, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(server.handfast("audit", "key").stdout)
    line = (server.data_dir / "audit-checkpoints").read_text().splitlines()[0]
    signed, signature = line.removeprefix('{"checkpoint":').removesuffix('"}').split(',"signature":"')
    (tmp_path / "signed").write_text(signed)
    subprocess.run(["base64", "-d"], input=signature, text=True, stdout=(tmp_path / "sig").open("wb"), check=True)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "signed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "Verified OK" in done.stdout
