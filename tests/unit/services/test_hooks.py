"""Hooks: what the operator does with them, and that nothing but a clear yes allows a device."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.hooks import CLAIM, DEVICE, QUESTION, SECRET, CountingMeter, FakeRunner, targeting
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeClock,
    FakeEntropy,
    cause,
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.provisioning.hooks import Command, HookEvent, HookFailed, HookName, HookResult
from handfast.core.provisioning.records import PreProvisioningHook
from handfast.errors import (
    HookDenied,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreUnavailable,
)
from handfast.ports import AuditQuery, Change, ChangeKind, PageRequest
from handfast.services import hooks as module
from handfast.services.commit import Committer
from handfast.services.hooks import Hooks, PreProvisioningHooks
from handfast.storage.sql import SQLStore

URL = "https://hooks.example.com/vet"


@dataclass
class Bench:
    store: SQLStore
    hooks: Hooks
    runner: FakeRunner
    meter: CountingMeter
    notified: list[Change]

    async def ask(self, hook: PreProvisioningHook | None = None, **changes: Any) -> Any:
        return await PreProvisioningHooks(self.hooks).ask(SCOPE, hook or targeting(), **QUESTION | changes)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        notified: list[Change] = []

        async def notify(changes: Sequence[Change]) -> None:
            notified.extend(changes)

        runner, meter = FakeRunner(), CountingMeter()
        commands = {HookName("local"): Command(name=HookName("local"), argv=("/usr/bin/vet",))}
        hooks = Hooks(store, runner, FakeEntropy(), FakeClock(), meter, Committer(notify), commands=commands)
        yield Bench(store, hooks, runner, meter, notified)


# --- the operator's


async def test_a_webhook_gets_a_secret_of_its_own_that_no_listing_row_or_log_shows(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = await bench.hooks.add(cause(), "vet", f"{URL}?code=hush")
    assert 43 == len(made.secret)
    assert "hush" not in repr(await bench.store.audit_events(AuditQuery(chain=None), PageRequest(limit=50)))
    assert made.secret not in repr(made)
    assert made.secret not in repr(await bench.hooks.list_all())
    assert made.secret not in caplog.text
    assert [Change(ChangeKind.HOOK, None, "vet")] == bench.notified
    assert made == await bench.store.hook(made.name)


async def test_the_secret_is_sealed_under_the_passphrase_also_when_that_comes_later(tmp_path: Path) -> None:
    async def made(**options: Any) -> Any:
        async with sqlite_store(tmp_path, **options) as store:
            hooks = Hooks(store, FakeRunner(), FakeEntropy(), FakeClock(), CountingMeter(), Committer(_nobody))
            if not await store.hooks():
                await hooks.add(cause(), "vet", URL, secret=SECRET)
            return await store.hook(HookName("vet"))

    assert SECRET == (await made()).secret
    assert SECRET.encode() in (tmp_path / "handfast.db").read_bytes()
    assert SECRET == (await made(passphrase=b"open sesame")).secret
    async with sqlite_store(tmp_path, passphrase=b"open sesame") as store:
        rows = await store._read(lambda c: c.exec_driver_sql("SELECT secret FROM hooks").all())
    assert [True] == [row[0].startswith("aes256gcm:") for row in rows]


async def test_what_a_hook_cannot_be(bench: Bench) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("", {}, "name"),
        ("a.b", {}, "name"),
        ("x" * 65, {}, "name"),
        ("vet", {"secret": "short"}, "secret has 16"),
        ("vet", {"secret": "with a space in its midst"}, "secret has 16"),
        ("vet", {"ca_pem": "no certificate"}, "roots"),
        ("vet", {"timeout_s": 5.1}, "time limit"),
        ("vet", {"timeout_s": 0.0}, "time limit"),
        ("vet", {"timeout_s": float("nan")}, "time limit"),
        ("vet", {"accounts": ["999999999999"]}, "does not exist"),
        ("vet", {"accounts": ["me"]}, "does not exist"),
        ("vet", {"url": "http://169.254.169.254/latest/meta-data"}, "https"),
    ]
    for name, given, said in cases:
        with pytest.raises(InvalidRequestError, match=said) as caught:
            await bench.hooks.add(cause(), name, **{"url": URL} | given)
        assert str(given.get("secret")) not in str(caught.value)
    assert [] == await bench.store.hooks()


async def test_a_name_is_taken_once_also_by_a_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.hooks.add(cause(), "vet", URL, ca_pem=self_signed("root"))
    for name in ("vet", "local"):
        with pytest.raises(ResourceAlreadyExistsError):
            await bench.hooks.add(cause(), name, URL)
    monkeypatch.setattr(module, "HOOKS_MAX", 1)
    with pytest.raises(LimitExceededError):
        await bench.hooks.add(cause(), "another", URL)
    assert ["local", "vet"] == [state.hook.name for state in await bench.hooks.list_all()]


async def test_a_hook_that_is_removed_is_gone_and_a_command_stays(bench: Bench) -> None:
    await bench.hooks.add(cause(), "vet", URL)
    await bench.hooks.remove(cause(), "vet")
    with pytest.raises(ResourceNotFoundError):
        await bench.hooks.remove(cause(), "vet")
    with pytest.raises(InvalidRequestError, match="configuration file"):
        await bench.hooks.remove(cause(), "local")
    with pytest.raises(HookDenied):
        await bench.ask()


async def test_a_try_shows_how_it_went_and_what_was_answered(bench: Bench) -> None:
    await bench.hooks.add(cause(), "vet", URL)
    bench.runner.answer = {"allowProvisioning": False, "why": "unknown"}
    call, answer = await bench.hooks.try_out("vet")
    assert (HookResult.DENIED, "allowProvisioning is false") == (call.result, call.detail)
    assert '{"allowProvisioning": false, "why": "unknown"}' == answer
    assert (
        "arn:aws:iot:us-east-1:000000000000:provisioningtemplate/handfast-sample"
        == (bench.runner.calls[0][2]["templateArn"])
    )
    assert HookResult.DENIED == (await bench.hooks.list_all())[1].calls[0].result
    with pytest.raises(ResourceNotFoundError):
        await bench.hooks.try_out("nobody")


async def test_a_try_as_a_certificate_provider_checks_the_certificate(bench: Bench) -> None:
    await bench.hooks.add(cause(), "sign", URL)
    signer = ec.generate_private_key(ec.SECP256R1())

    def signed(document: dict[str, Any]) -> dict[str, str]:
        asked_for = x509.load_pem_x509_csr(document["certificateSigningRequest"].encode())
        made = x509.CertificateBuilder(
            issuer_name=asked_for.subject,
            subject_name=asked_for.subject,
            public_key=asked_for.public_key(),
            serial_number=7,
            not_valid_before=NOW,
            not_valid_after=NOW + dt.timedelta(days=1),
        ).sign(signer, hashes.SHA256())
        return {"certificatePem": made.public_bytes(serialization.Encoding.PEM).decode()}

    bench.runner.answer = signed
    call, answer = await bench.hooks.try_out("sign", HookEvent.CERTIFICATE_PROVIDER)
    assert (HookResult.OK, HookEvent.CERTIFICATE_PROVIDER) == (call.result, call.event)
    assert "BEGIN CERTIFICATE" in answer
    name, event, document = bench.runner.calls[0]
    assert ("sign", HookEvent.CERTIFICATE_PROVIDER) == (name, event)
    assert (
        "arn:aws:iot:us-east-1:000000000000:certificateprovider/handfast-sample" == (document["certificateProviderArn"])
    )
    bench.runner.answer = {"certificatePem": self_signed("another key")}
    call, _ = await bench.hooks.try_out("sign", HookEvent.CERTIFICATE_PROVIDER)
    assert HookResult.INVALID is call.result
    assert "not the one that the request asked" in call.detail


# --- asking


async def test_the_hook_is_asked_with_exactly_the_documented_members(bench: Bench) -> None:
    await bench.hooks.add(cause(), "vet", URL)
    bench.runner.answer = {"allowProvisioning": True, "parameterOverrides": {"Room": "7"}, "more": [1]}
    assert {"Room": "7"} == await bench.ask()
    expected = {
        "claimCertificateId": CLAIM,
        "certificateId": DEVICE,
        "certificatePem": "-----BEGIN CERTIFICATE-----\n",
        "templateArn": "arn:aws:iot:us-east-1:123456789012:provisioningtemplate/fleet",
        "clientId": "device-1",
        "parameters": {"SerialNumber": "1"},
    }
    assert [("vet", HookEvent.PRE_PROVISIONING, expected)] == bench.runner.calls
    assert [("handfast_hook_calls_total", "PreProvisioning", "ok")] == bench.meter.counted


async def test_no_overrides_are_none(bench: Bench) -> None:
    assert {} == await bench.ask(targeting("local"))


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"allowProvisioning": False}, "denied"),
        ({}, "invalid"),
        (HookFailed(HookResult.TIMEOUT, "no answer within 5 s"), "timeout"),
        (RuntimeError("hunter2"), "failed"),
    ],
)
async def test_anything_but_a_clear_yes_denies(
    bench: Bench, answer: Any, result: str, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.hooks.add(cause(), "vet", URL, secret=SECRET)
    bench.runner.answer = answer
    with pytest.raises(HookDenied) as caught, caplog.at_level(logging.INFO):
        await bench.ask()
    assert "hunter2" not in str(caught.value)
    assert [("handfast_hook_calls_total", "PreProvisioning", result)] == bench.meter.counted
    assert result == (await bench.hooks.list_all())[1].calls[0].result
    assert "hook vet was called (PreProvisioning, account 123456789012)" in caplog.text
    assert SECRET not in caplog.text


async def test_what_names_no_hook_denies(bench: Bench) -> None:
    await bench.hooks.add(cause(), "vet", URL)
    for arn in ("vet", "arn:aws:lambda:us-east-1:123456789012:function:other"):
        with pytest.raises(HookDenied):
            await bench.ask(PreProvisioningHook(target_arn=arn))
    assert [] == bench.runner.calls
    assert [("handfast_hook_calls_total", "PreProvisioning", "missing")] * 2 == bench.meter.counted


async def test_a_hook_of_other_accounts_is_none_and_another_version_is_denied(bench: Bench) -> None:
    await bench.hooks.add(cause(), "theirs", URL, accounts=[OTHER_ACCOUNT.account])
    await bench.hooks.add(cause(), "mine", URL, accounts=[SCOPE.account])
    with pytest.raises(HookDenied):
        await bench.ask(targeting("theirs"))
    assert {} == await bench.ask(targeting("mine"))
    with pytest.raises(HookDenied, match="payloadVersion"):
        await bench.ask(PreProvisioningHook(payload_version="2021-01-01", target_arn=targeting("mine").target_arn))


async def test_a_registry_that_does_not_answer_denies(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(name: HookName) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(bench.store, "hook", silent)
    with pytest.raises(HookDenied, match="failed"):
        await bench.ask()


async def _nobody(changes: Sequence[Change]) -> None:
    """Nobody listens."""
