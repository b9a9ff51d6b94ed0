"""`handfast template lint`: findings, and the plan for a sample; no server."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.support.device import self_signed

from handfast.cli.main import run

TEMPLATE: dict[str, Any] = {
    "Parameters": {"ThingName": {"Type": "String"}, "SerialNumber": {"Type": "String"}},
    "Resources": {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {
                "ThingName": {"Ref": "ThingName"},
                "AttributePayload": {"serial": {"Ref": "SerialNumber"}},
            },
        },
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}},
        },
        "policy": {
            "Type": "AWS::IoT::Policy",
            "Properties": {
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": {"Fn::Sub": "${P}"}},
                }
            },
        },
    },
}


NAME = "AWS::IoT::Certificate::CommonName"


def just_in_time() -> Any:
    """The same for just-in-time provisioning: the thing is called after the common name, and has no attributes."""
    template = copy.deepcopy(TEMPLATE)
    template["Parameters"] = {NAME: {"Type": "String"}}
    template["Resources"]["thing"]["Properties"] = {"ThingName": {"Ref": NAME}}
    return template


def write(folder: Path, template: Any, **parameters: Any) -> str:
    path = folder / "template.json"
    declared = {**template["Parameters"], **parameters}
    path.write_text(json.dumps({**template, "Parameters": declared}))
    return str(path)


@pytest.fixture
def sample(tmp_path: Path) -> str:
    path = tmp_path / "cert.pem"
    path.write_bytes(self_signed("lamp-1")[0])
    return str(path)


def fingerprint(path: str) -> str:
    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    return certificate.fingerprint(hashes.SHA256()).hex()


def test_a_plan_is_shown_for_a_sample(tmp_path: Path, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, just_in_time(), P={"Type": "String", "Default": "*"})
    assert 0 == run(["template", "lint", file, "--type", "jitp", "--sample", sample])
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["thing", "thing", "ThingName", "FAIL", "unless", "its", "own", "lamp-1"] in rows
    above = rows.index(["certificate", "certificate", "CertificateId", "-"])
    assert [fingerprint(sample)] == rows[above + 1]
    assert ["certificate", "certificate", "Status", "DO_NOTHING", "ACTIVE"] in rows
    assert "as planned, at $.Statement.Resource: iot:Connect is allowed on any client id" in out
    assert "0 errors, " in out


def test_a_sample_tells_of_just_in_time_provisioning(
    tmp_path: Path, sample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, just_in_time(), P={"Type": "String", "Default": "*"})
    assert 0 == run(["template", "lint", file, "--sample", sample])
    out = capsys.readouterr().out
    assert out.startswith("Read with --type jitp: ")
    rows = [line.split() for line in out.splitlines()]
    assert ["thing", "thing", "ThingName", "FAIL", "unless", "its", "own", "lamp-1"] in rows
    assert 0 == run(["template", "lint", file, "--sample", sample, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert ("jitp", "lamp-1") == (found["type"], found["plan"]["thing"]["thingName"])


def test_a_plan_is_shown_for_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, TEMPLATE, P={"Type": "String", "Default": "*"})
    given = ["--parameter", "SerialNumber=a=b", "--parameter", "ThingName=lamp-2"]
    assert 0 == run(["template", "lint", file, *given, "--json"])
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert ("lamp-2", {"serial": "a=b"}) == (plan["thing"]["thingName"], plan["thing"]["attributes"])
    assert "0" * 64 == plan["certificate"]["certificateId"]
    assert "thingGroups" not in plan["thing"]


def test_without_a_sample_only_findings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, TEMPLATE, P={"Type": "String"})
    assert 0 == run(["template", "lint", file, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert ["DEVICE_CHOOSES_RESOURCES"] == [each["code"] for each in found["findings"]]
    assert "plan" not in found


def test_mistakes_are_told_with_their_places(tmp_path: Path, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, TEMPLATE)
    assert 1 == run(["template", "lint", file, "--sample", sample, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [
        '$.Resources.policy.Properties.PolicyDocument.Statement.Resource["Fn::Sub"]',
    ] == [each["path"] for each in found["findings"]]
    assert "plan" not in found
    assert 1 == run(["template", "lint", file, "--type", "jitp"])
    assert "3 errors, 0 warnings." in capsys.readouterr().out


def test_a_template_of_another_type_is_recognized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    just_in_time_file = write(tmp_path, just_in_time(), P={"Type": "String", "Default": "x"})
    assert 1 == run(["template", "lint", just_in_time_file, "--type", "fleet"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert "It was read with --type fleet. With --type jitp it has no errors." == last
    assert 1 == run(["template", "lint", write(tmp_path, {"Parameters": {}, "Resources": {"x": {}}})])
    assert "It was read with" not in capsys.readouterr().out


def test_a_plan_that_cannot_be_made_is_told(tmp_path: Path, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, TEMPLATE, P={"Type": "String", "Default": "*"})
    assert 1 == run(["template", "lint", file, "--sample", sample, "--parameter", "ThingName=lamp-3"])
    assert (
        "No plan: thing: Invalid registration template. Cannot resolve reference value: {Ref=SerialNumber}"
        in capsys.readouterr().out
    )
    hostile = ["--parameter", "SerialNumber=\x1b[31m", "--parameter", "ThingName=x"]
    assert 1 == run(["template", "lint", file, "--json", *hostile])
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert ("invalid", "thing") == (failure["kind"], failure["resource"])
    assert 1 == run(["template", "lint", file, *hostile])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--type", "claim"], "expected fleet, jitp, register, bulk"),
        (["--parameter", "Serial"], "expected NAME=VALUE"),
        (["--type", "bulk", "--sample", "none.pem"], "--sample goes with --type fleet and jitp"),
        (["--sample", "none.pem"], "none.pem cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert 2 == run(["template", "lint", write(tmp_path, TEMPLATE), *arguments])
    assert says in capsys.readouterr().err
