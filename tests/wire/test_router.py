"""Routing on raw paths: the collisions of the `iot` model, encoded labels, trailing slashes, greedy labels."""

from __future__ import annotations

import pytest

from handfast.wire.router import BadPath, Router
from handfast.wire.spec import Operation, Shape, load_service

CERT_ARN = "arn:aws:iot:us-east-1:123456789012:cert/" + "a" * 64
ENCODED = CERT_ARN.replace(":", "%3A").replace("/", "%2F")
HEX = "a" * 64

IOT = Router(load_service("iot").operations.values())
DATA = Router(load_service("iot-data").operations.values())


@pytest.mark.parametrize(
    ("method", "path", "name", "labels"),
    [
        ("POST", "/things", "RegisterThing", {}),
        ("POST", "/things/n", "CreateThing", {"thingName": "n"}),
        ("GET", "/things", "ListThings", {}),
        ("GET", "/things/things", "DescribeThing", {"thingName": "things"}),
        ("GET", "/things/n/principals", "ListThingPrincipals", {"thingName": "n"}),
        ("GET", "/things/n/principals-v2", "ListThingPrincipalsV2", {"thingName": "n"}),
        ("GET", "/principals/things", "ListPrincipalThings", {}),
        ("GET", "/principals/things-v2", "ListPrincipalThingsV2", {}),
        ("PUT", "/things/n/principals", "AttachThingPrincipal", {"thingName": "n"}),
        ("DELETE", "/things/n/principals", "DetachThingPrincipal", {"thingName": "n"}),
        ("POST", "/certificates", "CreateCertificateFromCsr", {}),
        ("GET", "/certificates", "ListCertificates", {}),
        ("POST", "/certificate/register", "RegisterCertificate", {}),
        ("POST", "/certificate/register-no-ca", "RegisterCertificateWithoutCA", {}),
        ("GET", f"/certificates/{HEX}", "DescribeCertificate", {"certificateId": HEX}),
        ("PUT", f"/certificates/{HEX}", "UpdateCertificate", {"certificateId": HEX}),
        ("DELETE", f"/certificates/{HEX}", "DeleteCertificate", {"certificateId": HEX}),
        ("POST", "/keys-and-certificate", "CreateKeysAndCertificate", {}),
        ("GET", f"/certificates-by-ca/{HEX}", "ListCertificatesByCA", {"caCertificateId": HEX}),
        ("GET", "/certificates-out-going", "ListOutgoingCertificates", {}),
        ("POST", "/cacertificate", "RegisterCACertificate", {}),
        ("GET", "/cacertificates", "ListCACertificates", {}),
        ("GET", f"/cacertificate/{HEX}", "DescribeCACertificate", {"caCertificateId": HEX}),
        ("PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup", {}),
        ("PUT", "/thing-groups/removeThingFromThingGroup", "RemoveThingFromThingGroup", {}),
        ("PUT", "/thing-groups/updateThingGroupsForThing", "UpdateThingGroupsForThing", {}),
        ("GET", "/thing-groups/addThingToThingGroup", "DescribeThingGroup", {"thingGroupName": "addThingToThingGroup"}),
        ("POST", f"/attached-policies/{ENCODED}", "ListAttachedPolicies", {"target": CERT_ARN}),
        ("POST", "/policy-targets/p", "ListTargetsForPolicy", {"policyName": "p"}),
        ("POST", "/effective-policies", "GetEffectivePolicies", {}),
        ("POST", "/audit/findings", "ListAuditFindings", {}),
        ("GET", "/policies/a%2Bb%3Dc%2Cd.e%40f", "GetPolicy", {"policyName": "a+b=c,d.e@f"}),
        ("GET", "/policies/a+b=c,d.e@f", "GetPolicy", {"policyName": "a+b=c,d.e@f"}),
        ("PUT", "/target-policies/p", "AttachPolicy", {"policyName": "p"}),
        ("POST", "/target-policies/p", "DetachPolicy", {"policyName": "p"}),
        ("GET", "/endpoint", "DescribeEndpoint", {}),
        ("GET", "/authorizers/", "ListAuthorizers", {}),
        ("GET", "/authorizers", "ListAuthorizers", {}),
        ("GET", "/certificate-providers/", "ListCertificateProviders", {}),
        ("GET", "/certificate-providers", "ListCertificateProviders", {}),
        ("GET", "/things/", "ListThings", {}),
        ("GET", "/things/n/", "DescribeThing", {"thingName": "n"}),
        ("GET", "/destinations", "ListTopicRuleDestinations", {}),
        ("GET", "/destinations/", "ListTopicRuleDestinations", {}),
        ("GET", "/destinations/arn:a/b/c", "GetTopicRuleDestination", {"arn": "arn:a/b/c"}),
        ("DELETE", "/destinations/arn%3Aa%2Fb", "DeleteTopicRuleDestination", {"arn": "arn:a/b"}),
    ],
)
def test_iot_paths_reach_their_operation(method: str, path: str, name: str, labels: dict[str, str]) -> None:
    match = IOT.match(method, path)
    assert match is not None
    assert (name, labels) == (match.operation.name, match.labels)


