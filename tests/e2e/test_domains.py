"""Domain configurations end to end: boto3 makes them, openssl and devices connect by their names."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from tests.support import domains
from tests.support.device import Device, create_device
from tests.support.domains import ACCEPTED, certificate_for, connect, fresh, import_certificate, mqtt, served, voucher
from tests.support.raw import connect_packet, packet, read_all
from tests.support.server import Server, clean_environment
from tests.support.strict import operator
from tests.support.tls_ca import issue, new_key
from tests.support.websocket import RawWebSocket, frame, presigned, upgrade

from handfast.cli.main import run

TLS12, TLS13 = "IoTSecurityPolicy_TLS12_1_2_2022_10", "IoTSecurityPolicy_TLS13_1_3_2022_10"
ROOT = Path(__file__).parents[2]
DEFAULT = "IoTSecurityPolicy_TLS13_1_2_2022_10"


@pytest.fixture(scope="module")
def device(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return create_device(server, tmp_path_factory.mktemp("domains"))


@pytest.fixture(scope="module")
def managed(server: Server) -> Iterator[tuple[str, str]]:
    """An AWS-managed domain: its configuration's name, and its own."""
    iot = server.client()
    iot.create_domain_configuration(domainConfigurationName="managed")
    yield "managed", iot.describe_domain_configuration(domainConfigurationName="managed")["domainName"]
    iot.update_domain_configuration(domainConfigurationName="managed", domainConfigurationStatus="DISABLED")


@pytest.fixture(scope="module")
def custom(server: Server) -> tuple[str, str, str]:
    """A customer's domain: its configuration's name, its own, and its certificate's ARN."""
    domain_name = fresh()
    name, arn = domains.domain(server, domain_name)
    return name, domain_name, arn


def describe(server: Server, name: str) -> dict[str, Any]:
    return dict(server.client().describe_domain_configuration(domainConfigurationName=name))


def update(server: Server, name: str, **given: Any) -> None:
    server.client().update_domain_configuration(domainConfigurationName=name, **given)


