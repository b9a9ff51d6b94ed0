"""Bulk registration tasks with an unmodified boto3: from a directory and from S3, amid kill -9, reports by links."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import ROLE
from tests.support.s3 import ACCESS_KEY, SECRET, ObjectServer, object_server
from tests.support.server import Server, after_first_run, start
from tests.support.strict import INVALID, NOT_FOUND, refused, request, strict_client

TEMPLATE = json.dumps(
    {
        "Parameters": {"Name": {"Type": "String"}, "CSR": {"Type": "String"}},
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}}},
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateSigningRequest": {"Ref": "CSR"}, "Status": "ACTIVE"},
            },
        },
    }
)
LIMIT_S = 60.0


@dataclass
class World:
    data_dir: Path
    config: Path
    incoming: Path
    s3: ObjectServer
    server: Server

    @property
    def iot(self) -> Any:
        return strict_client(self.server, self.server.credentials())

    def killed_and_started(self) -> None:
        self.server.process.kill()
        self.server.process.wait()
        self.server = start(self.data_dir, "--config", str(self.config))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bulk")
    data_dir, config, incoming = folder / "data", folder / "handfast.toml", folder / "incoming"
    incoming.mkdir()
    credentials = folder / "s3-credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"[archive]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET}\n")
    after_first_run(data_dir)
    with object_server() as s3:
        config.write_text(
            f'[bulk-input.incoming]\ndirectory = "incoming"\n\n[bulk-input.archive]\nendpoint-url = "{s3.url}"\n'
            'bucket = "devices"\ncredentials-file = "s3-credentials"\nprofile = "archive"\n'
        )
        made = World(data_dir, config, incoming, s3, start(data_dir, "--config", str(config)))
        yield made
        assert 0 == made.server.stop()
        assert "Traceback" not in made.server.log.read_text()


def until(iot: Any, task_id: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The task, described as soon as it is so."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        found: dict[str, Any] = iot.describe_thing_registration_task(taskId=task_id)
        if done(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)  # the API has no other way to wait


def ended(found: dict[str, Any]) -> bool:
    return found["status"] not in ("InProgress", "Cancelling")


def begin(iot: Any, bucket: str, key: str) -> str:
    return str(
        iot.start_thing_registration_task(
            templateBody=TEMPLATE, inputFileBucket=bucket, inputFileKey=key, roleArn=ROLE
        )["taskId"]
    )


def report(iot: Any, task_id: str, kind: str) -> list[dict[str, Any]]:
    found = iot.list_thing_registration_task_reports(taskId=task_id, reportType=kind)
    assert kind == found["reportType"]
    lines: list[dict[str, Any]] = []
    for link in found["resourceLinks"]:
        with urllib.request.urlopen(link) as answer:
            lines += [json.loads(line) for line in answer.read().splitlines()]
    return lines


def test_a_task_is_killed_and_goes_on_and_does_each_line_once(world: World) -> None:
    csr, count = request(), 80
    lines = [json.dumps({"Name": f"bulk-{number:03d}", "CSR": csr}) for number in range(1, count + 1)]
    lines[9] = '{"Name":"no-request"}'
    (world.incoming / "july").mkdir()
    (world.incoming / "july" / "lamps.json").write_text("\n".join(lines))
    before = len(world.iot.list_certificates(pageSize=250)["certificates"])
    task_id = begin(world.iot, "incoming", "july/lamps.json")
    refused(
        INVALID,
        world.iot.start_thing_registration_task,
        templateBody=TEMPLATE,
        inputFileBucket="incoming",
        inputFileKey="july/lamps.json",
        roleArn=ROLE,
    )
    until(world.iot, task_id, lambda found: found["successCount"] >= 15)
    world.killed_and_started()
    iot = world.iot
    assert 0 < until(iot, task_id, lambda found: found["percentageProgress"] > 0)["percentageProgress"] <= 100
    found = until(iot, task_id, ended)
    assert ("Completed", count - 1, 1, 100) == (
        found["status"],
        found["successCount"],
        found["failureCount"],
        found["percentageProgress"],
    )
    assert (TEMPLATE, "incoming", "july/lamps.json", ROLE) == (
        found["templateBody"],
        found["inputFileBucket"],
        found["inputFileKey"],
        found["roleArn"],
    )
    results = report(iot, task_id, "RESULTS")
    assert [number for number in range(1, count + 1) if number != 10] == [each["line"] for each in results]
    assert [10] == [each["line"] for each in report(iot, task_id, "ERRORS")]
    assert count - 1 == len(iot.list_things(maxResults=250)["things"])
    assert before + count - 1 == len(iot.list_certificates(pageSize=250)["certificates"])
    assert task_id in iot.list_thing_registration_tasks(status="Completed")["taskIds"]
    link = iot.list_thing_registration_task_reports(taskId=task_id, reportType="RESULTS")["resourceLinks"][0]
    with pytest.raises(urllib.error.HTTPError) as caught:
        # Not the last one, two of whose bits mean nothing.
        urllib.request.urlopen(link[:-2] + ("A" if link[-2] != "A" else "B") + link[-1])
    assert 404 == caught.value.code


def test_a_task_reads_from_s3_and_is_stopped(world: World) -> None:
    csr, iot = request(), world.iot
    lines = "".join(json.dumps({"Name": f"s3-{number}", "CSR": csr}) + "\n" for number in range(400))
    world.s3.objects["devices/lamps.json"] = lines.encode()
    task_id = begin(iot, "archive", "lamps.json")
    until(iot, task_id, lambda found: found["successCount"] >= 1)
    iot.stop_thing_registration_task(taskId=task_id)
    found = until(iot, task_id, ended)
    assert "Cancelled" == found["status"]
    assert 1 <= found["successCount"] < 400
    assert found["successCount"] == len(report(iot, task_id, "RESULTS"))
    refused(INVALID, iot.stop_thing_registration_task, taskId=task_id)
    missing = until(iot, begin(iot, "archive", "none.json"), ended)
    assert "Failed" == missing["status"]
    assert "NoSuchKey" in missing["message"]


def test_what_is_not_below_the_directory_is_refused(world: World) -> None:
    iot = world.iot
    (world.incoming / "link").symlink_to(world.data_dir / "credentials")
    members = {"templateBody": TEMPLATE, "roleArn": ROLE, "inputFileBucket": "incoming"}
    for key in ("../data/credentials", "link", "/etc/passwd", "none", "july"):
        refused(INVALID, iot.start_thing_registration_task, **members, inputFileKey=key)
    refused(INVALID, iot.start_thing_registration_task, **members | {"inputFileBucket": "data"}, inputFileKey="x")
    refused(NOT_FOUND, iot.describe_thing_registration_task, taskId="none")
    refused(INVALID, iot.list_thing_registration_task_reports, taskId="none", reportType="RESULTS")
