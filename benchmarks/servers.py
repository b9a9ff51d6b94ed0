"""The servers of a comparison: their files, how they start pinned to a core, and where they listen."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.make_fleet import make_fleet

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
REGION = "us-east-1"
_START_S = 30.0
_STOP_S = 12.0

_MOSQUITTO = """\
per_listener_settings false
log_dest none
user root
listener {port} {host}
cafile {fleet}/ca.crt
certfile {fleet}/server.crt
keyfile {fleet}/server.key
require_certificate true
use_identity_as_username true
acl_file {acl}
max_queued_messages 10000
max_inflight_messages 0
persistence false
"""
_ACL = "pattern write dev/%u/#\npattern read dev/+/up/+\n"


class SetupError(Exception):
    """The comparison cannot be run; the message says what to do."""


@dataclass(slots=True, kw_only=True)
class Server:
    """A server that can be started; `port`, `ca` and `sni` are what the generator is told once it runs."""

    name: str
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    log: Path
    ready_file: Path | None = None
    port: int = 0
    ca: Path = Path()
    sni: str = "localhost"
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, core: int | str) -> None:
        """It accepts TLS connections, pinned to `core`, or to a list of cores as taskset takes it."""
        if self.ready_file is not None:
            self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *self.argv],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_S
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise SetupError(f"{self.name} did not start; its output is in {self.log}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        if self.ready_file is not None:
            if not self.ready_file.exists():
                return False
            facts = json.loads(self.ready_file.read_text())
            self.port, self.sni = int(facts["mqtt"]["port"]), str(facts["endpoint"])
            self.ca = Path(facts["trust_dir"]) / "bundle.pem"
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=2) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=self.sni):
                    return True
            except ssl.SSLError:  # it answered: a client certificate is missing
                return True
        return False

    def stop(self) -> None:
        """It is gone: asked first, then killed."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def mosquitto(folder: Path, fleet: Path) -> Server:
    """Debian's mosquitto: client certificates required, the CN as user name, an ACL of patterns, nothing persistent."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SetupError("mosquitto is not installed: apt-get install mosquitto")
    folder.mkdir(parents=True)
    acl, configuration, port = folder / "acl", folder / "mosquitto.conf", _free_port()
    acl.write_text(_ACL)
    configuration.write_text(_MOSQUITTO.format(host=HOST, port=port, fleet=fleet, acl=acl))
    return Server(
        name="mosquitto",
        argv=[binary, "-c", str(configuration)],
        log=folder / "log",
        port=port,
        ca=fleet / "ca.crt",
    )


def handfast(name: str, folder: Path, template: Path, environment: dict[str, str]) -> Server:
    """handfast on a copy of the data directory `template`, or on a new one where there is none."""
    folder.mkdir(parents=True)
    data_dir, ready_file = folder / "data", folder / "ready.json"
    if template.exists():
        shutil.copytree(template, data_dir)
    serve = [sys.executable, "-m", "handfast.cli.main", "serve", "--data-dir", str(data_dir), "--region", REGION]
    serve += ["--host", HOST, "--api-port", "0", "--mqtt-port", "0", "--https-port", "0", "--prefer-chain", "ecdsa"]
    serve += ["--ready-file", str(ready_file), "--log-format", "json", "--log-level", "warning"]
    search = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return Server(
        name=name,
        argv=serve,
        environment={"PYTHONPATH": search, **environment},
        log=folder / "log",
        ready_file=ready_file,
    )


def prepare_registry(scratch: Path, fleet: Path, core: int) -> Path:
    """
    A data directory with the fleet registered; made once and copied for every server.

    Delete the scratch folder to have it made anew.
    """
    template, stamp = scratch / "registry", scratch / "registry.stamp"
    fleet_made = str(fleet.joinpath("fleet.json").stat().st_mtime_ns)
    if stamp.exists() and stamp.read_text() == fleet_made and template.exists():
        return template
    shutil.rmtree(template, ignore_errors=True)
    first_run = scratch / "first-run"
    shutil.rmtree(first_run, ignore_errors=True)
    server = handfast("handfast, first run", first_run, template, {})
    server.start(core)
    facts = json.loads((first_run / "ready.json").read_text())
    server.stop()
    data_dir = first_run / "data"
    command = [sys.executable, "-m", "benchmarks.register", str(data_dir), str(fleet), "--account", facts["account"]]
    subprocess.run(
        [*command, "--region", REGION], env={**os.environ, **server.environment}, cwd=ROOT, check=True, timeout=600
    )
    data_dir.rename(template)
    shutil.rmtree(first_run)
    stamp.write_text(fleet_made)
    return template


def prepare_fleet(scratch: Path) -> Path:
    """The certificates, made once."""
    fleet = scratch / "fleet"
    if not fleet.exists():
        print("making 102,000 certificates, once …", flush=True)
    make_fleet(fleet)
    return fleet


def prepare_folder(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def open_for_json(path: Path) -> IO[str]:
    """The file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", encoding="utf-8")
