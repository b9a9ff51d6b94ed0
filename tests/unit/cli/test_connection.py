"""Finding a server: by its data directory, or by URL and the usual AWS credentials."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from handfast.cli.connection import find_server, reachable_name
from handfast.errors import ConfigurationError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory as a running server leaves it; this process stands for the server."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    write_serve(folder)
    credentials = folder / "credentials"
    credentials.write_text(
        "[default]\naws_access_key_id = AKIAFIRST\naws_secret_access_key = s1\n"
        "[handfast-operator]\naws_access_key_id = AKIAOPERATOR\naws_secret_access_key = s%2\n"
    )
    credentials.chmod(0o600)
    return folder


def write_serve(folder: Path, **changes: Any) -> None:
    facts = {
        "pid": os.getpid(),
        "api": "http://127.0.0.1:8080",
        "mqtt": {"host": "127.0.0.1", "port": 18883},
        "https": {"host": "127.0.0.1", "port": 18443},
        "alpn": None,
        "endpoint": "abc-ats.iot.eu-west-1.localhost",
        "account": "123456789012",
        "trust_dir": str(folder / "trust"),
        "version": "0",
    }
    (folder / "serve.json").write_text(json.dumps(facts | changes))


def test_the_server_on_a_data_directory_is_known_in_full(data_dir: Path) -> None:
    server = find_server(str(data_dir), None)
    assert ("http://127.0.0.1:8080", "eu-west-1", 18883, 18443) == (
        server.api,
        server.region,
        server.mqtt_port,
        server.https_port,
    )
    assert ("AKIAFIRST", "s1") == (server.access_key_id, server.secret)
    assert server.ca_bundle is None
    assert "s1" not in repr(server)


def test_operator_commands_use_the_operators_key(data_dir: Path) -> None:
    server = find_server(str(data_dir), None, operator=True)
    assert ("AKIAOPERATOR", "s%2") == (server.access_key_id, server.secret)


def test_the_users_aws_settings_play_no_part_with_a_data_directory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAELSEWHERE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    server = find_server(str(data_dir), None)
    assert ("AKIAFIRST", "eu-west-1") == (server.access_key_id, server.region)


def test_a_server_that_speaks_tls_is_verified_with_its_own_bundle(data_dir: Path) -> None:
    write_serve(data_dir, api="https://10.0.0.1:8080")
    assert str(data_dir / "trust" / "bundle.pem") == find_server(str(data_dir), None).ca_bundle


def test_no_server_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no server runs on .*handfast serve --data-dir"):
        find_server(str(tmp_path), None)


def test_a_server_that_was_killed_is_noticed(data_dir: Path) -> None:
    write_serve(data_dir, pid=2**22 + 12345)  # above the kernel's greatest process id
    with pytest.raises(ConfigurationError, match="has ended"):
        find_server(str(data_dir), None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', "\x00"])
def test_a_damaged_serve_file_is_said(data_dir: Path, text: str) -> None:
    (data_dir / "serve.json").write_text(text)
    with pytest.raises(ConfigurationError, match="start the server again"):
        find_server(str(data_dir), None)


def test_a_profile_that_is_not_there_is_named(data_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="no profile 'nobody': it has default, handfast-operator"):
        find_server(str(data_dir), None, profile="nobody")


def test_credentials_that_others_can_read_are_refused(data_dir: Path) -> None:
    (data_dir / "credentials").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        find_server(str(data_dir), None)


def test_an_endpoint_url_takes_the_usual_aws_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "credentials"
    shared.write_text("[fleet]\naws_access_key_id = AKIAFLEET\naws_secret_access_key = s\naws_session_token = t\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    server = find_server(None, "https://iot.example.com/", profile="fleet")
    assert ("https://iot.example.com", "iot.example.com", "eu-central-1") == (server.api, server.host, server.region)
    assert ("AKIAFLEET", "t", 8883, None) == (
        server.access_key_id,
        server.session_token,
        server.mqtt_port,
        server.endpoint,
    )
    assert not server.is_aws
    assert find_server(None, "https://iot.eu-central-1.amazonaws.com", profile="fleet").is_aws


def test_an_endpoint_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected a URL"):
        find_server(None, "iot.example.com")


def test_a_device_on_this_machine_gets_a_name_that_resolves(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = find_server(str(data_dir), None)
    monkeypatch.setattr("handfast.cli.connection.resolves", lambda name: True)
    assert "abc.example" == reachable_name(server, "abc.example")
    monkeypatch.setattr("handfast.cli.connection.resolves", lambda name: False)
    assert "localhost" == reachable_name(server, "abc.example")
    write_serve(data_dir, mqtt={"host": "0.0.0.0", "port": 1})
    assert "localhost" == reachable_name(find_server(str(data_dir), None), "abc.example")
    write_serve(data_dir, mqtt={"host": "10.1.2.3", "port": 1})
    assert "10.1.2.3" == reachable_name(find_server(str(data_dir), None), "abc.example")
