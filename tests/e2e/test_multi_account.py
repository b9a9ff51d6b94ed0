"""One device certificate in several accounts of a region: SNI says which, DEFAULT stands in without it."""

from __future__ import annotations

import json
import ssl
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.device import ALLOW_ALL, key_pem, write
from tests.support.own_ca import OwnCA
from tests.support.raw import connect_packet, connect_tcp, read_all
from tests.support.server import Server
from tests.support.strict import (
    EXISTS,
    NOT_FOUND,
    STATE,
    Tenant,
    issue,
    items,
    own_ca,
    refused,
    register_ca,
    tenant,
)


@dataclass(frozen=True)
class Leaf:
    """A device's certificate and key in files."""

    pem: str
    certificate: Path
    key: Path


def device_of(ca: OwnCA, folder: Path) -> Leaf:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = issue(ca, key=key)
    stem = uuid.uuid4().hex
    return Leaf(pem, write(folder / f"{stem}.pem", pem), write(folder / f"{stem}.key", key_pem(key)))


def connect(server: Server, leaf: Leaf, sni: str | None) -> tuple[ssl.SSLSocket, bool]:
    """The connection, and whether its CONNECT was accepted."""
    context = ssl.create_default_context(cafile=str(server.trust / "bundle.pem"))
    context.check_hostname = sni is not None
    context.load_cert_chain(str(leaf.certificate), str(leaf.key))
    sock = context.wrap_socket(connect_tcp(server), server_hostname=sni)
    sock.sendall(connect_packet(uuid.uuid4().hex))
    answer = b""
    while len(answer) < 4 and (got := sock.recv(4 - len(answer))):
        answer += got
    return sock, answer == b"\x20\x02\x00\x00"


def admitted(server: Server, leaf: Leaf, sni: str | None) -> bool:
    sock, accepted = connect(server, leaf, sni)
    sock.close()
    return accepted


