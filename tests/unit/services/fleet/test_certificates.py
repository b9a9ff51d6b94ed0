"""Certificates that a device asks for with a claim, of a key of the server's or of its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fleet_world import CLAIM, CREATE, FROM_CSR, Providers, World, rejected
from tests.support.registry import SCOPE, self_signed

from handfast.core.identity.records import CertificateStatus
from handfast.errors import ProviderFailed

S = CertificateStatus


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (CREATE, b""),
        (CREATE, {}),
        (CREATE, {"unknown": 1}),
        (CREATE.replace("json", "cbor"), {}),
        (CREATE[:-4] + "cbor", b""),
    ],
)
async def test_create_keys_answers_four_members_and_registers_pending(world: World, topic: str, payload: Any) -> None:
    made = await world.ask(topic, payload)
    assert {"outcome", "certificateId", "certificatePem", "privateKey", "certificateOwnershipToken"} == set(made)
    assert len(made["certificateOwnershipToken"]) <= 512
    record = await world.certificate(made["certificateId"])
    assert record is not None
    assert (S.PENDING_ACTIVATION, None, made["certificatePem"]) == (
        record.status,
        record.ca_certificate_id,
        record.pem,
    )
    assert made["certificateId"] in {change.subject for change in world.notified}


async def test_create_from_csr_answers_three_members(world: World) -> None:
    made = await world.ask(FROM_CSR, {"certificateSigningRequest": "a request"})
    assert {"outcome", "certificateId", "certificatePem", "certificateOwnershipToken"} == set(made)
    record = await world.certificate(made["certificateId"])
    assert record is not None
    assert S.PENDING_ACTIVATION is record.status


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", (400, "InvalidPayload")),
        (b"{", (400, "InvalidPayload")),
        ({"certificateSigningRequest": 5}, (400, "InvalidPayload")),
        ({}, (400, "InvalidCertificateSigningRequest")),
        ({"certificateSigningRequest": "bad"}, (400, "InvalidCertificateSigningRequest")),
        ({"certificateSigningRequest": "x" * 4097}, (400, "InvalidCertificateSigningRequest")),
    ],
)
async def test_requests_that_cannot_be_used(world: World, payload: Any, expected: tuple[int, str]) -> None:
    assert expected == rejected(await world.ask(FROM_CSR, payload))
    assert None is await world.store.next_unclaimed_expiry()


async def test_a_provider_issues_in_place_of_the_device_ca(world: World) -> None:
    pem = self_signed("by the provider")
    world.providers = Providers(pem)
    made = await world.ask(FROM_CSR, {"certificateSigningRequest": "request"})
    assert pem == made["certificatePem"]
    assert [(SCOPE, "request", "lathe", CLAIM)] == world.providers.asked
    again = await world.ask(FROM_CSR, {"certificateSigningRequest": "request"})
    assert (409, "ResourceConflicts") == rejected(again)
    world.providers = Providers(error=ProviderFailed("The certificate provider gave no certificate"))
    failed = await world.ask(FROM_CSR, {"certificateSigningRequest": "request"})
    assert (503, "ServiceUnavailable", "The certificate provider gave no certificate") == (
        *rejected(failed),
        failed["errorMessage"],
    )
    world.providers = Providers(None)
    assert "accepted" == (await world.ask(FROM_CSR, {"certificateSigningRequest": "request"}))["outcome"]


async def test_nothing_is_registered_for_a_connection_that_is_gone(world: World) -> None:
    world.waiting = False
    assert None is await world.service().answer(world.request(CREATE))
    assert None is await world.store.next_unclaimed_expiry()
    assert [("operation", "CreateKeysAndCertificate"), ("outcome", "gone")] == list(next(iter(world.meter.counts))[1])
