"""The start screen: lines that can be pasted."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from handfast.cli.screens import ServeInfo, data_dir_option, export_lines, handfast_command, start_screen

ENDPOINT = "abcdefghijklmn-ats.iot.us-east-1.localhost"


@pytest.fixture
def info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServeInfo:
    monkeypatch.chdir(tmp_path)
    return ServeInfo(
        version="1.2.3",
        api="http://127.0.0.1:8080",
        mqtt_host="127.0.0.1",
        mqtt_port=8883,
        https_host="127.0.0.1",
        https_port=8443,
        endpoint=ENDPOINT,
        endpoint_resolves=False,
        account="123456789012",
        region="us-east-1",
        data_dir=tmp_path / "handfast-data",
        trust_dir=tmp_path / "handfast-data" / "trust",
    )


def test_a_newcomer_sees_endpoint_ports_exports_and_one_line_for_a_first_message(info: ServeInfo) -> None:
    text = start_screen(info)
    for shown in (ENDPOINT, "127.0.0.1:8883", "127.0.0.1:8443", "http://127.0.0.1:8080", "123456789012"):
        assert shown in text
    (line,) = [line for line in text.splitlines() if "device create" in line]
    assert line.endswith("device create hello && " + handfast_command() + " device try hello")
    assert f"export AWS_SHARED_CREDENTIALS_FILE={info.data_dir}/credentials" in text


def test_a_device_that_is_there_is_tried_and_not_made_again(info: ServeInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/mosquitto_pub" if name == "mosquitto_pub" else None)
    text = start_screen(dataclasses.replace(info, device="hello-2", device_made=True))
    assert "device create" not in text
    assert f"\n  {handfast_command()} device try hello-2\n" in text
    assert "--cafile hello-2/root-ca.pem" in text


def test_the_hosts_line_is_shown_only_when_the_endpoint_does_not_resolve(info: ServeInfo) -> None:
    assert f"echo '127.0.0.1 {ENDPOINT}' >> /etc/hosts" in start_screen(info)
    assert "/etc/hosts" not in start_screen(dataclasses.replace(info, endpoint_resolves=True))


def test_the_mosquitto_line_is_shown_only_where_mosquitto_is(info: ServeInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "mosquitto_pub" not in start_screen(info)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/mosquitto_pub" if name == "mosquitto_pub" else None)
    assert "mosquitto_pub -h localhost -p 8883 --cafile hello/root-ca.pem" in start_screen(info)


def test_exports_over_tls_name_the_bundle_and_dev_needs_no_file(info: ServeInfo) -> None:
    over_tls = dataclasses.replace(info, api="https://10.0.0.1:8080", data_dir=Path("/srv/my data"))
    lines = export_lines(over_tls)
    assert f"export AWS_CA_BUNDLE={info.trust_dir}/bundle.pem" in lines
    assert "export AWS_SHARED_CREDENTIALS_FILE='/srv/my data/credentials'" in lines
    dev = export_lines(dataclasses.replace(info, dev=True))
    assert "export AWS_ACCESS_KEY_ID=123456789012" in dev
    assert not [line for line in dev if "CREDENTIALS_FILE" in line]


def test_a_data_directory_elsewhere_is_named_in_the_line(info: ServeInfo) -> None:
    assert "" == data_dir_option(info.data_dir)
    assert " --data-dir '/srv/my data'" == data_dir_option(Path("/srv/my data"))
    assert " --data-dir other" == data_dir_option(info.data_dir.with_name("other"))


def test_the_command_is_the_one_that_works_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    script = binaries / "handfast"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "serve"])
    monkeypatch.setenv("PATH", "/nonexistent")
    assert ".venv/bin/handfast" == handfast_command()
    monkeypatch.setenv("PATH", str(binaries))
    assert "handfast" == handfast_command()
