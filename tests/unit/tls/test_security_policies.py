"""The six security policies: each suite and version in it is agreed on, each one out of it is refused."""

from __future__ import annotations

import re

import pytest
from OpenSSL import SSL
from tests.support import hello as h
from tests.support.tls_ca import device
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import contexts, running_door

from handfast.core.identity.refusal import ReasonCode
from handfast.core.identity.security_policy import SECURITY_POLICIES, SecurityPolicy
from handfast.errors import ConfigurationError
from handfast.tls.chain import Reject, choose_chain
from handfast.tls.client_hello import ClientHello, ClientHelloReader
from handfast.tls.contexts import Contexts
from handfast.tls.openssl.engine import DONE, FAILED, Engine

# As AWS's table of security policies has them, column by column.
ECDHE = [
    f"ECDHE-{kind}-{suite}"
    for kind in ("RSA", "ECDSA")
    for suite in ("AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA")
    + ("AES256-GCM-SHA384", "AES256-SHA384", "AES256-SHA")
]
AES128_SHA, AES256_SHA, AES128_SHA256 = "AES128-SHA", "AES256-SHA", "AES128-SHA256"
THREE = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES256-SHA256"]
DHE = "DHE-RSA-AES256-SHA"
GCM13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]
CHACHA13 = "TLS_CHACHA20_POLY1305_SHA256"
SERVED = {
    "TLS13_1_3_2022_10": {*GCM13, CHACHA13},
    "TLS13_1_2_2022_10": {*GCM13, CHACHA13, *ECDHE, AES128_SHA, AES256_SHA, *THREE, AES128_SHA256},
    "TLS12_1_2_2022_10": {*ECDHE, AES128_SHA, AES256_SHA, *THREE, AES128_SHA256},
    "TLS12_1_0_2016_01": {*ECDHE, AES128_SHA, AES256_SHA, *THREE},
    "TLS12_1_0_2015_01": {*ECDHE, AES128_SHA, AES256_SHA, *THREE, AES128_SHA256, DHE},
    "TLS13_1_2_2022_01": {*GCM13, *ECDHE, AES128_SHA, AES256_SHA},
}
EVERY = [*GCM13, CHACHA13, *ECDHE, AES128_SHA, AES256_SHA, *THREE, AES128_SHA256, DHE]
NEVER = ["ECDHE-RSA-CHACHA20-POLY1305", "DHE-RSA-AES128-SHA", "DHE-RSA-AES256-GCM-SHA384", "AES128-CCM"]


def named(short: str) -> SecurityPolicy:
    return SECURITY_POLICIES[f"IoTSecurityPolicy_{short}"]


def agree(table: Contexts, policy: SecurityPolicy, suite: str, *, groups: bytes = b"X25519:P-256") -> str | Reject:
    """A whole handshake in memory of a client that offers one suite: what was negotiated, or the refusal."""
    tls13 = suite.startswith("TLS_")
    client = MemoryClient(
        client=device("rsa2048") if suite.startswith("DHE") else device(),
        version=SSL.TLS1_3_VERSION if tls13 else SSL.TLS1_2_VERSION,
        suites=suite.encode() if tls13 else b"TLS_AES_128_GCM_SHA256",
        ciphers=None if tls13 else suite.encode(),
        groups=groups,
    )
    sent = client.start()
    parsed = ClientHelloReader().feed(sent)
    assert isinstance(parsed, ClientHello)
    kind = choose_chain(parsed, "rsa", policy)
    if isinstance(kind, Reject):
        return kind
    context = table.get("us-east-1", kind, True, None, policy)
    assert context is not None
    engine = table.engine(context)
    while (status := engine.handshake(sent)) != DONE:
        assert status != FAILED, engine.errors
        sent = client.receive(engine.drain())
    return engine.cipher()


@pytest.fixture(scope="module")
def tables() -> dict[type[Engine], Contexts]:
    return {}


