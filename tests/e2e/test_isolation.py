"""
No operation reaches from one account into another, nor from one region of an account into another.

Every implemented operation of `iot` is called with identifiers that belong to
somebody else and, as the control, with identifiers that belong to nobody. Both
must end alike, to the letter of the error's text, and the owner must find
everything as it was. An operation that is new fails here until it is in the table.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from botocore.exceptions import ClientError
from tests.support.device import ALLOW_ALL
from tests.support.registry import ROLE, TEMPLATE_BODY
from tests.support.server import Server
from tests.support.strict import (
    Tenant,
    body_of,
    issue,
    leaf,
    operator,
    own_ca,
    register_ca,
    request,
    strict_client,
    tenant,
)

from handfast.app import implemented_operations

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Names:
    """What a caller may name in a request: somebody's, or nobody's."""

    account: str
    region: str
    certificate_id: str
    offered_id: str
    ca_id: str
    pem: str
    ca_pem: str
    proof: str
    thing: str
    policy: str
    thing_type: str
    billing_group: str
    thing_group: str
    template: str
    task: str
    provider: str
    domain: str
    domain_arn: str
    server_certificate: str
    markers: dict[str, str]

    def named(self, kind: str, name: str) -> str:
        return f"arn:aws:iot:{self.region}:{self.account}:{kind}/{name}"

    def tagged(self) -> list[str]:
        """The ARNs of what can have tags."""
        return [
            self.named("policy", self.policy),
            self.named("cacert", self.ca_id),
            self.named("thingtype", self.thing_type),
            self.named("billinggroup", self.billing_group),
            self.named("thinggroup", self.thing_group),
            self.named("provisioningtemplate", self.template),
            self.named("certificateprovider", self.provider),
            self.domain_arn,
        ]

    @property
    def arn(self) -> str:
        return f"arn:aws:iot:{self.region}:{self.account}:cert/{self.certificate_id}"

    def secrets(self) -> list[str]:
        """What no answer to a stranger may hold but what the stranger himself has named."""
        named = [
            self.thing,
            self.policy,
            self.thing_type,
            self.billing_group,
            self.thing_group,
            self.template,
            self.task,
            self.provider,
            self.domain,
            self.server_certificate,
        ]
        return [self.account, self.certificate_id, self.offered_id, self.ca_id, *named]


@dataclass(frozen=True)
class Caller:
    """Who asks, with something of its own to combine with the other's."""

    iot: Any
    arn: str
    thing: str
    policy: str
    billing_group: str
    thing_group: str


Call = Callable[[Names, Caller], dict[str, Any]]


def _nothing(_their: Names, _my: Caller) -> dict[str, Any]:
    return {}


def _certificate(**members: Any) -> Call:
    return lambda their, _my: {"certificateId": their.certificate_id} | members


def _offered(**members: Any) -> Call:
    return lambda their, _my: {"certificateId": their.offered_id} | members


def _ca(**members: Any) -> Call:
    return lambda their, _my: {"certificateId": their.ca_id} | members


def _marker(operation: str, **members: Any) -> Call:
    return lambda their, _my: {"marker": their.markers[operation]} | members


def _token(operation: str) -> Call:
    return lambda their, _my: {"nextToken": their.markers[operation]}


def _type(**members: Any) -> Call:
    return lambda their, _my: {"thingTypeName": their.thing_type} | members


def _billing(**members: Any) -> Call:
    return lambda their, _my: {"billingGroupName": their.billing_group} | members


def _provider(**members: Any) -> Call:
    return lambda their, _my: {"certificateProviderName": their.provider} | members


def _domain(**members: Any) -> Call:
    return lambda their, _my: {"domainConfigurationName": their.domain} | members


def _named_certificate(
    member: Literal["serverCertificateArns", "validationCertificateArn", "ocspAuthorizedResponderArn"],
) -> Call:
    """CreateDomainConfiguration with a certificate that the operator imported for somebody else."""

    def call(their: Names, my: Caller) -> dict[str, Any]:
        name = {"domainConfigurationName": f"{my.thing}-domain", "domainName": "mine.example.org"}
        if member == "serverCertificateArns":
            return name | {member: [their.server_certificate]}
        region, account = my.arn.split(":")[3:5]
        own = {"serverCertificateArns": [f"arn:aws:acm:{region}:{account}:certificate/{uuid.UUID(int=7)}"]}
        if member == "ocspAuthorizedResponderArn":
            return name | own | {"serverCertificateConfig": {"enableOCSPCheck": True, member: their.server_certificate}}
        return name | own | {member: their.server_certificate}

    return call


