"""Provisioning templates as an unmodified boto3 uses them, every answer checked against the model."""

from __future__ import annotations

import json

from tests.support.registry import ROLE, TEMPLATE_BODY
from tests.support.server import Server
from tests.support.strict import INVALID, NOT_FOUND, body_of, operator, own_ca, refused, register_ca, tenant

CONFLICT = ("DeleteConflictException", 409)
TAGS = [{"Key": "line", "Value": "one"}]


def test_the_life_of_a_template(server: Server) -> None:
    side = tenant(server)
    iot = side.iot
    operator(server).add_hook(hookName="gate-of-templates", url="https://hooks.example.com/")
    function = f"arn:aws:lambda:us-east-1:{side.account}:function:gate-of-templates"
    hook = {"payloadVersion": "2020-04-01", "targetArn": function}
    made = iot.create_provisioning_template(
        templateName="fleet",
        description="Every lamp",
        templateBody=TEMPLATE_BODY,
        enabled=True,
        provisioningRoleArn=ROLE,
        preProvisioningHook=hook,
        tags=TAGS,
    )
    arn = side.arn("fleet", "provisioningtemplate")
    assert {"templateArn": arn, "templateName": "fleet", "defaultVersionId": 1} == body_of(made)
    assert TAGS == iot.list_tags_for_resource(resourceArn=arn)["tags"]
    found = iot.describe_provisioning_template(templateName="fleet")
    expected = {"type": "FLEET_PROVISIONING", "enabled": True, "preProvisioningHook": hook, "defaultVersionId": 1}
    assert expected.items() <= found.items()
    assert TEMPLATE_BODY == found["templateBody"]

    second = iot.create_provisioning_template_version(templateName="fleet", templateBody=TEMPLATE_BODY + " ")
    assert (2, False) == (second["versionId"], second["isDefaultVersion"])
    iot.update_provisioning_template(templateName="fleet", defaultVersionId=2, removePreProvisioningHook=True)
    found = iot.describe_provisioning_template(templateName="fleet")
    assert (2, TEMPLATE_BODY + " ") == (found["defaultVersionId"], found["templateBody"])
    assert "preProvisioningHook" not in found
    refused(CONFLICT, iot.delete_provisioning_template_version, templateName="fleet", versionId=2)
    pages = iot.get_paginator("list_provisioning_template_versions")
    listed = pages.paginate(templateName="fleet", PaginationConfig={"PageSize": 1}).build_full_result()["versions"]
    assert [(2, True), (1, False)] == [(each["versionId"], each["isDefaultVersion"]) for each in listed]
    assert [arn] == [
        each["templateArn"]
        for page in iot.get_paginator("list_provisioning_templates").paginate()
        for each in page["templates"]
    ]
    refused(CONFLICT, iot.delete_provisioning_template, templateName="fleet")
    iot.delete_provisioning_template_version(templateName="fleet", versionId=1)
    refused(NOT_FOUND, iot.describe_provisioning_template_version, templateName="fleet", versionId=1)
    iot.delete_provisioning_template(templateName="fleet")
    refused(NOT_FOUND, iot.describe_provisioning_template, templateName="fleet")


def test_a_template_that_is_wrong_is_refused_with_every_place(server: Server) -> None:
    iot = tenant(server).iot
    body = json.loads(TEMPLATE_BODY)
    body["Resources"]["certificate"]["Properties"]["Status"] = "MAYBE"
    body["Resources"]["lamp"] = {"Type": "AWS::IoT::Lamp", "Properties": {}}
    members = {"templateName": "wrong", "provisioningRoleArn": ROLE}
    found = refused(INVALID, iot.create_provisioning_template, templateBody=json.dumps(body), **members)
    told = found.response["Error"]["Message"]
    assert "$.Resources.certificate.Properties.Status" in told
    assert "$.Resources.lamp.Type" in told


def test_a_ca_provisions_by_a_template(server: Server) -> None:
    iot = tenant(server).iot
    iot.create_provisioning_template(
        templateName="jitp", templateBody=TEMPLATE_BODY, provisioningRoleArn=ROLE, type="JITP"
    )
    config = {"templateName": "jitp"}
    ca = register_ca(iot, own_ca(), allowAutoRegistration=True, registrationConfig=config)["certificateId"]
    other = register_ca(iot, own_ca())["certificateId"]
    assert config == iot.describe_ca_certificate(certificateId=ca)["registrationConfig"]
    listed = iot.list_ca_certificates(templateName="jitp")["certificates"]
    assert [ca] == [each["certificateId"] for each in listed]
    refused(CONFLICT, iot.delete_provisioning_template, templateName="jitp")
    iot.update_ca_certificate(certificateId=ca, removeAutoRegistration=True)
    assert "registrationConfig" not in iot.describe_ca_certificate(certificateId=other)
    assert "registrationConfig" not in iot.describe_ca_certificate(certificateId=ca)
    iot.delete_provisioning_template(templateName="jitp")
