"""A real server, started as a user would: `handfast serve` in a process of its own on free ports."""

from __future__ import annotations

import configparser
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from tests.support import forked
from tests.support.forked import Started

from handfast.wire.client import handfast_client

START_LIMIT_S = 60.0
FIRST_RUN_FLAGS = frozenset(
    ("--clock", "--dev", "--domain", "--key-passphrase-file", "--public-url", "--region", "--root-passphrase-file")
    + ("--server-name",)
)
"""What a first run makes keys and certificates by; no other flag is seen in the data directory."""

shared_folder: Path | None = None
"""Of the whole run of the tests, all of its workers; set by tests/conftest.py."""


@dataclass
class Server:
    """A running server. `ready` is the ready file's content; `log` collects its standard error."""

    data_dir: Path
    ready: dict[str, Any]
    process: Started
    log: Path
    clients: dict[tuple[str, str, str], Any] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return str(self.ready["api"])

    @property
    def mqtt_port(self) -> int:
        return int(self.ready["mqtt"]["port"])

    @property
    def https_port(self) -> int:
        return int(self.ready["https"]["port"])

    @property
    def alpn_port(self) -> int:
        return int(self.ready["alpn"]["port"])

    @property
    def endpoint(self) -> str:
        return str(self.ready["endpoint"])

    @property
    def trust(self) -> Path:
        return Path(self.ready["trust_dir"])

    def credentials(self, profile: str = "default") -> tuple[str, str]:
        """Access key id and secret of a profile in the data directory's credentials file."""
        parser = configparser.ConfigParser()
        parser.read(self.data_dir / "credentials")
        return parser[profile]["aws_access_key_id"], parser[profile]["aws_secret_access_key"]

    def client(
        self, service: str = "iot", *, region: str = "us-east-1", keys: tuple[str, str] | None = None, **options: Any
    ) -> Any:
        """An unmodified boto3 client of this server, by default with the first account's key."""
        key_id, secret = keys or self.credentials()
        found = self.clients.get((service, region, key_id))
        if found is None or options:
            found = make_client(
                service,
                region_name=region,
                endpoint_url=self.api,
                aws_access_key_id=key_id,
                aws_secret_access_key=secret,
                **options,
            )
            if not options:
                self.clients[service, region, key_id] = found
        return found

    def explain(self, query: str) -> list[dict[str, Any]]:
        """What `handfast explain` is told, as the operator, without the command line's start-up time."""
        key_id, secret = self.credentials("handfast-operator")
        found = self.clients.get(("handfast", "", key_id))
        if found is None:
            found = self.clients["handfast", "", key_id] = handfast_client(self.api, "us-east-1", key_id, secret)
        return list(found.explain(query=query)["refusals"])

    def account(self) -> tuple[str, str]:
        """A further account's key."""
        key_id, secret = self.credentials("handfast-operator")
        operator = handfast_client(self.api, "us-east-1", key_id, secret)
        made = operator.create_access_key(accountId=operator.create_account()["accountId"])
        return made["accessKeyId"], made["secretAccessKey"]

    def handfast(
        self, *args: str, check: bool = True, cwd: Path | None = None, keys: tuple[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line against this server's data directory, or with `keys` against its API alone."""
        environment = {**clean_environment(), "HANDFAST_DATA_DIR": str(self.data_dir)}
        if keys is not None:
            environment |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
            args = (*args, "--endpoint-url", self.api, "--region", "us-east-1")
        done = forked.ran(list(args), environment, cwd)
        if check:
            assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def make_client(service: str, **options: Any) -> Any:
    """A client of boto3's, all of one session, which reads the models once; only one at a time may be made of it."""
    with _making:
        return _session().client(service, **options)


@functools.cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


_making = threading.Lock()


def clean_environment() -> dict[str, str]:
    """This process's environment without the settings of AWS tools or of handfast itself."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HANDFAST_"))}
    kept["AWS_EC2_METADATA_DISABLED"] = "true"
    kept["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2] / "src"), kept.get("PYTHONPATH", "")])
    if engine := os.environ.get("HANDFAST_TLS_ENGINE"):
        kept["HANDFAST_TLS_ENGINE"] = engine
    return kept


def launch(data_dir: Path, *flags: str) -> tuple[subprocess.Popen[bytes], Path, Path]:
    """Start `handfast serve` on free ports as a user would, and return at once: process, ready file, log."""
    arguments, ready, log = _prepared(data_dir, *flags)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "handfast.cli.main", *arguments],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env=clean_environment(),
        )
    return process, ready, log


def _forked(data_dir: Path, *flags: str) -> tuple[Started, Path, Path]:
    """The same without the start of an interpreter, which takes longer than all else."""
    arguments, ready, log = _prepared(data_dir, *flags)
    with log.open("ab") as out:
        return forked.begin(arguments, clean_environment(), out.fileno(), out.fileno()), ready, log


def _prepared(data_dir: Path, *flags: str) -> tuple[list[str], Path, Path]:
    """Arguments, ready file and log of a server in this directory."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    ready = data_dir.parent / f"{data_dir.name}.ready.json"
    ready.unlink(missing_ok=True)
    names = ("--api-port", "--mqtt-port", "--https-port", "--alpn-port")
    ports = [item for name in names if name not in flags for item in (name, "0")]
    arguments = ["serve", "--data-dir", str(data_dir), "--ready-file", str(ready), *ports, *flags]
    return arguments, ready, data_dir.parent / f"{data_dir.name}.log"


def start(data_dir: Path, *flags: str) -> Server:
    """
    Start a server and return once every listener accepts.

    Without flags that a first run heeds, a directory that does not exist begins as a
    copy of one that a first run of the same code made: making keys is slow, and only
    the tests of the first run itself (`launch`, flags) are about it. The file of a
    `--config` holds no such setting.
    """
    if not data_dir.exists() and FIRST_RUN_FLAGS.isdisjoint(flags):
        after_first_run(data_dir)
    return _ready(*_forked(data_dir, *flags), data_dir)


def after_first_run(data_dir: Path) -> None:
    """`data_dir` is as a first run left it; one run of the tests makes one, whatever number of workers it has."""
    assert shared_folder is not None, "tests/conftest.py says where this run of the tests keeps its files"
    kept = shared_folder / "after-first-run"
    kept.mkdir(mode=0o700, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = kept / "data"
        if not made.exists():
            first = _ready(*launch(kept / "under-way"), kept / "under-way")
            assert first.stop() == 0
            (kept / "under-way").rename(made)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(made, data_dir)


def _ready(process: Started, ready: Path, log: Path, data_dir: Path) -> Server:
    deadline = time.monotonic() + START_LIMIT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"handfast serve did not start (exit {process.poll()}):\n{log.read_text()[-4000:]}")
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    return Server(data_dir=data_dir, ready=json.loads(ready.read_text()), process=process, log=log)