def _made_provider(their: Names, my: Caller) -> dict[str, Any]:
    region, account = my.arn.split(":")[3:5]
    return {
        "certificateProviderName": their.provider,
        "lambdaFunctionArn": f"arn:aws:lambda:{region}:{account}:function:sign",
        "accountDefaultForOperations": ["CreateCertificateFromCsr"],
        "clientToken": "7" * 36,
    }


def _tagged(**members: Any) -> list[Call]:
    def call(number: int) -> Call:
        return lambda their, _my: {"resourceArn": their.tagged()[number]} | members

    return [call(number) for number in range(8)]


def _group(**members: Any) -> Call:
    return lambda their, _my: {"thingGroupName": their.thing_group} | members


def _template(**members: Any) -> Call:
    return lambda their, _my: {"templateName": their.template} | members


def _task(**members: Any) -> Call:
    return lambda their, _my: {"taskId": their.task} | members


def _version(**members: Any) -> Call:
    return lambda their, _my: {"policyName": their.policy} | members


def _authorization(asked: Literal["principal", "policyNamesToAdd", "policyNamesToSkip"]) -> Call:
    def call(their: Names, my: Caller) -> dict[str, Any]:
        region = my.iot.meta.region_name
        resource = f"arn:aws:iot:{region}:{my.arn.split(':')[4]}:topic/t"
        named = {"principal": their.arn} if asked == "principal" else {"principal": my.arn, asked: [their.policy]}
        return {"authInfos": [{"actionType": "PUBLISH", "resources": [resource]}], "clientId": their.thing} | named

    return call


def _provisioned(what: Callable[[Names], dict[str, dict[str, Any]]]) -> Call:
    """RegisterThing of a thing of one's own with these properties, or with these resources besides."""

    def call(their: Names, my: Caller) -> dict[str, Any]:
        found = what(their)
        properties = {"ThingName": f"{my.thing}-2"} | found.pop("thing", {})
        resources: dict[str, Any] = {"thing": {"Type": "AWS::IoT::Thing", "Properties": properties}}
        for kind in found:
            resources[kind] = {"Type": f"AWS::IoT::{kind.title()}", "Properties": found[kind]}
        return {"templateBody": json.dumps({"Resources": resources})}

    return call


MEMBERSHIPS: list[Call] = [
    lambda their, _my: {"billingGroupName": their.billing_group, "thingName": their.thing},
    lambda their, my: {"billingGroupName": their.billing_group, "thingName": my.thing},
    lambda their, my: {
        "billingGroupArn": their.named("billinggroup", their.billing_group),
        "thingName": my.thing,
    },
    lambda their, my: {"billingGroupName": my.billing_group, "thingName": their.thing},
    lambda their, my: {"billingGroupName": my.billing_group, "thingArn": their.named("thing", their.thing)},
]

GROUP_MEMBERSHIPS: list[Call] = [
    lambda their, _my: {"thingGroupName": their.thing_group, "thingName": their.thing},
    lambda their, my: {"thingGroupName": their.thing_group, "thingName": my.thing},
    lambda their, my: {"thingGroupArn": their.named("thinggroup", their.thing_group), "thingName": my.thing},
    lambda their, my: {"thingGroupName": my.thing_group, "thingName": their.thing},
    lambda their, my: {"thingGroupName": my.thing_group, "thingArn": their.named("thing", their.thing)},
]

THING_BODY = '{"Resources":{"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"lamp"}}}}'

