"""
The control plane in this process as `serve` mounts it, over a real store, with botocore at the other end.

botocore serialises and signs the request and parses what comes back. Only the
failures of the store, and time, are made up.
"""

from __future__ import annotations

import unittest.mock
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.support import domains, inprocess
from tests.support.domain_plane import domain_plane
from tests.support.hooks import AnyHook
from tests.support.registry import (
    ALLOW,
    ROLE,
    TEMPLATE_BODY,
    FakeIssuer,
    FakeRefusals,
    access_key,
    account,
    cause,
    registration_tasks,
    sqlite_store,
)
from tests.support.strict import check_answer, issue, leaf, own_ca, register_ca
from tests.support.tls_ca import issue as issue_server_certificate
from tests.support.tls_ca import new_key

from handfast.control.handlers import build_handlers
from handfast.control.quotas import CallRates
from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.records import AccountStatus
from handfast.core.provisioning.inputs import DirectoryBucket
from handfast.ports import Change
from handfast.services.accounts import Accounts
from handfast.services.certificate_providers import CertificateProviders
from handfast.services.commit import Committer
from handfast.services.endpoints import EndpointDirectory
from handfast.services.registry import Registry
from handfast.services.server_certificates import arn_of
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy
from handfast.wire.sigv4 import Authenticator, SigningKey
from handfast.wire.skeleton import ApiApplication, MountedService
from handfast.wire.spec import load_service

Members = dict[str, Any]

REGION = "us-east-1"
THING_BODY = '{"Resources":{"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"lamp"}}}}'
UNKNOWN = "ab" * 32
PROVIDER = {
    "lambdaFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:sign",
    "accountDefaultForOperations": ["CreateCertificateFromCsr"],
}
MINE, THEIRS = AccountId("123456789012"), AccountId("210987654321")


class FaultyStore:
    """The store, until `failure` is set: then whatever is asked of it ends with that."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failure: Exception | None = None
        self.meanwhile: tuple[str, Callable[[Any], Awaitable[Any]]] | None = None
        """Before this method is called, once: what somebody else does."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.failure is not None:
                raise self.failure
            if self.meanwhile is not None and self.meanwhile[0] == name:
                (_, somebody), self.meanwhile = self.meanwhile, None
                await somebody(self._store)
            return await method(*args, **kwargs)

        return call


class SecondByCall:
    """A second passes with every reading, so that no quota is reached, until time is `still`."""

    def __init__(self) -> None:
        self.at = 0.0
        self.still = False

    def __call__(self) -> float:
        if not self.still:
            self.at += 1
        return self.at


