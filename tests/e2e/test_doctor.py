"""`handfast doctor`: for every step that can be made to fail it says which one, why, and what to do."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import io
import ipaddress
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from tests.support.device import Device, create_device, key_pem, private_key, self_signed, write
from tests.support.server import Server

from handfast.cli import doctor as command
from handfast.cli.main import run
from handfast.doctor import directory
from handfast.doctor.report import Report, State

CONNECT_AS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:Connect",
            "Resource": "arn:aws:iot:us-east-1:*:client/${iot:Connection.Thing.ThingName}",
        }
    ],
}


class Said(NamedTuple):
    """What the doctor said."""

    status: int
    out: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    @property
    def steps(self) -> dict[str, dict[str, str]]:
        return {step["name"]: step for step in self.json["steps"]}

    @property
    def states(self) -> dict[str, str]:
        return {name: step["state"] for name, step in self.steps.items()}

    @property
    def failed(self) -> dict[str, str]:
        """The first failing step."""
        assert 1 == self.status, self.out
        return self.steps[self.json["firstFailure"]]


class Doctor:
    """`handfast doctor` in this process, against the server's data directory."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __call__(self, *arguments: str, as_json: bool = True) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            data_dir = () if "--data-dir" in arguments else ("--data-dir", str(self.server.data_dir))
            status = run(["doctor", *arguments, *data_dir, *(["--json"] if as_json else [])])
        assert "" == err.getvalue()
        return Said(status, out.getvalue())

    def of(self, device: Device, *arguments: str, as_json: bool = True) -> Said:
        """On a device's way to `localhost`."""
        endpoint = () if "--endpoint" in arguments else ("--endpoint", "localhost")
        files = ("--cert", str(device.certificate), "--key", str(device.key))
        return self(*files, *endpoint, *arguments, as_json=as_json)


@pytest.fixture(scope="module")
def doctor(server: Server) -> Iterator[Doctor]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("iot_api", "handfast_api"):  # botocore takes longer to make a client than a run takes
            patch.setattr(command, name, functools.cache(getattr(command, name)))
        yield Doctor(server)