CALLS: dict[str, list[Call]] = {
    "AcceptCertificateTransfer": [_certificate(), _offered(), _offered(setAsActive=True)],
    "AddThingToBillingGroup": MEMBERSHIPS,
    "AttachPolicy": [
        lambda their, my: {"policyName": my.policy, "target": their.arn},
        lambda their, my: {"policyName": my.policy, "target": their.named("thinggroup", their.thing_group)},
        lambda their, my: {"policyName": their.policy, "target": my.arn},
        lambda their, _my: {"policyName": their.policy, "target": their.arn},
    ],
    "AddThingToThingGroup": GROUP_MEMBERSHIPS,
    "AttachPrincipalPolicy": [
        lambda their, my: {"policyName": my.policy, "principal": their.arn},
        lambda their, my: {"policyName": their.policy, "principal": my.arn},
    ],
    "CreatePolicyVersion": [_version(policyDocument=json.dumps(ALLOW_ALL), setAsDefault=True)],
    "CreateThingGroup": [
        _group(),
        lambda their, my: {"thingGroupName": f"{my.thing_group}-2", "parentGroupName": their.thing_group},
    ],
    "DeletePolicyVersion": [_version(policyVersionId="2")],
    "DeleteThingGroup": [_group(), _group(expectedVersion=7)],
    "DescribeThingGroup": [_group()],
    "DetachPrincipalPolicy": [
        lambda their, my: {"policyName": my.policy, "principal": their.arn},
        lambda their, my: {"policyName": their.policy, "principal": my.arn},
        lambda their, _my: {"policyName": their.policy, "principal": their.arn},
    ],
    "GetEffectivePolicies": [
        lambda their, _my: {"principal": their.arn},
        lambda their, _my: {"thingName": their.thing},
        lambda their, my: {"principal": my.arn, "thingName": their.thing},
    ],
    "GetPolicyVersion": [_version(policyVersionId="1")],
    "ListPolicyPrincipals": [_version()],
    "ListPolicyVersions": [_version()],
    "ListPrincipalPolicies": [lambda their, _my: {"principal": their.arn}],
    "ListPrincipalThingsV2": [lambda their, _my: {"principal": their.arn}],
    "ListThingGroups": [
        _nothing,
        _token("ListThingGroups"),
        lambda their, _my: {"parentGroup": their.thing_group},
        lambda their, _my: {"namePrefixFilter": their.thing_group},
    ],
    "ListThingGroupsForThing": [lambda their, _my: {"thingName": their.thing}],
    "ListThingPrincipalsV2": [lambda their, _my: {"thingName": their.thing}],
    "ListThingsInThingGroup": [_group(), _group(recursive=True)],
    "RemoveThingFromThingGroup": GROUP_MEMBERSHIPS,
    "SetDefaultPolicyVersion": [_version(policyVersionId="2")],
    "TestAuthorization": [
        _authorization("principal"),
        _authorization("policyNamesToAdd"),
        _authorization("policyNamesToSkip"),
    ],
    "UpdateThingGroup": [_group(thingGroupProperties={"thingGroupDescription": "yours"})],
    "UpdateThingGroupsForThing": [
        lambda their, my: {"thingName": my.thing, "thingGroupsToAdd": [their.thing_group]},
        lambda their, my: {"thingName": my.thing, "thingGroupsToRemove": [their.thing_group]},
        lambda their, my: {"thingName": their.thing, "thingGroupsToAdd": [my.thing_group]},
    ],
    "AttachThingPrincipal": [
        lambda their, my: {"thingName": my.thing, "principal": their.arn},
        lambda their, my: {"thingName": their.thing, "principal": my.arn},
        lambda their, my: {"thingName": my.thing, "principal": their.arn, "thingPrincipalType": "EXCLUSIVE_THING"},
    ],
    "CancelCertificateTransfer": [_certificate(), _offered()],
    "CreateBillingGroup": [_billing()],
    "CreateCertificateProvider": [_made_provider],
    "CreateDomainConfiguration": [
        _domain(),
        _named_certificate("serverCertificateArns"),
        _named_certificate("validationCertificateArn"),
        _named_certificate("ocspAuthorizedResponderArn"),
    ],
    "DeleteDomainConfiguration": [_domain()],
    "DescribeDomainConfiguration": [_domain()],
    "ListDomainConfigurations": [_nothing, _marker("ListDomainConfigurations")],
    "UpdateDomainConfiguration": [
        _domain(domainConfigurationStatus="DISABLED"),
        _domain(tlsConfig={"securityPolicy": "IoTSecurityPolicy_TLS13_1_3_2022_10"}),
    ],
    "CreateProvisioningClaim": [_template()],
    "DeleteCertificateProvider": [_provider()],
    "DescribeCertificateProvider": [_provider()],
    "ListCertificateProviders": [_nothing, lambda _their, _my: {"nextToken": "AAAA"}],
    "UpdateCertificateProvider": [_provider(), _provider(accountDefaultForOperations=["CreateCertificateFromCsr"])],
    "CreateCertificateFromCsr": [lambda _their, _my: {"certificateSigningRequest": request()}],
    "CreateKeysAndCertificate": [_nothing],
    "CreatePolicy": [lambda their, _my: {"policyName": their.policy, "policyDocument": json.dumps(ALLOW_ALL)}],
    "CreateProvisioningTemplate": [_template(templateBody=TEMPLATE_BODY, provisioningRoleArn=ROLE)],
    "CreateProvisioningTemplateVersion": [_template(templateBody=TEMPLATE_BODY, setAsDefault=True)],
    "CreateThing": [
        lambda their, _my: {"thingName": their.thing},
        lambda their, my: {"thingName": f"{my.thing}-2", "thingTypeName": their.thing_type},
        lambda their, my: {"thingName": f"{my.thing}-2", "billingGroupName": their.billing_group},
    ],
    "CreateThingType": [_type()],
    "DeleteBillingGroup": [_billing()],
    "DeleteCACertificate": [_ca()],
    "DeleteCertificate": [_certificate(), _certificate(forceDelete=True), _offered(forceDelete=True)],
    "DeletePolicy": [lambda their, _my: {"policyName": their.policy}],
    "DeleteProvisioningTemplate": [_template()],
    "DeleteProvisioningTemplateVersion": [_template(versionId=2)],
    "DeleteRegistrationCode": [_nothing],
    "DeleteThing": [lambda their, _my: {"thingName": their.thing}],
    "DeleteThingType": [_type()],
    "DeprecateThingType": [_type(), _type(undoDeprecate=True)],
    "DescribeBillingGroup": [_billing()],
    "DescribeCACertificate": [_ca()],
    "DescribeCertificate": [_certificate(), _offered(), lambda their, _my: {"certificateId": their.ca_id}],
    "DescribeEndpoint": [lambda _their, _my: {"endpointType": "iot:Data-ATS"}],
    "DescribeEventConfigurations": [_nothing],
    "DescribeProvisioningTemplate": [_template()],
    "DescribeProvisioningTemplateVersion": [_template(versionId=1)],
    "DescribeThing": [lambda their, _my: {"thingName": their.thing}],
    "DescribeThingType": [_type()],
    "DescribeThingRegistrationTask": [_task()],
    "DetachPolicy": [
        lambda their, my: {"policyName": my.policy, "target": their.arn},
        lambda their, my: {"policyName": their.policy, "target": my.arn},
        lambda their, _my: {"policyName": their.policy, "target": their.arn},
    ],
    "DetachThingPrincipal": [
        lambda their, my: {"thingName": my.thing, "principal": their.arn},
        lambda their, my: {"thingName": their.thing, "principal": my.arn},
        lambda their, _my: {"thingName": their.thing, "principal": their.arn},
    ],
    "GetPolicy": [lambda their, _my: {"policyName": their.policy}],
    "GetRegistrationCode": [_nothing],
    "ListAttachedPolicies": [
        lambda their, _my: {"target": their.arn},
        lambda their, _my: {"target": their.named("thinggroup", their.thing_group), "recursive": True},
    ],
    "ListBillingGroups": [_nothing, _token("ListBillingGroups")],
    "ListCACertificates": [_nothing, _marker("ListCACertificates"), _template()],
    "ListCertificates": [_nothing, _marker("ListCertificates")],
    "ListCertificatesByCA": [
        lambda their, _my: {"caCertificateId": their.ca_id},
        lambda their, _my: {"caCertificateId": their.ca_id, "marker": their.markers["ListCertificatesByCA"]},
    ],
    "ListOutgoingCertificates": [_nothing, _marker("ListOutgoingCertificates")],
    "ListPolicies": [_nothing, _marker("ListPolicies")],
    "ListPrincipalThings": [lambda their, _my: {"principal": their.arn}],
    "ListProvisioningTemplateVersions": [_template()],
    "ListProvisioningTemplates": [_nothing, _token("ListProvisioningTemplates")],
    "ListTagsForResource": _tagged(),
    "ListTargetsForPolicy": [lambda their, _my: {"policyName": their.policy}],
    "ListThingPrincipals": [lambda their, _my: {"thingName": their.thing}],
    "ListThingTypes": [_nothing, _token("ListThingTypes"), _type()],
    "ListThingsInBillingGroup": [_billing()],
    "ListThingRegistrationTaskReports": [_task(reportType="RESULTS"), _task(reportType="ERRORS")],
    "ListThingRegistrationTasks": [_nothing, _token("ListThingRegistrationTasks")],
    "ListThings": [_nothing, _token("ListThings"), lambda _their, _my: {"attributeName": "of", "attributeValue": "me"}],
    "RegisterCACertificate": [
        lambda their, _my: {"caCertificate": their.ca_pem, "verificationCertificate": their.proof},
        lambda their, _my: {"caCertificate": their.ca_pem, "certificateMode": "SNI_ONLY"},
        lambda their, _my: {
            "caCertificate": their.ca_pem,
            "certificateMode": "SNI_ONLY",
            "registrationConfig": {"templateName": their.template},
        },
    ],
    "RegisterCertificate": [
        lambda their, _my: {"certificatePem": their.pem},
        lambda their, _my: {"certificatePem": their.pem, "caCertificatePem": their.ca_pem},
    ],
    "RegisterCertificateWithoutCA": [lambda their, _my: {"certificatePem": their.pem}],
    "RegisterThing": [
        _provisioned(lambda their: {"thing": {"ThingName": their.thing}}),
        _provisioned(lambda their: {"thing": {"ThingTypeName": their.thing_type}}),
        _provisioned(lambda their: {"thing": {"BillingGroup": their.billing_group}}),
        _provisioned(lambda their: {"thing": {"ThingGroups": [their.thing_group]}}),
        _provisioned(lambda their: {"policy": {"PolicyName": their.policy}}),
        _provisioned(lambda their: {"certificate": {"CertificateId": their.certificate_id}}),
        _provisioned(lambda their: {"certificate": {"CertificateId": their.offered_id}}),
        _provisioned(lambda their: {"certificate": {"CertificatePem": their.pem}}),
        _provisioned(lambda their: {"certificate": {"CertificatePem": their.pem, "CACertificatePem": their.ca_pem}}),
    ],
    "RejectCertificateTransfer": [_certificate(), _offered(rejectReason="mine now")],
    "RemoveThingFromBillingGroup": MEMBERSHIPS,
    "StartThingRegistrationTask": [
        lambda _their, _my: {
            "templateBody": THING_BODY,
            "inputFileBucket": "none",
            "inputFileKey": "lines",
            "roleArn": ROLE,
        }
    ],
    "StopThingRegistrationTask": [_task()],
    "TagResource": _tagged(tags=[{"Key": "of", "Value": "you"}]),
    "TransferCertificate": [
        lambda their, _my: {"certificateId": their.certificate_id, "targetAwsAccount": their.account},
        lambda their, _my: {"certificateId": their.offered_id, "targetAwsAccount": their.account},
    ],
    "UpdateCACertificate": [
        _ca(newStatus="INACTIVE"),
        _ca(newAutoRegistrationStatus="ENABLE"),
        _ca(removeAutoRegistration=True),
        _ca(),
    ],
    "UpdateCertificate": [
        _certificate(newStatus="REVOKED"),
        _certificate(newStatus="ACTIVE"),
        _offered(newStatus="INACTIVE"),
    ],
    "UntagResource": _tagged(tagKeys=["of"]),
    "UpdateBillingGroup": [_billing(billingGroupProperties={"billingGroupDescription": "yours"})],
    "UpdateEventConfigurations": [lambda _their, _my: {"eventConfigurations": {"THING": {"Enabled": True}}}],
    "UpdateProvisioningTemplate": [_template(enabled=True), _template(defaultVersionId=2)],
    "UpdateThing": [
        lambda their, _my: {"thingName": their.thing, "attributePayload": {"attributes": {"of": "you"}}},
        lambda their, my: {"thingName": my.thing, "thingTypeName": their.thing_type},
    ],
    "UpdateThingType": [_type(thingTypeProperties={"thingTypeDescription": "yours"})],
}
"""How each operation may be asked for what is another's."""

