"""
How a stranger asks for what is somebody's: for each implemented operation of `iot`, the members of such requests.

`Names` are somebody's, or of the same form and nobody's; `Caller` is who asks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.device import ALLOW_ALL
from tests.support.registry import ROLE, TEMPLATE_BODY
from tests.support.strict import request


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
