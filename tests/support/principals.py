"""The parts of the registry that the verdict reads, in memory and stoppable; devices; a verdict over both."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, FakeClock, FakeEntropy

from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingName
from handfast.core.identity.records import (
    AccountStatus,
    AttachedPolicy,
    AttachedThing,
    CertificateMode,
    CertificateRecord,
    CertificateStatus,
    EndpointRecord,
    PolicyRecord,
    PrincipalRecord,
    ThingPrincipalType,
)
from handfast.errors import StoreUnavailable
from handfast.ports import Change, ChangeKind
from handfast.seam import ConnectRequest, ListenerKind, TLSFacts
from handfast.services.endpoints import EndpointService
from handfast.services.principals import Key, PrincipalCache
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.services.verdict import Verdict

DOMAIN = "localhost"


def allow(*actions: str, resource: str = "*", effect: str = "Allow") -> str:
    """A document with one statement."""
    statement = {"Effect": effect, "Action": list(actions or ("iot:*",)), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def arn(resource: str, scope: Scope = SCOPE) -> str:
    return f"arn:aws:iot:{scope.region}:{scope.account}:{resource}"


@dataclass
class Device:
    """A certificate and the connection that presents it."""

    der: bytes
    certificate_id: CertificateId

    def facts(self, sni: str | None = "localhost", address: str = "192.0.2.7", **changes: Any) -> TLSFacts:
        given: dict[str, Any] = {
            "listener": ListenerKind.MQTT,
            "peer_address": address,
            "peer_port": 40000,
            "local_address": "192.0.2.1",
            "certificate_der": self.der,
            "certificate_id": self.certificate_id,
            "sni": sni,
            "alpn": None,
            "version": "TLSv1.3",
            "cipher": "TLS_AES_128_GCM_SHA256",
            "group": "x25519",
            "chain_kind": "rsa",
            "offered": {"versions": "TLSv1.3 TLSv1.2"},
        }
        return TLSFacts(**(given | changes))


def device(
    common_name: str = "lamp",
    *,
    not_before: dt.datetime = NOW - dt.timedelta(days=1),
    not_after: dt.datetime = NOW + dt.timedelta(days=365),
    curve: ec.EllipticCurve | None = None,
    serial_number: int | None = None,
) -> Device:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Device(der, CertificateId(hashlib.sha256(der).hexdigest()))


class MemoryStore:
    """What the verdict asks of `ports.Store`. `hold` stops answers until `release`; `fail` makes them unavailable."""

    def __init__(self) -> None:
        self.records: dict[Key, PrincipalRecord] = {}
        self.calls: list[list[Key]] = []
        self.fail = False
        self._gate = asyncio.Event()
        self._gate.set()
        self.waiting = asyncio.Event()

    def hold(self) -> None:
        self._gate.clear()
        self.waiting.clear()

    def release(self) -> None:
        self._gate.set()

    async def _answer(self) -> None:
        if self.fail:
            raise StoreUnavailable("the disk is gone")
        if not self._gate.is_set():
            self.waiting.set()
            await self._gate.wait()

    async def principals(self, keys: Sequence[Key]) -> list[PrincipalRecord | None]:
        self.calls.append(list(keys))
        read = [self.records.get(key) for key in keys]  # what was true when the read began
        await self._answer()
        return read

    async def policy(self, scope: Scope, name: PolicyName) -> PolicyRecord | None:
        for key, record in self.records.items():
            for attached in record.policies if key[0] == scope else ():
                if attached.policy_name == name:
                    await self._answer()
                    return PolicyRecord(
                        scope=scope,
                        policy_name=name,
                        default_version_id=attached.version_id,
                        document=attached.document,
                        creation_date=NOW,
                        last_modified_date=NOW,
                        generation_id="0",
                    )
        await self._answer()
        return None

    async def default_registrations(self, region: str, certificate_id: CertificateId) -> list[Scope]:
        await self._answer()
        return [
            scope
            for (scope, each), record in self.records.items()
            if each == certificate_id and scope.region == region and record.certificate.mode is CertificateMode.DEFAULT
        ]

    # --- changing it, with the changes that the real one would return ---

    def register(
        self,
        who: Device,
        *,
        scope: Scope = SCOPE,
        status: CertificateStatus = CertificateStatus.ACTIVE,
        mode: CertificateMode = CertificateMode.DEFAULT,
        account_status: AccountStatus = AccountStatus.ENABLED,
        policies: dict[str, str] | None = None,
        things: dict[str, ThingPrincipalType] | None = None,
    ) -> list[Change]:
        certificate = x509.load_der_x509_certificate(who.der)
        self.records[scope, who.certificate_id] = PrincipalRecord(
            certificate=CertificateRecord(
                scope=scope,
                certificate_id=who.certificate_id,
                pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
                status=status,
                mode=mode,
                creation_date=NOW,
                last_modified_date=NOW,
                not_before=certificate.not_valid_before_utc,
                not_after=certificate.not_valid_after_utc,
                generation_id="0",
            ),
            account_status=account_status,
            policies=tuple(
                AttachedPolicy(policy_name=PolicyName(name), version_id="1", document=document)
                for name, document in ({"all": allow()} if policies is None else policies).items()
            ),
            things=tuple(
                AttachedThing(
                    thing_name=ThingName(name), thing_type_name=None, attributes={}, thing_principal_type=kind
                )
                for name, kind in (things or {}).items()
            ),
        )
        return [Change(ChangeKind.CERTIFICATE, scope, who.certificate_id)]

    def set_status(self, who: Device, status: CertificateStatus, scope: Scope = SCOPE) -> list[Change]:
        record = self.records[scope, who.certificate_id]
        self.records[scope, who.certificate_id] = dataclasses.replace(
            record, certificate=dataclasses.replace(record.certificate, status=status)
        )
        return [Change(ChangeKind.CERTIFICATE, scope, who.certificate_id)]

    def set_policies(self, who: Device, policies: dict[str, str], version: str = "1") -> list[Change]:
        record = self.records[SCOPE, who.certificate_id]
        self.records[SCOPE, who.certificate_id] = dataclasses.replace(
            record,
            policies=tuple(
                AttachedPolicy(policy_name=PolicyName(name), version_id=version, document=document)
                for name, document in policies.items()
            ),
        )
        return [Change(ChangeKind.PRINCIPAL_POLICIES, SCOPE, who.certificate_id)]

    def set_document(self, name: str, document: str, version: str) -> list[Change]:
        for key, record in list(self.records.items()):
            policies = tuple(
                dataclasses.replace(each, document=document, version_id=version) if each.policy_name == name else each
                for each in record.policies
            )
            self.records[key] = dataclasses.replace(record, policies=policies)
        return [Change(ChangeKind.POLICY, SCOPE, name)]

    def disable_account(self, scope: Scope = SCOPE) -> list[Change]:
        for key, record in list(self.records.items()):
            if key[0].account == scope.account:
                self.records[key] = dataclasses.replace(record, account_status=AccountStatus.DISABLED)
        return [Change(ChangeKind.ACCOUNT, None, scope.account)]

    def delete(self, who: Device, scope: Scope = SCOPE) -> list[Change]:
        del self.records[scope, who.certificate_id]
        return [Change(ChangeKind.CERTIFICATE, scope, who.certificate_id)]


class FakeDataPlane:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.cut: list[tuple[Scope, CertificateId, str]] = []
        self.changed = 0
        self.announced: list[tuple[Scope, str, dict[str, Any]]] = []

    def disconnect_principal(self, scope: Scope, certificate_id: CertificateId, reason: str) -> int:
        self.cut.append((scope, certificate_id, reason))
        return 1

    def authorizations_changed(self) -> None:
        self.changed += 1

    def live_principals(self) -> set[tuple[Scope, CertificateId]]:
        return set()

    async def publish(
        self, scope: Scope, topic: str, payload: bytes, *, qos: int, retain: bool, properties: bytes
    ) -> bool:
        raise NotImplementedError

    def announce(self, scope: Scope, topic: str, payload: bytes) -> None:
        self.announced.append((scope, topic, json.loads(payload)))


class FakeEndpoints:
    """SCOPE's endpoint is `first-ats…`, OTHER_ACCOUNT's `second-ats…`."""

    prefixes = {SCOPE: "first", OTHER_ACCOUNT: "second"}  # noqa: RUF012 - never changed

    def endpoint_name(self, scope: Scope) -> str:
        return f"{self.prefixes[scope]}-ats.iot.{scope.region}.{DOMAIN}"

    def resolve_sni(self, name: str) -> Scope | None:
        return {self.endpoint_name(scope): scope for scope in self.prefixes}.get(name)

    def service_of(self, name: str) -> EndpointService | None:
        return EndpointService.DATA if self.resolve_sni(name) is not None else None

    def all(self) -> list[EndpointRecord]:
        return [EndpointRecord(scope=scope, prefix=prefix) for scope, prefix in self.prefixes.items()]


class World:
    """A verdict over a memory store."""

    def __init__(self, **options: Any) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.entropy = FakeEntropy()
        self.data_plane = FakeDataPlane()
        self.endpoints = FakeEndpoints()
        limit = options.pop("limit", 1000)
        self.refusals = RefusalLog(self.clock, self.entropy)
        self.cache = PrincipalCache(self.store, self.clock, limit=limit)  # type: ignore[arg-type]
        self.cache.command(self.data_plane)
        self.verdict = Verdict(
            store=self.store,  # type: ignore[arg-type]
            principals=self.cache,
            endpoints=self.endpoints,
            recorder=Recorder(self.refusals, self.clock),
            clock=self.clock,
            region=SCOPE.region,
            first_account=SCOPE.account,
            **options,
        )

    def codes(self, trace_id: str, account: Scope | None = None) -> list[str]:
        """The reasons recorded under the trace, as the operator or as an account sees them."""
        found = self.refusals.query(trace_id, account.account if account else None, 10)
        return [reason.code.value for reason in found[0].reasons] if found else []


def request(client_id: str = "lamp", **changes: Any) -> ConnectRequest:
    given: dict[str, Any] = {
        "client_id": client_id,
        "protocol_version": 5,
        "persistent": False,
        "will_topic": None,
        "will_retain": False,
        "username": None,
    }
    return ConnectRequest(**(given | changes))
