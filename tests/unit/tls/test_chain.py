"""Which chain a client gets, as a table of what it offers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support import hello as h

from handfast.core.identity.refusal import ReasonCode
from handfast.tls.chain import ChainKind, Reject, choose_chain
from handfast.tls.client_hello import ClientHello, ClientHelloReader

TLS13 = (0x1301, 0x1302, 0x1303)
ECDHE_RSA, ECDHE_ECDSA, STATIC_RSA = 0xC02F, 0xC02B, 0x009C
ECDSA_CHACHA, ECDSA_CCM, DHE_RSA = 0xCCA9, 0xC0AC, 0x009E
BOTH = (h.ECDSA, h.RSA_PSS, h.RSA)
X25519, P256, X448 = 0x001D, 0x0017, 0x001E


def offered(
    suites: Sequence[int],
    schemes: Sequence[int] | None = BOTH,
    *,
    versions: Sequence[int] | None = (0x0304, 0x0303),
    groups: Sequence[int] | None = (X25519, P256),
    for_chain: Sequence[int] | None = None,
    legacy_version: int = 0x0303,
) -> ClientHello:
    extensions = []
    if versions is not None:
        extensions.append(h.versions(*versions))
    if schemes is not None:
        extensions.append(h.signature_algorithms(*schemes))
    if groups is not None:
        extensions.append(h.groups(*groups))
    if for_chain is not None:
        extensions.append(h.signature_algorithms_cert(*for_chain))
    result = ClientHelloReader().feed(h.hello(suites, extensions, legacy_version=legacy_version))
    assert isinstance(result, ClientHello)
    return result


KINDS: tuple[ChainKind, ...] = ("rsa", "ecdsa")


@pytest.mark.parametrize("prefer", KINDS)
class TestEitherPreference:
    def both(self, hello: ClientHello, prefer: ChainKind, expected: str) -> None:
        assert expected == choose_chain(hello, prefer)

    def test_a_client_that_verifies_both_gets_the_preferred_one(self, prefer: ChainKind) -> None:
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA)), prefer, prefer)
        self.both(offered((ECDHE_RSA, ECDHE_ECDSA), versions=None), prefer, prefer)
        self.both(offered((STATIC_RSA, ECDHE_ECDSA), versions=None), prefer, prefer)
        self.both(offered(TLS13, versions=(0x0304,)), prefer, prefer)

    def test_the_older_suites_decide_in_tls_1_3_where_they_name_one_kind(self, prefer: ChainKind) -> None:
        self.both(offered((*TLS13, ECDHE_ECDSA, ECDSA_CHACHA)), prefer, "ecdsa")
        self.both(offered((*TLS13, ECDSA_CHACHA)), prefer, "ecdsa")
        self.both(offered((*TLS13, ECDSA_CCM)), prefer, "ecdsa")
        self.both(offered((*TLS13, ECDHE_RSA, STATIC_RSA)), prefer, "rsa")
        self.both(offered((*TLS13, DHE_RSA)), prefer, "rsa")

    def test_unless_the_signature_algorithms_do_not_allow_it(self, prefer: ChainKind) -> None:
        self.both(offered((*TLS13, ECDHE_ECDSA), (h.RSA_PSS, h.RSA)), prefer, "rsa")
        self.both(offered((*TLS13, ECDHE_RSA), (h.ECDSA,)), prefer, "ecdsa")

    def test_signature_algorithms_decide_in_tls_1_3(self, prefer: ChainKind) -> None:
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA), (h.ECDSA,)), prefer, "ecdsa")
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA), (h.RSA_PSS,)), prefer, "rsa")
        # PKCS#1 is for certificates only in 1.3; P-384 and P-521 schemes do not fit a P-256 key there.
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA), (h.RSA, h.ECDSA)), prefer, "ecdsa")
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA), (0x0503, 0x0603, h.RSA_PSS)), prefer, "rsa")

    def test_signature_algorithms_cert_counts_for_the_chain(self, prefer: ChainKind) -> None:
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA), for_chain=(h.ECDSA,)), prefer, "ecdsa")
        self.both(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA), for_chain=(h.RSA,)), prefer, "rsa")
        self.both(offered((ECDHE_RSA, ECDHE_ECDSA), versions=None, for_chain=(h.RSA,)), prefer, "rsa")

    def test_suites_decide_in_tls_1_2(self, prefer: ChainKind) -> None:
        self.both(offered((ECDHE_ECDSA,), versions=None), prefer, "ecdsa")
        self.both(offered((ECDHE_RSA,), versions=None), prefer, "rsa")
        self.both(offered((STATIC_RSA,), None, versions=None, groups=None), prefer, "rsa")
        self.both(offered((*TLS13, ECDHE_ECDSA), versions=(0x0303,)), prefer, "ecdsa")

    def test_ecdsa_in_tls_1_2_needs_secp256r1_and_an_ecdsa_signature(self, prefer: ChainKind) -> None:
        self.both(offered((ECDHE_RSA, ECDHE_ECDSA), versions=None, groups=(X25519,)), prefer, "rsa")
        self.both(offered((ECDHE_RSA, ECDHE_ECDSA), (h.RSA,), versions=None), prefer, "rsa")
        self.both(offered((ECDHE_RSA, ECDHE_ECDSA), (0x0503,), versions=None), prefer, "ecdsa")
        self.both(offered((ECDHE_ECDSA,), versions=None, groups=None), prefer, "ecdsa")


@pytest.mark.parametrize(
    ("hello", "alert", "code"),
    [
        (offered(TLS13, versions=(0x0302, 0x0301)), 70, ReasonCode.NO_COMMON_VERSION),
        (offered((ECDHE_RSA,), versions=None, legacy_version=0x0302), 70, ReasonCode.NO_COMMON_VERSION),
        (offered((ECDHE_RSA, 0x1304)), 40, ReasonCode.NO_COMMON_CIPHER),
        (offered((DHE_RSA, ECDSA_CHACHA), versions=None), 40, ReasonCode.NO_COMMON_CIPHER),
        (offered((ECDHE_RSA, ECDHE_ECDSA), versions=None, groups=(X448,)), 40, ReasonCode.NO_COMMON_CIPHER),
        (offered((ECDHE_RSA,), None, versions=None), 40, ReasonCode.NO_COMMON_CIPHER),
        (offered(TLS13, (0x0807,)), 40, ReasonCode.NO_COMMON_CIPHER),
        (offered(TLS13, for_chain=(0x0807,)), 40, ReasonCode.NO_COMMON_CIPHER),
        (offered(TLS13, None), 109, ReasonCode.MALFORMED_CLIENT_HELLO),
    ],
)
def test_nothing_in_common_is_refused_with_the_alert_of_its_kind(
    hello: ClientHello, alert: int, code: ReasonCode
) -> None:
    rejected = choose_chain(hello, "rsa")
    assert isinstance(rejected, Reject)
    assert (alert, code) == (rejected.alert, rejected.code)
    assert rejected.detail


@pytest.mark.parametrize("only", ["rsa", "ecdsa"])
class TestOneKindAlone:
    def test_a_client_that_verifies_both_gets_it_whatever_is_preferred(self, only: ChainKind) -> None:
        for prefer in KINDS:
            assert only == choose_chain(offered((*TLS13, ECDHE_RSA, ECDHE_ECDSA)), prefer, only=only)
            assert only == choose_chain(offered((ECDHE_RSA, ECDHE_ECDSA), versions=None), prefer, only=only)

    @pytest.mark.parametrize("versions", [(0x0304,), None])
    def test_a_client_that_verifies_the_other_kind_alone_is_refused(
        self, only: ChainKind, versions: tuple[int, ...] | None
    ) -> None:
        schemes = (0x0403,) if only == "rsa" else (0x0401, 0x0804)
        hello = offered((*TLS13, ECDHE_ECDSA if only == "rsa" else ECDHE_RSA), schemes, versions=versions)
        rejected = choose_chain(hello, "rsa", only=only)
        assert isinstance(rejected, Reject)
        assert (40, ReasonCode.NO_COMMON_CIPHER) == (rejected.alert, rejected.code)

    def test_suites_that_name_the_other_kind_do_not_keep_a_tls13_client_out(self, only: ChainKind) -> None:
        named = ECDHE_ECDSA if only == "rsa" else ECDHE_RSA
        assert only == choose_chain(offered((*TLS13, named)), "rsa", only=only)
