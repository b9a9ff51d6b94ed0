"""Ownership tokens: what they open, once, and where they never stand."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
from pathlib import Path

import pytest
from tests.support.fleet_world import CLAIM, OTHER_CLAIM, PROVISION, World, rejected
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, certificate, certificate_id

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import CertificateStatus
from handfast.core.provisioning.fleet import TOKEN_LIFE, OwnershipToken

S = CertificateStatus


async def test_a_device_provisions_itself(world: World) -> None:
    made = await world.create()
    done = await world.register(made["certificateOwnershipToken"])
    assert {"outcome": "accepted", "thingName": "lamp", "deviceConfiguration": {"Site": "attic"}} == done
    (record,) = await world.store.principals([(SCOPE, CertificateId(made["certificateId"]))])
    assert record is not None
    assert (S.ACTIVE, ["lamp"], 1) == (
        record.certificate.status,
        [each.thing_name for each in record.things],
        len(record.policies),
    )


@pytest.mark.parametrize("token", ["", None])
async def test_an_empty_token_is_told_in_aws_words(world: World, token: str | None) -> None:
    answer = await world.ask(PROVISION, {"certificateOwnershipToken": token})
    assert {
        "outcome": "rejected",
        "statusCode": 400,
        "errorCode": "InvalidCertificateOwnershipToken",
        "errorMessage": "Certificate ownership token cannot be empty.",
    } == answer


async def test_tokens_that_open_nothing(world: World) -> None:
    made = await world.create()
    token = made["certificateOwnershipToken"]
    changed = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    unknown = OwnershipToken(certificate_id(77), b"s" * 32).text
    for wrong in ("x", "x" * 600, token + "A", "ü" * 86, changed, unknown, token[:43] + token[:43]):
        assert (400, "InvalidCertificateOwnershipToken") == rejected(await world.register(wrong))
    for elsewhere in ({"certificate_id": OTHER_CLAIM}, {"scope": OTHER_ACCOUNT, "certificate_id": certificate_id(60)}):
        if "scope" in elsewhere:
            await world.template("fleet", scope=OTHER_ACCOUNT)
        answer = await world.register(token, **elsewhere)
        assert (400, "InvalidCertificateOwnershipToken") == rejected(answer)
        assert "Certificate ownership token is not valid, or has expired." == answer["errorMessage"]
    assert "accepted" == (await world.register(token))["outcome"]


async def test_a_token_is_used_once_by_whichever_connection_of_its_claim(world: World) -> None:
    made = await world.create(client_id="before the reboot")
    token = made["certificateOwnershipToken"]
    assert "accepted" == (await world.register(token, client_id="after it", address="198.51.100.1"))["outcome"]
    answer = await world.register(token)
    assert (400, "InvalidCertificateOwnershipToken") == rejected(answer)
    assert "Certificate ownership token has been used." == answer["errorMessage"]


async def test_a_rejection_leaves_the_token_good(world: World) -> None:
    token = (await world.create())["certificateOwnershipToken"]
    assert (400, "InvalidParameters") == rejected(await world.register(token, members={"parameters": {}}))
    assert (400, "InvalidParameters") == rejected(await world.register(token, "no thing's name!"))
    assert "accepted" == (await world.register(token))["outcome"]


async def test_a_token_is_good_for_an_hour(world: World) -> None:
    one, other = [(await world.create())["certificateOwnershipToken"] for _ in range(2)]
    world.clock.instant = NOW + TOKEN_LIFE - dt.timedelta(microseconds=1)
    assert "accepted" == (await world.register(one))["outcome"]
    world.clock.instant = NOW + TOKEN_LIFE
    assert (400, "InvalidCertificateOwnershipToken") == rejected(await world.register(other))


async def test_many_use_one_token_and_one_wins(world: World) -> None:
    token = (await world.create())["certificateOwnershipToken"]
    service = world.service()
    answers = await asyncio.gather(*(world.register(token, f"lamp-{n}", service=service) for n in range(6)))
    assert 1 == [answer["outcome"] for answer in answers].count("accepted")


async def test_tokens_and_keys_stand_in_no_log_no_repr_and_no_table(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await world.create()
    token = made["certificateOwnershipToken"]
    await world.register(token, "no thing's name!")
    await world.register(token)
    await world.register(token)
    request = world.request(PROVISION, {"certificateOwnershipToken": token})
    reply = await world.service().answer(request)
    shown = f"{request!r} {reply!r} {OwnershipToken(CLAIM, b'secret')!r}"
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (token, token[50:], made["privateKey"]):
        assert secret not in caplog.text + shown
        assert secret.encode() not in kept
    assert b"secret" not in shown.encode()


def test_a_token_is_bound_to_account_region_certificate_and_claim() -> None:
    token = OwnershipToken(certificate_id(1), b"s" * 32)
    other = OwnershipToken(certificate_id(2), b"s" * 32)
    europe = dataclasses.replace(certificate(1), scope=Scope(SCOPE.account, "eu-west-1")).scope
    digests = [
        token.digest(SCOPE, CLAIM),
        token.digest(OTHER_ACCOUNT, CLAIM),
        token.digest(europe, CLAIM),
        token.digest(SCOPE, OTHER_CLAIM),
        other.digest(SCOPE, CLAIM),
    ]
    assert 5 == len(set(digests))
    assert 86 == len(token.text)