UNDO: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "AttachPolicy": lambda iot, made: iot.detach_policy(**made),
    "CreatePolicy": lambda iot, made: iot.delete_policy(policyName=made["policyName"]),
    "CreateThing": lambda iot, made: iot.delete_thing(**made),
    "CreateBillingGroup": lambda iot, made: iot.delete_billing_group(**made),
    "CreateProvisioningTemplate": lambda iot, made: iot.delete_provisioning_template(templateName=made["templateName"]),
    "CreateCertificateProvider": lambda iot, made: iot.delete_certificate_provider(
        certificateProviderName=made["certificateProviderName"]
    ),
    "CreateThingGroup": lambda iot, made: iot.delete_thing_group(thingGroupName=made["thingGroupName"]),
    "RegisterThing": lambda iot, made: iot.delete_thing(
        thingName=json.loads(made["templateBody"])["Resources"]["thing"]["Properties"]["ThingName"]
    ),
}
"""A name of one's own that happens to be another's too is taken back, so that the next call finds none again."""


def test_every_implemented_operation_is_walked() -> None:
    assert implemented_operations()["iot"] == CALLS.keys(), "say how the new operation may be asked for another's"


# --- the owner


class Owner:
    """An account with one of everything, some attached to each other, and an offer to a third account."""

    def __init__(self, server: Server) -> None:
        self.side, other = tenant(server), tenant(server)
        iot = self.side.iot
        ca = own_ca()
        register_ca(iot, ca, allowAutoRegistration=False)
        proof = issue(ca, iot.get_registration_code()["registrationCode"])
        pem = issue(ca)
        certificate_id = iot.register_certificate(certificatePem=pem, status="ACTIVE")["certificateId"]
        iot.register_certificate(certificatePem=issue(ca))
        offered_id = iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"]
        second = iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"]
        for each in (offered_id, second):
            iot.transfer_certificate(certificateId=each, targetAwsAccount=other.account)
        register_ca(iot, own_ca())
        thing, policy = f"their-thing-{uuid.uuid4().hex}", f"their-policy-{uuid.uuid4().hex}"
        thing_group = f"their-things-{uuid.uuid4().hex}"
        template, provider = _template_name(), f"their-provider-{uuid.uuid4().hex}"
        domain = f"their-domain-{uuid.uuid4().hex}"
        vouching = operator(server).import_server_certificate(
            name="theirs", accountId=self.side.account, certificate=ca.pem
        )
        operator(server).add_hook(hookName="sign", url="https://hooks.example.com/sign")
        iot.create_certificate_provider(
            certificateProviderName=provider,
            lambdaFunctionArn=f"arn:aws:lambda:us-east-1:{self.side.account}:function:sign",
            accountDefaultForOperations=["CreateCertificateFromCsr"],
        )
        thing_type, billing_group = f"their-type-{uuid.uuid4().hex}", f"their-group-{uuid.uuid4().hex}"
        for suffix in ("", "-2"):
            iot.create_thing_type(thingTypeName=thing_type + suffix)
            iot.create_billing_group(billingGroupName=billing_group + suffix)
            iot.create_thing_group(thingGroupName=thing_group + suffix)
            iot.create_provisioning_template(
                templateName=template + suffix, templateBody=TEMPLATE_BODY, provisioningRoleArn=ROLE, type="JITP"
            )
        for suffix in ("", "-2"):
            iot.create_thing(thingName=thing + suffix, attributePayload={"attributes": {"of": "me"}})
            iot.create_policy(policyName=policy + suffix, policyDocument=json.dumps(ALLOW_ALL))
        self.names = Names(
            account=self.side.account,
            region="us-east-1",
            certificate_id=certificate_id,
            offered_id=offered_id,
            ca_id=ca.id,
            pem=pem,
            ca_pem=ca.pem,
            proof=proof,
            thing=thing,
            policy=policy,
            thing_type=thing_type,
            billing_group=billing_group,
            thing_group=thing_group,
            template=template,
            task=str(uuid.uuid4()),
            provider=provider,
            domain=domain,
            domain_arn=iot.create_domain_configuration(domainConfigurationName=domain)["domainConfigurationArn"],
            server_certificate=vouching["serverCertificateArn"],
            markers={
                "ListDomainConfigurations": iot.list_domain_configurations(pageSize=1)["nextMarker"],
                "ListThingRegistrationTasks": "AAAA",
                "ListProvisioningTemplates": iot.list_provisioning_templates(maxResults=1)["nextToken"],
                "ListThingGroups": iot.list_thing_groups(maxResults=1)["nextToken"],
                "ListBillingGroups": iot.list_billing_groups(maxResults=1)["nextToken"],
                "ListThingTypes": iot.list_thing_types(maxResults=1)["nextToken"],
                "ListCACertificates": iot.list_ca_certificates(pageSize=1)["nextMarker"],
                "ListCertificates": iot.list_certificates(pageSize=1)["nextMarker"],
                "ListCertificatesByCA": iot.list_certificates_by_ca(caCertificateId=ca.id, pageSize=1)["nextMarker"],
                "ListOutgoingCertificates": iot.list_outgoing_certificates(pageSize=1)["nextMarker"],
                "ListPolicies": iot.list_policies(pageSize=1)["nextMarker"],
                "ListThings": iot.list_things(maxResults=1)["nextToken"],
            },
        )
        iot.attach_policy(policyName=policy, target=self.names.arn)
        iot.attach_thing_principal(thingName=thing, principal=self.names.arn)
        iot.add_thing_to_billing_group(billingGroupName=billing_group, thingName=thing)
        iot.add_thing_to_thing_group(thingGroupName=thing_group, thingName=thing)
        iot.attach_policy(policyName=policy, target=self.names.named("thinggroup", thing_group))
        iot.create_policy_version(policyName=policy, policyDocument=json.dumps(ALLOW_ALL))
        iot.create_provisioning_template_version(templateName=template, templateBody=TEMPLATE_BODY)
        iot.update_ca_certificate(certificateId=ca.id, registrationConfig={"templateName": template})
        for tagged in self.names.tagged():
            iot.tag_resource(resourceArn=tagged, tags=[{"Key": "of", "Value": "me"}])
        self.before = self.everything()

    def everything(self) -> dict[str, Any]:
        """All that the owner can see."""
        iot, names = self.side.iot, self.names
        certificates = iot.list_certificates(pageSize=250)["certificates"]
        cas = iot.list_ca_certificates(pageSize=250)["certificates"]
        return {
            "certificates": [body_of(iot.describe_certificate(certificateId=c["certificateId"])) for c in certificates],
            "cas": [body_of(iot.describe_ca_certificate(certificateId=c["certificateId"])) for c in cas],
            "outgoing": body_of(iot.list_outgoing_certificates()),
            "code": body_of(iot.get_registration_code()),
            "endpoint": body_of(iot.describe_endpoint(endpointType="iot:Data-ATS")),
            "things": [body_of(iot.describe_thing(thingName=t["thingName"])) for t in iot.list_things()["things"]],
            "policies": [body_of(iot.get_policy(policyName=p["policyName"])) for p in iot.list_policies()["policies"]],
            "types": body_of(iot.list_thing_types()),
            "billing groups": [
                body_of(iot.describe_billing_group(billingGroupName=group["groupName"]))
                for group in iot.list_billing_groups()["billingGroups"]
            ],
            "billed": body_of(iot.list_things_in_billing_group(billingGroupName=names.billing_group)),
            "groups": [
                body_of(iot.describe_thing_group(thingGroupName=group["groupName"]))
                for group in iot.list_thing_groups()["thingGroups"]
            ],
            "grouped": body_of(iot.list_things_in_thing_group(thingGroupName=names.thing_group)),
            "on the group": body_of(
                iot.list_attached_policies(target=names.named("thinggroup", names.thing_group), recursive=True)
            ),
            "versions": body_of(iot.list_policy_versions(policyName=names.policy)),
            "templates": [
                body_of(iot.describe_provisioning_template(templateName=each["templateName"]))
                for each in iot.list_provisioning_templates()["templates"]
            ],
            "providers": [
                body_of(iot.describe_certificate_provider(certificateProviderName=each["certificateProviderName"]))
                for each in iot.list_certificate_providers()["certificateProviders"]
            ],
            "domains": [
                body_of(iot.describe_domain_configuration(domainConfigurationName=each["domainConfigurationName"]))
                for each in iot.list_domain_configurations()["domainConfigurations"]
            ],
            "template versions": body_of(iot.list_provisioning_template_versions(templateName=names.template)),
            "tags": [body_of(iot.list_tags_for_resource(resourceArn=arn)) for arn in names.tagged()],
            "events": body_of(iot.describe_event_configurations()),
            "attached": body_of(iot.list_attached_policies(target=names.arn)),
            "principals": body_of(iot.list_thing_principals(thingName=names.thing)),
        }


