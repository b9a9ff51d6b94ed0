"""docs/rollover.md, run as it stands: clients that hold one root alone, and none of them goes dark."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.support import server as servers
from tests.support.device import Device, create_device
from tests.support.mqtt import Client
from tests.support.server import Server, after_first_run, start
from tests.support.strict import operator

from handfast.cli.main import run
from handfast.services.pki_folder import PkiFolder

RUNBOOK = Path(__file__).parents[2] / "docs" / "rollover.md"
CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that sends cross-certificates and prefers ECDSA, with the root keys at hand."""
    data_dir = tmp_path_factory.mktemp("rollover") / "data"
    after_first_run(data_dir)
    running = start(data_dir, "--serve-cross", "--prefer-chain", "ecdsa")
    yield running
    assert 0 == running.stop()
    assert "Traceback" not in running.log.read_text()


def passphrase() -> str:
    """Of the root keys, as the first run printed it."""
    assert servers.shared_folder is not None
    log = (servers.shared_folder / "after-first-run" / "under-way.log").read_text()
    found = re.search(r"^  ((?:[a-z2-7]{4}-){7}[a-z2-7]{4})$", log, re.MULTILINE)
    assert found is not None
    return found[1]


def connects(plane: Server, device: Device, root: Path, *options: str, name: str | None = None) -> bool:
    """One attempt of openssl with this root alone: whether it verified the server and went on to speak MQTT."""
    done = subprocess.run(
        [
            *["openssl", "s_client", "-connect", f"127.0.0.1:{plane.mqtt_port}", "-quiet", *options],
            *["-CAfile", str(root), "-no-CApath", "-no-CAstore", "-verify_return_error"],
            *["-verify_hostname", name or "localhost", "-servername", name or "localhost"],
            *["-cert", str(device.certificate), "-key", str(device.key)],
        ],
        input=CONNECT + b"\xe0\x00",  # and DISCONNECT: the server closes, and openssl ends
        capture_output=True,
        timeout=20,
    )
    return done.stdout.startswith(b"\x20\x02\x00\x00")


