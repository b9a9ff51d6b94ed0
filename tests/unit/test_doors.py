"""Who speaks on an open connection, what is counted, and whose endpoint a signed request may name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.support.principals import Device
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.refusal import ReasonCode
from handfast.doors import Doors, NamedEndpoint, preferences
from handfast.seam import ListenerKind, TLSFacts
from handfast.services.endpoints import EndpointService
from handfast.telemetry.metrics import PrometheusMeter
from handfast.tls.serving import Decider, Serving
from handfast.tls.transport import TLSTransport
from handfast.wire.sigv4 import Refused

ENDPOINTS = {
    "ours.example": SCOPE,
    "theirs.example": Scope(OTHER_ACCOUNT, SCOPE.region),
    "elsewhere.example": Scope(SCOPE.account, "eu-west-1"),
}
SOMEBODY = Device(b"", CertificateId(""))


class Directory:
    def resolve_sni(self, name: str) -> Scope | None:
        return ENDPOINTS.get(name.lower())

    def service_of(self, name: str) -> EndpointService | None:
        return EndpointService.DATA if name.lower() in ENDPOINTS else None


def doors(meter: PrometheusMeter, chosen: list[str], deciders: Sequence[Decider] = (), **given: Any) -> Doors:
    def speaker(name: str) -> Any:
        def speak(_facts: TLSFacts) -> asyncio.Protocol:
            chosen.append(name)
            return asyncio.Protocol()

        return speak

    directory: Any = Directory()
    recorder: Any = None
    speakers = {name: speaker(name) for name in ("mqtt", "https", "signed", "api")}
    return Doors(directory, "us-east-1", recorder, meter, **speakers, deciders=deciders, **given)


@pytest.mark.parametrize(
    ("listener", "alpn", "expected"),
    [
        (ListenerKind.MQTT, None, "mqtt"),
        (ListenerKind.MQTT, "x-amzn-mqtt-ca", "mqtt"),
        (ListenerKind.HTTPS, None, "https"),
        (ListenerKind.HTTPS, "http/1.1", "https"),
        (ListenerKind.ALPN, "x-amzn-mqtt-ca", "mqtt"),
        (ListenerKind.ALPN, "x-amzn-http-ca", "https"),
        (ListenerKind.ALPN, "http/1.1", "signed"),
        (ListenerKind.ALPN, None, "signed"),
        (ListenerKind.API, "http/1.1", "api"),
    ],
)
def test_the_port_and_the_alpn_say_who_speaks(listener: ListenerKind, alpn: str | None, expected: str) -> None:
    chosen: list[str] = []
    facts = SOMEBODY.facts(listener=listener, alpn=alpn)
    doors(PrometheusMeter(), chosen).opened(facts, cast(TLSTransport, None))
    assert [expected] == chosen


@pytest.mark.parametrize(
    ("sni", "expected"), [(None, "us-east-1"), ("elsewhere.example", "eu-west-1"), ("nobodys.example", "us-east-1")]
)
def test_a_client_is_served_the_leaf_of_its_endpoints_region(sni: str | None, expected: str) -> None:
    hello: Any = None
    assert Serving(certificates=expected) == doors(PrometheusMeter(), []).serving(sni, hello, "192.0.2.7")


def test_the_first_decider_that_has_something_to_say_says_what_is_served() -> None:
    hello: Any = object()
    asked = []

    def silent(*question: object) -> None:
        asked.append(question)

    first, second = Serving(certificates="domain:a"), Serving(certificates="domain:b")
    made = doors(PrometheusMeter(), [], [silent, lambda *_: first, lambda *_: second])
    assert first == made.serving("ours.example", hello, "192.0.2.7")
    assert [("ours.example", hello, "192.0.2.7")] == asked


def test_a_name_may_have_a_preference_of_its_own() -> None:
    hello: Any = None
    made = doors(PrometheusMeter(), [], preferred=preferences(["one.example=ecdsa", "two.example=rsa"]))
    names = ("one.example", "ONE.example.", "two.example", "three.example", None)
    assert ["ecdsa", "ecdsa", "rsa", None, None] == [made.serving(each, hello, "192.0.2.7").prefer for each in names]


@pytest.mark.parametrize(
    ("group", "offered", "sample"),
    [
        ("X25519MLKEM768", True, 'group="X25519MLKEM768",hybrid_offered="yes"'),
        ("x25519", False, 'group="x25519",hybrid_offered="no"'),
        ("secp256r1", True, 'group="secp256r1",hybrid_offered="yes"'),
        (None, False, 'group="none",hybrid_offered="no"'),
        ("brainpoolP256r1", False, 'group="other",hybrid_offered="no"'),
    ],
)
def test_handshakes_are_counted_by_group_and_by_who_could_use_a_hybrid(
    group: str | None, offered: bool, sample: str
) -> None:
    meter = PrometheusMeter()
    facts = SOMEBODY.facts(group=group, hybrid_offered=offered)
    doors(meter, []).opened(facts, cast(TLSTransport, None))
    assert f"handfast_tls_handshakes_total{{{sample}}} 1.0" in meter.render().decode()


def ask(sni: str | None, account: AccountId | None = SCOPE.account, *, lenient: bool = True) -> None:
    directory: Any = Directory()
    caller = Caller(
        account_id=account, region=SCOPE.region, access_key_id="K", address="192.0.2.7", request_id="r", at=NOW
    )
    admit = NamedEndpoint(directory, ("localhost", "127.0.0.1"), lenient=lenient)
    admit({"state": {"tls": SOMEBODY.facts(sni=sni, listener=ListenerKind.ALPN)}}, caller)


@pytest.mark.parametrize("sni", [None, "ours.example", "OURS.example.", "localhost", "127.0.0.1"])
def test_the_signers_own_endpoint_or_a_stand_in_may_be_named(sni: str | None) -> None:
    ask(sni)


@pytest.mark.parametrize(
    ("sni", "code"),
    [
        ("theirs.example", ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT),
        ("elsewhere.example", ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT),
        ("nobodys.example", ReasonCode.ENDPOINT_UNKNOWN),
    ],
)
def test_others_get_one_answer_and_the_record_tells_them_apart(sni: str, code: ReasonCode) -> None:
    with pytest.raises(Refused) as refused:
        ask(sni)
    assert ("ForbiddenException", "Forbidden") == (refused.value.error.code, refused.value.error.message)
    assert code == refused.value.reason
    assert sni in refused.value.detail


def test_the_operators_key_and_with_strict_sni_a_local_name_are_refused() -> None:
    with pytest.raises(Refused):
        ask("ours.example", None)
    with pytest.raises(Refused):
        ask("localhost", lenient=False)