@pytest.mark.parametrize("short", SERVED)
def test_exactly_the_suites_of_the_policy_are_served(
    engine: type[Engine], short: str, tables: dict[type[Engine], Contexts]
) -> None:
    table = tables.setdefault(engine, contexts(engine))
    policy = named(short)
    for suite in EVERY + NEVER:
        agreed = agree(table, policy, suite)
        if suite in SERVED[short]:
            assert suite == agreed
        else:
            assert isinstance(agreed, Reject), suite
            version = suite.startswith("TLS_") and not {*GCM13} & SERVED[short]
            version |= not suite.startswith("TLS_") and not {*ECDHE} & SERVED[short]
            expected = (70, ReasonCode.NO_COMMON_VERSION) if version else (40, ReasonCode.NO_COMMON_CIPHER)
            assert expected == (agreed.alert, agreed.code), suite
            assert policy.name in agreed.detail


def test_the_six_are_all_and_openssl_knows_every_suite() -> None:
    assert {f"IoTSecurityPolicy_{short}" for short in SERVED} == set(SECURITY_POLICIES)
    for short, suites in SERVED.items():
        policy = named(short)
        assert suites == {*policy.tls13_suites, *policy.tls12_suites}
        numbers = policy.tls13 | policy.ecdhe_rsa | policy.ecdhe_ecdsa | policy.dhe_rsa | policy.static_rsa
        assert len(suites) == len(numbers)


def test_one_suite_of_2016_01_is_served_on_the_alpn_port_alone(engine: type[Engine]) -> None:
    table, policy = contexts(engine), named("TLS12_1_0_2016_01")
    assert isinstance(agree(table, policy, AES128_SHA256), Reject)
    assert AES128_SHA256 == agree(table, policy.on_alpn_port, AES128_SHA256)
    assert policy.name == policy.on_alpn_port.name
    assert all(other.on_alpn_port is other for other in SECURITY_POLICIES.values() if other is not policy)


@pytest.mark.parametrize("groups", [b"ffdhe2048", b"X25519:ffdhe2048", b"P-256"])
def test_dhe_uses_ffdhe2048(engine: type[Engine], groups: bytes) -> None:
    assert DHE == agree(contexts(engine), named("TLS12_1_0_2015_01"), DHE, groups=groups)


def test_a_client_that_wants_another_finite_field_group_is_refused(engine: type[Engine]) -> None:
    agreed = agree(contexts(engine), named("TLS12_1_0_2015_01"), DHE, groups=b"ffdhe3072")
    assert isinstance(agreed, Reject)
    assert ReasonCode.NO_COMMON_CIPHER == agreed.code


def test_a_client_of_both_versions_gets_the_one_that_the_policy_has() -> None:
    parsed = ClientHelloReader().feed(h.hello())  # offers both versions, and suites of each
    assert isinstance(parsed, ClientHello)
    only_tls13 = ClientHelloReader().feed(h.hello((0x1301,)))
    assert isinstance(only_tls13, ClientHello)
    for short, suites in SERVED.items():
        assert "rsa" == choose_chain(parsed, "rsa", named(short))
        assert isinstance(choose_chain(only_tls13, "rsa", named(short)), Reject) == (not {*GCM13} & suites)


@pytest.mark.parametrize(
    ("short", "option", "version"),
    [
        ("TLS13_1_3_2022_10", (), "TLSv1.3"),
        ("TLS13_1_3_2022_10", ("-tls1_2",), None),
        ("TLS12_1_2_2022_10", (), "TLSv1.2"),
        ("TLS12_1_2_2022_10", ("-tls1_3",), None),
        ("TLS12_1_0_2015_01", ("-cipher", f"{DHE}:@SECLEVEL=0"), "TLSv1.2"),
        ("TLS12_1_0_2015_01", ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), None),
        ("TLS13_1_2_2022_01", ("-tls1_3", "-ciphersuites", CHACHA13), None),
    ],
)
async def test_openssl_meets_the_policy_at_the_door(short: str, option: tuple[str, ...], version: str | None) -> None:
    table = contexts(Contexts().engine, policy=named(short).name)
    async with running_door(table) as door:
        output = await door.s_client(*option, client=device("rsa2048"))
        if version is None:
            assert re.search(r"alert (protocol version|handshake failure)", output), output
            failure = await door.plane.failure()
            assert named(short).name in failure.reasons[0].detail
        else:
            assert version == door.plane.facts[0].version
            assert (DHE == door.plane.facts[0].cipher) == ("-cipher" in option)


def test_another_name_is_refused_and_the_six_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"TLS13_1_2_2022_10.*TLS12_1_0_2015_01"):
        Contexts("rsa", "IoTSecurityPolicy_TLS13_1_4_2030_10")
