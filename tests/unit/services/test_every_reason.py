"""
Every reason by the place that finds it: what its record holds, the first thing to fix, AWS's word, and how it is found.

    before      nothing of a ClientHello was understood
    hello       a ClientHello, no certificate
    handshake   a certificate, whose key may not be held
    connection  a handshake that is done
    api         a signed request
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import Any

import pytest
from tests.support import hello as h
from tests.support.principals import World, device
from tests.support.registry import NOW, SCOPE, FakeClock, FakeEntropy, caller
from tests.support.tls_ca import device as tls_device
from tests.support.tls_ca import forged
from tests.support.tls_door import contexts, running_door

from handfast.api_calls import api_refusal
from handfast.control.explain import ExplainHandlers
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.doors import Doors
from handfast.seam import ListenerKind
from handfast.services.explanations import AWS_LOG_REASON, explain, explain_code
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.tls.client_hello import ClientHello, ClientHelloReader, Offered
from handfast.tls.door import TLSFailure
from handfast.tls.offers import MAX_SHARED, Offers
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import Engine
from handfast.tls.openssl.public import PublicEngine
from handfast.wire.skeleton import ApiRefusal

C = ReasonCode
BEFORE, HELLO, HANDSHAKE, CONNECTION, API = "before", "hello", "handshake", "connection", "api"
PLACES: dict[ReasonCode, str] = {
    **dict.fromkeys(
        (
            C.PROXY_HEADER_INVALID,
            C.NOT_TLS,
            C.MALFORMED_CLIENT_HELLO,
            C.OVERSIZED_CLIENT_HELLO,
            C.CLIENT_HELLO_TIMEOUT,
            C.TOO_MANY_HANDSHAKES,
        ),
        BEFORE,
    ),
    **dict.fromkeys(
        (
            C.NO_COMMON_VERSION,
            C.NO_COMMON_CIPHER,
            C.UNKNOWN_ALPN,
            C.CUSTOM_AUTH_UNSUPPORTED,
            C.HELLO_CHANGED,
            C.NO_CLIENT_CERTIFICATE,
            C.CLIENT_CERTIFICATE_TOO_LARGE,
            C.CLIENT_REJECTED_SERVER,
            C.CONNECTION_LOST_IN_HANDSHAKE,
            C.HANDSHAKE_TIMEOUT,
            C.TLS_FAILURE,
        ),
        HELLO,
    ),
    C.CLIENT_KEY_UNUSABLE: HANDSHAKE,
    C.POSSESSION_NOT_PROVEN: HANDSHAKE,
    **dict.fromkeys((C.API_MISSING_SIGNATURE, C.API_UNKNOWN_KEY, C.API_WRONG_SIGNATURE, C.API_CLOCK_SKEW), API),
}
"""What is not named here is found on a connection whose handshake is done."""

PRESENTED = {f"certificate_{part}" for part in ("subject", "issuer", "serial", "not_before", "not_after", "key")}
OFFERED = {f"offered_{part}" for part in ("versions", "cipher_suites", "groups", "signature_algorithms")}
NEGOTIATED = {"tls_version", "cipher", "group", "chain", "listener", "peer_port"}
MEMBERS = {
    BEFORE: {"listener", "peer_port"},
    HELLO: {"listener", "peer_port"} | OFFERED,
    HANDSHAKE: {"listener", "peer_port"} | OFFERED | PRESENTED,
    CONNECTION: NEGOTIATED | OFFERED | PRESENTED,
    API: {"error", "request", "operation", "access_key_id"},
}
WHO = device("lamp", serial_number=0xBEEF)
OPERATOR = dataclasses.replace(caller(), account_id=None)


def client_hello(**changes: Any) -> ClientHello:
    given: dict[str, Any] = {
        "extensions": (
            h.sni(b"lamp.example"),
            h.groups(0x11EC, 0x1D),
            h.signature_algorithms(0x0403, 0x0804),
            h.versions(0x0304, 0x0303),
        )
    }
    found = ClientHelloReader().feed(h.hello(**(given | changes)))
    assert isinstance(found, ClientHello)
    return found


class Records:
    """The record and everything that writes to it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = RefusalLog(self.clock, FakeEntropy())
        self.recorder = Recorder(self.log, self.clock)
        nothing: Any = None
        self.doors = Doors(
            nothing, "us-east-1", self.recorder, nothing, mqtt=nothing, https=nothing, signed=nothing, api=nothing
        )

    def refuse(self, code: ReasonCode) -> None:
        """As the place does that finds it."""
        place = PLACES.get(code, CONNECTION)
        reasons = (Reason(code, "the detail"),)
        if place == API:
            refused = ApiRefusal(
                reason=code,
                detail="the detail",
                error_code="UnrecognizedClientException",
                request_id="request-1",
                method="GET",
                path="/things",
                operation="ListThings",
                access_key_id="AKIA",
                account_id=None,
                region=None,
                address="192.0.2.7",
            )
            self.log.record(api_refusal(refused, self.clock))
        elif place == CONNECTION:
            facts = WHO.facts("lamp.example", offered=Offered(client_hello()))
            self.recorder.record(Stage.CERTIFICATE, reasons, facts, SCOPE, client_id="lamp")
        else:
            hello = client_hello() if place != BEFORE else None
            self.doors.failed(
                TLSFailure(
                    listener=ListenerKind.MQTT,
                    reasons=reasons,
                    address="192.0.2.7",
                    port=40000,
                    sni=None if hello is None else hello.sni,
                    offered={} if hello is None else Offered(hello, "offered_"),
                    certificate_der=WHO.der if place == HANDSHAKE else b"",
                )
            )

    async def explain(self, query: str = "") -> list[dict[str, Any]]:
        answer = await ExplainHandlers(self.log).handlers["Explain"](OPERATOR, query=query)
        found: list[dict[str, Any]] = answer["refusals"]
        return found


