"""Certificate providers: one for an account, and what they issue is used only where it is the device's own."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.hooks import CLAIM, CountingMeter, FakeRunner, webhook
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    FakeClock,
    FakeEntropy,
    cause,
    sqlite_store,
    with_accounts,
)

from handfast.core.provisioning.hooks import HookEvent, HookFailed, HookName, HookResult, hook_arn
from handfast.core.provisioning.records import CertificateProviderName
from handfast.errors import (
    CertificateInputError,
    InvalidRequestError,
    LimitExceededError,
    ProviderFailed,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreUnavailable,
)
from handfast.ports import Change
from handfast.services.certificate_providers import CertificateProviders
from handfast.services.commit import Committer
from handfast.services.hooks import Hooks
from handfast.storage.sql import SQLStore

NAME = CertificateProviderName("signer")
ARN = hook_arn(SCOPE, HookName("sign"))
OPERATIONS = ["CreateCertificateFromCsr"]
DAY = dt.timedelta(days=1)
KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ISSUER_KEY = ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def csr(key: Any = KEY) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(name("device")).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def signed(
    key: Any = KEY,
    *,
    not_before: dt.datetime = NOW - DAY,
    not_after: dt.datetime = NOW + DAY,
    ca: bool | None = None,
    cert_sign: bool | None = None,
    digital_signature: bool = True,
    digest: hashes.HashAlgorithm | None = None,
) -> str:
    """What a provider might answer for the request; valid by default."""
    builder = x509.CertificateBuilder(
        issuer_name=name("Own CA"),
        subject_name=name("device"),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if cert_sign is not None:
        rest = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
        )
        usage = x509.KeyUsage(
            digital_signature=digital_signature,
            key_cert_sign=cert_sign,
            encipher_only=False,
            decipher_only=False,
            **rest,
        )
        builder = builder.add_extension(usage, critical=True)
    made = builder.sign(ISSUER_KEY, digest or hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Bench:
    store: SQLStore
    providers: CertificateProviders
    runner: FakeRunner
    meter: CountingMeter

    async def create(
        self, made: str = NAME, arn: str = ARN, operations: Sequence[str] = OPERATIONS, **more: Any
    ) -> Any:
        return await self.providers.create(SCOPE, cause(), CertificateProviderName(made), arn, operations, **more)

    async def issue(self, request: str | None = None) -> str | None:
        return await self.providers.issue(SCOPE, request or csr(), client_id="device-1", principal=CLAIM)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        for name in ("sign", "new", "other"):
            await store.add_hook(webhook(name), limit=9, cause=cause())

        async def notify(changes: Sequence[Change]) -> None:
            """Nobody listens."""

        commit, runner, meter = Committer(notify), FakeRunner({"certificatePem": signed()}), CountingMeter()
        hooks = Hooks(store, runner, FakeEntropy(), FakeClock(), meter, commit)
        yield Bench(store, CertificateProviders(store, hooks, FakeClock(), commit), runner, meter)


# --- issuing


async def test_without_a_provider_there_is_no_answer_of_one(bench: Bench) -> None:
    assert await bench.issue("not even a request") is None
    assert [] == bench.runner.calls


async def test_the_provider_is_asked_with_the_documented_members(bench: Bench) -> None:
    await bench.create()
    request, pem = csr(), signed(ca=False, cert_sign=False)
    bench.runner.answer = {"certificatePem": pem, "more": 1}
    assert pem == await bench.issue(request)
    expected = {
        "certificateSigningRequest": request,
        "principalId": CLAIM,
        "clientId": "device-1",
        "certificateProviderArn": "arn:aws:iot:us-east-1:123456789012:certificateprovider/signer",
    }
    assert [("sign", HookEvent.CERTIFICATE_PROVIDER, expected)] == bench.runner.calls
    assert [("handfast_hook_calls_total", "CertificateProvider", "ok")] == bench.meter.counted
    for elsewhere in (OTHER_ACCOUNT, OTHER_REGION):
        assert await bench.providers.issue(elsewhere, request, client_id=None, principal=CLAIM) is None


async def test_what_cannot_be_used_fails_and_is_never_made_up_for(bench: Bench) -> None:
    await bench.create()
    for answer, said in [
        ({}, "invalid"),
        ({"certificatePem": None}, "invalid"),
        ({"certificatePem": 7}, "invalid"),
        ({"certificatePem": "x" * 65_537}, "invalid"),
        ({"certificatePem": "no certificate"}, "invalid"),
        ({"certificatePem": csr()}, "invalid"),
        ({"certificatePem": signed() + signed()}, "invalid"),
        ({"certificatePem": signed(OTHER_KEY)}, "invalid"),
        ({"certificatePem": signed(ca=True)}, "invalid"),
        ({"certificatePem": signed(cert_sign=True)}, "invalid"),
        ({"certificatePem": signed(cert_sign=False, digital_signature=False)}, "invalid"),
        ({"certificatePem": signed(not_after=NOW - dt.timedelta(seconds=1))}, "invalid"),
        ({"certificatePem": signed(not_before=NOW + dt.timedelta(seconds=1))}, "invalid"),
        ({"certificatePem": signed(digest=hashes.SHA3_256())}, "invalid"),
        (HookFailed(HookResult.REFUSED, "500 of https://internal"), "refused"),
        (HookFailed(HookResult.TIMEOUT, "late"), "timeout"),
        (RuntimeError("a bug"), "failed"),
    ]:
        bench.meter.counted.clear()
        bench.runner.answer = answer
        with pytest.raises(ProviderFailed) as caught:
            await bench.issue()
        assert "internal" not in str(caught.value)
        assert [("handfast_hook_calls_total", "CertificateProvider", said)] == bench.meter.counted, answer


async def test_a_hook_that_is_gone_or_a_silent_store_is_no_built_in_issuer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create()
    await bench.store.remove_hook(HookName("sign"), cause(), force=True)
    with pytest.raises(ProviderFailed, match="missing"):
        await bench.issue()

    async def silent(scope: Any) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(bench.store, "certificate_provider", silent)
    with pytest.raises(StoreUnavailable):
        await bench.issue()


async def test_a_request_that_cannot_be_used_never_reaches_the_provider(bench: Bench) -> None:
    await bench.create()
    forged = x509.load_pem_x509_csr(csr().encode()).public_bytes(serialization.Encoding.DER)
    forged = forged[:-1] + bytes([forged[-1] ^ 1])  # its signature is another's
    pem = x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()
    for request in ("", "x", signed(), pem):
        with pytest.raises(CertificateInputError):
            await bench.providers.issue(SCOPE, request, client_id=None, principal=CLAIM)
    assert [] == bench.runner.calls


# --- the operations


async def test_the_same_call_with_the_same_token_is_the_same_provider(bench: Bench) -> None:
    token = "t" * 36
    made = await bench.create(client_token=token, tags={"a": "b"})
    assert made == await bench.create(client_token=token, tags={"a": "b"})
    for other in ({"client_token": "u" * 36, "tags": {"a": "b"}}, {"client_token": token}, {}):
        with pytest.raises(ResourceAlreadyExistsError):
            await bench.create(**other)
    with pytest.raises(ResourceAlreadyExistsError):
        await bench.create(arn=hook_arn(SCOPE, HookName("other")), client_token=token, tags={"a": "b"})
    with pytest.raises(LimitExceededError):
        await bench.create("another", client_token=token)


async def test_what_a_provider_cannot_be(bench: Bench) -> None:
    for arn, operations in [
        ("sign", OPERATIONS),
        (hook_arn(SCOPE, HookName("nobody-s")), OPERATIONS),
        (hook_arn(OTHER_ACCOUNT, HookName("sign")), OPERATIONS),
        (ARN, []),
        (ARN, ["CreateKeysAndCertificate"]),
        (ARN, [*OPERATIONS, *OPERATIONS]),
    ]:
        with pytest.raises(InvalidRequestError):
            await bench.create(arn=arn, operations=operations)
        if arn is not ARN or operations is not OPERATIONS:
            assert [] == await bench.providers.list_all(SCOPE)


async def test_a_provider_is_changed_and_deleted_and_then_nobody_s(bench: Bench) -> None:
    await bench.create()
    new = hook_arn(SCOPE, HookName("new"))
    await bench.providers.update(SCOPE, cause(at=NOW + DAY), NAME, function_arn=new, operations=None)
    found = await bench.providers.describe(SCOPE, NAME)
    assert (new, NOW, NOW + DAY) == (found.function_arn, found.creation_date, found.last_modified_date)
    for wrong in (
        {"function_arn": "x", "operations": None},
        {"function_arn": hook_arn(SCOPE, HookName("nobody-s")), "operations": None},
        {"function_arn": None, "operations": ["x"]},
    ):
        with pytest.raises(InvalidRequestError):
            await bench.providers.update(SCOPE, cause(), NAME, **wrong)  # type: ignore[arg-type]
    await bench.providers.update(SCOPE, cause(), NAME, function_arn=None, operations=OPERATIONS)
    assert [found] == await bench.providers.list_all(SCOPE)
    other = CertificateProviderName("other")
    for call in (
        bench.providers.describe(SCOPE, other),
        bench.providers.describe(OTHER_ACCOUNT, NAME),
        bench.providers.update(SCOPE, cause(), other, function_arn=None, operations=None),
        bench.providers.delete(SCOPE, cause(), other),
    ):
        with pytest.raises(ResourceNotFoundError):
            await call
    await bench.providers.delete(SCOPE, cause(), NAME)
    assert await bench.issue() is None
