"""The Certificate message in bytes, by the lengths that the two standards put round each certificate."""

from __future__ import annotations

import pytest

from handfast.core.pki.wire_size import CertificateMessage, certificate_message


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        # type 1, length 3, list 3, each 3 | type 1, length 3, context 1, list 3, each 3 + 2
        ([1000], CertificateMessage(1000, 1010, 1015, 1013, 1035)),
        ([800, 700, 600], CertificateMessage(2100, 2116, 2121, 2123, 2145)),
        # 16384 fit one record, one byte more takes a second
        ([16374], CertificateMessage(16374, 16384, 16389, 16387, 16431)),
        ([16371], CertificateMessage(16371, 16381, 16386, 16384, 16406)),
    ],
)
def test_framing(sizes: list[int], expected: CertificateMessage) -> None:
    assert expected == certificate_message(sizes)