def endpoint(side: Tenant, iot: Any = None) -> str:
    return str((iot or side.iot).describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"])


def allow(side: Tenant, certificate_id: str) -> None:
    name = f"allow-{uuid.uuid4().hex}"
    side.iot.create_policy(policyName=name, policyDocument=json.dumps(ALLOW_ALL))
    side.iot.attach_policy(policyName=name, target=side.arn(certificate_id))


def status(side: Tenant, certificate_id: str) -> str:
    return str(side.iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["status"])


@pytest.fixture
def sides(server: Server) -> list[Tenant]:
    return [tenant(server) for _ in range(3)]


def test_the_name_says_which_account_and_each_decides_for_itself(
    server: Server, sides: list[Tenant], folder: Path
) -> None:
    one, two, three = sides
    ca = own_ca()
    leaf = device_of(ca, folder)
    for side in (one, two):
        register_ca(side.iot, ca, certificateMode="SNI_ONLY")
        made = side.iot.register_certificate(certificatePem=leaf.pem, status="ACTIVE")["certificateId"]
        assert (
            "SNI_ONLY" == side.iot.describe_certificate(certificateId=made)["certificateDescription"]["certificateMode"]
        )
    assert [False, False] == [admitted(server, leaf, endpoint(side)) for side in (one, two)], "no policy yet"
    allow(one, made)
    assert [True, False] == [admitted(server, leaf, endpoint(side)) for side in (one, two)], "one's policy is one's"
    allow(two, made)
    assert [True, True, False] == [admitted(server, leaf, endpoint(side)) for side in (one, two, three)]
    assert not admitted(server, leaf, None), "without a name there is no DEFAULT registration to find"
    assert not admitted(server, leaf, "localhost")
    assert not admitted(server, leaf, endpoint(one, one.elsewhere())), "another region is another registry"

    at_one, accepted_one = connect(server, leaf, endpoint(one))
    at_two, accepted_two = connect(server, leaf, endpoint(two))
    assert (True, True) == (accepted_one, accepted_two)
    one.iot.update_certificate(certificateId=made, newStatus="REVOKED")
    assert b"" == read_all(at_one), "cut"
    at_two.sendall(b"\xc0\x00")
    assert b"\xd0\x00" == at_two.recv(2), "and only there"
    at_two.close()
    assert ("REVOKED", "ACTIVE") == (status(one, made), status(two, made))
    for policy in one.iot.list_attached_policies(target=one.arn(made))["policies"]:
        one.iot.detach_policy(policyName=policy["policyName"], target=one.arn(made))
    one.iot.delete_certificate(certificateId=made)
    refused(STATE, one.iot.register_certificate, certificatePem=leaf.pem, status="ACTIVE")
    assert [False, True] == [admitted(server, leaf, endpoint(side)) for side in (one, two)]
    register_ca(three.iot, ca, certificateMode="SNI_ONLY")
    three.iot.register_certificate(certificatePem=leaf.pem)  # revoked elsewhere means nothing here


def test_without_a_name_the_one_default_registration_counts(server: Server, sides: list[Tenant], folder: Path) -> None:
    one, two, three = sides
    ca = own_ca()
    leaf = device_of(ca, folder)
    register_ca(one.iot, ca)
    made = one.iot.register_certificate(certificatePem=leaf.pem, status="ACTIVE")["certificateId"]
    two.iot.register_certificate_without_ca(certificatePem=leaf.pem, status="ACTIVE")
    allow(two, made)
    assert not admitted(server, leaf, None), "the DEFAULT account has no policy, and the other's does not count"
    allow(one, made)
    for sni in (None, "localhost", endpoint(one), endpoint(two)):
        assert admitted(server, leaf, sni), sni
    one.iot.update_certificate(certificateId=made, newStatus="INACTIVE")
    for sni in (None, "localhost", endpoint(one)):
        assert not admitted(server, leaf, sni), f"{sni}: another account's ACTIVE registration does not stand in"
    assert admitted(server, leaf, endpoint(two))

    # the CA moves to a third account while the leaf's DEFAULT registration stays
    one.iot.update_ca_certificate(certificateId=ca.id, newStatus="INACTIVE")
    one.iot.delete_ca_certificate(certificateId=ca.id)
    register_ca(three.iot, ca)
    found = refused(EXISTS, three.iot.register_certificate, certificatePem=leaf.pem)
    assert three.arn(made) == found.response["resourceArn"]
    assert one.account not in str(found.response), "not where it is"
    refused(NOT_FOUND, three.iot.describe_certificate, certificateId=made)
    one.iot.delete_certificate(certificateId=made, forceDelete=True)
    three.iot.register_certificate(certificatePem=leaf.pem, status="ACTIVE")
    allow(three, made)
    assert admitted(server, leaf, None)


def test_what_was_transferred_away_does_not_come_back_by_itself(
    server: Server, sides: list[Tenant], folder: Path
) -> None:
    one, two, _ = sides
    ca = own_ca()
    leaf = device_of(ca, folder)
    register_ca(one.iot, ca, allowAutoRegistration=True)
    made = one.iot.register_certificate(certificatePem=leaf.pem)["certificateId"]
    one.iot.transfer_certificate(certificateId=made, targetAwsAccount=two.account)
    for sni in (None, endpoint(one), endpoint(two)):
        assert not admitted(server, leaf, sni), "under way it connects nowhere"
    two.iot.accept_certificate_transfer(certificateId=made, setAsActive=True)
    allow(two, made)
    assert admitted(server, leaf, endpoint(two))
    assert admitted(server, leaf, None), "its DEFAULT registration went along"
    assert not admitted(server, leaf, endpoint(one)), "though the CA registers what it signed by itself"
    assert [] == items(one.iot.list_certificates())
    refused(EXISTS, one.iot.register_certificate, certificatePem=leaf.pem)  # one DEFAULT registration in a region
    one.iot.register_certificate_without_ca(certificatePem=leaf.pem, status="ACTIVE")  # on purpose, and by name only
    allow(one, made)
    assert [True, True, True] == [admitted(server, leaf, sni) for sni in (endpoint(one), endpoint(two), None)]
    two.iot.update_certificate(certificateId=made, newStatus="REVOKED")
    assert [True, False, False] == [admitted(server, leaf, sni) for sni in (endpoint(one), endpoint(two), None)]
