"""One client, one fingerprint: whatever of its ClientHello differs from one connection to the next."""

from __future__ import annotations

from typing import Any

import pytest

from handfast.tls.client_hello import ClientHello
from handfast.tls.fingerprint import fingerprint
from handfast.tls.iana import GREASE

OFFER: dict[str, Any] = {
    "legacy_version": 0x0303,
    "session_id": b"1",
    "cipher_suites": (0x1301, 0xC02B),
    "extensions": (0, 10, 13, 43, 51),
    "sni": "one.example",
    "alpn": (b"x-amzn-mqtt-ca",),
    "versions": (0x0304, 0x0303),
    "signature_schemes": (0x0403,),
    "signature_schemes_cert": None,
    "groups": (0x001D,),
}


def of(**changes: Any) -> str:
    return fingerprint(ClientHello(**(OFFER | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": b"2"},
        {"sni": "two.example"},
        {"extensions": (51, 43, 13, 10, 0)},
        {"extensions": (0x2A2A, 0, 10, 13, 43, 51, 0xFAFA)},
        {"cipher_suites": (0x5A5A, 0x1301, 0xC02B), "groups": (0x0A0A, 0x001D), "versions": (0xBABA, 0x0304, 0x0303)},
        {"extensions": (0, 10, 13, 43, 51, 21, 35, 41)},
        {"alpn": (b"\x6a\x6a", b"x-amzn-mqtt-ca")},
    ],
)
def test_what_passes_is_no_part_of_it(changes: dict[str, Any]) -> None:
    assert of() == of(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"cipher_suites": (0xC02B, 0x1301)},
        {"extensions": (0, 10, 13, 43)},
        {"versions": None},
        {"groups": None},
        {"groups": ()},
        {"alpn": ()},
        {"signature_schemes_cert": (0x0403,)},
    ],
)
def test_what_a_stack_offers_is(changes: dict[str, Any]) -> None:
    assert of() != of(**changes)


def test_grease_is_what_rfc_8701_reserves() -> None:
    assert [0x0A0A + 0x1010 * number for number in range(16)] == sorted(GREASE)
