"""`handfast doctor`: a device's whole way in, step by step, and what stands in it; or the data directory's health."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.connection import (
    AWS_DOMAINS,
    DEFAULT_MQTT_PORT,
    ServerAddress,
    calling,
    find_server,
    handfast_api,
    iot_api,
)
from handfast.cli.kit import Kit
from handfast.cli.options import data_directory
from handfast.cli.output import folded, print_json
from handfast.core.identity.ids import CertificateId
from handfast.doctor import directory, registry
from handfast.doctor.files import examine_certificate, examine_key, examine_roots
from handfast.doctor.path import STEPS, Device, Target, walk
from handfast.doctor.report import Report, State, Step, warn
from handfast.errors import ConfigurationError, HandfastError
from handfast.printable import printable

FALLBACK_CLIENT_ID = "handfast-doctor"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


@calls_server()
def doctor(
    call: Call,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[NAME]",
            help="Folder that 'device create' made: its certificate, key, roots, endpoint and port.",
            show_default=False,
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            "--cert",
            metavar="FILE",
            help="The device's certificate; without it and NAME the data directory is examined.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Its private key.", show_default="private.key beside it, if there"),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="HOST", help="Where to.", show_default="the running server's endpoint"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help="MQTT port.", show_default="the server's; 8883"),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FILE",
            help="The roots that the device trusts.",
            show_default="root-ca.pem beside the certificate, the server's bundle, or this machine's",
        ),
    ] = None,
    client_id: Annotated[
        str | None,
        typer.Option(
            "--client-id",
            metavar="ID",
            help="Client id to connect with.",
            show_default="of device.json beside the certificate, or its thing's name",
        ),
    ] = None,
    no_connect: Annotated[
        bool, typer.Option("--no-connect", help="End before the CONNECT, which takes over a live session.")
    ] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=120)] = 10.0,
) -> None:
    """
    Walk a device's whole way in, from its files to CONNECT, and say where it ends, why, and what to do first.

    Speaks TLS and MQTT like any device, so it examines other endpoints too, AWS's among them; what the registry and the
    policies say is added where credentials for the API are at hand. A device that is connected with the same client id
    is disconnected by the CONNECT, as MQTT demands: --no-connect leaves it alone. Without NAME and --cert the data
    directory is examined, with or without a server. Exit status 1 when a step fails. No secret is printed.
    """
    report = Report()
    now = dt.datetime.now(dt.UTC)
    host = None
    if folder is not None:
        if cert is not None:
            raise ConfigurationError("NAME and --cert were both given: a folder brings its own certificate")
        kit = Kit.read(folder)
        cert = folder / "certificate.pem"
        if endpoint is None:
            endpoint, port, host = kit.endpoint, port or kit.mqtt_port, kit.host
    if cert is None:
        if key or endpoint or port or root or client_id:
            raise ConfigurationError(
                "NAME or --cert is missing: without, the data directory is examined and nothing else"
            )
        _examine_directory(call, report, now)
    else:
        _Way(call, report, now, cert, key, endpoint, port, root, client_id, timeout_s, no_connect, host).examine()
    if call.as_json:
        print_json(report.as_json())
    else:
        terminal = sys.stdout.isatty()
        print(in_words(report, bold=terminal and "NO_COLOR" not in os.environ, wrap=terminal))
    if report.first_failure is not None:
        raise typer.Exit(1)


def in_words(report: Report, *, bold: bool = False, wrap: bool = False) -> str:
    """The report for a person, every string of it escaped; the first failing step stands out. `wrap`: as `folded`."""
    first = report.first_failure
    width = max((len(step.name) for step in report.steps), default=0)
    lines = []
    for step in report.steps:
        told = _told(step, width, wrap=wrap)
        lines.append(f"{_BOLD}{told}{_PLAIN}" if bold and step is first else told)
    if report.unseen:
        lines.append(f"Not examined: {', '.join(report.unseen)}.")
    if first is not None:
        said = f"The first step that fails is {printable(first.name)}: {printable(first.fix, limit=2000)}"
        lines.append(folded(said, hanging=2) if wrap else said)
    else:
        warnings = sum(step.state is State.WARN for step in report.steps)
        lines.append("Every step is passed" + (f"; {warnings} to look at." if warnings else "."))
    return "\n".join(lines)


def _told(step: Step, width: int, *, wrap: bool) -> str:
    lines = [f"{step.state:<4}  {printable(step.name):<{width}}  {printable(step.saw, limit=2000)}"]
    indent = " " * (8 + width)
    if step.why:
        lines.append(f"{indent}{printable(step.why, limit=2000)}")
    if step.fix:
        lines.append(f"{indent}What to do: {printable(step.fix, limit=2000)}")
    if wrap:
        lines = [folded(line, hanging=2 if number else len(indent)) for number, line in enumerate(lines)]
    return "\n".join(lines)


def _examine_directory(call: Call, report: Report, now: dt.datetime) -> None:
    try:
        runs: str | None = find_server(call.data_dir, None).api
    except ConfigurationError:
        runs = None
    directory.examine(report, data_directory(call.data_dir), now, server=runs)


class _Way:
    """What was given, what is found beside the certificate or with the running server, and the examination of it."""

    def __init__(
        self,
        call: Call,
        report: Report,
        now: dt.datetime,
        cert: Path,
        key: Path | None,
        endpoint: str | None,
        port: int | None,
        root: Path | None,
        client_id: str | None,
        timeout_s: float,
        no_connect: bool,
        host: str | None,
    ) -> None:
        self._call = call
        self._report = report
        self._now = now
        self._cert = cert
        self._key = key or _beside(cert, "private.key")
        self._server = _server(call, endpoint)
        self._target = _target(self._server, call, endpoint, port, timeout_s)
        if self._target.stand_in is None and host is not None and host != endpoint:
            self._target = dataclasses.replace(self._target, stand_in=host)
        self._root = root or _beside(cert, "root-ca.pem") or _bundle(self._server)
        self._client_id = client_id
        self._named = (endpoint is not None, port is not None)
        self._no_connect = no_connect

    def examine(self) -> None:
        report, server = self._report, self._server
        steps, leaf = examine_certificate(self._cert, self._now)
        report.add(*steps)
        sound = leaf is not None
        if leaf is not None and self._key is not None:
            sound = report.add(*examine_key(self._key, leaf))
        if self._root is not None:
            sound = report.add(*examine_roots(self._root, self._now)) and sound
        report.add(*self._kit())
        iot = iot_api(server) if server is not None else None
        client_id = self._resolved_client_id(iot, leaf.certificate_id if leaf is not None else None)
        trace = None
        if sound:
            device = Device(
                certificate=self._cert,
                key=self._key,
                roots=self._root,
                client_id=None if self._no_connect else client_id,
            )
            trace = walk(report, self._target, device)
        else:
            report.skip(STEPS)
        if leaf is None or server is None:
            report.skip(["registry", "policy", "record"])
            return
        registry.examine(report, iot, leaf.certificate_id, client_id)
        if not server.is_aws:
            registry.examine_refusals(report, handfast_api(self._recorder(server)), leaf.certificate_id, trace)

    def _kit(self) -> list[Step]:
        """Where the device's own device.json leads elsewhere than the way that is examined, and nobody said so."""
        kit = _beside(self._cert, "device.json")
        if kit is None:
            return []
        try:
            facts = json.loads(kit.read_text(encoding="utf-8"))
            endpoint, port = str(facts["endpoint"]), int(facts["ports"]["mqtt"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            saw, why = f"{kit} cannot be used ({type(error).__name__})", "Programs read the endpoint from it."
            return [warn("kit", saw, why, "Make the kit anew: 'handfast device create'.")]
        target = self._target
        differs = (not self._named[0] and endpoint != target.name, not self._named[1] and port != target.port)
        if not any(differs):
            return []
        return [
            warn(
                "kit",
                f"{kit} names {endpoint} port {port}; what is examined is {target.name} port {target.port}",
                "The device goes where its kit says.",
                f"Examine that way with --endpoint {endpoint} --port {port}, or correct the file.",
            )
        ]

    def _resolved_client_id(self, iot: Any, certificate_id: CertificateId | None) -> str:
        """As given, as the kit says, the certificate's thing, or a name of the doctor's own."""
        if self._client_id is not None:
            return self._client_id
        kit = _beside(self._cert, "device.json")
        if kit is not None:
            try:
                return str(json.loads(kit.read_text(encoding="utf-8"))["clientId"])
            except (OSError, ValueError, KeyError, TypeError):
                pass
        if iot is not None and certificate_id is not None:
            arn = registry.certificate_arn_of(iot, certificate_id)
            thing = registry.thing_of(iot, arn) if arn is not None else None
            if thing is not None:
                return thing
        return FALLBACK_CLIENT_ID

    def _recorder(self, server: ServerAddress) -> ServerAddress:
        """With the operator's key where it is at hand: a refused handshake belongs to no account."""
        call = self._call
        if call.endpoint_url is not None or call.profile is not None:
            return server
        try:
            return find_server(call.data_dir, None, region=call.region, operator=True)
        except HandfastError:
            return server


def _beside(cert: Path, name: str) -> Path | None:
    path = cert.with_name(name)
    return path if path.is_file() else None


def _bundle(server: ServerAddress | None) -> Path | None:
    return server.trust_dir / "bundle.pem" if server is not None and server.trust_dir is not None else None


def _server(call: Call, endpoint: str | None) -> ServerAddress | None:
    """The server whose API may be asked about this endpoint; None where none is at hand."""
    url = call.endpoint_url
    if url is None and endpoint is not None and endpoint.endswith(AWS_DOMAINS):
        labels = endpoint.split(".")
        if len(labels) < 5 or labels[1] != "iot":
            return None
        url = ".".join(["https://iot", *labels[2:]])
    try:
        server = find_server(call.data_dir, url, profile=call.profile, region=call.region)
    except HandfastError:
        if call.endpoint_url is not None:
            raise
        return None
    return server if url is not None or endpoint is None or _is_of(server, endpoint) else None


def _is_of(server: ServerAddress, endpoint: str) -> bool:
    """Whether a local server is the one behind the name; another one's registry would say the wrong things."""
    name = endpoint.lower().rstrip(".")
    if name in ("localhost", server.host, server.endpoint):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        domain = (server.endpoint or "").partition(".")[2]
        return (bool(domain) and name.endswith(f".{domain}")) or name in _further_names(server)


def _further_names(server: ServerAddress) -> list[str]:
    """What a local server answers to besides the account's endpoint: domain names, the legacy endpoint; else none."""
    try:
        with calling(server):
            endpoints = handfast_api(server).list_endpoints().get("endpoints", [])
    except HandfastError:
        return []
    legacy = [each["legacyEndpointAddress"] for each in endpoints if "legacyEndpointAddress" in each]
    return [*legacy, *(name for each in endpoints for name in each.get("domainNames", []))]


def _target(
    server: ServerAddress | None, call: Call, endpoint: str | None, port: int | None, timeout_s: float
) -> Target:
    name, stand_in = endpoint, None
    if server is not None and server.endpoint is not None and (endpoint or server.endpoint) == server.endpoint:
        name, stand_in = server.endpoint, server.host
    elif server is not None and endpoint is not None and call.endpoint_url is None and not server.is_aws:
        stand_in = server.host if endpoint.lower().rstrip(".") in _further_names(server) else None
    if name is None and server is not None:
        with call.iot() as iot:
            name = str(iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"])
    if name is None:
        raise ConfigurationError(
            "no server runs on the data directory: give --endpoint HOST, or --data-dir or --endpoint-url"
        )
    default = server.mqtt_port if server is not None and call.endpoint_url is None else DEFAULT_MQTT_PORT
    return Target(name=name, port=port or default, stand_in=stand_in, timeout_s=timeout_s)
