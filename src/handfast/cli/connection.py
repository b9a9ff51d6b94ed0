"""Finding a running server, and the clients that talk to it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from handfast.cli.options import data_directory
from handfast.cli.pattern_words import in_words
from handfast.config.hosts import is_loopback
from handfast.errors import ConfigurationError, HandfastError
from handfast.printable import printable

SERVE_FILE = "serve.json"
OPERATOR_PROFILE = "handfast-operator"
ACCOUNT_PROFILE = "default"
DEFAULT_MQTT_PORT = 8883
DEFAULT_HTTPS_PORT = 8443
AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn")


class CallFailed(HandfastError):
    """The server said no, or was not there. `code` is the error's code, empty when there was no answer."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """
    A server and the key to call it with.

    Of a server on a data directory everything is known. Of one behind `--endpoint-url` the ports are the
    defaults; `alpn_port`, `endpoint` and `trust_dir` are None. `host` is where its listeners are reached;
    `alpn_port` is None as well where that port is off.
    """

    api: str
    region: str
    host: str
    mqtt_port: int
    https_port: int
    endpoint: str | None
    trust_dir: Path | None
    access_key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    alpn_port: int | None = None

    @property
    def is_aws(self) -> bool:
        """AWS itself, whose roots a device needs instead of ours."""
        return (urlsplit(self.api).hostname or "").endswith(AWS_DOMAINS)


def find_server(
    data_dir: str | None,
    endpoint_url: str | None,
    *,
    profile: str | None = None,
    region: str | None = None,
    operator: bool = False,
) -> ServerAddress:
    """
    The server to talk to: `--endpoint-url` with the usual AWS credentials, else the one on the data directory.

    With a data directory the key is that of its `credentials` file: the profile named, else the operator's for an
    operator command, else the first account's. ConfigurationError says what is missing.
    """
    if endpoint_url is not None:
        return _remote(endpoint_url, profile, region)
    return _local(data_directory(data_dir), profile or (OPERATOR_PROFILE if operator else ACCOUNT_PROFILE), region)


def handfast_api(server: ServerAddress, *, patience_s: float | None = None) -> Any:
    """A client of /handfast/v1; with `patience_s` for what takes long and must not be asked twice."""
    from handfast.wire.client import handfast_client

    return handfast_client(
        server.api, server.region, server.access_key_id, server.secret, server.ca_bundle, patience_s=patience_s
    )


def iot_api(server: ServerAddress) -> Any:
    """A client of the control plane, handfast's or AWS's."""
    if server.session_token is None:
        from handfast.wire.client import iot_client

        return iot_client(server.api, server.region, server.access_key_id, server.secret, server.ca_bundle)
    from botocore.session import Session

    return Session().create_client(
        "iot",
        region_name=server.region,
        endpoint_url=server.api,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret,
        aws_session_token=server.session_token,
        verify=server.ca_bundle or True,
    )


@contextlib.contextmanager
def calling(server: ServerAddress) -> Iterator[None]:
    """botocore's errors inside leave as `CallFailed`: one line that says what to do."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", ""))
        text = printable(in_words(str(answer.get("Message", ""))) or "no message", limit=2000)
        raise CallFailed(f"{error.operation_name} was refused: {text} ({printable(code, limit=80)})", code) from None
    except ParamValidationError as error:
        problems = _TOO_SHORT.sub(_too_short, " ".join(str(error.kwargs["report"]).split()))
        raise CallFailed(f"Nothing was sent: {printable(problems, limit=400)}") from None
    except BotoCoreError as error:
        raise CallFailed(
            f"{server.api} did not answer: {printable(str(error), limit=400)}; is the server running?"
        ) from None


_TOO_SHORT = re.compile(r"Invalid length for parameter ([\w.\[\]]+), value: (\d+), valid min length: (\d+)")
"""How botocore says it."""


def _too_short(found: re.Match[str]) -> str:
    name, has, least = found.groups()
    hint = "; 'handfast cert list' and 'handfast ca list' show ids" if name == "certificateId" else ""
    return f"{name} is too short: it has the length {has}, expected at least {least}{hint}"


