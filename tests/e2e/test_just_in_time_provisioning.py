"""Just-in-time provisioning with a CA and devices made by openssl, and mosquitto's clients."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.support.device import Device
from tests.support.factory import Factory, mosquitto_pub
from tests.support.jitp import document, jitp_template
from tests.support.server import Server

from handfast.wire.client import handfast_client

ROLE = "arn:aws:iam::123456789012:role/provisioning"


def subject(device_name: str) -> str:
    return f"/O=Maker/CN={device_name}"


@pytest.fixture(scope="module")
def template(server: Server) -> str:
    name = f"jitp-{uuid.uuid4().hex[:8]}"
    server.client().create_provisioning_template(
        templateName=name, type="JITP", enabled=True, provisioningRoleArn=ROLE, templateBody=jitp_template()
    )
    return name


@pytest.fixture(scope="module")
def factory(server: Server, tmp_path_factory: pytest.TempPathFactory, template: str) -> Factory:
    made = Factory.make(server, tmp_path_factory.mktemp("factory") / "ca")
    made.register(server.client(), registrationConfig={"templateName": template})
    return made


def new_device(factory: Factory) -> Device:
    name = f"lamp-{uuid.uuid4().hex[:10]}"
    return factory.sign(subject(name), name)


@pytest.fixture(scope="module")
def api(server: Server) -> Any:
    return handfast_client(server.api, "us-east-1", *server.credentials())


@pytest.mark.parametrize(("version", "chain", "alpn"), [("mqttv311", True, False), ("mqttv5", False, True)])
def test_a_device_publishes_on_its_first_connection(
    server: Server, iot: Any, api: Any, factory: Factory, version: str, chain: bool, alpn: bool
) -> None:
    leaf = new_device(factory)
    sent = mosquitto_pub(server, factory.with_chain(leaf) if chain else leaf, version, alpn=alpn)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    described = iot.describe_certificate(certificateId=leaf.certificate_id)["certificateDescription"]
    assert ("ACTIVE", factory.id) == (described["status"], described["caCertificateId"])
    assert [leaf.name] == iot.list_principal_things(principal=described["certificateArn"])["things"]
    (policy,) = iot.list_attached_policies(target=described["certificateArn"])["policies"]
    assert document() == iot.get_policy(policyName=policy["policyName"])["policyDocument"]
    (run,) = api.list_provisioning_runs(certificateId=leaf.certificate_id)["runs"]
    assert ("SUCCEEDED", leaf.name) == (run["outcome"], run["thingName"])


def test_a_failure_is_explained_listed_and_repeated(server: Server, iot: Any, api: Any, tmp_path: Path) -> None:
    factory = Factory.make(server, tmp_path / "ca")
    kind = f"lamp-{uuid.uuid4().hex[:8]}"
    body = jitp_template(thing={"ThingTypeName": kind})
    factory.register(iot, registrationConfig={"templateBody": body, "roleArn": ROLE})
    device = new_device(factory)
    assert mosquitto_pub(server, device).returncode != 0
    described = iot.describe_certificate(certificateId=device.certificate_id)["certificateDescription"]
    assert "PENDING_ACTIVATION" == described["status"]
    explained = server.handfast("explain", device.certificate_id).stdout
    assert "resource thing" in explained
    assert f"handfast provisioning retry {device.certificate_id}" in explained
    listed = server.handfast("provisioning", "runs", "--failed", "--certificate", device.certificate_id, "--json")
    (run,) = json.loads(listed.stdout)
    assert ("FAILED", "thing", "missing") == (run["outcome"], run["resource"], run["reason"])
    assert "FAILED" == api.retry_provisioning_run(target=run["runId"])["outcome"]
    iot.create_thing_type(thingTypeName=kind)
    done = server.handfast("provisioning", "retry", device.certificate_id)
    assert "SUCCEEDED" in done.stdout
    assert mosquitto_pub(server, device).returncode == 0
    with pytest.raises(api.exceptions.CertificateStateException, match="is ACTIVE"):
        api.retry_provisioning_run(target=device.certificate_id)


def test_a_template_that_is_disabled_stops_at_once(
    server: Server, iot: Any, api: Any, factory: Factory, template: str
) -> None:
    assert mosquitto_pub(server, new_device(factory)).returncode == 0
    iot.update_provisioning_template(templateName=template, enabled=False)
    device = new_device(factory)
    try:
        assert mosquitto_pub(server, device).returncode != 0
    finally:
        iot.update_provisioning_template(templateName=template, enabled=True)
    (run,) = api.list_provisioning_runs(certificateId=device.certificate_id)["runs"]
    assert "not enabled" in run["message"]
