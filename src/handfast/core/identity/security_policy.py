"""
The security policies of AWS IoT Core: which versions and cipher suites of TLS a door offers.

Six are named, each exactly what AWS's developer guide lists under "Security
policies"; there are no others. Suites up to TLS 1.2 bear OpenSSL's names, as
there. In spite of the `1_0` in some names TLS 1.2 is the least version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DEFAULT_SECURITY_POLICY: Final = "IoTSecurityPolicy_TLS13_1_2_2022_10"
"""Of the default endpoint, and of a domain configuration that names none."""

TLS13_SUITES: Final = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
}
# In the server's order of preference: the suites that AWS recommends first, forward secrecy before static RSA.
ECDHE_SUITES: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-ECDSA-AES128-SHA256": 0xC023,
    "ECDHE-RSA-AES128-SHA256": 0xC027,
    "ECDHE-ECDSA-AES128-SHA": 0xC009,
    "ECDHE-RSA-AES128-SHA": 0xC013,
    "ECDHE-ECDSA-AES256-SHA384": 0xC024,
    "ECDHE-RSA-AES256-SHA384": 0xC028,
    "ECDHE-ECDSA-AES256-SHA": 0xC00A,
    "ECDHE-RSA-AES256-SHA": 0xC014,
}
DHE_SUITES: Final = {"DHE-RSA-AES256-SHA": 0x0039}
STATIC_RSA_SUITES: Final = {
    "AES128-GCM-SHA256": 0x009C,
    "AES128-SHA256": 0x003C,
    "AES128-SHA": 0x002F,
    "AES256-GCM-SHA384": 0x009D,
    "AES256-SHA256": 0x003D,
    "AES256-SHA": 0x0035,
}
_TLS12_SUITES: Final = ECDHE_SUITES | DHE_SUITES | STATIC_RSA_SUITES


@dataclass(frozen=True, slots=True, eq=False)
class SecurityPolicy:
    """
    One policy; there is one object of each, compared by identity.

    The suites stand in the server's order of preference; none of a version
    means that the version is not offered. The sets hold the same suites by IANA
    number, those up to TLS 1.2 by how the key is agreed and what signs.
    """

    name: str
    tls13_suites: tuple[str, ...]
    tls12_suites: tuple[str, ...]
    tls13: frozenset[int]
    ecdhe_rsa: frozenset[int]
    ecdhe_ecdsa: frozenset[int]
    dhe_rsa: frozenset[int]
    static_rsa: frozenset[int]
    alpn_port: SecurityPolicy | None = None
    """The policy on the port where ALPN decides (443 at AWS), where it differs there."""

    @property
    def versions(self) -> str:
        """For a person: `TLSv1.2 and TLSv1.3`, or the one that is offered."""
        offered = ["TLSv1.2"] * bool(self.tls12_suites) + ["TLSv1.3"] * bool(self.tls13_suites)
        return " and ".join(offered)

    @property
    def on_alpn_port(self) -> SecurityPolicy:
        """The policy as it holds on the port where ALPN decides."""
        return self.alpn_port or self


def _policy(name: str, tls13: frozenset[str], tls12: frozenset[str], alpn_port: frozenset[str]) -> SecurityPolicy:
    def numbers(suites: Mapping[str, int], what: str = "") -> frozenset[int]:
        return frozenset(number for suite, number in suites.items() if suite in tls12 and what in suite)

    return SecurityPolicy(
        name=f"IoTSecurityPolicy_{name}",
        tls13_suites=tuple(suite for suite in TLS13_SUITES if suite in tls13),
        tls12_suites=tuple(suite for suite in _TLS12_SUITES if suite in tls12),
        tls13=frozenset(TLS13_SUITES[suite] for suite in tls13),
        ecdhe_rsa=numbers(ECDHE_SUITES, "-RSA-"),
        ecdhe_ecdsa=numbers(ECDHE_SUITES, "-ECDSA-"),
        dhe_rsa=numbers(DHE_SUITES),
        static_rsa=numbers(STATIC_RSA_SUITES),
        alpn_port=_policy(name, tls13, tls12 | alpn_port, frozenset()) if alpn_port else None,
    )


_NONE: Final[frozenset[str]] = frozenset()
_TLS13: Final = frozenset(TLS13_SUITES)
_TLS13_AES: Final = _TLS13 - {"TLS_CHACHA20_POLY1305_SHA256"}
_ECDHE: Final = frozenset(ECDHE_SUITES)
_SHA1: Final = frozenset({"AES128-SHA", "AES256-SHA"})
_RSA: Final = frozenset(STATIC_RSA_SUITES)

SECURITY_POLICIES: Final[Mapping[str, SecurityPolicy]] = {
    policy.name: policy
    for policy in (
        #       name                 TLS 1.3     TLS 1.2                          only on the ALPN port
        _policy("TLS13_1_3_2022_10", _TLS13, _NONE, _NONE),
        _policy("TLS13_1_2_2022_10", _TLS13, _ECDHE | _RSA, _NONE),
        _policy("TLS12_1_2_2022_10", _NONE, _ECDHE | _RSA, _NONE),
        _policy("TLS12_1_0_2016_01", _NONE, _ECDHE | _RSA - {"AES128-SHA256"}, frozenset({"AES128-SHA256"})),
        _policy("TLS12_1_0_2015_01", _NONE, _ECDHE | _RSA | frozenset(DHE_SUITES), _NONE),
        _policy("TLS13_1_2_2022_01", _TLS13_AES, _ECDHE | _SHA1, _NONE),
    )
}
"""By name."""
