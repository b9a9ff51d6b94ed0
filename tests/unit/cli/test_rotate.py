"""`handfast cert rotate`: what is on disk, whatever the server does, and what a person reads."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.support.registry import self_signed

from handfast.cli import rotate
from handfast.cli.call import Call
from handfast.cli.connection import CallFailed
from handfast.cli.rotate import deadline_s, time_left
from handfast.cli.successor import request_successor
from handfast.errors import ConfigurationError

OLD, NEW = "0a" * 32, "0b" * 32
NOW = dt.datetime.now(dt.UTC)


def rotation(**changes: Any) -> dict[str, Any]:
    return {
        "certificateId": OLD,
        "successorId": NEW,
        "state": "WAITING",
        "retireAction": "DEACTIVATE",
        "onDeadline": "RETIRE",
        "startDate": NOW,
        "deadline": NOW + dt.timedelta(days=7),
    } | changes


class FakeServer:
    """Both APIs. `failure`: raised by RotateCertificate, `made`: whether it was done all the same."""

    def __init__(self) -> None:
        self.old = self_signed("a lamp")
        self.failure: CallFailed | None = None
        self.made = True
        self.csr: str | None = None
        self.answers: list[Any] = []

    def rotate_certificate(self, **members: Any) -> dict[str, Any]:
        if self.made:
            self.csr = members["certificateSigningRequest"]
        if self.failure is not None:
            raise self.failure
        return {"certificateId": NEW, "certificatePem": "pem of the successor\n", "rotation": rotation()}

    def describe_rotation(self, **_: str) -> dict[str, Any]:
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)
        if self.csr is None:
            raise CallFailed("none", "ResourceNotFoundException")
        return rotation()

    def describe_certificate(self, **members: str) -> dict[str, Any]:
        pem = self.old
        if members["certificateId"] == NEW:
            # A certificate for the request's key, as the server would have made it.
            assert self.csr is not None
            pem = _signed(self.csr)
        return {"certificateDescription": {"certificatePem": pem}}


def _signed(csr_pem: str) -> str:
    request = x509.load_pem_x509_csr(csr_pem.encode())
    made = x509.CertificateBuilder(
        issuer_name=request.subject,
        subject_name=request.subject,
        public_key=request.public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=NOW + dt.timedelta(days=1),
    ).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()

    @contextlib.contextmanager
    def client(call: Call) -> Iterator[FakeServer]:
        yield fake

    monkeypatch.setattr(Call, "iot", client)
    monkeypatch.setattr(Call, "handfast", client)
    monkeypatch.setattr(rotate, "POLL_S", 0)
    return fake


def begin(folder: Path, **options: Any) -> Any:
    given: dict[str, Any] = {"csr_file": None, "key_kind": None, "options": {}}
    return request_successor(Call(), OLD, folder, **(given | options))


def test_the_request_is_for_the_old_subject_and_a_key_of_the_old_kind(server: FakeServer, tmp_path: Path) -> None:
    made = begin(tmp_path / "next")
    assert "pem of the successor\n" == (tmp_path / "next" / "certificate.pem").read_text()
    key = load_pem_private_key((tmp_path / "next" / "private.key").read_bytes(), None)
    assert server.csr is not None
    request = x509.load_pem_x509_csr(server.csr.encode())
    assert key.public_key() == request.public_key()
    assert x509.load_pem_x509_certificate(server.old.encode()).subject == request.subject
    assert [NEW, str(tmp_path / "next" / "certificate.pem"), str(tmp_path / "next" / "private.key")] == list(
        made.as_json().values()
    )


def test_another_kind_of_key_may_be_asked_for(server: FakeServer, tmp_path: Path) -> None:
    begin(tmp_path, key_kind="rsa2048")
    assert isinstance(load_pem_private_key((tmp_path / "private.key").read_bytes(), None), rsa.RSAPrivateKey)
    with pytest.raises(ConfigurationError, match="expected one of"):
        begin(tmp_path / "other", key_kind="dsa")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["certificate.pem", "private.key"])
def test_no_file_is_overwritten_and_the_server_is_not_asked(server: FakeServer, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        begin(tmp_path)
    assert server.csr is None
    assert [name] == [file.name for file in tmp_path.iterdir()]
    assert "mine" == (tmp_path / name).read_text()


def test_what_is_refused_leaves_nothing_behind_but_what_was_there(server: FakeServer, tmp_path: Path) -> None:
    server.failure, server.made = CallFailed("no", "CertificateStateException"), False
    with pytest.raises(CallFailed, match="no"):
        begin(tmp_path / "next")
    assert not (tmp_path / "next").exists()
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "root-ca.pem").write_text("root")
    with pytest.raises(CallFailed):
        begin(tmp_path / "kit")
    assert ["root-ca.pem"] == [file.name for file in (tmp_path / "kit").iterdir()]


def test_when_the_answer_is_lost_the_successor_is_known_by_its_key(server: FakeServer, tmp_path: Path) -> None:
    server.failure = CallFailed("did not answer")
    made = begin(tmp_path)
    assert NEW == made.certificate_id
    written = x509.load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
    key = load_pem_private_key((tmp_path / "private.key").read_bytes(), None)
    assert key.public_key() == written.public_key()


def test_when_nothing_is_known_the_key_is_kept_and_the_message_says_so(server: FakeServer, tmp_path: Path) -> None:
    server.failure, server.made = CallFailed("did not answer"), False
    with pytest.raises(CallFailed, match=r"not known: see 'handfast cert rotations'.*private\.key"):
        begin(tmp_path)
    assert ["private.key"] == [file.name for file in tmp_path.iterdir()]


def test_somebody_elses_rotation_is_not_taken_for_ones_own(server: FakeServer, tmp_path: Path) -> None:
    begin(tmp_path / "theirs")
    server.failure, server.made = CallFailed("is being rotated", "ResourceAlreadyExistsException"), False
    with pytest.raises(CallFailed, match="is being rotated"):
        begin(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_waiting_outlasts_a_server_that_is_away_and_ends_with_the_rotation(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [
        rotation(),
        CallFailed("did not answer"),
        ConfigurationError("no server runs on it"),
        rotation(),
        rotation(state="RETIRED", endedBy="CONNECTED", endDate=NOW),
    ]
    assert "CONNECTED" == rotate._wait(Call(), rotation())["endedBy"]
    assert "Waiting for the new certificate to connect; in 6d 23h the old one is retired" in capsys.readouterr().err
    server.answers = [CallFailed("disabled", "UnauthorizedException")]
    with pytest.raises(CallFailed, match="disabled"):
        rotate._wait(Call(), rotation())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "RETIRED", "endedBy": "CONNECTED"}, "is INACTIVE: the new certificate has connected"),
        (
            {"state": "RETIRED", "endedBy": "DEADLINE", "retireAction": "REVOKE"},
            "is REVOKED: the deadline has passed and the new certificate has not connected",
        ),
        ({"state": "CANCELLED", "endedBy": "DEADLINE"}, "stays as it is: the deadline has passed"),
        ({"state": "RETIRED", "endedBy": "CERTIFICATE_CHANGED"}, "is retired: the old certificate was taken out"),
    ],
)
def test_the_end_is_told_in_a_sentence(changes: dict[str, Any], told: str) -> None:
    assert f"{OLD} {told}" in rotate._ending(rotation(**changes))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("1w", 604800)]
)
def test_a_deadline_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert seconds == deadline_s(text)


@pytest.mark.parametrize("text", ["", "7", "d", "0s", "-1d", "1y", "366d", "53w", "1.5h", "٧d", "9" * 40 + "s"])
def test_any_other_deadline_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--deadline"):
        deadline_s(text)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-5, "0s"), (59.9, "59s"), (3552, "59m 12s"), (3600, "1h 0m"), (604799, "6d 23h")]
)
def test_the_time_left_is_shown_in_two_units(seconds: float, shown: str) -> None:
    assert shown == time_left(seconds)