def _template_name() -> str:
    return f"their-template-{uuid.uuid4().hex[:16]}"


def nobodys(like: Names) -> Names:
    """Names of the same form that nobody has."""
    ca = own_ca()
    return replace(
        like,
        certificate_id=uuid.uuid4().hex * 2,
        offered_id=uuid.uuid4().hex * 2,
        ca_id=ca.id,
        pem=issue(ca),
        ca_pem=ca.pem,
        proof=issue(ca, uuid.uuid4().hex * 2),
        thing=f"their-thing-{uuid.uuid4().hex}",
        policy=f"their-policy-{uuid.uuid4().hex}",
        thing_type=f"their-type-{uuid.uuid4().hex}",
        billing_group=f"their-group-{uuid.uuid4().hex}",
        thing_group=f"their-things-{uuid.uuid4().hex}",
        template=_template_name(),
        task=str(uuid.uuid4()),
        provider=f"their-provider-{uuid.uuid4().hex}",
        domain=(domain := f"their-domain-{uuid.uuid4().hex}"),
        domain_arn=like.named("domainconfiguration", f"{domain}/{like.domain_arn[-5:]}"),
        server_certificate=like.server_certificate[:-36] + str(uuid.uuid4()),
        markers=dict.fromkeys(like.markers, "AAAA"),
    )