@pytest.mark.parametrize(
    ("method", "path", "name", "labels"),
    [
        ("POST", "/topics/a%2Fb", "Publish", {"topic": "a/b"}),
        ("POST", "/topics/a/b", "Publish", {"topic": "a/b"}),
        ("POST", "/topics/a//b/", "Publish", {"topic": "a//b/"}),
        ("POST", "/topics/" + "/".join("x" * 60), "Publish", {"topic": "/".join("x" * 60)}),
        ("POST", "/topics/%24aws%2Frules%2Fr", "Publish", {"topic": "$aws/rules/r"}),
        ("GET", "/connections/c", "GetConnection", {"clientId": "c"}),
        ("GET", "/connections/c/subscriptions", "ListSubscriptions", {"clientId": "c"}),
        ("GET", "/connections/c%2Fsubscriptions", "GetConnection", {"clientId": "c/subscriptions"}),
        ("GET", "/retainedMessage", "ListRetainedMessages", {}),
        ("GET", "/retainedMessage/a%2Fb", "GetRetainedMessage", {"topic": "a/b"}),
    ],
)
def test_iot_data_paths_reach_their_operation(method: str, path: str, name: str, labels: dict[str, str]) -> None:
    match = DATA.match(method, path)
    assert match is not None
    assert (name, labels) == (match.operation.name, match.labels)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", ""),
        ("GET", "things"),
        ("GET", "/thing"),
        ("GET", "/things//"),
        ("GET", "/things/a/b"),
        ("GET", "/%2Fthings"),
        ("GET", "/things%2Fn"),
        ("HEAD", "/things"),
        ("OPTIONS", "/things"),
        ("PATCH", "/endpoint"),
        ("GET", "/" + "a/" * 500),
    ],
)
def test_other_paths_reach_none(method: str, path: str) -> None:
    assert IOT.match(method, path) is None


@pytest.mark.parametrize("path", ["/things/%", "/things/%2", "/things/%zz", "/things/%ff", "/things/%C0%AF"])
def test_broken_escapes_are_told_apart_from_unknown_paths(path: str) -> None:
    with pytest.raises(BadPath):
        IOT.match("GET", path)


def test_a_path_is_decoded_once() -> None:
    match = IOT.match("GET", "/policies/%252F")
    assert match is not None
    assert {"policyName": "%2F"} == match.labels


def test_the_methods_of_a_path_are_known() -> None:
    assert ["DELETE", "GET", "PATCH", "POST"] == IOT.methods("/things/n")
    assert [] == IOT.methods("/nothing")


def _operation(name: str, uri: str) -> Operation:
    return Operation("test", name, name.lower(), "GET", uri, 200, Shape("Unit", "structure"), None, {})


@pytest.mark.parametrize(
    "uris",
    [
        ("/a/{x}", "/a/{y}"),
        ("/a", "/a/"),
        ("/a/{x+}", "/a/{y+}"),
        ("/a/{x+}/b",),
        ("/a/x{y}",),
        ("/a?b=c",),
    ],
)
def test_a_model_that_cannot_be_routed_is_refused_at_start(uris: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="A"):
        Router(_operation(f"A{i}", uri) for i, uri in enumerate(uris))


def test_literals_win_over_labels_and_labels_over_greedy_ones() -> None:
    router = Router([_operation("G", "/a/{x+}"), _operation("L", "/a/{x}/c"), _operation("T", "/a/b/c")])
    names = [m.operation.name for p in ("/a/b/c", "/a/z/c", "/a/b/d", "/a/b") if (m := router.match("GET", p))]
    assert ["T", "L", "G", "G"] == names
