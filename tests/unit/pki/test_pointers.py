"""A public URL in its one form, and what certificates say with it."""

from __future__ import annotations

import pytest
from tests.support.pki import certificate

from handfast.core.pki.pointers import Pointers, base_of, pointers_to, points_to, public_base


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("http://pki.example.com", "http://pki.example.com"),
        ("http://PKI.Example.com/", "http://pki.example.com"),
        ("http://pki.example.com:8080/a/b_c/", "http://pki.example.com:8080/a/b_c"),
        ("http://192.0.2.1", "http://192.0.2.1"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]:80"),
    ],
)
def test_urls(written: str, base: str) -> None:
    assert base == public_base(written)
    assert base == public_base(base)


@pytest.mark.parametrize(
    "written",
    [
        "", "pki.example.com", "https://pki.example.com", "ftp://x", "http://", "http:///x", "http://u:p@x", "http://x?a",
        "http://x?", "http://x#a", "http://x:0", "http://x:99999", "http://x:", "http://x:a", "http://[::1", "http://[::1]x",
        "http://x/a b", "http://x/../y", "http://x/%2e", "http://x//y", "http://x/\r\n", "http://ä.example",
        "http://" + "x" * 200,
    ],
)  # fmt: skip
def test_what_is_no_url(written: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        public_base(written)


def test_a_user_name_is_called_one() -> None:
    with pytest.raises(ValueError, match="without user name"):
        public_base("http://user:pw@pki.example.com/")


def test_pointers() -> None:
    pointers = pointers_to("http://x/y", "rsa-1")
    assert Pointers("http://x/y/aia/rsa-1.cer", "http://x/y/crl/rsa-1.crl") == pointers
    assert pointers is not None
    assert pointers_to(None, "rsa-1") is None
    with_them, without = certificate(extensions=pointers.extensions()), certificate()
    assert ("http://x/y", None) == (base_of(with_them), base_of(without))
    assert points_to(with_them, pointers)
    assert points_to(without, None)
    assert not points_to(with_them, None)
    assert not points_to(without, pointers)
    assert not points_to(with_them, pointers_to("http://x/y", "rsa-2"))
