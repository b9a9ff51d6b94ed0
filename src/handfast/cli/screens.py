"""The screen that `handfast serve` shows once every listener accepts."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handfast.config.hosts import is_loopback

DEFAULT_DATA_DIR = "handfast-data"
FIRST_DEVICE = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeInfo:
    """
    What the screen tells.

    `api` is a URL; `endpoint_resolves` says whether this machine finds an address for `endpoint`; `first_run`
    whether this start made the data directory; `alpn` is host and port of the port where ALPN decides. `device` is the
    device of the lines to paste, `device_made` whether its kit is there already.
    """

    version: str
    api: str
    mqtt_host: str
    mqtt_port: int
    https_host: str
    https_port: int
    endpoint: str
    endpoint_resolves: bool
    account: str
    region: str
    data_dir: Path
    trust_dir: Path
    dev: bool = False
    first_run: bool = False
    alpn: Mapping[str, Any] | None = None
    device: str = FIRST_DEVICE
    device_made: bool = False


def start_screen(info: ServeInfo) -> str:
    """The screen as text: what runs where, and lines that work when pasted into a second terminal."""
    command = handfast_command()
    where = data_dir_option(info.data_dir)
    lines = [
        f"handfast {info.version} is running" + (" (--dev: any secret is accepted)" if info.dev else ""),
        "",
        f"  endpoint   {info.endpoint}",
        f"  MQTT       {_authority(info.mqtt_host, info.mqtt_port)}   mutual TLS, MQTT 3.1.1 and 5",
        f"  HTTPS      {_authority(info.https_host, info.https_port)}   mutual TLS, POST /topics/…",
        f"  API        {info.api}",
        f"  account    {info.account} in {info.region}",
        f"  keys       {_shown(info.data_dir / 'credentials')}   roots {_shown(info.trust_dir)}"
        + ("   (made now)" if info.first_run else ""),
    ]
    if info.alpn is not None:
        where_alpn = _authority(info.alpn["host"], info.alpn["port"])
        lines.insert(5, f"  by ALPN    {where_alpn}   x-amzn-mqtt-ca, x-amzn-http-ca; without: signed HTTPS")
    task = "Publish a message as the device" if info.device_made else "Provision a device and publish its first message"
    create = "" if info.device_made else f"{command} device create {info.device}{where} && "
    lines += [
        "",
        f"{task} (paste in a second terminal, in this directory):",
        "",
        f"  {create}{command} device try {info.device}",
    ]
    if shutil.which("mosquitto_pub"):
        lines += ["", "The same device with mosquitto:", "", f"  {mosquitto_line(info)}"]
    lines += ["", "For the AWS CLI and SDKs:", "", *[f"  {line}" for line in export_lines(info)]]
    if not info.endpoint_resolves and is_loopback(info.mqtt_host):
        lines += [
            "",
            "This machine does not resolve the endpoint; localhost stands in for it. To use its name, as root:",
            "",
            f"  echo '{hosts_line(info.mqtt_host, info.endpoint)}' >> /etc/hosts",
        ]
    lines += ["", f"Refused? {command} explain{where} says why.   Ctrl-C stops the server."]
    return "\n".join(lines) + "\n"


def export_lines(info: ServeInfo) -> list[str]:
    """The shell lines after which the AWS CLI and SDKs talk to this server."""
    exports = {
        "AWS_ENDPOINT_URL": info.api,
        "AWS_SHARED_CREDENTIALS_FILE": str(info.data_dir / "credentials"),
        "AWS_PROFILE": "handfast",
        "AWS_DEFAULT_REGION": info.region,
    }
    if info.dev:
        del exports["AWS_SHARED_CREDENTIALS_FILE"], exports["AWS_PROFILE"]
        exports |= {"AWS_ACCESS_KEY_ID": info.account, "AWS_SECRET_ACCESS_KEY": "any"}
    if info.api.startswith("https:"):
        exports["AWS_CA_BUNDLE"] = str(info.trust_dir / "bundle.pem")
    return [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]


def hosts_line(address: str, *names: str) -> str:
    """A line of the hosts file."""
    return " ".join([address, *names])


def mosquitto_line(info: ServeInfo) -> str:
    """A publish with mosquitto's own client and the device's kit."""
    name = info.endpoint if info.endpoint_resolves else "localhost"
    kit = info.device
    return (
        f"mosquitto_pub -h {name} -p {info.mqtt_port} --cafile {kit}/root-ca.pem --cert {kit}/certificate.pem "
        f"--key {kit}/private.key -i {kit} -t {kit}/greeting -m hello -q 1 -d"
    )


def handfast_command() -> str:
    """How the user starts handfast from the working directory: `handfast`, `.venv/bin/handfast`, or by module."""
    started = Path(sys.argv[0])
    if started.name == "handfast":
        on_path = shutil.which("handfast")
        if on_path and Path(on_path).resolve() == started.resolve():
            return "handfast"
        if started.exists():
            return shlex.quote(_shown(started.absolute()))
    beside = Path(sys.executable).with_name("handfast")
    if beside.exists():
        return shlex.quote(_shown(beside))
    return f"{shlex.quote(_shown(Path(sys.executable)))} -m handfast.cli.main"


def data_dir_option(data_dir: Path) -> str:
    """` --data-dir …` where a command started in the working directory would look elsewhere, else nothing."""
    if data_dir == Path.cwd() / DEFAULT_DATA_DIR:
        return ""
    return f" --data-dir {shlex.quote(_shown(data_dir))}"


def _shown(path: Path) -> str:
    """A path as short as it can be from the working directory."""
    here = Path(os.getcwd())
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
