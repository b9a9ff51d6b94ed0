"""The device that the start screen speaks of: what it suggests works, whatever earlier starts left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.command_line import CommandLine
from tests.support.registry import SCOPE, cause, thing

from handfast.first_device import next_device

ENDPOINT, MQTT_PORT = f"abc-ats.iot.{SCOPE.region}.localhost", 1


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suggested(handfast: CommandLine, here: Path, *, port: int = MQTT_PORT, name: str = ENDPOINT) -> tuple[str, bool]:
    return handfast.wait(next_device(handfast.store, SCOPE, name, port, folder=here))


def leave_a_kit(folder: Path, thing_name: str) -> None:
    folder.mkdir()
    for file in ("certificate.pem", "private.key", "root-ca.pem"):
        (folder / file).touch()
    (folder / "device.json").write_text(
        f'{{"thingName": "{thing_name}", "clientId": "{thing_name}", "certificateId": "ab", "endpoint": "{ENDPOINT}",'
        f' "host": "localhost", "ports": {{"mqtt": {MQTT_PORT}, "https": 2}}, "region": "{SCOPE.region}"}}'
    )


def test_the_first_start_makes_hello_and_a_later_one_tries_it(handfast: CommandLine, here: Path) -> None:
    assert ("hello", False) == suggested(handfast, here)
    leave_a_kit(here / "hello", "hello")
    handfast.wait(handfast.store.create_thing(thing("hello"), cause()))
    assert ("hello", True) == suggested(handfast, here)


def test_what_would_be_refused_or_lead_elsewhere_is_passed_by(handfast: CommandLine, here: Path) -> None:
    leave_a_kit(here / "hello", "hello")
    assert ("hello-2", False) == suggested(handfast, here), "a kit whose thing is not in this registry"
    handfast.wait(handfast.store.create_thing(thing("hello"), cause()))
    assert ("hello-2", False) == suggested(handfast, here, port=9999)
    assert ("hello-2", False) == suggested(handfast, here, name="other.localhost")
    (here / "hello-2").touch()
    handfast.wait(handfast.store.create_thing(thing("hello-3"), cause()))
    assert ("hello-4", False) == suggested(handfast, here, port=9999)
