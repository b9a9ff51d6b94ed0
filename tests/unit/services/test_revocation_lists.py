"""Every revocation is in the list soon, for good, and the list's number never goes back."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.pki import START, MovableClock, certificate, key_of, openssl, pem

from handfast.ports import Change, ChangeKind
from handfast.ports.revocations import RevocationRecord
from handfast.services import revocation_lists as module
from handfast.services.backup_format import rule_of
from handfast.services.pki_folder import DEVICE_CA, ListIssuer, PkiFolder
from handfast.services.revocation_lists import RevocationLists
from handfast.telemetry.metrics import PrometheusMeter

DAY = dt.timedelta(days=1)
KEY = key_of("rsa2048")


@functools.cache
def device_ca() -> x509.Certificate:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return certificate("Device CA", key=KEY, ca=True, extensions=[usage])


@functools.cache
def device(number: int) -> x509.Certificate:
    return certificate(f"device {number}", issuer=device_ca(), issuer_key=KEY)


class Registry:
    """`ports.revocations.RevocationStore` over a list."""

    def __init__(self) -> None:
        self.records: list[RevocationRecord] = []

    def revoke(self, cert: x509.Certificate | str, reason: str = "unspecified") -> None:
        text = cert if isinstance(cert, str) else pem(cert)
        self.records.append(RevocationRecord(len(self.records) + 1, text, START, reason))

    async def revocations_after(self, sequence: int, limit: int) -> list[RevocationRecord]:
        return [each for each in self.records if each.sequence > sequence][:limit]


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = PkiFolder(folder / "pki")
        self.folder.path.mkdir(mode=0o700, exist_ok=True)
        self.registry = Registry()
        self.clock = MovableClock()
        self.issuers = [
            ListIssuer("rsa-1", certificate("M01", key=key_of("p256"), ca=True), key_of("p256")),
            ListIssuer(DEVICE_CA, device_ca(), KEY),
        ]
        self.started: list[RevocationLists] = []
        self.lists: RevocationLists

    async def start(self) -> World:
        """A server starts on what is on disk."""
        self.lists = RevocationLists(self.registry, self.folder, lambda: self.issuers, self.clock, PrometheusMeter())
        await self.lists.start()
        self.started.append(self.lists)
        return self

    def crl(self, name: str = DEVICE_CA) -> x509.CertificateRevocationList:
        der = self.lists.get(name)
        assert der is not None
        assert der == self.folder.list_of(name)  # on disk before anybody can have it
        return x509.load_der_x509_crl(der)

    def serials(self) -> list[int]:
        return [entry.serial_number for entry in self.crl()]

    def number(self, name: str = DEVICE_CA) -> int:
        return self.crl(name).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    async def announced(self) -> None:
        """A commit was announced, and a new list is there."""
        before = self.lists.get(DEVICE_CA)
        self.lists.changed([Change(ChangeKind.CERTIFICATE, None, "any")])
        async with asyncio.timeout(10):
            while self.lists.get(DEVICE_CA) == before:
                await asyncio.sleep(0.005)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "PACE_S", 0.05)
    made = World(tmp_path)
    yield made
    for each in made.started:
        await each.close()


async def test_a_first_start_makes_empty_lists_of_a_week(world: World, tmp_path: Path) -> None:
    await world.start()
    assert ([], 0) == (world.serials(), len(world.crl("rsa-1")))
    crl = world.crl()
    assert crl.next_update_utc == START.replace(microsecond=0) + 7 * DAY
    assert int(START.timestamp()) == world.number()
    assert world.lists.get("root-ca-1") is None
    for file in (tmp_path / "pki" / "crl").iterdir():
        assert 0o600 == stat.S_IMODE(file.stat().st_mode)
        assert rule_of(f"pki/crl/{file.name}") is not None


async def test_a_revocation_is_in_the_next_list_once_and_stays(world: World, tmp_path: Path) -> None:
    await world.start()
    world.registry.revoke(device(1), "keyCompromise")
    await world.announced()
    assert [device(1).serial_number] == world.serials()
    world.registry.revoke(device(1))  # in another region
    world.registry.revoke(device(2), "superseded")
    await world.announced()
    assert [device(1).serial_number, device(2).serial_number] == world.serials()
    (tmp_path / "ca.pem").write_text(pem(device_ca()))
    (tmp_path / "device.pem").write_text(pem(device(2)))
    (tmp_path / "other.pem").write_text(pem(device(3)))
    (tmp_path / "crl.pem").write_text(openssl("crl", "-inform", "DER", "-in", tmp_path / "pki/crl/device-ca-1.crl"))
    verify = ["verify", "-crl_check", "-attime", str(int(START.timestamp())), "-CAfile", tmp_path / "ca.pem"]
    verify += ["-CRLfile", tmp_path / "crl.pem"]
    assert "certificate revoked" in openssl(*verify, tmp_path / "device.pem", check=False)
    assert openssl(*verify, tmp_path / "other.pem").strip().endswith("OK")


async def test_what_the_ca_did_not_sign_is_not_in_it(world: World) -> None:
    twin = certificate("Device CA", key=key_of("p384"), ca=True)
    world.registry.revoke(certificate("forged", issuer=twin, issuer_key=key_of("p384")))
    world.registry.revoke("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    world.registry.revoke(device(1), "a reason of a later version")
    await world.start()
    assert [device(1).serial_number] == world.serials()
    assert 0 == len(next(iter(world.crl())).extensions)


async def test_no_list_is_made_where_nothing_is_new(world: World) -> None:
    world.registry.revoke(device(1))
    await world.start()
    first = world.lists.get(DEVICE_CA)
    world.lists.changed([Change(ChangeKind.CERTIFICATE, None, "any"), Change(ChangeKind.THING, None, "any")])
    world.clock.at += DAY / 2
    await world.start()
    assert first == world.lists.get(DEVICE_CA)
    world.clock.at += DAY
    await world.start()
    assert first != world.lists.get(DEVICE_CA)
    assert [device(1).serial_number] == world.serials()


async def test_the_number_grows_even_where_the_clock_goes_back(world: World) -> None:
    await world.start()
    first = world.number()
    world.clock.at -= 30 * DAY
    world.registry.revoke(device(1))
    await world.start()
    assert first + 1 == world.number()


def only_the_list(folder: Path) -> None:
    (folder / "device-ca-1.json").unlink()


def an_older_sidecar(folder: Path) -> None:
    (folder / "device-ca-1.json").write_text(json.dumps({"sha256": "0" * 64, "through": 1}))


def damage(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"damage")


def nothing(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize("kill", [only_the_list, an_older_sidecar, damage, nothing])
async def test_a_crash_or_a_lost_file_loses_no_revocation(
    world: World, tmp_path: Path, kill: Callable[[Path], None]
) -> None:
    world.registry.revoke(device(1))
    await world.start()
    number = world.number()
    await world.lists.close()
    kill(tmp_path / "pki" / "crl")
    world.registry.revoke(device(2))
    world.clock.at += dt.timedelta(seconds=5)
    await world.start()
    assert {device(1).serial_number, device(2).serial_number} == set(world.serials())
    assert world.number() > number


async def test_an_older_registry_takes_nothing_back(world: World) -> None:
    for number in (1, 2):
        world.registry.revoke(device(number))
    await world.start()
    world.registry = Registry()  # a backup was restored, the lists were not
    world.registry.revoke(device(3))
    await world.start()
    assert {device(number).serial_number for number in (1, 2, 3)} == set(world.serials())


async def test_lists_come_at_a_bounded_pace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE_S", 60.0)
    await world.start()
    world.registry.revoke(device(1))
    await world.announced()  # the first one at once
    first = world.lists.get(DEVICE_CA)
    for number in range(2, 6):
        world.registry.revoke(device(number))
        world.lists.changed([Change(ChangeKind.CERTIFICATE, None, "any")])
        await asyncio.sleep(0)
    assert first == world.lists.get(DEVICE_CA)


async def test_many_registrations_cause_one_look_at_the_registry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACE_S", 60.0)
    await world.start()
    looks = 0
    revocations_after = world.registry.revocations_after

    async def counted(*given: int) -> list[RevocationRecord]:
        nonlocal looks
        looks += 1
        return await revocations_after(*given)

    monkeypatch.setattr(world.registry, "revocations_after", counted)
    for _ in range(20):
        world.lists.changed([Change(ChangeKind.CERTIFICATE, None, "any")])
        for _ in range(5):
            await asyncio.sleep(0)
    assert 1 == looks


async def test_an_error_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.start()
    world.registry.revoke(device(1))
    failures = [OSError("disk full"), OSError("disk full")]
    write = world.folder.write_list

    def failing(name: str, der: bytes) -> None:
        if failures:
            raise failures.pop()
        write(name, der)

    monkeypatch.setattr(world.folder, "write_list", failing)
    await world.announced()
    assert [device(1).serial_number] == world.serials()
