"""What ends when, what hangs on it and what to do: of a PKI made at START, at other times, and amid a ceremony."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from tests.support.pki import START, RealEntropy, copied_pki

from handfast.errors import ConfigurationError
from handfast.keystore.file import FileKeyStore
from handfast.services import root_ceremony as ceremony
from handfast.services.authorities import WARN_INTERMEDIATE
from handfast.services.pki_folder import PkiFolder
from handfast.services.roots_plan import Entry, State, next_steps, plan

DAY = dt.timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> PkiFolder:
    return PkiFolder(copied_pki(tmp_path) / "pki")


def entries(folder: PkiFolder, now: dt.datetime = START, serves_cross: bool = False) -> dict[str, Entry]:
    return {each.name: each for each in plan(folder, serves_cross=serves_cross, now=now)}


def test_a_new_pki(folder: PkiFolder) -> None:
    found = entries(folder)
    assert {State.GOOD} == {each.state for each in found.values()}
    assert sorted(each.not_after for each in found.values()) == [each.not_after for each in found.values()]
    whole = START.replace(microsecond=0)
    rsa = found["intermediates/rsa-1"]
    assert (whole + 5 * 365 * DAY, whole + 3 * 365 * DAY) == (rsa.not_after, rsa.act_by)
    assert ("root-ca-1", ("RSA chain of us-east-1",)) == (rsa.issuer, rsa.carries)
    assert ("RSA chain of us-east-1", "new RSA chains") == found["root-ca-1"].carries
    assert whole + (25 - 7) * 365 * DAY == found["root-ca-1"].act_by
    assert ((), ()) == (found["root-ca-2"].carries, found["cross-root-ca-1"].carries)
    leaf = found["leaf us-east-1 ecdsa"]
    assert ("intermediates/ecdsa-1", True) == (leaf.issuer, leaf.automatic)
    steps = next_steps(list(found.values()))
    assert {
        "handfast roots request DIR --act intermediate-rsa --under 1",
        "handfast roots request DIR --act intermediate-ecdsa --under 3",
    } == {step.todo.partition(": ")[2] for step in steps[:2]}
    assert 1 == sum("--act legacy --act cross" in step.todo for step in steps), "one step for five certificates"
    assert not any("serve renews" in step.todo or "In reserve" in step.todo for step in steps)


@pytest.mark.parametrize("years", [0, 2, 3.5, 7, 8.5])
def test_what_is_due_is_what_a_request_would_ask_for(folder: PkiFolder, years: float) -> None:
    now = START + years * 365 * DAY
    named = {
        act
        for each in entries(folder, now).values()
        if each.state is not State.GOOD and "--act" in each.todo and each.role != "root"
        for act in ceremony.ACTS
        if f"--act {act}" in each.todo
    }
    assert set(ceremony.due(folder, now, WARN_INTERMEDIATE)) == named


def test_a_leaf_that_nobody_renewed(folder: PkiFolder) -> None:
    on_its_way = entries(folder, START + 250 * DAY)["leaf us-east-1 rsa"]
    assert (State.DUE, True) == (on_its_way.state, on_its_way.automatic)
    late = entries(folder, START + 330 * DAY)["leaf us-east-1 rsa"]
    assert (State.DUE, False) == (late.state, late.automatic)
    assert late.todo == next_steps(list(entries(folder, START + 330 * DAY).values()))[0].todo
    assert State.EXPIRED is entries(folder, START + 366 * DAY)["leaf us-east-1 rsa"].state


def test_a_request_that_waits(folder: PkiFolder, tmp_path: Path) -> None:
    online = FileKeyStore(folder.path, None, RealEntropy())
    ceremony.request(folder, online, tmp_path / "stick", ["intermediate-ecdsa"])
    found = entries(folder)
    assert "was requested" in found["intermediates/ecdsa-1"].todo
    assert "was requested" not in found["intermediates/rsa-1"].todo


def test_cross_certificates_carry_something_when_they_are_sent(folder: PkiFolder) -> None:
    found = entries(folder, serves_cross=True)
    assert "RSA chain of us-east-1 for devices with the legacy root alone" in found["cross-root-ca-1"].carries
    assert () == found["cross-root-ca-2"].carries
    assert ("4 cross-certificates, sent",) == found["legacy-root"].carries


def test_without_a_pki(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start `handfast serve` once"):
        plan(PkiFolder(tmp_path / "none"), serves_cross=False, now=START)