@pytest.fixture(scope="module")
def owner(server: Server) -> Owner:
    return Owner(server)


def _outfitted(iot: Any) -> Caller:
    thing, policy = f"my-thing-{uuid.uuid4().hex}", f"my-policy-{uuid.uuid4().hex}"
    iot.create_thing(thingName=thing)
    iot.create_policy(policyName=policy, policyDocument=json.dumps(ALLOW_ALL))
    arn = iot.register_certificate_without_ca(certificatePem=leaf())["certificateArn"]
    group = f"my-group-{uuid.uuid4().hex}"
    iot.create_billing_group(billingGroupName=group)
    things = f"my-things-{uuid.uuid4().hex}"
    iot.create_thing_group(thingGroupName=things)
    return Caller(iot, arn, thing, policy, group, things)


@pytest.fixture(params=["another account", "another region of the account"])
def intruder(server: Server, owner: Owner, operation: str, request: pytest.FixtureRequest) -> Caller:
    """Anew for each operation: what it registered of the other's is its own from then on."""
    if request.param == "another account":
        return _outfitted(tenant(server).iot)
    # each region that is asked for its endpoint costs the server a certificate
    served = operation in ("DescribeEndpoint", "CreateDomainConfiguration")
    region = "eu-west-1" if served else f"lab-{uuid.uuid4().hex[:12]}"
    return _outfitted(strict_client(server, owner.side.keys, region))


