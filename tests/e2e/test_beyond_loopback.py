"""
On an address that others reach, with encrypted keys: the API port speaks TLS with the same PKI, WebSockets with it,
metrics ask for a token, and a domain of the operator's own is stapled.
"""

from __future__ import annotations

import json
import queue
import re
import ssl
import time
import urllib.error
import urllib.request
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
NO_STAPLE = "OCSP response: no response sent"


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    secrets = tmp_path_factory.mktemp("secrets")
    given = ["--host", "0.0.0.0", "--ocsp-allow", "127.0.0.0/8"]
    for flag, secret in (("--metrics-token-file", "a secret token"), ("--key-passphrase-file", "nobody guesses it")):
        file = secrets / flag.strip("-")
        file.write_text(f"{secret}\n")
        file.chmod(0o600)
        given += [flag, str(file)]
    return given


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("reached") / "data"
    after_first_run(data_dir)
    running = start(data_dir, *flags)
    yield running
    assert 0 == running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(autouse=True)
def trusted(reached: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the operator of this machine has it: boto3 verifies the server by its roots, commands find the directory."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(reached.trust / "bundle.pem"))
    monkeypatch.setenv("HANDFAST_DATA_DIR", str(reached.data_dir))


def test_the_api_speaks_tls_and_the_command_line_follows(reached: Server, tmp_path: Path) -> None:
    assert reached.api.startswith("https://127.0.0.1:")
    assert reached.endpoint == reached.client().describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    context = ssl.create_default_context(cafile=str(reached.trust / "bundle.pem"))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{reached.api}/metrics", context=context, timeout=10)
    assert 401 == refused.value.code
    allowed = urllib.request.Request(f"{reached.api}/metrics", headers={"Authorization": "Bearer a secret token"})
    with urllib.request.urlopen(allowed, context=context, timeout=10) as answer:
        assert b"handfast_" in answer.read()
    reached.handfast("device", "create", "pump", cwd=tmp_path)
    assert "arrived" in reached.handfast("device", "try", "pump", cwd=tmp_path).stdout


def test_signed_websockets_at_the_api_port_over_tls(reached: Server) -> None:
    port = urlsplit(reached.api).port
    assert port is not None
    host = f"localhost:{port}"
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", reconnect_on_failure=False)
    got: queue.Queue[bytes] = queue.Queue()
    client.on_connect = lambda c, *_: c.subscribe("wss/reached", 1)
    client.on_subscribe = lambda c, *_: c.publish("wss/reached", b"hello", 1)
    client.on_message = lambda _c, _u, message: got.put(message.payload)
    client.tls_set_context(ssl.create_default_context(cafile=str(reached.trust / "bundle.pem")))
    client.ws_set_options(path=presigned(reached.credentials(), host))
    client.connect("localhost", port)
    client.loop_start()
    assert b"hello" == got.get(timeout=LIMIT_S)
    client.disconnect()
    client.loop_stop()
    with RawWebSocket.to_api(reached) as socket:
        assert 403 == socket.ask(upgrade("/mqtt", host))
        assert "Missing Authentication Token" == json.loads(socket.body)["message"]


def test_a_domain_is_stapled_from_a_live_responder_and_after_its_death(
    reached: Server, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its certificate is signed by a root; the private key is encrypted, and opened by the next start."""
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
        return served(reached, DOMAIN, None, "-status", "-CAfile", root, version)[1]

    with ca.responder(number=SERIAL) as url:
        leaf = tmp_path / "leaf.pem"
        leaf.write_bytes(ca.leaf_of_responder(url, DOMAIN, SERIAL).public_bytes(Encoding.PEM))
        voucher = told("import", "plant-root", "--cert", root)["serverCertificateArn"]
        own = told("import", "plant", "--cert", str(leaf), "--key", str(ca.folder / "leaf.key"), "--chain", root)
        (key,) = (reached.data_dir / "server-certificates").glob("*.key")
        assert b"ENCRYPTED" in key.read_bytes()
        reached.client().create_domain_configuration(
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
    reached.kill()
    again = start(reached.data_dir, *flags)
    reached.process, reached.ready = again.process, again.ready
    reached.clients.clear()
    found = stapling("unreachable")
    assert ("good", "ConnectionRefusedError") == (found["state"], found["detail"].partition(":")[0])
    assert "Cert Status: good" in handshake("-tls1_3"), "kept over the restart"
    assert 0 == run(["server-cert", "list"])
    shown = capsys.readouterr().out
    assert "plant: OCSP: stapled as good until " in shown
    assert f"; {url} was asked at " in shown
    reached.client().update_domain_configuration(
        domainConfigurationName="plant", serverCertificateConfig={"enableOCSPCheck": False}
    )
    assert NO_STAPLE in handshake("-tls1_3")
    assert all("stapling" not in each for each in told("list"))
