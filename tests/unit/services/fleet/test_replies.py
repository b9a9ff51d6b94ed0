"""Replies: their encoding, and how every failure is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.fleet_world import CREATE, PROVISION, World, rejected

from handfast.core.provisioning.fleet import STATUS_CODES, RejectionCode
from handfast.errors import ServiceUnavailableError, StoreUnavailable
from handfast.seam import Unanswered
from handfast.services import fleet

CREATE_CBOR = "$aws/certificates/create/cbor"


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def create_keys_and_certificate(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServiceUnavailableError("Too many keys"), (503, "ServiceUnavailable")),
        (StoreUnavailable("down"), (503, "ServiceUnavailable")),
        (RuntimeError("secret detail"), (500, "InternalFailure")),
    ],
)
async def test_what_fails_inside_tells_nothing(world: World, error: Exception, expected: tuple[int, str]) -> None:
    world.issuer = Broken(error)
    answer = await world.ask(CREATE)
    assert expected == rejected(answer)
    assert str(error) not in answer["errorMessage"]


async def test_cbor_answers_cbor(world: World) -> None:
    made = await world.ask(CREATE_CBOR)
    members = {"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": {"Serial": "lamp"}}
    assert "lamp" == (await world.ask(PROVISION[:-4] + "cbor", members))["thingName"]


def test_every_code_has_a_status_and_every_refusal_a_reply() -> None:
    assert set(RejectionCode) == set(STATUS_CODES)
    assert set(Unanswered) == set(fleet._REFUSED)


async def test_refusals_of_the_gateway_have_the_form_of_any_other(world: World) -> None:
    reply = world.service().refuse(world.request(CREATE), Unanswered.CROWDED)
    assert (f"{CREATE}/rejected", 429) == (reply.topic, json.loads(reply.payload)["statusCode"])
