"""Device kits: files and modes, what is never overwritten, and what is taken back."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from handfast.cli.connection import CallFailed, ServerAddress
from handfast.cli.first_message import _why
from handfast.cli.kit import Kit, create_kit, default_policy, policy_name
from handfast.core.mqtt.packets import ConnAck
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code
from handfast.errors import ConfigurationError

CERTIFICATE_ID = "ab" * 32
ENDPOINT = "abc-ats.iot.us-east-1.localhost"
ARN = "arn:aws:iot:us-east-1:123456789012"


class NotFound(Exception):
    """The client's ResourceNotFoundException."""


class FakeIot:
    """The control plane as a kit uses it: remembers the calls, fails where told to."""

    class exceptions:  # noqa: N801  as botocore names it
        ResourceNotFoundException = NotFound

    def __init__(self, *, things: tuple[str, ...] = (), fail: str = "") -> None:
        self.things = set(things)
        self.fail = fail
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**given: Any) -> dict[str, Any]:
            self.calls.append((operation, given))
            if operation == self.fail:
                raise CallFailed(f"{operation} was refused", "Nope")
            if operation == "describe_thing" and given["thingName"] not in self.things:
                raise NotFound
            return {
                "describe_endpoint": {"endpointAddress": ENDPOINT},
                "create_thing": {"thingArn": f"{ARN}:thing/{given.get('thingName')}"},
                "create_certificate_from_csr": {
                    "certificateId": CERTIFICATE_ID,
                    "certificateArn": f"{ARN}:cert/{CERTIFICATE_ID}",
                    "certificatePem": "-----BEGIN CERTIFICATE-----\n",
                },
            }.get(operation, {})

        return call

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def given(self, operation: str) -> dict[str, Any]:
        return next(given for name, given in self.calls if name == operation)


@pytest.fixture
def server(tmp_path: Path) -> ServerAddress:
    trust = tmp_path / "trust"
    trust.mkdir()
    (trust / "bundle.pem").write_text("-----BEGIN CERTIFICATE-----\nroots\n")
    return ServerAddress(
        api="http://127.0.0.1:8080",
        region="us-east-1",
        host="127.0.0.1",
        mqtt_port=18883,
        https_port=18443,
        endpoint=ENDPOINT,
        trust_dir=trust,
        access_key_id="AKIA",
        secret="s",
    )


def use(monkeypatch: pytest.MonkeyPatch, iot: FakeIot) -> FakeIot:
    monkeypatch.setattr("handfast.cli.kit.iot_api", lambda server: iot)
    monkeypatch.setattr("handfast.cli.connection.resolves", lambda name: False)
    return iot


def test_a_kit_has_exactly_its_files_with_their_modes(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakeIot())
    folder = tmp_path / "pump-1"
    kit = create_kit(server, "pump-1", folder)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in folder.iterdir()}
    assert {"certificate.pem", "private.key", "root-ca.pem", "device.json", "README.txt"} == set(modes)
    assert 0o600 == stat.S_IMODE((folder / "private.key").stat().st_mode)
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert "-----BEGIN CERTIFICATE-----\nroots\n" == (folder / "root-ca.pem").read_text()
    facts = json.loads((folder / "device.json").read_text())
    assert (ENDPOINT, {"mqtt": 18883, "https": 18443}, "pump-1", CERTIFICATE_ID) == (
        facts["endpoint"],
        facts["ports"],
        facts["clientId"],
        facts["certificateId"],
    )
    assert kit == Kit.read(folder)
    assert ["pump-1", "trust"] == sorted(path.name for path in tmp_path.iterdir())


def test_a_kit_names_the_port_of_every_protocol_where_there_is_one(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakeIot())
    kit = create_kit(dataclasses.replace(server, alpn_port=10443), "d", tmp_path / "d")
    facts = json.loads((tmp_path / "d" / "device.json").read_text())
    assert {"mqtt": 18883, "https": 18443, "alpn": 10443} == facts["ports"]
    assert kit == Kit.read(tmp_path / "d")
    assert "port 10443, ALPN x-amzn-mqtt-ca for MQTT" in (tmp_path / "d" / "README.txt").read_text()