@pytest.mark.parametrize("code", list(ReasonCode))
async def test_the_record_of_a_reason(code: ReasonCode) -> None:
    place = PLACES.get(code, CONNECTION)
    records = Records()
    records.refuse(code)
    (found,) = await records.explain()
    assert MEMBERS[place] <= found["facts"].keys()
    assert all(found["facts"][name] for name in MEMBERS[place])
    assert NOW == found["at"], "the server's clock"
    assert found["address"] == "192.0.2.7"
    (reason,) = found["reasons"]
    assert (code, "the detail") == (reason["code"], reason["detail"])
    assert reason["fix"]
    assert AWS_LOG_REASON.get(code) == found.get("aws_log_reason") == reason.get("aws_log_reason")
    keys = [found["trace_id"], "192.0.2.7", code.value]
    if place in (HANDSHAKE, CONNECTION):
        assert "X25519MLKEM768" in found["facts"]["offered_groups"]
        assert "P-256" == found["facts"]["certificate_key"]
        keys += [WHO.certificate_id, "be:ef", str(0xBEEF)]
    if place == CONNECTION:
        keys.append("lamp")
    for key in keys:
        assert [found["trace_id"]] == [each["trace_id"] for each in await records.explain(key)], key


# --- the first thing to fix ---------------------------------------------------------------------------------------

ORDERS = [
    # found by the verdict in this order, and what is to be put right first
    ((C.CERTIFICATE_INACTIVE, C.CERTIFICATE_EXPIRED), C.CERTIFICATE_EXPIRED),
    ((C.CERTIFICATE_INACTIVE, C.ACCOUNT_DISABLED), C.ACCOUNT_DISABLED),
    ((C.CERTIFICATE_NOT_REGISTERED, C.CA_DOES_NOT_REGISTER), C.CA_DOES_NOT_REGISTER),
    ((C.CERTIFICATE_NOT_REGISTERED, C.CA_DOES_NOT_VOUCH), C.CA_DOES_NOT_VOUCH),
    ((C.CERTIFICATE_NOT_REGISTERED, C.FIRST_CONNECTION_OVER_HTTPS), C.FIRST_CONNECTION_OVER_HTTPS),
    ((C.CERTIFICATE_NOT_REGISTERED, C.CERTIFICATE_KEY_REFUSED), C.CERTIFICATE_KEY_REFUSED),
    ((C.ENDPOINT_UNKNOWN, C.CERTIFICATE_NOT_REGISTERED, C.CERTIFICATE_EXPIRED), C.ENDPOINT_UNKNOWN),
    ((C.ENDPOINT_OF_ANOTHER_ACCOUNT, C.CERTIFICATE_NOT_REGISTERED), C.ENDPOINT_OF_ANOTHER_ACCOUNT),
    ((C.CERTIFICATE_NOT_REGISTERED, C.PROVISIONING_CLAIM_ENDED, C.CERTIFICATE_EXPIRED), C.PROVISIONING_CLAIM_ENDED),
    ((C.CERTIFICATE_PENDING_ACTIVATION, C.CLIENT_KEY_UNUSABLE), C.CERTIFICATE_PENDING_ACTIVATION),
]


@pytest.mark.parametrize(("codes", "first"), ORDERS)
def test_what_to_fix_first_comes_first_and_the_decisive_reason_stays_known(
    codes: tuple[ReasonCode, ...], first: ReasonCode
) -> None:
    records = Records()
    records.recorder.record(Stage.CERTIFICATE, tuple(map(Reason, codes)), WHO.facts(), SCOPE)
    (refusal,) = records.log.query("", None, 1)
    assert first is explain(refusal)[0][0].code
    assert codes == tuple(reason.code for reason in refusal.reasons)


