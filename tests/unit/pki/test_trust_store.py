"""A device's trust store in every form that it is handed over in."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.support.pki import certificate, der, key_of, openssl, pem

from handfast.core.pki import trust_store
from handfast.core.pki.trust_store import pinned, read_store
from handfast.errors import CertificateInputError

ONE = certificate("one", ca=True)
TWO = certificate("two", ca=True, key=key_of("p384"))
DIGEST = bytes(range(32))
BASE64 = base64.b64encode(DIGEST).decode()


@pytest.mark.parametrize(
    "content",
    [
        pem(ONE, TWO).encode(),
        b"# a bundle\r\n" + pem(ONE).replace("\n", "\r\n").encode() + b"text between\n" + pem(TWO).encode(),
        der(ONE) + der(TWO),
    ],
)
def test_certificates(content: bytes) -> None:
    store = read_store([("store", content)])
    assert [ONE, TWO] == [held.certificate for held in store.certificates]
    assert ((), ()) == (store.pins, store.remarks)


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_pkcs7_of_openssl(tmp_path: Path, form: str) -> None:
    (tmp_path / "both.pem").write_text(pem(ONE, TWO))
    out = tmp_path / "both.p7b"
    openssl("crl2pkcs7", "-nocrl", "-certfile", tmp_path / "both.pem", "-outform", form, "-out", out)
    store = read_store([("both.p7b", out.read_bytes())])
    assert {ONE, TWO} == {held.certificate for held in store.certificates}


@pytest.mark.parametrize(
    "text",
    [
        f"sha256/{BASE64}",
        f"sha256//{BASE64}",
        f'pin-sha256="{BASE64}";',
        BASE64,
        DIGEST.hex(),
        DIGEST.hex().upper(),
        DIGEST.hex(":"),
        f"sha256:{DIGEST.hex()}",
    ],
)
def test_a_pin_in_any_of_its_forms(text: str) -> None:
    assert DIGEST == pinned(text)


@pytest.mark.parametrize("first", [0x00, 0xFC, 0xFF])
def test_a_pin_whose_first_digit_is_a_slash(first: int) -> None:
    digest = bytes([first]) + bytes(31)
    text = base64.b64encode(digest).decode("ascii")
    assert [digest, digest] == [pinned(f"sha256/{text}"), pinned(f"sha256//{text}")]


@pytest.mark.parametrize(
    "text", ["", "sha256/", "sha256/AAAA", DIGEST.hex()[:-2], "z" * 64, "sha1/" + BASE64, "=" * 44]
)
def test_what_is_no_pin(text: str) -> None:
    assert pinned(text) is None


def test_pins_with_comments_and_the_lines_that_are_none() -> None:
    text = f"# pins\n\nsha256/{BASE64}  # root 1\nnonsense\n{DIGEST.hex()}\n"
    store = read_store([("pins.txt", text.encode())])
    assert [("pins.txt, line 3", DIGEST), ("pins.txt, line 5", DIGEST)] == [(p.place, p.digest) for p in store.pins]
    assert [("unreadable", "pins.txt, line 4")] == [(each.code, each.place) for each in store.remarks]


def test_a_text_that_is_no_list_of_pins_is_remarked_on_once() -> None:
    store = read_store([("README", b"one\ntwo\nthree\nfour\n"), ("pins.txt", b"sha256/mistyped\n"), ("empty", b"")])
    assert ["README", "pins.txt, line 1", "empty"] == [each.place for each in store.remarks]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unreadable"),
        (b"\xff\xfe\x00", "unreadable"),
        (b"\x30\x82", "unreadable"),
        (der(ONE)[:-1], "unreadable"),
        (b"\x30\x84\xff\xff\xff\xff", "unreadable"),
        (pem(ONE).replace("A", "!", 1).encode(), "unreadable"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private_key"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "ignored"),
    ],
)
def test_what_cannot_be_used_is_a_remark(content: bytes, code: str) -> None:
    store = read_store([("store", content), ("other", der(TWO))])
    assert [code] == [each.code for each in store.remarks]
    assert [TWO] == [held.certificate for held in store.certificates]


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_store, "MAX_CERTIFICATES", 2)
    monkeypatch.setattr(trust_store, "MAX_PINS", 2)
    monkeypatch.setattr(trust_store, "MAX_FILE_BYTES", 5000)
    monkeypatch.setattr(trust_store, "MAX_REMARKS", 3)
    for content in (der(ONE) * 3, f"{BASE64}\n".encode() * 3, b"A" * 5001):
        with pytest.raises(CertificateInputError) as caught:
            read_store([("store", content)])
        assert "store_too_large" == caught.value.rule
    assert 3 == len(read_store([("store", BASE64.encode() + b"\n" + b"x\n" * 100)]).remarks)