@pytest.fixture(scope="module")
def device(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A thing with a certificate that may connect under the thing's name."""
    return create_device(server, tmp_path_factory.mktemp("device"), document=CONNECT_AS, thing="doctored")


def resolving(monkeypatch: pytest.MonkeyPatch, name: str, address: str | None) -> None:
    """The name resolves to the address, or not at all."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == name and address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(address if host == name else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a port of its own, each connection handled by `serve`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


# --- all is well


def test_a_device_that_gets_in(doctor: Doctor, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = doctor.server.endpoint
    resolving(monkeypatch, endpoint, "127.0.0.1")
    said = doctor("--cert", str(device.certificate), "--key", str(device.key))
    assert 0 == said.status, said.out
    assert {"OK"} == set(said.states.values())
    expected = ["certificate", "validity", "private key", "roots", "DNS", "TCP", "TLS server", "TLS client"]
    assert [*expected, "MQTT CONNECT", "registry", "policy", "record"] == list(said.steps)
    assert "TLSv1.3" in said.steps["TLS server"]["saw"]
    assert "RSA chain" in said.steps["TLS server"]["saw"]
    assert f"SNI {endpoint}" in said.steps["TLS server"]["saw"]
    assert "client id doctored" in said.steps["MQTT CONNECT"]["saw"]
    assert "ALLOWED" in said.steps["policy"]["saw"]


def test_a_kit_brings_all_that_is_examined(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    resolving(monkeypatch, doctor.server.endpoint, None)
    assert 0 == run(["device", "create", "examined", "--data-dir", str(doctor.server.data_dir)])
    said = doctor("examined")
    assert 0 == said.status, said.out
    assert "client id examined" in said.steps["MQTT CONNECT"]["saw"]
    elsewhere = doctor("examined", "--data-dir", str(tmp_path / "none"))
    assert 0 == elsewhere.status, elsewhere.out
    assert "client id examined" in elsewhere.steps["MQTT CONNECT"]["saw"]
    assert 2 == run(["doctor", "examined", "--cert", "x"])
    assert 2 == run(["doctor", "absent"])
    refused, absent = capsys.readouterr().err.splitlines()
    assert "NAME and --cert were both given" in refused
    assert "absent/device.json cannot be read" in absent


def test_the_endpoint_that_does_not_resolve_here_gets_its_line_for_the_hosts_file(
    doctor: Doctor, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, doctor.server.endpoint, None)
    said = doctor("--cert", str(device.certificate), "--key", str(device.key), "--no-connect")
    assert 0 == said.status, said.out
    assert "WARN" == said.states["DNS"]
    assert f"127.0.0.1 {doctor.server.endpoint}" in said.steps["DNS"]["fix"]
    assert "MQTT CONNECT" not in said.steps


def test_a_person_is_told_in_words_and_no_secret(doctor: Doctor, device: Device) -> None:
    said = doctor.of(device, as_json=False)
    assert "Every step is passed" in said.out
    secret = "".join(device.key.read_text().splitlines()[1:-1])
    assert secret[:32] not in said.out.replace("\n", "")


def test_the_first_step_that_fails_is_bold() -> None:
    report = Report()
    report.add(command.Step(name="DNS", state=State.OK, saw="fine"))
    report.add(command.Step(name="TCP", state=State.FAIL, saw="\x1b[2J", why="closed", fix="open it"))
    lines = command.in_words(report, bold=True).splitlines()
    assert "OK    DNS  fine" == lines[0]
    assert lines[1].startswith("\x1b[1mFAIL  TCP  \\x1b[2J")
    assert lines[3].endswith("What to do: open it\x1b[0m")
    assert "The first step that fails is TCP: open it" == lines[4]


def test_lines_are_wrapped_on_a_terminal_alone() -> None:
    report = Report()
    report.add(command.Step(name="TCP", state=State.FAIL, saw="saw " * 40, why="closed " * 30, fix="open " * 40))
    assert max(len(line) for line in command.in_words(report).splitlines()) > 150
    told = command.in_words(report, wrap=True)
    assert max(len(line) for line in told.splitlines()) <= 100
    assert (40, 30, 80) == tuple(told.count(f"{word}") for word in ("saw", "closed", "open"))
    assert told.splitlines()[1].startswith(" " * 11 + "saw")


# --- files


def test_another_key(doctor: Doctor, device: Device, folder: Path) -> None:
    other = write(folder / "other.key", key_pem(private_key()))
    said = doctor("--cert", str(device.certificate), "--key", str(other), "--endpoint", "localhost")
    assert "private key" == said.failed["name"]
    assert "another key" in said.failed["saw"]
    assert "TLS server" in said.json["notExamined"]
    assert "OK" == said.states["registry"]


def test_an_encrypted_key_and_one_that_is_none(doctor: Doctor, device: Device, folder: Path) -> None:
    encrypted = private_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    for data, expected in ((encrypted, "is encrypted"), (device.certificate.read_bytes(), "is not a private key")):
        said = doctor("--cert", str(device.certificate), "--key", str(write(folder / "a.key", data)))
        assert expected in said.failed["saw"]


def test_no_such_certificate(doctor: Doctor, folder: Path) -> None:
    said = doctor("--cert", str(folder / "none.pem"), "--endpoint", "localhost")
    assert "certificate" == said.failed["name"]
    assert "No such file" in said.failed["saw"]


def test_an_expired_certificate(doctor: Doctor, folder: Path) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    made = self_signed(not_before=yesterday - dt.timedelta(days=9), not_after=yesterday)
    said = doctor.of(_files(folder, made, doctor.server))
    assert "validity" == said.failed["name"]
    assert "It expired at" in said.failed["why"]
    assert "FAIL" == said.states["MQTT CONNECT"]


def test_a_certificate_whose_key_is_too_weak(doctor: Doctor, folder: Path) -> None:
    said = doctor.of(_files(folder, self_signed(key=private_key("rsa1024")), doctor.server))
    assert "certificate" == said.failed["name"]
    assert "2048" in said.failed["why"]
    assert "FAIL" == said.states["TLS client"]
    assert "MQTT CONNECT" in said.json["notExamined"]


# --- registry and policy


def _files(folder: Path, made: tuple[bytes, bytes], server: Server) -> Device:
    certificate, key = write(folder / "a.pem", made[0]), write(folder / "a.key", made[1])
    return Device("a", "", "", certificate, key, server.trust / "bundle.pem")


def test_an_unregistered_certificate(doctor: Doctor, folder: Path) -> None:
    said = doctor.of(_files(folder, self_signed(), doctor.server), "--client-id", "stranger")
    assert "MQTT CONNECT" == said.failed["name"]
    assert "0x87" in said.failed["saw"]
    assert "is not registered" in said.steps["registry"]["why"]
    assert "CERTIFICATE_NOT_REGISTERED" in said.steps["record"]["saw"]
    assert "AWS logs DEVICE_CERTIFICATE_NOT_REGISTERED" in said.steps["record"]["saw"]


@pytest.mark.parametrize(("status", "fix"), [("INACTIVE", "--new-status ACTIVE"), ("REVOKED", "a new certificate")])
def test_a_certificate_that_is_not_active(doctor: Doctor, folder: Path, status: str, fix: str) -> None:
    made = create_device(doctor.server, folder)
    doctor.server.client().update_certificate(certificateId=made.certificate_id, newStatus=status)
    said = doctor.of(made)
    assert {"MQTT CONNECT", "registry", "record"} == {n for n, state in said.states.items() if state == "FAIL"}
    assert said.steps["registry"]["saw"].startswith(status)
    assert fix in said.steps["registry"]["fix"]
    assert f"DEVICE_CERTIFICATE_{status}" in said.steps["record"]["saw"]


def test_what_refused_a_device_before_it_was_let_in_is_no_warning(doctor: Doctor, folder: Path) -> None:
    made = create_device(doctor.server, folder, document=CONNECT_AS, thing="readmitted")
    for status, state in (("INACTIVE", "FAIL"), ("ACTIVE", "OK")):
        doctor.server.client().update_certificate(certificateId=made.certificate_id, newStatus=status)
        said = doctor.of(made)
        assert (state, state) == (said.states["MQTT CONNECT"], said.states["record"])
    assert said.steps["record"]["saw"].startswith("the device gets in now; it was refused last 2")
    assert "CERTIFICATE_INACTIVE" in said.steps["record"]["saw"]


def test_a_kit_that_leads_elsewhere_is_named(doctor: Doctor, device: Device) -> None:
    kit = device.certificate.with_name("device.json")
    port = doctor.server.mqtt_port
    try:
        for text, saw in (
            (f'{{"endpoint": "localhost", "ports": {{"mqtt": {port}}}}}', None),
            (
                '{"endpoint": "elsewhere", "ports": {"mqtt": 1}}',
                f"names elsewhere port 1; what is examined is localhost port {port}",
            ),
            ("{", "cannot be used (JSONDecodeError)"),
        ):
            kit.write_text(text)
            said = doctor.of(device)
            assert 0 == said.status, said.out
            assert ("kit" in said.states) == (saw is not None)
            assert saw is None or saw in said.steps["kit"]["saw"]
    finally:
        kit.unlink()


def test_no_policy(doctor: Doctor, folder: Path) -> None:
    said = doctor.of(create_device(doctor.server, folder, document=None))
    assert "FAIL" == said.states["policy"] == said.states["MQTT CONNECT"]
    assert "No policy is attached" in said.steps["policy"]["why"]
    assert "attach-policy" in said.steps["policy"]["fix"]


def test_the_wrong_client_id(doctor: Doctor, device: Device) -> None:
    said = doctor.of(device, "--client-id", "someone-else")
    assert "FAIL" == said.states["policy"] == said.states["MQTT CONNECT"]
    assert "client/someone-else: IMPLICIT_DENY" in said.steps["policy"]["saw"]
    assert "IMPLICIT_DENY" in said.steps["record"]["saw"]


# --- the way there


def test_the_wrong_root(doctor: Doctor, device: Device, folder: Path) -> None:
    root = write(folder / "root.pem", self_signed("another root")[0])
    said = doctor.of(device, "--root", str(root))
    assert "TLS server" == said.failed["name"]
    assert "does not lead to the roots" in said.failed["why"]
    assert "the server shows CN=" in said.failed["saw"]
    assert "handfast chain localhost" in said.failed["fix"]
    assert "OK" == said.states["policy"]


def test_the_wrong_name(doctor: Doctor, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "devices.example.com", "127.0.0.1")
    port = str(doctor.server.mqtt_port)
    said = doctor.of(device, "--endpoint", "devices.example.com", "--port", port, "--root", str(device.root))
    assert "TLS server" == said.failed["name"]
    assert "none of the server's names" in said.failed["why"]
    assert "localhost" in said.failed["saw"]
    assert ["MQTT CONNECT", "registry", "policy", "record"] == said.json["notExamined"][-4:]


def test_a_name_that_nobody_knows(doctor: Doctor, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "nowhere.example.com", None)
    said = doctor.of(device, "--endpoint", "nowhere.example.com", "--root", str(device.root))
    assert "DNS" == said.failed["name"]
    assert "handfast hosts" in said.failed["fix"]


def test_a_closed_port(doctor: Doctor, device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    said = doctor.of(device, "--port", port)
    assert "TCP" == said.failed["name"]
    assert "Nothing listens" in said.failed["why"]


def test_servers_that_do_not_speak_tls(doctor: Doctor, device: Device) -> None:
    said_http = doctor.of(device, "--port", doctor.server.api.rpartition(":")[2])
    assert "what answers is not TLS" == said_http.failed["saw"]
    with listening(lambda connection: connection.close()) as port:
        said = doctor.of(device, "--port", str(port))
    assert "TLS server" == said.failed["name"]
    held: list[socket.socket] = []
    with listening(lambda connection: held.append(connection.dup())) as port:
        said = doctor.of(device, "--port", str(port), "--timeout", "0.2")
    assert "no answer within 0.2 s" == said.failed["saw"]
    held[0].close()


def test_a_server_that_refuses_the_certificate_in_tls_or_says_nothing(
    doctor: Doctor, device: Device, folder: Path
) -> None:
    key = private_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "another server")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).add_extension(names, False)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    root = write(folder / "server.pem", certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(root, write(folder / "server.key", key_pem(key)))

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
                tls.recv(1024)
            except ssl.SSLError:  # what came behind is read, or a reset would overtake the alert
                with socket.socket(fileno=tls.detach()) as raw:
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(1024):
                        pass

    def ask(port: int) -> Said:
        where = ("--endpoint", "127.0.0.1", "--port", str(port), "--root", str(root))
        return doctor.of(device, *where, "--client-id", "a")

    with listening(serve) as port:
        said = ask(port)
        assert "MQTT CONNECT" == said.failed["name"]
        assert "closed without a CONNACK" in said.failed["saw"]
        assert "ECDSA chain of CN=another server" in said.steps["TLS server"]["saw"]
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(root)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.maximum_version = version
            said = ask(port)
            assert "TLS client" == said.failed["name"]
            assert "UNKNOWN_CA" in said.failed["saw"]


# --- the data directory


def test_the_directory_of_a_running_server(doctor: Doctor) -> None:
    said = doctor()
    assert 0 == said.status, said.out
    assert {"online keys", "root keys"} == {name for name, state in said.states.items() if state == "WARN"}
    assert "--key-passphrase-file" in said.steps["online keys"]["fix"]
    assert doctor.server.api in said.steps["server"]["saw"]
    assert {"roots", "intermediates", "device CA", "leaves", "clock", "disk", "format"} <= set(said.steps)


def test_a_directory_in_bad_health_without_a_server(doctor: Doctor, tmp_path: Path) -> None:
    data = tmp_path / "data"
    source = doctor.server.data_dir
    data.mkdir(mode=0o700)
    shutil.copytree(source / "pki", data / "pki", ignore=shutil.ignore_patterns("offline"))
    shutil.copy(source / "credentials", data)
    (data / "credentials").chmod(0o644)
    said = doctor("--data-dir", str(data))
    assert "directory" == said.failed["name"]
    assert "credentials has mode 0644" in said.failed["saw"]
    assert "none runs" in said.steps["server"]["saw"]
    assert "FAIL" == said.states["format"]
    assert "OK" == said.states["root keys"]
    assert "directory" == doctor("--data-dir", str(tmp_path / "none")).failed["name"]


def test_what_has_expired_and_a_clock_that_runs_behind(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(doctor.server.data_dir)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    def failed(now: dt.datetime) -> set[str]:
        report = Report()
        directory.examine(report, doctor.server.data_dir, now, server=None)
        return {step.name for step in report.steps if step.state is State.FAIL}

    now = dt.datetime.now(dt.UTC)
    assert {"disk", "clock"} == failed(now - dt.timedelta(days=1))
    assert {"disk", "leaves"} == failed(now + dt.timedelta(days=800))
    assert {"disk", "leaves", "intermediates", "device CA", "roots"} == failed(now + dt.timedelta(days=50 * 365))