# --- the walk


def _outcome(caller: Caller, operation: str, members: dict[str, Any]) -> str:
    """What the call ends with, as text; what it made under the other's name is gone again."""
    try:
        answer = caller.iot._make_api_call(operation, members)
    except ClientError as error:
        response = error.response
        return json.dumps({**body_of(response), "status": response["ResponseMetadata"]["HTTPStatusCode"]})
    if operation in UNDO:
        UNDO[operation](caller.iot, members)
    return json.dumps(body_of(answer), default=lambda _instant: "instant")


def _without(text: str, names: Names) -> str:
    """The outcome with what was named in the request, and what is random anyway, taken out."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    named = [x509.load_pem_x509_certificate(names.pem.encode()).fingerprint(hashes.SHA256()).hex()]
    for each in (*named, *names.secrets()[1:]):
        text = text.replace(each, "NAMED")
    return UUID.sub("UUID", text)


RANDOM = {"CreateCertificateFromCsr", "CreateKeysAndCertificate", "ListCertificates", "ListThings", "ListPolicies"} | {
    "CreateThingType",  # cannot be taken back at once
    "ListBillingGroups",
    "ListThingTypes",
    "ListThingGroups",
    "CreateDomainConfiguration",  # its ARN ends at random
}
"""Their answers hold new keys, or what the caller has made by now: only searched for what is the owner's."""


