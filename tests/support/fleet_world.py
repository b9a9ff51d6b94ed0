"""Fleet provisioning over a store in this process: a claim, a template, and devices that ask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cbor2
from tests.support.gateway import FakeMeter
from tests.support.registry import (
    SCOPE,
    FakeClock,
    FakeEntropy,
    FakeIssuer,
    cause,
    certificate_id,
    provisioning_template,
)

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateRecord
from handfast.core.provisioning.records import PreProvisioningHook
from handfast.core.topics.reserved import request_topic
from handfast.ports import Change
from handfast.seam import Request
from handfast.services.commit import Committer
from handfast.services.fleet import FleetProvisioning
from handfast.services.provisioner import Provisioner
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.services.template_gate import TemplateGate
from handfast.storage.sql import SQLStore

CLAIM, OTHER_CLAIM = certificate_id(50), certificate_id(51)
CREATE, FROM_CSR = "$aws/certificates/create/json", "$aws/certificates/create-from-csr/json"
PROVISION = "$aws/provisioning-templates/fleet/provision/json"
BODY = {
    "Parameters": {"Serial": {"Type": "String"}, "Site": {"Type": "String", "Default": "attic"}},
    "Resources": {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {"ThingName": {"Ref": "Serial"}, "AttributePayload": {"site": {"Ref": "Site"}}},
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
                    "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}],
                }
            },
        },
    },
    "DeviceConfiguration": {"Site": {"Ref": "Site"}},
}


class Hooks:
    """The pre-provisioning hooks: what they were asked, and what they answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.overrides: Mapping[str, str] = {}
        self.error: Exception | None = None

    async def ask(self, scope: Scope, hook: PreProvisioningHook, **facts: Any) -> Mapping[str, str]:
        self.asked.append({"scope": scope, "hook": hook, **facts})
        if self.error is not None:
            raise self.error
        return self.overrides


class Providers:
    """The certificate providers: what they were asked, and what they answer."""

    def __init__(self, pem: str | None = None, error: Exception | None = None) -> None:
        self.pem, self.error = pem, error
        self.asked: list[tuple[Any, ...]] = []

    async def issue(self, scope: Scope, csr_pem: str, *, client_id: str, principal: CertificateId) -> str | None:
        self.asked.append((scope, csr_pem, client_id, principal))
        if self.error is not None:
            raise self.error
        return self.pem


class World:
    """The service over a store with a claim certificate and the template `fleet`."""

    def __init__(self, store: SQLStore) -> None:
        self.store = store
        self.clock, self.entropy, self.meter = FakeClock(), FakeEntropy(), FakeMeter()
        self.issuer: Any = FakeIssuer()
        self.hooks: Hooks | None = Hooks()
        self.providers: Providers | None = None
        self.notified: list[Change] = []
        self.waiting = True
        self.refusals = RefusalLog(self.clock, self.entropy)

    def service(self) -> FleetProvisioning:
        commit = Committer(self.notify)
        return FleetProvisioning(
            self.store,
            self.issuer,
            Provisioner(self.store, self.entropy, commit, TemplateGate()),
            clock=self.clock,
            entropy=self.entropy,
            meter=self.meter,
            commit=commit,
            recorder=Recorder(self.refusals, self.clock),
            hooks=self.hooks,
            providers=self.providers,
        )

    async def notify(self, changes: Sequence[Change]) -> None:
        self.notified.extend(changes)

    def request(self, topic: str, payload: Any = b"", **changes: Any) -> Request:
        wanted = request_topic(topic)
        assert wanted is not None
        if not isinstance(payload, bytes):
            payload = cbor2.dumps(payload) if topic.endswith("cbor") else json.dumps(payload).encode()
        given: dict[str, Any] = {
            "scope": SCOPE,
            "certificate_id": CLAIM,
            "client_id": "lathe",
            "address": "192.0.2.7",
            "topic": topic,
            "wanted": wanted,
            "payload": payload,
            "waiting": lambda: self.waiting,
        }
        return Request(**{**given, **changes})

    async def ask(
        self, topic: str, payload: Any = b"", service: FleetProvisioning | None = None, **changes: Any
    ) -> dict[str, Any]:
        """The members of the reply and, under `outcome`, its topic's last level."""
        reply = await (service or self.service()).answer(self.request(topic, payload, **changes))
        assert reply is not None
        name, _, outcome = reply.topic.rpartition("/")
        assert topic == name
        members = cbor2.loads(reply.payload) if topic.endswith("cbor") else json.loads(reply.payload)
        return {**members, "outcome": outcome}

    async def create(self, **changes: Any) -> dict[str, Any]:
        made = await self.ask(CREATE, **changes)
        assert "accepted" == made["outcome"], made
        return made

    async def register(self, token: str, serial: str = "lamp", **changes: Any) -> dict[str, Any]:
        members = {"certificateOwnershipToken": token, "parameters": {"Serial": serial}}
        return await self.ask(PROVISION, members | changes.pop("members", {}), **changes)

    async def certificate(self, certificate_id: str) -> CertificateRecord | None:
        return await self.store.certificate(SCOPE, CertificateId(certificate_id))

    async def template(self, name: str = "fleet", **changes: Any) -> None:
        record = provisioning_template(name, **{"body": json.dumps(BODY), **changes})
        await self.store.create_provisioning_template(record, cause(), limit=10)


def rejected(answer: dict[str, Any]) -> tuple[int, str]:
    """The status and the code of an answer that is a rejection and nothing else."""
    assert {"outcome", "statusCode", "errorCode", "errorMessage"} == set(answer)
    assert "rejected" == answer["outcome"]
    return answer["statusCode"], answer["errorCode"]
