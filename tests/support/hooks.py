"""Hooks for tests: a runner that answers what it is told, and the values around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.registry import NOW, SCOPE

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.provisioning.hooks import Hook, HookEvent, HookName, Webhook, hook_arn, hook_in_arn
from handfast.core.provisioning.records import PreProvisioningHook, TemplateName

SECRET = "a secret of 32 characters, or so".replace(" ", "-")
CLAIM, DEVICE = CertificateId("c1" * 32), CertificateId("de" * 32)


class AnyHook:
    """`KnowsHooks` where every name is a hook's."""

    async def require(self, scope: Scope, arn: str) -> None:
        hook_in_arn(scope, arn)


class FakeRunner:
    """Answers every call with `answer`: bytes, a document, an error to raise, or a function of the body."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = {"allowProvisioning": True} if answer is None else answer
        self.calls: list[tuple[HookName, HookEvent, dict[str, Any]]] = []

    async def run(self, hook: Hook, event: HookEvent, body: bytes) -> bytes:
        self.calls.append((hook.name, event, json.loads(body)))
        answer = self.answer(json.loads(body)) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    async def close(self) -> None:
        await asyncio.sleep(0)


class CountingMeter:
    """Keeps what was counted, by name and label values."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, ...]] = []

    def count(self, name: str, by: int = 1, labels: Mapping[str, str] | None = None) -> None:
        self.counted.append((name, *(str(value) for value in (labels or {}).values())))

    def gauge(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Not kept."""

    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Not kept."""


def webhook(name: str = "vet", **changes: Any) -> Webhook:
    given: dict[str, Any] = {
        "name": HookName(name),
        "url": "https://hooks.example.com/vet",
        "secret": SECRET,
        "creation_date": NOW,
    }
    return Webhook(**given | changes)


def targeting(name: str = "vet") -> PreProvisioningHook:
    return PreProvisioningHook(target_arn=hook_arn(SCOPE, HookName(name)))


QUESTION: dict[str, Any] = {
    "template_name": TemplateName("fleet"),
    "claim_certificate_id": CLAIM,
    "certificate_id": DEVICE,
    "certificate_pem": "-----BEGIN CERTIFICATE-----\n",
    "client_id": "device-1",
    "parameters": {"SerialNumber": "1"},
}
"""What `PreProvisioningHooks.ask` is asked with."""

Judge = Callable[[dict[str, Any]], Any]