class World:
    """The control plane in this process; `mine` and `theirs` are botocore clients of two accounts."""

    def __init__(self, directory: Path) -> None:
        self.run = inprocess._runner().run
        self.stack = AsyncExitStack()
        self.time = SecondByCall()
        self.run(self._open(directory))
        self.mine, self.theirs = self.client(1), self.client(2)

    async def _open(self, directory: Path) -> None:
        real = await self.stack.enter_async_context(sqlite_store(directory))
        for number, owner in ((1, MINE), (2, THEIRS)):
            await real.create_account(account(Scope(owner, REGION)), cause())
            await real.add_access_key(access_key(number, account_id=owner), cause())
        self.store = FaultyStore(real)
        clock, entropy = SystemClock(), SystemEntropy()
        self.endpoints = EndpointDirectory(self.store, entropy, "example.test", self._notify)  # type: ignore[arg-type]
        registry = Registry(self.store, FakeIssuer(), entropy, self._notify, hooks=AnyHook())  # type: ignore[arg-type]
        self.accounts = Accounts(real, entropy, clock, self._notify)
        (directory / "in").mkdir()
        (directory / "in" / "empty").touch()
        buckets = {"incoming": DirectoryBucket(directory=str(directory / "in"))}
        self.tasks = registration_tasks(self.store, registry, clock, directory, buckets)
        providers = CertificateProviders(self.store, AnyHook(), clock, Committer(self._notify))  # type: ignore[arg-type]
        self.domains = domain_plane(self.store, self.endpoints, clock, entropy, self._notify, limit=100_000)
        handlers = build_handlers(
            registry,
            self.endpoints,
            self._ensure_region,
            self.tasks,
            providers,
            self.domains.domains,
            CallRates(self.time),
        )
        self.application = ApiApplication(
            [MountedService(load_service("iot"), handlers)],
            Authenticator(self._key, clock),
            clock,
            entropy,
            FakeRefusals().kept.append,  # type: ignore[arg-type]
        )

    async def _notify(self, changes: Sequence[Change]) -> None:
        await self.endpoints.changed(changes)
        await self.domains.directory.changed(changes)

    async def _ensure_region(self, _region: str) -> None:
        return None

    async def _key(self, access_key_id: str) -> SigningKey | None:
        signer = await self.accounts.signer(access_key_id)
        if signer is None:
            return None
        return SigningKey(
            signer.key.secret,
            signer.key.account_id,
            active=signer.key.active,
            account_disabled=signer.account_disabled,
        )

    def client(self, number: int, region: str = REGION) -> Any:
        key = access_key(number)
        made = inprocess.client("iot", self.application, key_id=key.access_key_id, secret=key.secret, region=region)
        made.meta.events.register("after-call.iot", check_answer)
        return made

    def enabled(self, status: AccountStatus) -> None:
        self.run(self.accounts.set_status(cause(), MINE, status))

    # what a provocation builds on

    def certificate(self, **members: Any) -> str:
        return str(self.mine.register_certificate_without_ca(certificatePem=leaf(), **members)["certificateId"])

    def ca(self, **members: Any) -> str:
        return str(register_ca(self.mine, own_ca(), **members)["certificateId"])

    def offer(self, giver: Any, taker: AccountId) -> str:
        made = giver.register_certificate_without_ca(certificatePem=leaf())["certificateId"]
        giver.transfer_certificate(certificateId=made, targetAwsAccount=taker)
        return str(made)

    def attached(self) -> str:
        made = self.certificate()
        name = f"policy-{made[:16]}"
        self.mine.create_policy(policyName=name, policyDocument=ALLOW)
        self.mine.attach_policy(policyName=name, target=f"arn:aws:iot:{REGION}:{MINE}:cert/{made}")
        return made

    def idle(self) -> Members:
        """No task is under way; how the next one is started."""

        async def wait() -> None:
            for each in await self.store.running_registration_tasks():
                self.tasks._begin(each)
                await self.tasks.ended(each.task_id)

        self.run(wait())
        where = {"inputFileBucket": "incoming", "inputFileKey": "empty", "roleArn": ROLE}
        return {"templateBody": THING_BODY} | where

    def task(self) -> str:
        """A task that is under way and does not end by itself."""
        members = self.idle()
        with unittest.mock.patch.object(self.tasks, "_begin"):
            return str(self.mine.start_thing_registration_task(**members)["taskId"])

    def provider(self, name: str | None = None) -> Members:
        """The account's one, of this or a new name, whatever it had before."""
        for each in self.mine.list_certificate_providers()["certificateProviders"]:
            self.mine.delete_certificate_provider(certificateProviderName=each["certificateProviderName"])
        name = name or uuid.uuid4().hex
        self.mine.create_certificate_provider(certificateProviderName=name, **PROVIDER)
        return {"certificateProviderName": name}

    def domain(self, status: str = "ENABLED") -> Members:
        """A domain configuration of a new name, AWS-managed."""
        members = {"domainConfigurationName": uuid.uuid4().hex}
        self.mine.create_domain_configuration(**members)
        if status != "ENABLED":
            self.mine.update_domain_configuration(**members, domainConfigurationStatus=status)
        return members

    def own_domain(self, status: str = "ENABLED") -> Members:
        """The same with a domain name of the account's own; with its certificate, for which another vouches."""
        certificate = self.server_certificate(name := domains.fresh())
        members = {"domainConfigurationName": uuid.uuid4().hex}
        self.mine.create_domain_configuration(**members, **own_name(name, certificate))
        if status != "ENABLED":
            self.mine.update_domain_configuration(**members, domainConfigurationStatus=status)
        return members

    def server_certificate(self, name: str) -> str:
        """The ARN of a self-signed certificate for the name."""
        issued = issue_server_certificate(name, new_key("p256", 33), names=(name,))
        served = self.run(
            self.domains.certificates.import_new(
                Scope(MINE, REGION),
                cause(),
                uuid.uuid4().hex,
                certificate_pem=issued.pem.decode(),
                key_pem=issued.key_pem.decode(),
            )
        )
        return arn_of(served.record)

    def template(self, versions: int = 1, **members: Any) -> str:
        name = uuid.uuid4().hex
        self.mine.create_provisioning_template(**new_template(name), **members)
        for _ in range(versions - 1):
            self.mine.create_provisioning_template_version(templateName=name, templateBody=TEMPLATE_BODY)
        return name

    def proven(self, name: str | None = None, **members: Any) -> dict[str, Any]:
        ca = own_ca(name)
        proof = issue(ca, self.mine.get_registration_code()["registrationCode"])
        return {"caCertificate": ca.pem, "verificationCertificate": proof} | members


def new_template(name: str) -> Members:
    """What creates a provisioning template of this name."""
    return {"templateName": name, "templateBody": TEMPLATE_BODY, "provisioningRoleArn": ROLE}


def own_name(name: str, certificate: str) -> Members:
    """What makes a domain configuration one of the account's own name."""
    vouched = {"serverCertificateArns": [certificate], "validationCertificateArn": certificate}
    return {"domainName": name} | vouched