@pytest.mark.parametrize(("kind", "size"), [("p256", 256), ("p384", 384), ("rsa2048", 2048)])
def test_the_key_is_made_here_and_only_its_request_travels(
    kind: str, size: int, server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot())
    create_kit(server, "d", tmp_path / "d", key_kind=kind)
    key = load_pem_private_key((tmp_path / "d" / "private.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert size == key.key_size
    csr = x509.load_pem_x509_csr(iot.given("create_certificate_from_csr")["certificateSigningRequest"].encode("ascii"))
    assert key.public_key() == csr.public_key()
    assert csr.is_signature_valid
    assert "PRIVATE KEY" not in repr(iot.calls)


def test_with_a_csr_there_is_no_private_key(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot())
    (tmp_path / "d.csr").write_text("-----BEGIN CERTIFICATE REQUEST-----\n")
    create_kit(server, "d", tmp_path / "d", csr_file=tmp_path / "d.csr")
    assert not (tmp_path / "d" / "private.key").exists()
    assert (
        "-----BEGIN CERTIFICATE REQUEST-----\n" == iot.given("create_certificate_from_csr")["certificateSigningRequest"]
    )
    assert "put the key that signed the CSR" in (tmp_path / "d" / "README.txt").read_text()


def test_the_default_policy_connects_as_the_thing_and_speaks_below_its_name() -> None:
    document = json.loads(default_policy(ARN, "pump-1"))
    allowed = {statement["Action"]: statement["Resource"] for statement in document["Statement"]}
    assert {
        "iot:Connect": f"{ARN}:client/${{iot:Connection.Thing.ThingName}}",
        "iot:Publish": f"{ARN}:topic/pump-1/*",
        "iot:Receive": f"{ARN}:topic/pump-1/*",
        "iot:Subscribe": f"{ARN}:topicfilter/pump-1/*",
    } == allowed


def test_a_policy_of_the_users_is_sent_as_it_is(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot())
    (tmp_path / "p.json").write_text('{"x": 1}')
    create_kit(server, "d", tmp_path / "d", policy_file=tmp_path / "p.json")
    assert '{"x": 1}' == iot.given("create_policy")["policyDocument"]


def test_policy_names_are_legal_and_differ_where_things_differ() -> None:
    names = ["a", "a:b", "a_b", "a-b", "x" * 128, "x" * 127 + ":"]
    policies = [policy_name(name) for name in names]
    assert len(set(policies)) == len(names)
    assert all(len(policy) <= 128 and ":" not in policy for policy in policies)


def test_an_existing_folder_is_never_touched(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot())
    (tmp_path / "d").mkdir()
    with pytest.raises(ConfigurationError, match="never overwritten"):
        create_kit(server, "d", tmp_path / "d")
    assert [] == iot.calls
    assert [] == list((tmp_path / "d").iterdir())


def test_an_existing_thing_is_never_touched(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot(things=("d",)))
    with pytest.raises(CallFailed, match="the thing d exists and is never overwritten"):
        create_kit(server, "d", tmp_path / "d")
    assert ["describe_thing"] == iot.names()
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "é", "x" * 129, "a\n", "\x1b[31m"])
def test_a_name_that_is_no_thing_name_is_refused_before_anything_happens(
    name: str, server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot())
    with pytest.raises(ConfigurationError, match="is not a thing name") as caught:
        create_kit(server, name, tmp_path / "x")
    assert str(caught.value).isprintable()
    assert [] == iot.calls


UNDONE = {
    "create_thing": [],
    "create_policy": ["delete_thing"],
    "create_certificate_from_csr": ["delete_policy", "delete_thing"],
    "attach_policy": ["update_certificate", "delete_certificate", "delete_policy", "delete_thing"],
    "attach_thing_principal": [
        "detach_policy",
        "update_certificate",
        "delete_certificate",
        "delete_policy",
        "delete_thing",
    ],
}


@pytest.mark.parametrize("step", UNDONE)
def test_a_failing_step_takes_back_the_earlier_ones_in_reverse(
    step: str, server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot(fail=step))
    with pytest.raises(CallFailed, match=f"{step} was refused"):
        create_kit(server, "d", tmp_path / "d")
    assert UNDONE[step] == iot.names()[iot.names().index(step) + 1 :]
    assert not (tmp_path / "d").exists()


def test_a_folder_that_cannot_be_written_takes_everything_back(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = use(monkeypatch, FakeIot())
    with pytest.raises(ConfigurationError, match="cannot be made"):
        create_kit(server, "d", tmp_path / "absent" / "d")
    assert [
        "detach_thing_principal",
        "detach_policy",
        "update_certificate",
        "delete_certificate",
        "delete_policy",
        "delete_thing",
    ] == iot.names()[-6:]


def test_what_could_not_be_taken_back_is_named(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(FakeIot):
        def __getattr__(self, operation: str) -> Any:
            if operation == "delete_policy":
                raise RuntimeError
            return super().__getattr__(operation)

    use(monkeypatch, Stubborn(fail="attach_policy"))
    with pytest.raises(CallFailed, match="could not take back: policy kit-d"):
        create_kit(server, "d", tmp_path / "d")


def test_the_readme_uses_a_name_that_resolves_and_verifies_the_endpoints(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakeIot())
    create_kit(server, "d", tmp_path / "d")
    text = (tmp_path / "d" / "README.txt").read_text()
    assert "mosquitto_pub -h localhost -p 18883" in text
    assert f"-connect localhost:18883 -servername {ENDPOINT}" in text
    assert 'client.connect("localhost", 18883)' in text
    assert 'endpoint="localhost", port=18883' in text
    monkeypatch.setattr("handfast.cli.connection.resolves", lambda name: True)
    create_kit(server, "e", tmp_path / "e")
    assert f"mosquitto_pub -h {ENDPOINT} -p 18883" in (tmp_path / "e" / "README.txt").read_text()


def test_for_aws_the_kit_holds_amazons_roots(
    server: ServerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    use(monkeypatch, FakeIot())
    aws = dataclasses.replace(server, api="https://iot.us-east-1.amazonaws.com", trust_dir=None)
    create_kit(aws, "d", tmp_path / "d")
    roots = x509.load_pem_x509_certificates((tmp_path / "d" / "root-ca.pem").read_bytes())
    names = {root.subject.rfc4514_string().split(",")[0] for root in roots}
    assert {f"CN=Amazon Root CA {number}" for number in (1, 2, 3, 4)} == names


def test_a_folder_that_is_no_kit_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="device create"):
        Kit.read(tmp_path)
    (tmp_path / "device.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="is not a kit's file"):
        Kit.read(tmp_path)


def test_a_refusal_names_the_command_that_explains_it() -> None:
    said = _why(ConnAck(reason=Code.NOT_AUTHORIZED, properties=Properties({Property.REASON_STRING: "trace-1"})))
    assert "reason code 0x87, trace-1; see 'handfast explain trace-1'" == said
    assert "reason code 0x05; see 'handfast explain'" == _why(ConnAck(reason=5))
