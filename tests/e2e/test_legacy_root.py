"""Devices that hold the legacy root: cross-certificates, and the legacy endpoint (iot:Data), as openssl sees them."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from awsiot import mqtt_connection_builder
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.device import Device, create_device
from tests.support.domains import served
from tests.support.mqtt import Client
from tests.support.raw import connect_packet, connect_tcp, read_all
from tests.support.server import Server, after_first_run, start

from handfast.cli.main import run

OFFERS = {
    ("rsa", "1.2"): ["-tls1_2", "-cipher", "aRSA"],
    ("rsa", "1.3"): ["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"],
    ("ecdsa", "1.2"): ["-tls1_2", "-cipher", "aECDSA"],
    # The legacy root is RSA: who trusts it must be able to verify its signature, whatever the leaf's kind.
    ("ecdsa", "1.3"): ["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256:rsa_pkcs1_sha256"],
}
OTHERWISE = "otherwise.localhost"
"""Who asks for this name and verifies both kinds gets the other one than elsewhere."""
STORES = {"root-ca-1": {"rsa"}, "root-ca-3": {"ecdsa"}, "legacy-root": {"rsa", "ecdsa"}}


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("crossing") / "data"
    after_first_run(data_dir)
    running = start(data_dir, "--serve-cross", "--legacy-endpoint", "--prefer-chain-for", f"{OTHERWISE}=ecdsa")
    yield running
    assert 0 == running.stop()


def s_client(
    server: Server, store: str, options: list[str], name: str | None = None
) -> tuple[bool, list[x509.Certificate]]:
    """Whether a client with this root alone verified the server by that name, and the chain that it was sent."""
    name = name or server.endpoint
    done = subprocess.run(
        [
            *["openssl", "s_client", "-connect", f"127.0.0.1:{server.mqtt_port}", "-showcerts", *options],
            *["-CAfile", str(server.trust / f"{store}.pem"), "-no-CApath", "-no-CAstore"],
            *["-verify_return_error", "-x509_strict", "-verify_hostname", name, "-servername", name],
        ],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
    )
    output = done.stdout + done.stderr
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", output, re.DOTALL)
    sent = [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    verified = "Verification: OK" in output and "verify error" not in output
    return verified, [cert for position, cert in enumerate(sent) if cert not in sent[:position]]


@pytest.mark.parametrize(("kind", "version"), list(OFFERS))
@pytest.mark.parametrize("store", list(STORES))
def test_each_root_alone(server: Server, crossing: Server, store: str, kind: str, version: str) -> None:
    verified, _ = s_client(server, store, OFFERS[kind, version])
    assert (kind in STORES[store] and store != "legacy-root") == verified
    verified, sent = s_client(crossing, store, OFFERS[kind, version])
    assert (kind in STORES[store]) == verified
    if sent and verified:
        assert 3 == len(sent)
        assert all(cert.subject != cert.issuer for cert in sent), "a root is never sent"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_who_verifies_ecdsa_alone_is_sent_no_signature_of_rsa(crossing: Server, version: str) -> None:
    """A stack without RSA may fail to parse what it need not look at (RFC 5246 §7.4.2, RFC 8446 §4.4.2.2)."""
    ecdsa = OFFERS["ecdsa", version][:1] + ["-sigalgs", "ecdsa_secp256r1_sha256"]
    verified, sent = s_client(crossing, "root-ca-3", [*ecdsa, *(["-cipher", "aECDSA"] if version == "1.2" else [])])
    assert (True, 2) == (verified, len(sent))
    verified, _ = s_client(crossing, "legacy-root", ecdsa)
    assert not verified


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_name_may_prefer_the_other_kind(crossing: Server, version: str) -> None:
    both = [f"-tls{version.replace('.', '_')}"]
    for name, offers, kind in (
        (crossing.endpoint, both, rsa.RSAPublicKey),
        (OTHERWISE, both, ec.EllipticCurvePublicKey),
        (OTHERWISE, OFFERS["rsa", version], rsa.RSAPublicKey),
    ):
        leaf, _ = served(crossing, name, None, *offers)
        assert leaf is not None
        assert isinstance(leaf.public_key(), kind), (name, offers)


# --- the legacy endpoint ------------------------------------------------------------------------------------------


def legacy_name(server: Server) -> str:
    return server.endpoint.replace("-ats.iot.", ".iot.")


def first_answer(server: Server, device: Device, name: str, version: int, root: str) -> bytes:
    """What CONNECT of that version is answered at an endpoint, by a client that trusts this root alone."""
    context = ssl.create_default_context(cafile=str(server.trust / f"{root}.pem"))
    context.load_cert_chain(str(device.certificate), str(device.key))
    with context.wrap_socket(connect_tcp(server), server_hostname=name) as sock:
        sock.sendall(connect_packet("lamp", version) + b"\xe0\x00")
        return read_all(sock)


def test_the_type_is_answered_where_the_endpoint_is_open(server: Server, crossing: Server) -> None:
    iot = crossing.client()
    assert legacy_name(crossing) == iot.describe_endpoint(endpointType="iot:Data")["endpointAddress"]
    assert legacy_name(crossing) == iot.describe_endpoint()["endpointAddress"]
    for more in ({}, {"endpointType": "iot:Data"}):
        with pytest.raises(ClientError, match=r"InvalidRequestException.*retired"):
            server.client().describe_endpoint(**more)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("store", ["legacy-root", "root-ca-1", "root-ca-3"])
def test_its_chain_hangs_on_the_legacy_root_alone(crossing: Server, store: str, version: str) -> None:
    verified, sent = s_client(crossing, store, OFFERS["rsa", version], legacy_name(crossing))
    assert (store == "legacy-root") == verified
    assert 2 == len(sent)
    assert sent[1].issuer.rfc4514_string().startswith("CN=Handfast Legacy Root")


def test_who_verifies_ecdsa_alone_is_not_served_there(crossing: Server) -> None:
    options = ["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"]
    assert [] == s_client(crossing, "root-ca-3", options, legacy_name(crossing))[1]
    assert "NO_COMMON_CIPHER" in {r["code"] for each in crossing.explain("127.0.0.1") for r in each["reasons"]}


def test_mqtt_5_is_not_served_there_and_who_comes_is_listed(crossing: Server, tmp_path: Path) -> None:
    staying, moved = (create_device(crossing, tmp_path / name) for name in ("staying", "moved"))
    name = legacy_name(crossing)
    assert b"\x20\x02\x00\x00" == first_answer(crossing, staying, name, 4, "legacy-root")
    answer = first_answer(crossing, moved, name, 5, "legacy-root")
    assert (0x20, 0x84) == (answer[0], answer[3]), "Unsupported Protocol Version"
    assert 0x00 == first_answer(crossing, moved, crossing.endpoint, 5, "bundle")[3]
    (refusal,) = [each for each in crossing.explain(moved.certificate_id) if each["stage"] == "protocol"]
    assert ["MQTT5_AT_LEGACY_ENDPOINT"] == [reason["code"] for reason in refusal["reasons"]]
    assert refusal["traceId"].encode() in answer
    assert name == refusal["sni"]
    assert "iot:Data-ATS" in refusal["reasons"][0]["fix"]
    listed = crossing.handfast("endpoint", "legacy", "--json", "--since", "1h", check=False)
    assert 1 == listed.returncode, "somebody is left"
    assert {staying.certificate_id, moved.certificate_id} == {row["certificateId"] for row in json.loads(listed.stdout)}
    quantum = json.loads(crossing.handfast("endpoint", "post-quantum", "--json").stdout)
    assert {staying.certificate_id, moved.certificate_id}.isdisjoint(row["certificateId"] for row in quantum)


def test_the_doctor_finds_it_and_says_that_it_takes_no_mqtt_5(
    crossing: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = create_device(crossing, tmp_path)
    files = ["--cert", str(device.certificate), "--key", str(device.key), "--data-dir", str(crossing.data_dir)]
    assert 0 == run(["doctor", *files, "--endpoint", legacy_name(crossing), "--json"])
    steps = {step["name"]: step for step in json.loads(capsys.readouterr().out)["steps"]}
    assert ("WARN", "OK", "WARN") == tuple(steps[name]["state"] for name in ("DNS", "TLS server", "MQTT CONNECT"))
    assert "with MQTT 3.1.1" in steps["MQTT CONNECT"]["fix"]


@pytest.mark.parametrize("service", ["credentials", "jobs"])
def test_endpoints_of_services_that_are_not_built_have_a_certificate_and_refuse(
    server: Server, tmp_path: Path, service: str
) -> None:
    device = create_device(server, tmp_path / "device")
    name = server.endpoint.replace("-ats.iot.", f".{service}.iot.")
    verified, _ = s_client(server, "root-ca-1", OFFERS["rsa", "1.3"], name)
    assert verified
    assert 0x87 == first_answer(server, device, name, 5, "bundle")[3]
    (refusal,) = server.explain(device.certificate_id)
    assert "ENDPOINT_SERVICE_NOT_BUILT" == refusal["reasons"][0]["code"]
    assert name == refusal["sni"]


# --- clients that cannot say which signatures they verify: their root and TLS version are all they have


class OneRoot(NamedTuple):
    """A client with `root` alone, and whether it verifies a server that does or does not send cross-certificates."""

    root: str
    version: str
    ecdsa: bool  # it offers an ECDSA suite only
    crossed: bool
    verified: bool


CASES = [
    OneRoot("root-ca-1", "1.2", ecdsa=False, crossed=False, verified=True),
    OneRoot("root-ca-1", "1.3", ecdsa=False, crossed=True, verified=True),
    OneRoot("root-ca-3", "1.2", ecdsa=True, crossed=False, verified=True),
    OneRoot("root-ca-3", "1.2", ecdsa=True, crossed=True, verified=True),
    OneRoot("root-ca-3", "1.2", ecdsa=False, crossed=False, verified=False),  # offers RSA, and RSA is preferred
    OneRoot("root-ca-3", "1.3", ecdsa=False, crossed=True, verified=False),
    OneRoot("legacy-root", "1.2", ecdsa=False, crossed=False, verified=False),
    OneRoot("legacy-root", "1.2", ecdsa=False, crossed=True, verified=True),
    OneRoot("legacy-root", "1.2", ecdsa=True, crossed=True, verified=True),
    OneRoot("legacy-root", "1.3", ecdsa=False, crossed=False, verified=False),
    OneRoot("legacy-root", "1.3", ecdsa=False, crossed=True, verified=True),
]
ECDSA_SUITE = "ECDHE-ECDSA-AES128-GCM-SHA256"
each = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(value) for value in case))


@dataclass(frozen=True)
class Plane:
    """A server and a device of its, for clients with one root."""

    server: Server
    device: Device

    @property
    def files(self) -> list[str]:
        return ["--cert", str(self.device.certificate), "--key", str(self.device.key)]

    def root(self, case: OneRoot) -> str:
        return str(self.server.trust / f"{case.root}.pem")


@pytest.fixture(scope="module")
def planes(server: Server, crossing: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Plane]:
    """By whether cross-certificates are sent."""
    folder = tmp_path_factory.mktemp("devices")
    return {crossed: Plane(to, create_device(to, folder)) for crossed, to in ((False, server), (True, crossing))}


@each
def test_curl(planes: dict[bool, Plane], case: OneRoot) -> None:
    plane = planes[case.crossed]
    options = [f"--tlsv{case.version}", "--tls-max", case.version, *(["--ciphers", ECDSA_SUITE] if case.ecdsa else [])]
    url = f"https://localhost:{plane.server.https_port}/topics/one-root"
    done = subprocess.run(
        ["curl", "-sS", "-m", "15", "--cacert", plane.root(case), *plane.files, *options]
        + ["-d", "x", "-w", "%{http_code}", "-o", "/dev/null", url],
        capture_output=True,
        text=True,
        timeout=20,
    )
    # 60: the peer's certificate cannot be authenticated with known CA certificates
    assert ((0, "200") if case.verified else (60, "000")) == (done.returncode, done.stdout), done.stderr


@each
def test_mosquitto(planes: dict[bool, Plane], case: OneRoot) -> None:
    plane = planes[case.crossed]
    options = ["--tls-version", f"tlsv{case.version}", *(["--ciphers", ECDSA_SUITE] if case.ecdsa else [])]
    where = ["-h", "localhost", "-p", str(plane.server.mqtt_port), "--cafile", plane.root(case)]
    done = subprocess.run(
        ["mosquitto_pub", *where, *plane.files, *options, "-t", "one-root", "-m", "x", "-q", "1", "-d"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    said = done.stdout + done.stderr
    assert case.verified == ("received PUBACK" in said), said
    assert case.verified != ("certificate verify failed" in said), said


@each
def test_paho(planes: dict[bool, Plane], case: OneRoot) -> None:
    plane = planes[case.crossed]
    context = ssl.create_default_context(cafile=plane.root(case))
    context.load_cert_chain(str(plane.device.certificate), str(plane.device.key))
    version = ssl.TLSVersion.TLSv1_2 if case.version == "1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    if case.ecdsa:
        context.set_ciphers(ECDSA_SUITE)
    with Client(plane.server, plane.device, context=context) as client:
        if case.verified:
            assert 0 == client.connect().value
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="unable to get"):
                client.connect()


@pytest.mark.parametrize("case", [CASES[0], CASES[7]], ids=lambda case: case.root)
def test_awsiotsdk(planes: dict[bool, Plane], case: OneRoot) -> None:
    """It chooses the version itself. Where it cannot verify it tells so after up to half a minute: not tried here."""
    plane = planes[case.crossed]
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="localhost",
        port=plane.server.mqtt_port,
        cert_filepath=str(plane.device.certificate),
        pri_key_filepath=str(plane.device.key),
        ca_filepath=plane.root(case),
        client_id=f"one-root-{uuid.uuid4().hex}",
    )
    assert {"session_present": False} == connection.connect().result(15)
    connection.disconnect().result(15)
