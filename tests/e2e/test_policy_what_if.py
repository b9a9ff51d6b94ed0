"""docs/policies.md against a real server: test, replay and lint before a rollout; records over a kill -9."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.support.device import Device, create_device
from tests.support.mqtt import Client
from tests.support.server import Server, start

from handfast.cli.main import run
from handfast.wire.client import handfast_client


def replayed(server: Server, *args: str, status: int = 0) -> dict[str, Any]:
    done = server.handfast("policy", "replay", *args, "--json", check=False)
    assert status == done.returncode, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def own_policy(server: Server, iot: Any, device: Device) -> tuple[str, str]:
    """A policy of the device's own that allows all of its client id and two topics; its name and an ARN's beginning."""
    arn = iot.describe_certificate(certificateId=device.certificate_id)["certificateDescription"]["certificateArn"]
    name = f"own-{uuid.uuid4().hex[:8]}"
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": "iot:Publish",
                "Resource": [place(arn, f"topic/{t}") for t in ("keep", "drop")],
            },
        ],
    }
    iot.create_policy(policyName=name, policyDocument=json.dumps(document))
    for each in iot.list_attached_policies(target=arn)["policies"]:
        iot.detach_policy(policyName=each["policyName"], target=arn)
    iot.attach_policy(policyName=name, target=arn)
    return name, arn


def place(arn: str, resource: str) -> str:
    return ":".join([*arn.split(":", 5)[:5], resource])


def write(path: Path, arn: str, *topics: str) -> Path:
    """A draft that allows connecting and these topics."""
    statements = [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": [place(arn, f"topic/{topic}") for topic in topics]},
    ]
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    return path


def publish(server: Server, device: Device, *topics: str) -> None:
    with Client(server, device) as client:
        assert 0 == client.connect().value
        for topic in topics:
            client.publish(topic, b"x", 1)


def test_a_draft_is_tested_replayed_and_rolled_out(server: Server, iot: Any, folder: Path, tmp_path: Path) -> None:
    device = create_device(server, folder)
    name, arn = own_policy(server, iot, device)
    publish(server, device, "keep", "drop")
    smaller = write(tmp_path / f"{name}.json", arn, "keep")

    asked = server.handfast("policy", "test", device.certificate_id, "publish", "drop").stdout
    assert asked.startswith("ALLOWED  topic/drop\n")
    assert f"by policy {name} version 1 statement 1" in asked
    drafted = server.handfast("policy", "test", arn, "publish", "drop", "--draft", str(smaller), check=False)
    assert (1, "IMPLICIT_DENY  topic/drop") == (drafted.returncode, drafted.stdout.splitlines()[0])

    answer = replayed(server, str(smaller), "--fail-on", "loss", status=1)
    (change,) = answer["changes"]
    assert ("LOSS", device.certificate_id, "iot:Publish", "topic/drop", "ALLOWED", "IMPLICIT_DENY") == tuple(
        change[key] for key in ("change", "certificateId", "action", "resource", "before", "after")
    )
    assert [{"policyName": name, "version": "1", "statement": 1}] == change["beforeStatements"]
    same = replayed(
        server, str(write(tmp_path / "same.json", arn, "keep", "drop")), "--policy", name, "--fail-on", "loss"
    )
    assert ([], 3) == (same["changes"], same["concerned"])
    gone = replayed(server, "--remove", "--policy", name)
    assert ["client", "topic", "topic"] == sorted(c["resource"].partition("/")[0] for c in gone["changes"])
    said = server.handfast("policy", "replay", str(smaller)).stdout
    assert "1 losses of 1 certificates, 0 gains of 0" in said
    assert "Note: nothing was recorded from" in said, "before the server ran, nothing was"


def test_an_account_neither_tests_nor_replays_anothers(server: Server, iot: Any, folder: Path, tmp_path: Path) -> None:
    device = create_device(server, folder)
    name, arn = own_policy(server, iot, device)
    publish(server, device, "keep")
    stranger = handfast_client(server.api, "us-east-1", *server.account())
    with pytest.raises(stranger.exceptions.ResourceNotFoundException):
        stranger.test_policy(principal=device.certificate_id, action="PUBLISH", name="keep")
    draft = {"policyName": name, "policyDocument": write(tmp_path / "d.json", arn, "keep").read_text(), "use": "ADD"}
    assert 0 == stranger.replay_policy(draft=draft, since=time.time() - 3600)["judged"]


def test_lint_of_a_file_needs_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wide.json"
    path.write_text(
        '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}}'
    )
    assert 0 == run(["policy", "lint", str(path)])
    assert "ALLOWS_BROAD_ACCESS_TO_IOT_DATA_PLANE_ACTIONS" in capsys.readouterr().out
    assert 1 == run(["policy", "lint", str(path), "--fail-on", "high", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert ("$.Statement.Resource", "CRITICAL") == (found["path"], found["severity"])


def test_lint_of_the_account(server: Server, iot: Any, folder: Path) -> None:
    name, _ = own_policy(server, iot, create_device(server, folder))
    found = json.loads(server.handfast("policy", "lint", "--all", "--json").stdout)
    assert "$.Statement[0].Resource" in {each["path"] for each in found if each["policy"] == name}
    assert name in server.handfast("policy", "list").stdout
    assert '"iot:Connect"' in server.handfast("policy", "show", name).stdout


def test_records_survive_kill_9_and_off_means_off(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start(data)
    try:
        iot = server.client()
        device = create_device(server, tmp_path)
        name, arn = own_policy(server, iot, device)
        publish(server, device, "keep", "drop")
        draft = write(tmp_path / "draft.json", arn, "keep")
        assert ["topic/drop"] == [c["resource"] for c in replayed(server, str(draft), "--policy", name)["changes"]]
    finally:
        server.kill()
    server = start(data)
    try:
        kept = replayed(server, str(draft), "--policy", name)
        assert ["topic/drop"] == [each["resource"] for each in kept["changes"]]
    finally:
        server.stop()
    server = start(data, "--decisions", "off")
    try:
        done = server.handfast("policy", "replay", str(draft), "--policy", name, check=False)
        assert 1 == done.returncode
        assert "--decisions off" in done.stderr
    finally:
        server.stop()
