"""A server that others reach, its keys encrypted: signed WebSockets on its API port, and OCSP staples of a domain."""

from __future__ import annotations

import json
import queue
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.domains import served
from tests.support.ocsp import openssl_authority
from tests.support.server import Server, after_first_run, start
from tests.support.websocket import RawWebSocket, presigned, upgrade

from handfast.cli.main import run

LIMIT_S = 15
DOMAIN = "mqtt.plant.example"
SERIAL = 0x5EA1
NONE = "OCSP response: no response sent"
FLAGS = ("--host", "0.0.0.0", "--ocsp-allow", "127.0.0.0/8", "--key-passphrase-file")


@pytest.fixture(scope="module")
def passphrase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("passphrase") / "keys.txt"
    file.write_text("one that nobody guesses\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory, passphrase: Path) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("hardened") / "data"
    after_first_run(data_dir)
    running = start(data_dir, *FLAGS, str(passphrase))
    yield running
    assert 0 == running.stop()
    assert "Traceback" not in running.log.read_text()


def test_signed_websockets_at_the_api_port_over_tls(hardened: Server) -> None:
    port = urlsplit(hardened.api).port
    assert port is not None
    host = f"localhost:{port}"
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", reconnect_on_failure=False)
    got: queue.Queue[bytes] = queue.Queue()
    client.on_connect = lambda c, *_: c.subscribe("wss/hardened", 1)
    client.on_subscribe = lambda c, *_: c.publish("wss/hardened", b"hello", 1)
    client.on_message = lambda _c, _u, message: got.put(message.payload)
    client.tls_set_context(ssl.create_default_context(cafile=str(hardened.trust / "bundle.pem")))
    client.ws_set_options(path=presigned(hardened.credentials(), host))
    client.connect("localhost", port)
    client.loop_start()
    assert b"hello" == got.get(timeout=LIMIT_S)
    client.disconnect()
    client.loop_stop()
    with RawWebSocket.to_api(hardened) as socket:
        assert 403 == socket.ask(upgrade("/mqtt", host))
        assert "Missing Authentication Token" == json.loads(socket.body)["message"]


def test_a_domain_is_stapled_from_a_live_responder_and_after_its_death(
    hardened: Server,
    passphrase: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its certificate is signed by a root; the private key is encrypted, and opened by the next start."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(hardened.trust / "bundle.pem"))
    monkeypatch.setenv("HANDFAST_DATA_DIR", str(hardened.data_dir))
    ca = openssl_authority()
    root = str(ca.folder / "ca.pem")

    def told(*words: str) -> Any:
        assert 0 == run(["server-cert", *words, "--json"])
        return json.loads(capsys.readouterr().out)

    def stapling(result: str) -> dict[str, Any]:
        """How it stands once the responder was asked, and that ended so."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            (found,) = (each["stapling"] for each in told("list") if each["name"] == "plant")
            if found.get("result") == result:
                return dict(found)
        raise AssertionError(found)

    def handshake(version: str) -> str:
        return served(hardened, DOMAIN, None, "-status", "-CAfile", root, version)[1]

    with ca.responder(number=SERIAL) as url:
        leaf = tmp_path / "leaf.pem"
        leaf.write_bytes(ca.leaf_of_responder(url, DOMAIN, SERIAL).public_bytes(Encoding.PEM))
        voucher = told("import", "plant-root", "--cert", root)["serverCertificateArn"]
        own = told("import", "plant", "--cert", str(leaf), "--key", str(ca.folder / "leaf.key"), "--chain", root)
        (key,) = (hardened.data_dir / "server-certificates").glob("*.key")
        assert b"ENCRYPTED" in key.read_bytes()
        hardened.client().create_domain_configuration(
            domainConfigurationName="plant",
            domainName=DOMAIN,
            serverCertificateArns=[own["serverCertificateArn"]],
            validationCertificateArn=voucher,
            serverCertificateConfig={"enableOCSPCheck": True},
        )
        found = stapling("good")
        assert ("good", url) == (found["state"], found["responder"])
        for version in ("-tls1_2", "-tls1_3"):
            output = handshake(version)
            assert "Cert Status: good" in output
            assert "Verification: OK" in output
            assert 1 == len(re.findall(r"^ \d s:", output, re.MULTILINE)), "the root is not sent"
    hardened.kill()
    again = start(hardened.data_dir, *FLAGS, str(passphrase))
    hardened.process, hardened.ready = again.process, again.ready
    hardened.clients.clear()
    assert "Cert Status: good" in handshake("-tls1_3")
    found = stapling("unreachable")
    assert ("good", "ConnectionRefusedError") == (found["state"], found["detail"].partition(":")[0])
    assert 0 == run(["server-cert", "list"])
    shown = capsys.readouterr().out
    assert "plant: OCSP: stapled as good until " in shown
    assert f"; {url} was asked at " in shown
    hardened.client().update_domain_configuration(
        domainConfigurationName="plant", serverCertificateConfig={"enableOCSPCheck": False}
    )
    assert NONE in handshake("-tls1_3")
    assert all("stapling" not in each for each in told("list"))