class TestOperations:
    def test_a_customers_domain_is_described_in_full(self, server: Server, custom: tuple[str, str, str]) -> None:
        name, domain_name, arn = custom
        told = describe(server, name)
        account = server.ready["account"]
        own = rf"arn:aws:iot:us-east-1:{account}:domainconfiguration/{name}/[A-Za-z0-9]{{5}}"
        assert re.fullmatch(own, told["domainConfigurationArn"])
        assert {
            "domainConfigurationName": name,
            "domainName": domain_name,
            "serverCertificates": [{"serverCertificateArn": arn, "serverCertificateStatus": "VALID"}],
            "domainConfigurationStatus": "ENABLED",
            "serviceType": "DATA",
            "domainType": "CUSTOMER_MANAGED",
            "tlsConfig": {"securityPolicy": DEFAULT},
            "serverCertificateConfig": {"enableOCSPCheck": False},
            "authenticationType": "DEFAULT",
            "applicationProtocol": "DEFAULT",
        }.items() <= told.items()

    def test_a_managed_name_is_below_the_servers_domain(self, server: Server, managed: tuple[str, str]) -> None:
        assert re.fullmatch(r"d[a-z0-9]{20}-ats\.iot\.us-east-1\.localhost", managed[1])
        assert "AWS_MANAGED" == describe(server, managed[0])["domainType"]

    def test_the_endpoints_own_is_there_and_takes_a_tls_policy_alone(self, server: Server) -> None:
        told = describe(server, "iot:Data-ATS")
        assert (server.endpoint, "ENDPOINT") == (told["domainName"], told["domainType"])
        assert told["domainConfigurationArn"].endswith(":domainconfiguration/iot:Data-ATS")
        listed = server.client().list_domain_configurations()["domainConfigurations"]
        assert "iot:Data-ATS" in [each["domainConfigurationName"] for each in listed]
        with pytest.raises(ClientError, match="only tlsConfig"):
            update(server, "iot:Data-ATS", domainConfigurationStatus="DISABLED")

    def test_pages_are_sorted_and_complete(self, server: Server, managed: tuple[str, str]) -> None:
        pages = server.client().get_paginator("list_domain_configurations").paginate(PaginationConfig={"PageSize": 1})
        names = [each["domainConfigurationName"] for page in pages for each in page["domainConfigurations"]]
        assert {"iot:Data-ATS", managed[0]} <= set(names)
        assert sorted(set(names)) == names

    def test_tags(self, server: Server, managed: tuple[str, str]) -> None:
        arn = describe(server, managed[0])["domainConfigurationArn"]
        server.client().tag_resource(resourceArn=arn, tags=[{"Key": "site", "Value": "north"}])
        assert [{"Key": "site", "Value": "north"}] == server.client().list_tags_for_resource(resourceArn=arn)["tags"]

    def test_only_a_disabled_one_is_deleted_and_a_managed_one_after_seven_days(self, server: Server) -> None:
        name, _ = domains.domain(server, fresh())
        iot = server.client()
        with pytest.raises(ClientError, match="update it to DISABLED"):
            iot.delete_domain_configuration(domainConfigurationName=name)
        before = describe(server, name)["lastStatusChangeDate"]
        update(server, name, domainConfigurationStatus="DISABLED")
        assert before < describe(server, name)["lastStatusChangeDate"]
        iot.delete_domain_configuration(domainConfigurationName=name)
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            describe(server, name)
        iot.create_domain_configuration(domainConfigurationName=name)
        update(server, name, domainConfigurationStatus="DISABLED")
        with pytest.raises(ClientError, match="seven days"):
            iot.delete_domain_configuration(domainConfigurationName=name)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"serviceType": "JOBS"}, "serviceType JOBS"),
            ({"tlsConfig": {"securityPolicy": "IoTSecurityPolicy_None"}}, "securityPolicy must be one of"),
            ({"authenticationType": "CUSTOM_AUTH", "applicationProtocol": "HTTPS"}, "custom authorizer"),
            ({"authenticationType": "AWS_X509", "applicationProtocol": "MQTT_WSS"}, "HTTPS or SECURE_MQTT"),
            ({"authenticationType": "AWS_X509"}, "HTTPS or SECURE_MQTT"),
            ({"authorizerConfig": {"defaultAuthorizerName": "mine"}}, "authorizerConfig is not supported"),
            ({"clientCertificateConfig": {"clientCertificateCallbackArn": "arn:x"}}, "no callback"),
            ({"serverCertificateConfig": {"ocspLambdaArn": "arn:x"}}, "ocspLambdaArn"),
            ({"serverCertificateConfig": {"enableOCSPCheck": True}}, "enableOCSPCheck is for a domainName"),
            ({"domainName": "mqtt.example.org"}, "exactly one of serverCertificateArns"),
        ],
    )
    def test_what_is_not_supported_is_refused_by_name(self, server: Server, given: dict[str, Any], words: str) -> None:
        with pytest.raises(ClientError, match=words) as refused:
            server.client().create_domain_configuration(domainConfigurationName="refused", **given)
        assert "InvalidRequestException" == refused.value.response["Error"]["Code"]

    def test_names_that_are_the_servers_or_anothers_are_refused(
        self, server: Server, custom: tuple[str, str, str]
    ) -> None:
        foreign = boto3_of(server, server.account())
        foreign.describe_endpoint(endpointType="iot:Data-ATS")
        for name in (
            server.endpoint,
            "localhost",
            "x.localhost",
            "iot.us-east-1.localhost",
            "*.example.org",
            "10.0.0.1",
        ):
            with pytest.raises(ClientError) as refused:
                create(server, "taken", name, custom[2])
            assert "InvalidRequestException" == refused.value.response["Error"]["Code"]
        with pytest.raises(ClientError) as refused:
            create(server, "taken", custom[1].upper(), custom[2])
        assert "ResourceAlreadyExistsException" == refused.value.response["Error"]["Code"]

    def test_of_two_that_create_one_name_at_once_one_has_it(self, server: Server) -> None:
        domain_name = fresh()
        arn = import_certificate(server, certificate_for(domain_name))["serverCertificateArn"]
        voucher(server)
        ends: list[str] = []

        def make(name: str) -> None:
            try:
                create(server, name, domain_name, arn)
                ends.append("made")
            except ClientError as error:
                ends.append(error.response["Error"]["Code"])

        threads = [threading.Thread(target=make, args=(f"race-{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert ["ResourceAlreadyExistsException"] * 3 + ["made"] == sorted(ends)


class TestCertificates:
    def test_the_key_is_private_and_in_no_answer(self, server: Server) -> None:
        answer = import_certificate(server, certificate_for(fresh()))
        (file,) = (server.data_dir / "server-certificates").glob(f"{answer['serverCertificateArn'][-36:]}-*.key")
        assert 0o600 == file.stat().st_mode & 0o777
        assert "PRIVATE KEY" not in json.dumps(answer, default=str)
        assert "PRIVATE KEY" not in server.log.read_text()

    def test_one_that_is_in_use_is_not_deleted(self, server: Server, custom: tuple[str, str, str]) -> None:
        with pytest.raises(ClientError, match=custom[0]) as refused:
            operator(server).delete_server_certificate(serverCertificateArn=custom[2])
        assert "DeleteConflictException" == refused.value.response["Error"]["Code"]
        spare = import_certificate(server, certificate_for(fresh()))["serverCertificateArn"]
        operator(server).delete_server_certificate(serverCertificateArn=spare)
        assert [] == list((server.data_dir / "server-certificates").glob(f"{spare[-36:]}-*"))

    def test_a_private_ca_needs_a_voucher(self, server: Server) -> None:
        domain_name = fresh()
        arn = import_certificate(server, certificate_for(domain_name))["serverCertificateArn"]
        with pytest.raises(ClientError, match="validationCertificateArn") as refused:
            server.client().create_domain_configuration(
                domainConfigurationName="unvouched", domainName=domain_name, serverCertificateArns=[arn]
            )
        assert "CertificateValidationException" == refused.value.response["Error"]["Code"]
        alone = issue(domain_name, new_key("p256", 41), names=(domain_name,))
        own = import_certificate(server, alone)["serverCertificateArn"]
        with pytest.raises(ClientError, match="validation certificate is neither"):
            create(server, "unvouched", domain_name, own)  # the private CA vouches for its own alone
        create(server, "self-signed", domain_name, own, voucher_arn=own)
        assert alone.certificate == served(server, domain_name)[0]

    def test_one_for_another_name_or_account_is_refused(self, server: Server, custom: tuple[str, str, str]) -> None:
        with pytest.raises(ClientError, match="It is not for") as refused:
            create(server, "other", fresh(), custom[2])
        assert "CertificateValidationException" == refused.value.response["Error"]["Code"]
        foreign = boto3_of(server, server.account())
        with pytest.raises(ClientError, match="does not exist in this account") as refused:
            foreign.create_domain_configuration(
                domainConfigurationName="other", domainName=custom[1], serverCertificateArns=[custom[2]]
            )
        assert "InvalidRequestException" == refused.value.response["Error"]["Code"]


def test_the_commands_of_the_documentation(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/domains.md, the block of commands as it stands there; then a rotation that is not taken."""
    block = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "domains.md").read_text(), re.DOTALL)
    assert block is not None
    command = f'"{sys.executable}" -m handfast.cli.main'
    aws = f'"{Path(sys.executable).parent / "aws"}" --endpoint-url {server.api} --region us-east-1'
    told = f'set -eu\nhandfast() {{ {command} "$@"; }}\naws() {{ {aws} "$@"; }}\n{block[1]}echo "$CERT"\n'
    environment = clean_environment() | {
        "HANDFAST_DATA_DIR": str(server.data_dir),
        "AWS_SHARED_CREDENTIALS_FILE": str(server.data_dir / "credentials"),
        "MQTT_PORT": str(server.mqtt_port),
    }
    done = subprocess.run(
        ["bash", "-c", told], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Verification: OK" in done.stdout
    arn = done.stdout.split()[-1]
    monkeypatch.setenv("HANDFAST_DATA_DIR", str(server.data_dir))
    certificate, key = certificate_for("mqtt.plant.example", kind="rsa2048").write(tmp_path, "other")
    assert 1 == run(["server-cert", "import", "--arn", arn, "--cert", certificate, "--key", key])
    assert "Its key is RSA 2048" in capsys.readouterr().out
    assert 0 == run(["server-cert", "list"])
    told = capsys.readouterr().out
    # Where other rows leave no room for them, status and ARN stand below their row.
    row = re.search(rf"^plant +{server.ready['account']} +mqtt\.plant\.example .*\n(?:  .*\n)*?  {arn}\n", told, re.M)
    assert row is not None
    assert "INVALID" in row[0].split()
    assert 1 == run(["server-cert", "delete", arn])
    assert "Domain configurations name the certificate: plant" in capsys.readouterr().err
    assert 0 == run(["hosts"])
    assert "mqtt.plant.example" in capsys.readouterr().out
    assert 2 == run(["server-cert", "import", "--cert", certificate])
    capsys.readouterr()
    assert 0 == run(["server-cert", "import", "keyless", "--cert", certificate])
    assert "private key        none (no --key): it vouches for others" in capsys.readouterr().out
    (tmp_path / "empty.pem").touch()
    assert 2 == run(["server-cert", "import", "x", "--cert", certificate, "--key", str(tmp_path / "empty.pem")])
    assert re.search(r"--key \S+ is empty: expected -----BEGIN", capsys.readouterr().err)


class TestServing:
    def test_the_name_decides_which_certificate_is_shown(
        self, server: Server, custom: tuple[str, str, str], managed: tuple[str, str]
    ) -> None:
        leaf, _ = served(server, custom[1])
        assert leaf is not None
        assert "Private Intermediate" in leaf.issuer.rfc4514_string()
        own, output = served(server, managed[1], None, "-CAfile", str(server.trust / "bundle.pem"))
        assert own is not None
        assert "Verification: OK" in output
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "*.iot.us-east-1.localhost" in names.get_values_for_type(x509.DNSName)

    def test_a_client_that_cannot_verify_its_kind_is_refused(
        self, server: Server, custom: tuple[str, str, str]
    ) -> None:
        assert served(server, custom[1], None, "-tls1_2", "-cipher", "aRSA")[0] is None

    def test_devices_of_the_account_connect_by_either_name(
        self, server: Server, device: Device, custom: tuple[str, str, str], managed: tuple[str, str]
    ) -> None:
        for name in (custom[1], managed[1].upper()):
            with connect(server, device, name) as sock:
                assert ACCEPTED == mqtt(sock, "by-name")

    def test_a_certificate_is_swapped_under_open_connections(self, server: Server, device: Device) -> None:
        domain_name = fresh()
        _, arn = domains.domain(server, domain_name)
        before, _ = served(server, domain_name)
        with connect(server, device, domain_name) as sock:
            assert ACCEPTED == mqtt(sock, "swapped")
            renewed = certificate_for(domain_name, which=34)
            assert "VALID" == import_certificate(server, renewed, serverCertificateArn=arn)["status"]
            assert before != renewed.certificate == served(server, domain_name)[0]
            sock.sendall(packet(0xC0))
            assert b"\xd0\x00" == sock.recv(2)

    def test_an_invalid_replacement_leaves_the_last_valid_one(self, server: Server) -> None:
        domain_name = fresh()
        name, arn = domains.domain(server, domain_name)
        before, _ = served(server, domain_name)
        refused = import_certificate(server, certificate_for(fresh()), serverCertificateArn=arn)
        assert "INVALID" == refused["status"]
        (told,) = describe(server, name)["serverCertificates"]
        assert "INVALID" == told["serverCertificateStatus"]
        assert "Neither CN nor subjectAltName" in told["serverCertificateStatusDetail"]
        assert before == served(server, domain_name)[0]
        import_certificate(server, certificate_for(domain_name, which=35), serverCertificateArn=arn)
        assert "VALID" == describe(server, name)["serverCertificates"][0]["serverCertificateStatus"]

    def test_disabled_connections_are_cut_and_refused_with_the_reason(self, server: Server, device: Device) -> None:
        domain_name = fresh()
        name, _ = domains.domain(server, domain_name)
        with connect(server, device, domain_name) as live, connect(server, device, "localhost") as other:
            assert ACCEPTED == mqtt(live, "cut")
            assert ACCEPTED == mqtt(other, "kept")
            update(server, name, domainConfigurationStatus="DISABLED")
            assert b"" == read_all(live)
            other.sendall(packet(0xC0))
            assert b"\xd0\x00" == other.recv(2)
        with connect(server, device, domain_name) as sock:  # the handshake goes through
            assert ACCEPTED != mqtt(sock, "refused")
        assert "DOMAIN_CONFIGURATION_DISABLED" == domains.reason(server, domain_name)
        update(server, name, domainConfigurationStatus="ENABLED")
        with connect(server, device, domain_name) as sock:
            assert ACCEPTED == mqtt(sock, "again")

    def test_the_tls_policy_is_the_names_own(self, server: Server, managed: tuple[str, str]) -> None:
        name, domain_name = managed
        versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        for policy, allowed in ((TLS12, versions[0]), (TLS13, versions[1])):
            update(server, name, tlsConfig={"securityPolicy": policy})
            for version in versions:
                assert (version is allowed) == shakes_hands(server, domain_name, version)
                assert shakes_hands(server, server.endpoint, version)
        update(server, name, tlsConfig={"securityPolicy": DEFAULT})

    def test_so_is_that_of_the_default_endpoint(self, server: Server) -> None:
        own = boto3_of(server, server.account())
        endpoint = own.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
        own.update_domain_configuration(domainConfigurationName="iot:Data-ATS", tlsConfig={"securityPolicy": TLS13})
        told = own.describe_domain_configuration(domainConfigurationName="iot:Data-ATS")
        assert {"securityPolicy": TLS13} == told["tlsConfig"]
        assert not shakes_hands(server, endpoint, ssl.TLSVersion.TLSv1_2)
        assert shakes_hands(server, endpoint, ssl.TLSVersion.TLSv1_3)
        assert shakes_hands(server, server.endpoint, ssl.TLSVersion.TLSv1_2)


class TestAuthenticationAndProtocol:
    def test_x509_with_mqtt_needs_no_alpn(self, server: Server, device: Device) -> None:
        domain_name = fresh()
        domains.domain(server, domain_name, authenticationType="AWS_X509", applicationProtocol="SECURE_MQTT")
        for alpn in (None, "x-amzn-mqtt-ca"):
            with connect(server, device, domain_name, server.alpn_port, alpn=alpn) as sock:
                assert ACCEPTED == mqtt(sock, "no-alpn")
        assert "Requested Signature Algorithms" in served(server, domain_name, server.alpn_port)[1]
        with connect(server, device, domain_name, server.alpn_port, alpn="x-amzn-http-ca") as sock:
            assert 403 == publish(sock)
        assert "PROTOCOL_NOT_OF_DOMAIN" == domains.reason(server, domain_name)

    def test_x509_with_https(self, server: Server, device: Device) -> None:
        domain_name = fresh()
        name, _ = domains.domain(server, domain_name, authenticationType="AWS_X509", applicationProtocol="HTTPS")
        for port, alpn in ((server.alpn_port, None), (server.alpn_port, "http/1.1"), (server.https_port, None)):
            with connect(server, device, domain_name, port, alpn=alpn) as sock:
                assert 200 == publish(sock)
        with connect(server, device, domain_name) as sock:
            assert ACCEPTED != mqtt(sock, "refused")
        update(server, name, applicationProtocol="SECURE_MQTT")
        with connect(server, device, domain_name) as sock:
            assert ACCEPTED == mqtt(sock, "updated")

    def test_signatures_ask_for_no_certificate(
        self, server: Server, device: Device, managed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name, domain_name = managed
        update(server, name, authenticationType="AWS_SIGV4", applicationProtocol="HTTPS")
        assert "No client certificate CA names sent" in served(server, domain_name, server.alpn_port)[1]
        with connect(server, device, domain_name) as sock:
            assert ACCEPTED != mqtt(sock, "refused")
        resolve_here(monkeypatch, domain_name)
        data = signed_client(server, domain_name)
        data.publish(topic="domains/signed", payload=b"x")
        with RawWebSocket.to_alpn(server, sni=domain_name) as socket:
            assert 403 == socket.ask(upgrade(presigned(server.credentials(), domain_name), domain_name))
        assert "PROTOCOL_NOT_OF_DOMAIN" == domains.reason(server, domain_name)
        update(server, name, applicationProtocol="MQTT_WSS")
        with pytest.raises(ClientError, match="ForbiddenException"):
            data.publish(topic="domains/signed", payload=b"x")
        with RawWebSocket.to_alpn(server, sni=domain_name) as socket:
            socket.open(server.credentials(), domain_name)
            socket.send(frame(2, connect_packet("signed")))
            assert (2, ACCEPTED) == socket.receive()
        with RawWebSocket.to_alpn(server, sni=domain_name) as socket:
            assert 403 == socket.ask(upgrade("/mqtt", domain_name)), "it still has to be signed"
        update(server, name, authenticationType="DEFAULT", applicationProtocol="DEFAULT")
        data.publish(topic="domains/signed", payload=b"x")


def create(server: Server, name: str, domain_name: str, arn: str, *, voucher_arn: str | None = None) -> None:
    server.client().create_domain_configuration(
        domainConfigurationName=name,
        domainName=domain_name,
        serverCertificateArns=[arn],
        validationCertificateArn=voucher_arn or voucher(server),
    )


def boto3_of(server: Server, keys: tuple[str, str]) -> Any:
    return server.client(keys=keys)


def shakes_hands(server: Server, name: str, version: ssl.TLSVersion) -> bool:
    try:
        with connect(server, None, name, server.alpn_port, version=version):
            return True
    except ssl.SSLError:
        return False


def publish(sock: ssl.SSLSocket) -> int:
    """The status of a publish over this connection."""
    sock.sendall(b"POST /topics/domains/https?qos=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    return answer.status


def signed_client(server: Server, host: str) -> Any:
    key_id, secret = server.credentials()
    return boto3.client(
        "iot-data",
        region_name="us-east-1",
        endpoint_url=f"https://{host}:{server.alpn_port}",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        verify=str(server.trust / "bundle.pem"),
        config=Config(retries={"max_attempts": 1}),
    )


def resolve_here(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The name is this machine, as the hosts file would make it."""
    import socket

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if host == name else host, *a, **k)
    )
