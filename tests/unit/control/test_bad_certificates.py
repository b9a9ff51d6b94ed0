"""Every input of `tests/vectors/certificates/bad.json` through every operation that takes one: error and words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.blueprint import Blueprint, own_ca, request, signed_by_own_ca
from tests.support.ca_plane import code_of, device_issuer, register_ca
from tests.support.defects import DEFECTS, ODD, REQUESTS
from tests.support.registry import (
    Plane,
    make_plane,
    pem_id,
    sqlite_store,
    with_accounts,
)

from handfast.errors import CertificateValidationError, InvalidRequestError, ServiceError

TABLE = json.loads((Path(__file__).parents[2] / "vectors" / "certificates" / "bad.json").read_text(encoding="utf-8"))
REFUSED: list[dict[str, Any]] = [row for group in TABLE["refused"].values() for row in group]
ODDITIES: list[str] = [row["name"] for row in TABLE["oddities"]]


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """Two accounts; the CA of the blueprints is registered and ACTIVE in the first."""
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        plane = await make_plane(store, device_issuer())
        await register_ca(plane, own_ca().pem, set_as_active=True)
        yield plane


async def failures(
    rows: list[dict[str, Any]], expected: type[ServiceError], ask: Callable[[dict[str, Any]], Any]
) -> dict[str, str]:
    """What each row was answered, where that is not the error and the words that the table has."""
    wrong = {}
    for row in rows:
        try:
            wrong[row["name"]] = f"accepted: {await ask(row)}"
        except ServiceError as error:
            if type(error) is not expected or row["says"] not in str(error):
                wrong[row["name"]] = f"{type(error).__name__}: {error}"
    return wrong


async def records(plane: Plane) -> tuple[int, int]:
    certificates = await plane.call("ListCertificates", page_size=250)
    return len(certificates["certificates"]), len((await plane.call("ListCACertificates"))["certificates"])


@pytest.mark.parametrize("operation", ["RegisterCertificate", "RegisterCertificateWithoutCA"])
async def test_a_bad_certificate_is_not_registered(plane: Plane, operation: str) -> None:
    async def ask(row: dict[str, Any]) -> Any:
        return await plane.call(operation, certificate_pem=DEFECTS[row["name"]](signed_by_own_ca()).pem)

    assert {} == await failures(REFUSED, CertificateValidationError, ask)
    assert (0, 1) == await records(plane)


async def test_a_bad_ca_certificate_given_along_is_refused(plane: Plane) -> None:
    async def ask(row: dict[str, Any]) -> Any:
        return await plane.call(
            "RegisterCertificate",
            certificate_pem=signed_by_own_ca().pem,
            ca_certificate_pem=DEFECTS[row["name"]](own_ca()).pem,
        )

    rows = [row | {"says": ""} for row in REFUSED]  # what parses is not registered, which is said instead
    assert {} == await failures(rows, CertificateValidationError, ask)
    assert (0, 1) == await records(plane)


@pytest.mark.parametrize("mode", ["DEFAULT", "SNI_ONLY"])
async def test_a_bad_ca_is_not_registered(plane: Plane, mode: str) -> None:
    proof = signed_by_own_ca(await code_of(plane)).pem

    async def ask(row: dict[str, Any]) -> Any:
        more = {"verification_certificate": proof} if mode == "DEFAULT" else {}
        bad = DEFECTS[row["name"]](own_ca()).pem
        return await plane.call("RegisterCACertificate", ca_certificate=bad, certificate_mode=mode, **more)

    rows = [row for row in REFUSED if "ca" not in row]
    assert {} == await failures(rows, CertificateValidationError, ask)
    assert (0, 1) == await records(plane)


async def test_a_ca_is_registered_that_binds_itself_to_names(plane: Plane) -> None:
    names = [row["name"] for row in REFUSED if row.get("ca") == "accepted"]
    assert ["critical name constraints"] == names  # obeyed where it signed: tests/unit/pki/test_name_constraints.py
    ca = DEFECTS[names[0]](own_ca()).pem
    assert "certificate_id" in await plane.call("RegisterCACertificate", ca_certificate=ca, certificate_mode="SNI_ONLY")


async def test_a_bad_verification_certificate_proves_nothing(plane: Plane) -> None:
    code = await code_of(plane)

    async def ask(row: dict[str, Any]) -> Any:
        # A name that is spoiled is not the code any more, but is refused before that is looked at.
        return await register_ca(plane, own_ca().pem, proof=DEFECTS[row["name"]](signed_by_own_ca(code)).pem)

    rows = [row for row in REFUSED if "verification" not in row]
    assert {} == await failures(rows, CertificateValidationError, ask)
    assert (0, 1) == await records(plane)


async def test_the_key_of_a_verification_certificate_plays_no_part(plane: Plane) -> None:
    code = await code_of(plane)
    for row in REFUSED:
        if row.get("verification") == "accepted":
            proof = DEFECTS[row["name"]](signed_by_own_ca(code))
            answer = await register_ca(plane, own_ca().pem, proof=proof.pem)
            await plane.call("DeleteCACertificate", certificate_id=answer["certificate_id"])


async def test_a_bad_request_gets_no_certificate(plane: Plane) -> None:
    async def ask(row: dict[str, Any]) -> Any:
        defect = (DEFECTS | REQUESTS)[row["name"]]
        return await plane.call("CreateCertificateFromCsr", certificate_signing_request=defect(request()).pem)

    rows = [row for row in REFUSED if row.get("request")] + TABLE["refused_requests"]
    assert {} == await failures(rows, InvalidRequestError, ask)
    assert (0, 1) == await records(plane)


@pytest.mark.parametrize("name", ODDITIES)
async def test_what_is_odd_is_registered_with_and_without_its_ca(plane: Plane, name: str) -> None:
    def odd() -> Blueprint:
        made: Blueprint = ODD[name](signed_by_own_ca())
        return made

    for operation, mode in (("RegisterCertificate", "DEFAULT"), ("RegisterCertificateWithoutCA", "SNI_ONLY")):
        text = odd().pem
        answer = await plane.call(operation, certificate_pem=text)
        assert pem_id(text) == answer["certificate_id"]
        shown = await plane.call("DescribeCertificate", certificate_id=answer["certificate_id"])
        assert (text, mode) == (
            shown["certificate_description"]["certificate_pem"],
            shown["certificate_description"]["certificate_mode"],
        )
