"""`handfast ca`: registration with and without proof, the listing, one CA, and what goes wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.support.command_line import CommandLine
from tests.support.own_ca import OwnCA
from tests.support.registry import SCOPE, ca_certificate, cause, certificate_id

from handfast.core.identity.records import AutoRegistrationStatus, CACertificateRecord, CACertificateStatus

ID = certificate_id(1)
DAY = dt.timedelta(days=1)


def own_ca(folder: Path, *, passphrase: bytes | None = None) -> OwnCA:
    """A CA that is valid today, in ca.pem and ca.key."""
    now = dt.datetime.now(dt.UTC)
    ca = OwnCA(not_before=now - DAY, not_after=now + 30 * DAY)
    folder.mkdir(exist_ok=True)
    (folder / "ca.pem").write_text(ca.pem)
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    (folder / "ca.key").write_bytes(
        ca.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    return ca


def registered(handfast: CommandLine, identifier: str) -> CACertificateRecord | None:
    return handfast.wait(handfast.store.ca_certificate(SCOPE, identifier))  # type: ignore[arg-type]


def insert(handfast: CommandLine, number: int = 1, *, days: float = 30, **changes: Any) -> None:
    record = ca_certificate(number, not_after=dt.datetime.now(dt.UTC) + days * DAY, **changes)
    handfast.wait(handfast.store.insert_ca_certificate(record, registration_code=None, subject_limit=99, cause=cause()))


# --- register


def test_the_ceremony_with_the_key_at_hand(handfast: CommandLine, tmp_path: Path) -> None:
    ca = own_ca(tmp_path / "own")
    files = [str(tmp_path / "own" / "ca.pem"), "--key", str(tmp_path / "own" / "ca.key")]
    assert [f"{ca.id} is registered, ACTIVE"] == handfast.ok("ca", "register", *files).lines
    found = registered(handfast, ca.id)
    assert found is not None
    assert ("ACTIVE", "DISABLE", "DEFAULT") == (found.status, found.auto_registration_status, found.mode)
    assert ["GET /registrationcode", "POST /cacertificate"] == handfast.asked
    assert "already registered" in handfast.refused("ca", "register", *files)


def test_inactive_auto_registering_and_with_a_passphrase(handfast: CommandLine, tmp_path: Path) -> None:
    ca = own_ca(tmp_path / "own", passphrase=b"open sesame")
    files = [str(tmp_path / "own" / "ca.pem"), "--key", str(tmp_path / "own" / "ca.key")]
    assert "is encrypted: give --passphrase-file" in handfast.refused("ca", "register", *files)
    (tmp_path / "passphrase").write_text("open sesame\nand more\n")
    files += ["--passphrase-file", str(tmp_path / "passphrase")]
    ran = handfast.ok("ca", "register", *files, "--inactive", "--auto-registration", "--json")
    assert (ca.id, "INACTIVE") == (ran.json["certificateId"], ran.json["status"])
    found = registered(handfast, ca.id)
    assert found is not None
    assert (CACertificateStatus.INACTIVE, AutoRegistrationStatus.ENABLE) == (
        found.status,
        found.auto_registration_status,
    )


def test_sni_only_needs_no_proof(handfast: CommandLine, tmp_path: Path) -> None:
    ca = own_ca(tmp_path / "own")
    handfast.ok("ca", "register", str(tmp_path / "own" / "ca.pem"), "--sni-only")
    found = registered(handfast, ca.id)
    assert found is not None
    assert "SNI_ONLY" == found.mode
    assert ["POST /cacertificate"] == handfast.asked


def test_offline_writes_what_must_be_signed_and_takes_back_what_was(handfast: CommandLine, tmp_path: Path) -> None:
    ca = own_ca(tmp_path / "own")
    there = tmp_path / "to sign"
    arguments = ["ca", "register", str(tmp_path / "own" / "ca.pem"), "--offline", str(there)]
    first = handfast.ok(*arguments)
    assert f"  sh {there}/sign.sh /path/to/ca.key" in first.lines
    assert registered(handfast, ca.id) is None
    code = handfast.wait(handfast.store.registration_code(SCOPE))
    assert code is not None
    now = dt.datetime.now(dt.UTC)
    (there / "verification.pem").write_text(ca.issue(code, not_before=now - DAY, not_after=now + DAY))
    assert [f"{ca.id} is registered, ACTIVE"] == handfast.ok(*arguments).lines
    assert registered(handfast, ca.id) is not None


def test_offline_as_json_names_the_folder(handfast: CommandLine, tmp_path: Path) -> None:
    own_ca(tmp_path / "own")
    ran = handfast.ok("ca", "register", str(tmp_path / "own" / "ca.pem"), "--offline", str(tmp_path / "s"), "--json")
    assert {"folder": str(tmp_path / "s"), "next": "sign.sh"} == ran.json


@pytest.mark.parametrize("options", [[], ["--key", "k", "--sni-only"], ["--offline", "d", "--key", "k"]])
def test_one_way_of_proving_is_given(handfast: CommandLine, tmp_path: Path, options: list[str]) -> None:
    own_ca(tmp_path / "own")
    ran = handfast("ca", "register", str(tmp_path / "own" / "ca.pem"), *options)
    assert (2, "handfast: give one of --key FILE, --offline DIR and --sni-only\n") == (ran.status, ran.err)


def test_what_cannot_be_read_is_told_before_anything_is_asked(handfast: CommandLine, tmp_path: Path) -> None:
    ca, other = own_ca(tmp_path / "own"), own_ca(tmp_path / "other")
    pem, key = str(tmp_path / "own" / "ca.pem"), str(tmp_path / "other" / "ca.key")
    assert ca.id != other.id
    assert "cannot be read: No such file" in handfast.refused("ca", "register", pem + "x", "--sni-only")
    assert "--passphrase-file needs --key" in handfast.refused(
        "ca", "register", pem, "--sni-only", "--passphrase-file", pem
    )
    assert [] == handfast.asked
    assert "is not the key of the CA certificate" in handfast.refused("ca", "register", pem, "--key", key)
    missing = ["--key", key, "--passphrase-file", str(tmp_path / "none")]
    assert "--passphrase-file" in handfast.refused("ca", "register", pem, *missing)
    assert registered(handfast, ca.id) is None


# --- list, show, deactivate


def test_an_empty_listing_says_so(handfast: CommandLine) -> None:
    assert ["no CA certificates"] == handfast.ok("ca", "list").lines
    assert [] == handfast.ok("ca", "list", "--json").json


def test_the_listing_is_by_expiry_and_asks_once(handfast: CommandLine) -> None:
    for number, days in ((1, 90), (2, -1), (3, 7)):
        insert(handfast, number, days=days)
    insert(handfast, 4, days=1, status=CACertificateStatus.ACTIVE)
    lines = handfast.ok("ca", "list").lines
    assert ["expires", "status", "mode", "auto-registration", "certificate", "id"] == lines[0].split()
    assert [certificate_id(n) for n in (2, 4, 3, 1)] == [line.strip() for line in lines[2::2]]
    assert ["GET /handfast/v1/certificates-by-expiry"] == handfast.asked
    (active,) = handfast.ok("ca", "list", "--status", "ACTIVE", "--json").json
    assert ("CA", certificate_id(4), "DISABLE") == (
        active["kind"],
        active["certificateId"],
        active["autoRegistrationStatus"],
    )
    lines = handfast.ok("ca", "list", "--limit", "3").lines
    assert "These are the first 3; there are more: --limit N shows N, --json all of them." == lines[-1]
    assert "expected one of ACTIVE, INACTIVE" in handfast.refused("ca", "list", "--status", "REVOKED")


def test_show(handfast: CommandLine) -> None:
    insert(handfast, status=CACertificateStatus.ACTIVE)
    facts = {line[:18].rstrip(): line[19:] for line in handfast.ok("ca", "show", ID).lines}
    assert ("ACTIVE", "DEFAULT", "DISABLE") == (facts["status"], facts["mode"], facts["auto-registration"])
    assert f"arn:aws:iot:us-east-1:{SCOPE.account}:cacert/{ID}" == facts["arn"]
    assert ID == handfast.ok("ca", "show", ID, "--json").json["certificateId"]


def test_deactivate_ends_auto_registration_too(handfast: CommandLine) -> None:
    insert(
        handfast,
        status=CACertificateStatus.ACTIVE,
        auto_registration_status=AutoRegistrationStatus.ENABLE,
    )
    assert [f"{ID} is INACTIVE"] == handfast.ok("ca", "deactivate", ID).lines
    found = registered(handfast, ID)
    assert found is not None
    assert ("INACTIVE", "DISABLE") == (found.status, found.auto_registration_status)
    assert {"certificateId": ID, "status": "INACTIVE"} == handfast.ok("ca", "deactivate", ID, "--json").json


@pytest.mark.parametrize("command", ["show", "deactivate"])
def test_an_unknown_ca_is_one_line_and_exit_1(handfast: CommandLine, command: str) -> None:
    ran = handfast("ca", command, ID)
    assert (1, "") == (ran.status, ran.out)
    (line,) = ran.err.splitlines()
    assert line.endswith(f"CA certificate {ID} does not exist in this account and region (ResourceNotFoundException)")