def server_runs(data_dir: Path) -> bool:
    """Whether `serve.json` names a process that is there."""
    try:
        return _alive(int(json.loads((data_dir / SERVE_FILE).read_text(encoding="utf-8"))["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def resolves(name: str) -> bool:
    """Whether this machine finds an address for the name."""
    try:
        return bool(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except OSError:
        return False


def reachable_name(server: ServerAddress, endpoint: str) -> str:
    """A name for a device on this machine: the endpoint where it resolves, else localhost or the server's address."""
    if resolves(endpoint):
        return endpoint
    return "localhost" if is_loopback(server.host) or _is_any(server.host) else server.host


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _local(data_dir: Path, profile: str, region: str | None) -> ServerAddress:
    from handfast.services import credentials_file

    path = data_dir / SERVE_FILE
    start = f"start one with 'handfast serve --data-dir {data_dir}', or give --data-dir or --endpoint-url"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        pid, api = int(facts["pid"]), str(facts["api"])
        mqtt, https = facts["mqtt"], facts["https"]
        host, mqtt_port, https_port = str(mqtt["host"]), int(mqtt["port"]), int(https["port"])
        alpn_port = int(facts["alpn"]["port"]) if facts.get("alpn") else None
        endpoint, trust_dir = str(facts["endpoint"]), Path(facts["trust_dir"])
    except FileNotFoundError:
        raise ConfigurationError(f"no server runs on {data_dir} (there is no {SERVE_FILE}): {start}") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}): run as the server's user") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{path} is not what a server writes: start the server again") from None
    if not _alive(pid):
        raise ConfigurationError(f"the server on {data_dir} has ended (process {pid} is gone): {start}")
    keys = credentials_file.read(data_dir / "credentials")
    if profile not in keys:
        raise ConfigurationError(
            f"{data_dir / 'credentials'} has no profile {printable(profile)!r}: it has {', '.join(keys) or 'none'}; "
            "name one with --profile"
        )
    return ServerAddress(
        api=api,
        region=region or str(facts.get("region") or _region_of(endpoint)),
        host=host,
        mqtt_port=mqtt_port,
        https_port=https_port,
        alpn_port=alpn_port,
        endpoint=endpoint,
        trust_dir=trust_dir,
        access_key_id=keys[profile].access_key_id,
        secret=keys[profile].secret,
        ca_bundle=str(trust_dir / "bundle.pem") if api.startswith("https:") else None,
    )


def _remote(endpoint_url: str, profile: str | None, region: str | None) -> ServerAddress:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    host = urlsplit(endpoint_url).hostname if endpoint_url.startswith(("http://", "https://")) else None
    if not host:
        raise ConfigurationError(
            f"--endpoint-url is {printable(endpoint_url, limit=120)!r}: expected a URL such as https://iot.example.com"
        )
    try:
        session = Session(profile=profile)
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None
        region = region or session.get_config_variable("region")
        ca_bundle = session.get_config_variable("ca_bundle")
    except BotoCoreError as error:
        raise ConfigurationError(f"the AWS settings cannot be used: {printable(str(error), limit=300)}") from None
    if frozen is None:
        raise ConfigurationError(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --profile"
        )
    if not region:
        raise ConfigurationError("no region was found: give --region or set AWS_DEFAULT_REGION")
    return ServerAddress(
        api=endpoint_url.rstrip("/"),
        region=region,
        host=host,
        mqtt_port=DEFAULT_MQTT_PORT,
        https_port=DEFAULT_HTTPS_PORT,
        endpoint=None,
        trust_dir=None,
        access_key_id=frozen.access_key,
        secret=frozen.secret_key,
        session_token=frozen.token,
        ca_bundle=ca_bundle,
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _region_of(endpoint: str) -> str:
    labels = endpoint.split(".")
    return labels[2] if len(labels) > 2 else "us-east-1"