@pytest.mark.parametrize("operation", CALLS)
def test_what_is_anothers_is_as_what_is_nobodys(owner: Owner, intruder: Caller, operation: str) -> None:
    for number, call in enumerate(CALLS[operation]):
        theirs, none = owner.names, nobodys(owner.names)
        members = call(theirs, intruder)
        found = _outcome(intruder, operation, members)
        control = _outcome(intruder, operation, call(none, intruder))
        if operation not in RANDOM:
            assert _without(control, none) == _without(found, theirs), f"call {number}"
        said = json.dumps(members)
        fingerprints = set(theirs.secrets()) if theirs.account not in intruder.arn else set(theirs.secrets()[1:])
        for secret in fingerprints:
            if operation.startswith("Register") and secret in (theirs.certificate_id, theirs.ca_id):
                continue  # the id of the certificate that the caller has sent
            assert secret in said or secret not in found, f"call {number} tells {secret}"
    assert owner.before == owner.everything()


@pytest.mark.parametrize("operation", ["DescribeCertificate", "UpdateCertificate", "DeleteCertificate"])
def test_the_third_party_of_an_offer_sees_no_more_than_the_offer(owner: Owner, operation: str) -> None:
    """What is offered to one account is nothing to the rest: not even that it is offered."""
    stranger: Tenant = tenant(owner.side.server)
    members = {"certificateId": owner.names.offered_id} | (
        {"newStatus": "ACTIVE"} if operation == "UpdateCertificate" else {}
    )
    with pytest.raises(stranger.iot.exceptions.ResourceNotFoundException):
        stranger.iot._make_api_call(operation, members)