def goes_without_a_word(plane: Server) -> None:
    """Reads the server's certificates and is gone."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="silent.localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with socket.create_connection(("127.0.0.1", plane.mqtt_port), timeout=10) as raw:
        raw.sendall(outgoing.read())
        assert raw.recv(65536)


def promotions(plane: Server) -> int:
    """How many the audit has."""
    events = operator(plane).list_audit_events(accountId="operator", kinds=["server_roots"], maxResults=50)["events"]
    return sum(each["operation"] == "PromoteRoot" for each in events)


class Walk:
    def __init__(self, plane: Server, folder: Path) -> None:
        self.plane = plane
        self.old, self.new, self.legacy, self.twin = (create_device(plane, folder) for _ in range(4))
        kept = folder / "roots"
        kept.mkdir()
        for name in ("root-ca-3", "legacy-root"):
            shutil.copy(plane.trust / f"{name}.pem", kept)
        self.kept = kept
        self.live = Client(plane, self.old)
        assert not self.live.connect().is_failure
        self.live.subscribe("walk")

    @property
    def root_3(self) -> Path:
        return self.kept / "root-ca-3.pem"

    @property
    def root_5(self) -> Path:
        return self.plane.trust / "root-ca-5.pem"

    @property
    def legacy_root(self) -> Path:
        return self.kept / "legacy-root.pem"

    def all_connect(self) -> None:
        assert connects(self.plane, self.old, self.root_3, "-tls1_2")
        assert connects(self.plane, self.new, self.root_5)
        assert connects(self.plane, self.legacy, self.legacy_root)

    def report(self) -> Any:
        return operator(self.plane).describe_rehearsal()

    def after_step(self, line: str) -> None:
        """What holds when a line of the runbook was carried out."""
        plane = self.plane
        if "--name" in line:
            assert connects(plane, self.old, self.root_3, name="canary.localhost")
            assert [self.old.certificate_id] == [each["certificateId"] for each in self.report()["verified"]]
        elif line.startswith("handfast roots rehearse start --share"):
            for device, root in ((self.old, self.root_3), (self.new, self.root_5), (self.legacy, self.legacy_root)):
                assert connects(plane, device, root), "each of them verifies the bridge"
            context = ssl.create_default_context(cafile=str(self.root_5))
            context.load_cert_chain(self.twin.certificate, self.twin.key)
            paho = Client(plane, self.twin, context=context)
            assert not paho.connect().is_failure
            paho.raw.disconnect()
            paho.raw.loop_stop()
            goes_without_a_word(plane)
            found = self.report()
            assert 4 == found["verifiedCount"]
            (silent,) = found["wouldGoDark"]
            assert ("unseen", "closed", "silent.localhost") == (
                silent["certainty"],
                silent["how"],
                silent["serverName"],
            )
        elif "--alone --kind" in line:
            self.rehearse_alone()
        elif line == "handfast roots promote 5":
            self.all_connect()
            noted = promotions(plane)
            assert not operator(plane).promote_root(rootNumber=5, alone=False)["changed"]
            assert noted == promotions(plane), "what changes nothing is not noted"
            mosquitto = subprocess.run(
                [
                    *["mosquitto_pub", "-h", "localhost", "-p", str(plane.mqtt_port), "-t", "walk", "-m", "still here"],
                    *["-q", "1", "--cafile", self.root_5, "--cert", self.new.certificate, "--key", self.new.key],
                ],
                timeout=20,
            )
            assert 0 == mosquitto.returncode
            assert b"still here" == self.live.messages.get(timeout=10).payload, "a connection of before is open yet"

    def rehearse_alone(self) -> None:
        """Who holds the new root verifies it; who does not fails once, is back at once, and is named."""
        plane = self.plane
        assert connects(plane, self.new, self.root_5)
        assert not connects(plane, self.old, self.root_3), "TLS 1.3: an encrypted alert"
        assert connects(plane, self.old, self.root_3), "the next attempt gets the old chain"
        found = self.report()
        assert [self.new.certificate_id] == [each["certificateId"] for each in found["verified"]]
        (dark,) = found["wouldGoDark"]
        assert ("probable", "alert", "unknown_ca") == (dark["certainty"], dark["how"], dark["alert"])
        assert [self.old.certificate_id] == [each["certificateId"] for each in dark["candidates"]]
        assert connects(plane, self.twin, self.root_3), "another one behind the same address does not fail first"
        (dark,) = self.report()["wouldGoDark"]
        assert "ambiguous" == dark["certainty"]
        assert {self.old.certificate_id, self.twin.certificate_id} == {
            each["certificateId"] for each in dark["candidates"]
        }
        assert not connects(plane, self.legacy, self.legacy_root, "-tls1_2", "-cipher", "aECDSA")
        assert connects(plane, self.legacy, self.legacy_root, "-tls1_2", "-cipher", "aECDSA")
        dark = self.report()["wouldGoDark"][1]
        assert ("probable", "unknown_ca") == (dark["certainty"], dark["alert"])
        assert [self.legacy.certificate_id] == [each["certificateId"] for each in dark["candidates"]]


def test_the_runbook(
    plane: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = Walk(plane, tmp_path / "devices")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDFAST_DATA_DIR", str(plane.data_dir))
    shutil.copy(walk.root_3, "old-device.pem")
    Path("root-passphrase.txt").write_text(passphrase())
    Path("root-passphrase.txt").chmod(0o600)
    lines = [line.strip() for line in RUNBOOK.read_text().splitlines() if line.startswith("    handfast ")]
    assert 15 == len(lines)
    for line in lines:
        # Every connection is sampled here: one in a hundred would be too few to see anything.
        words = shlex.split(line.replace("--share 1 ", "--share 100 "))[1:]
        if line == "handfast roots retire 3":
            assert 1 == run(words)
            said = capsys.readouterr().out
            assert walk.old.certificate_id in said
            assert walk.legacy.certificate_id in said
            operator(plane).start_rehearsal(share=100, alone=True, kinds=["ecdsa"])
            for device in (walk.old, walk.twin, walk.legacy):
                assert connects(plane, device, walk.root_5), "it was updated"
            operator(plane).stop_rehearsal()
        status = run(words)
        assert 0 == status, f"{line}\n{capsys.readouterr()}"
        walk.after_step(line)
    assert not (plane.trust / "root-ca-3.pem").exists()
    assert connects(plane, walk.new, walk.root_5)
    walk.live.raw.publish("walk", "to the end", 1)
    assert b"to the end" == walk.live.messages.get(timeout=10).payload
    walk.live.raw.disconnect()
    walk.live.raw.loop_stop()
    with urllib.request.urlopen(f"{plane.api}/metrics", timeout=10) as answer:
        measured = answer.read().decode()
    assert "handfast_rehearsal_running 0.0" in measured
    assert re.search(r'^handfast_rehearsal_connections_total\{outcome="alert"\} [1-9]', measured, re.MULTILINE)
    assert re.search(r'^handfast_rehearsal_connections_total\{outcome="verified"\} [1-9]', measured, re.MULTILINE)
    events = operator(plane).list_audit_events(accountId="operator", kinds=["server_roots"], maxResults=50)["events"]
    assert {"TakeUpRoots", "StartRehearsal", "StopRehearsal", "PromoteRoot", "RetireRoot"} <= {
        each["operation"] for each in events
    }


def test_killed_in_the_middle_of_a_promotion(plane: Server, tmp_path: Path) -> None:
    """Killed the moment that it begins to write, the server has the old chain or the new one, and a promotion works."""
    device = create_device(plane, tmp_path)
    running = operator(plane)
    running.start_rehearsal(share=100, alone=True, kinds=["ecdsa"])
    folder = PkiFolder(plane.data_dir / "pki")
    before = folder.served("ecdsa")
    wanted = {"rootNumber": 5, "alone": before.bridged}
    written = folder.path.stat().st_mtime_ns

    def promote() -> None:
        with contextlib.suppress(BotoCoreError, ClientError):
            running.promote_root(**wanted)

    asking = threading.Thread(target=promote, daemon=True)
    asking.start()
    deadline = time.monotonic() + 15
    while folder.path.stat().st_mtime_ns == written:  # until a file of it is there, under whatever name
        assert time.monotonic() < deadline
    plane.kill()
    after = folder.served("ecdsa")
    assert after in (before, before._replace(bridged=not before.bridged))
    again = start(plane.data_dir, "--serve-cross", "--prefer-chain", "ecdsa")
    plane.process, plane.ready = again.process, again.ready
    plane.clients.clear()
    asking.join(15)
    assert connects(plane, device, plane.trust / "root-ca-5.pem")
    found = operator(plane).describe_rehearsal()
    assert not found["running"]
    assert found["endReason"] in ("the server was restarted", "root-ca-5 was promoted")
    assert (after == before) == operator(plane).promote_root(**wanted)["changed"]
    assert connects(plane, device, plane.trust / "root-ca-5.pem")
