"""`openssl s_time`: a client that does nothing but handshakes, as fast as it can."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.support.device import Device, create_device
from tests.support.server import Server


def s_time(device: Device, port: int, *options: str) -> tuple[int, str]:
    """How many handshakes there were in one second, and what was printed."""
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-time", "1", "-CAfile", str(device.root)]
    command += ["-cert", str(device.certificate), "-key", str(device.key), "-verify", "5", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert 0 == done.returncode, done.stderr
    (count,) = re.findall(r"^(\d+) connections in \d+ real seconds", done.stdout, re.MULTILINE)
    return int(count), done.stdout


@pytest.mark.parametrize(("listener", "protocol"), [("mqtt", "-tls1_3"), ("https", "-tls1_2")])
def test_handshakes_one_after_another_all_succeed(server: Server, folder: Path, listener: str, protocol: str) -> None:
    device = create_device(server, folder)
    count, said = s_time(device, server.ready[listener]["port"], "-new", protocol)
    assert count > 5
    assert "ERROR" not in said


def test_none_of_them_is_a_session_taken_up_again(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    _, said = s_time(device, server.mqtt_port, "-reuse", "-tls1_2")
    marks = re.findall(r"^[rt*]+", said, re.MULTILINE)
    assert "*" in "".join(marks)
    assert "r" not in "".join(marks)
