"""
No operation reaches from one account into another, nor from one region of an account into another.

Every implemented operation of `iot` is called with identifiers that belong to
somebody else and, as the control, with identifiers that belong to nobody. Both
must end alike, to the letter of the error's text, and everything of the owner's
must be as it was: in the registry after each operation, and as the owner finds it
after all of them. An operation that is new fails here until it is in the table.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.device import ALLOW_ALL
from tests.support.registry import ROLE, TEMPLATE_BODY
from tests.support.rows import Rows, rows_of
from tests.support.server import Server
from tests.support.strangers import CALLS, UNDO, Caller, Names
from tests.support.strict import (
    Tenant,
    body_of,
    issue,
    leaf,
    operator,
    own_ca,
    register_ca,
    strict_client,
    tenant,
)

from handfast.app import implemented_operations

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
        self.rows_before = self.rows()

    def rows(self) -> Rows:
        """All that the registry holds of the owner, with the trail of what changed it."""
        return rows_of(self.side.server.data_dir, self.names.account, self.names.region)

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
    assert owner.rows_before == owner.rows()


@pytest.mark.parametrize("operation", ["DescribeCertificate", "UpdateCertificate", "DeleteCertificate"])
def test_the_third_party_of_an_offer_sees_no_more_than_the_offer(owner: Owner, operation: str) -> None:
    """What is offered to one account is nothing to the rest: not even that it is offered."""
    stranger: Tenant = tenant(owner.side.server)
    members = {"certificateId": owner.names.offered_id} | (
        {"newStatus": "ACTIVE"} if operation == "UpdateCertificate" else {}
    )
    with pytest.raises(stranger.iot.exceptions.ResourceNotFoundException):
        stranger.iot._make_api_call(operation, members)
    assert owner.rows_before == owner.rows()


def test_the_owner_finds_everything_as_it_was(owner: Owner) -> None:
    """After all of the above; and what is compared after each of them is not nothing."""
    assert owner.before == owner.everything()
    full = {name for name, rows in owner.rows_before.items() if rows}
    assert full >= {"certificates", "ca_certificates", "things", "policies", "thing_principals", "tags", "audit"}