async def test_the_decisive_reason_is_what_aws_would_log() -> None:
    records = Records()
    reasons = (Reason(C.CERTIFICATE_NOT_REGISTERED), Reason(C.CA_DOES_NOT_REGISTER, "CA …", "ca" * 32))
    records.recorder.record(Stage.CERTIFICATE, reasons, WHO.facts(), SCOPE)
    answer = await ExplainHandlers(records.log).handlers["Explain"](caller())
    (found,) = answer["refusals"]
    assert "CERTIFICATE_NOT_REGISTERED" == found["decisive_reason"]
    assert "DEVICE_CERTIFICATE_NOT_REGISTERED" == found["aws_log_reason"]
    first = found["reasons"][0]
    assert "CA_DOES_NOT_REGISTER" == first["code"]
    assert f"update-ca-certificate --certificate-id {'ca' * 32} --new-status ACTIVE" in first["fix"]


def test_a_purpose_that_forbids_it_is_not_called_an_unknown_extension() -> None:
    records = Records()
    records.recorder.record(Stage.CERTIFICATE, (Reason(C.CERTIFICATE_PURPOSE_REFUSED),), WHO.facts(), SCOPE)
    (refusal,) = records.log.query("", None, 1)
    said = explain_code(C.CERTIFICATE_PURPOSE_REFUSED, refusal)
    assert "clientAuth" in said.fix
    assert "critical" not in said.what + said.fix


# --- a claim of CreateProvisioningClaim ---------------------------------------------------------------------------


async def test_an_ended_claim_is_called_one() -> None:
    world = World(issued_claim=lambda der: der == WHO.der)
    refused = await world.verdict.identify(WHO.facts("first-ats.iot.us-east-1.localhost"))
    assert {"PROVISIONING_CLAIM_ENDED", "CERTIFICATE_NOT_REGISTERED"} == set(world.codes(refused.trace_id))  # type: ignore[union-attr]
    (refusal,) = world.refusals.query(WHO.certificate_id, None, 10)
    assert "PROVISIONING_CLAIM_ENDED" == explain(refusal)[0][0].code
    assert "its template was disabled or deleted" == explain(refusal)[0][0].detail


# --- real handshakes ----------------------------------------------------------------------------------------------


@pytest.fixture(params=[DirectEngine, PublicEngine], ids=["direct", "public"])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_certificate_whose_key_is_not_held_is_in_the_record(engine: type[Engine], version: str) -> None:
    async with running_door(contexts(engine)) as door:
        client = forged("p256")
        await door.s_client(version, client=client)
        failure = await door.plane.failure()
    assert C.POSSESSION_NOT_PROVEN is failure.reasons[0].code
    assert client.der == failure.certificate_der
    records = Records()
    records.doors.failed(failure)
    (found,) = await records.explain(client.certificate.serial_number.to_bytes(20).hex())
    assert MEMBERS[HANDSHAKE] <= found["facts"].keys()


async def test_what_was_offered_outlives_the_handshake_and_is_shared(engine: type[Engine]) -> None:
    async with running_door(contexts(engine)) as door:
        writers = [(await door.connect(door.client_context(tls_device())))[1] for _ in range(2)]
        await door.plane.opened_one(2)
        first, second = door.plane.facts
        assert first.offered is second.offered
        assert "TLSv1.3" in first.offered["versions"]
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def test_offers_are_shared_whatever_grease_they_carry_and_bounded() -> None:
    offers = Offers()
    plain = client_hello()
    greased = client_hello(
        suites=(0x1301, 0x1302),
        extensions=(h.sni(b"a.example"), h.groups(0x1A1A, 0x1D), h.versions(0x0304)),
    )
    again = client_hello(
        suites=(0x1301, 0x1302),
        extensions=(h.sni(b"b.example"), h.groups(0x2A2A, 0x1D), h.versions(0x0304)),
    )
    assert offers.of(greased) is offers.of(again)
    assert offers.of(plain) is not offers.of(greased)
    for number in range(MAX_SHARED + 10):
        offers.of(client_hello(suites=(0x1301, number)))
    assert MAX_SHARED == len(offers)
    before = len(offers)
    long = offers.of(client_hello(suites=tuple(itertools.islice(itertools.cycle(range(0x1301, 0x1304)), 3_000))))
    assert before == len(offers)
    assert isinstance(long, dict)
    assert sum(map(len, long.values())) < 8_000
