"""
Settings as written (flags, environment, handfast.toml) and Settings as validated.

`SETTINGS` is the one table: flags, environment variables, file keys, `--help`
and docs/configuration.md are made from it. `resolve` turns what was written
into a frozen `Settings` and says where each value came from.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES
from handfast.errors import ConfigurationError
from handfast.printable import printable

CONFIG_FILE = "handfast.toml"
CONFIG_VARIABLE = "HANDFAST_CONFIG"
ENDPOINT_PREFIX_OCTETS = 14
"""Length of the prefix that an account's endpoints carry."""
LONGEST_ENDPOINT_INFIX = ".credentials.iot."
"""Of the endpoint forms, `{prefix}.credentials.iot.{region}.{domain}` is the longest."""
MAX_NAME_OCTETS = 253
MAX_LABEL_OCTETS = 63

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The validated settings of one process. Paths are absolute; names are lower case.

    The meaning, unit and default of each field stand in `SETTINGS`.
    """

    data_dir: Path
    host: str
    api_port: int
    mqtt_port: int
    https_port: int
    alpn_port: int | None
    proxy_protocol: tuple[str, ...]
    region: str
    domain: str
    server_names: tuple[str, ...]
    prefer_chain: Literal["rsa", "ecdsa"]
    tls_policy: str
    serve_cross: bool
    public_url: str | None
    legacy_endpoint: bool
    refusals: Literal["explain", "aws"]
    sni: Literal["lenient", "aws"]
    quotas: Literal["off", "aws"]
    jitp: Literal["first-connection", "aws"]
    jit_rate: int
    jit_waiting: int
    decisions: Literal["on", "off"]
    template_lint: Literal["warn", "refuse"]
    database_url: str | None
    ready_file: Path | None
    api_plaintext: bool
    dev: bool
    log_format: Literal["text", "json"] | None
    log_level: Literal["debug", "info", "warning", "error"]
    key_passphrase_file: Path | None
    root_passphrase_file: Path | None
    metrics_token_file: Path | None
    file: Path | None
    """The handfast.toml that was read; its tables (`FILE_TABLES`) are read by `config_tables`."""

    @property
    def is_loopback(self) -> bool:
        """True when nothing outside this machine can reach the listeners."""
        return is_loopback(self.host)

    @property
    def api_tls(self) -> bool:
        """Whether the API port speaks TLS: everywhere but on loopback, unless plain HTTP was allowed."""
        return not self.is_loopback and not self.api_plaintext


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table. `help` is the line in `--help`; `more` is the paragraph for the docs."""

    name: str  # the field of Settings
    flag: str
    metavar: str
    default: Any
    default_text: str
    help: str
    unit: str
    more: str = ""
    parse: Callable[[_Written], Any]
    repeatable: bool = False
    switch: bool = False
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable's name."""
        return "HANDFAST_" + self.key.replace("-", "_").upper()

    @property
    def key(self) -> str:
        """The key in handfast.toml: the flag without its dashes at the front."""
        return self.flag.removeprefix("--")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A value as it was written, and where: what a parser needs to say what is wrong with it."""

    value: Any
    setting: Setting
    origin: str  # "flag", "environment" or the file's name
    base: Path  # relative paths are relative to this directory

    @property
    def where(self) -> str:
        if self.origin == "flag":
            return self.setting.flag
        if self.origin == "environment":
            return self.setting.env
        return f"'{self.setting.key}' in {self.origin}"

    def wrong(self, expected: str, todo: str = "") -> NoReturn:
        seen = printable(str(self.value), limit=120)
        if self.setting.secret:
            seen = "(not shown)"
        raise ConfigurationError(f"{self.where} is {seen!r}: expected {expected}" + (f"; {todo}" if todo else ""))

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.wrong(f"text ({self.setting.unit})")
        if not self.value:
            self.wrong(self.setting.unit)
        if "\0" in self.value:
            self.wrong("text without NUL characters")
        return self.value


# --- parsers ---------------------------------------------------------------------------------------------------------


def _path(written: _Written) -> Path:
    value = written.value
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        written.wrong("a path")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        written.wrong("a path whose ~ can be resolved", "write the path out")
    return Path(os.path.abspath(written.base / path))


def _port(written: _Written) -> int:
    value = written.value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        written.wrong("a TCP port, 0 to 65535", "0 takes any free port")
    return value


def _count(written: _Written) -> int:
    value = written.value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 999_999_999:
        written.wrong("a whole number, 1 or more")
    return value


def _port_or_off(written: _Written) -> int | None:
    return None if written.value == "off" or written.value is False else _port(written)


def _switch(written: _Written) -> bool:
    value = written.value
    folded = value.lower() if isinstance(value, str) else value
    if folded is not True and folded is not False and folded not in _TRUE | _FALSE:
        written.wrong("true or false")
    return folded is True or folded in _TRUE


def _choice(written: _Written) -> str:
    if written.value not in written.setting.choices:
        written.wrong("one of " + ", ".join(written.setting.choices))
    return str(written.value)


def _host(written: _Written) -> str:
    text = written.text()
    stripped = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(stripped))
    except ValueError:
        problem = name_problem(text.lower())
        if problem:
            written.wrong("an IP address or a host name of this machine", problem)
        return text.lower()


def _region(written: _Written) -> str:
    text = written.text()
    if not _LABEL.fullmatch(text):
        written.wrong("one DNS label of lower-case letters, digits and inner hyphens, at most 63", "such as us-east-1")
    return text


def _domain(written: _Written) -> str:
    text = written.text().lower()
    problem = name_problem(text)
    if problem:
        written.wrong("a DNS name such as localhost or iot.example.com", problem)
    return text


def _server_names(written: _Written) -> tuple[str, ...]:
    value = written.value
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        written.wrong("a list of host names and IP addresses")
    names: list[str] = []
    for part in value:
        try:
            name = str(ipaddress.ip_address(part))
        except ValueError:
            name = part.lower()
            problem = name_problem(name)
            if problem:
                written.wrong("host names and IP addresses", problem)
        if name not in names:
            names.append(name)
    return tuple(names)


def _networks(written: _Written) -> tuple[str, ...]:
    value = written.value
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        written.wrong("a list of addresses and networks in CIDR form")
    networks: list[str] = []
    for part in value:
        try:
            network = ipaddress.ip_network(part)
        except ValueError as error:
            written.wrong("addresses and networks in CIDR form, such as 10.0.0.0/24", printable(str(error), limit=120))
        if not network.prefixlen:
            written.wrong("the balancers' networks", "every address is no network: any client could claim any address")
        if str(network) not in networks:
            networks.append(str(network))
    return tuple(networks)


def _database_url(written: _Written) -> str:
    text = written.text()
    scheme, separator, rest = text.partition("://")
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        written.wrong("a sqlite:/// URL", "PostgreSQL is not supported by this version yet; leave it out to use SQLite")
    if scheme != "sqlite" or not separator or not rest.startswith("/") or len(rest) < 2:
        written.wrong("sqlite:/// followed by a file's path", "leave it out to keep the registry in the data directory")
    return text


def _public_url(written: _Written) -> str:
    # Here: it needs cryptography, which commands that only read the settings can do without.
    from handfast.core.pki.pointers import public_base

    try:
        return public_base(written.text())
    except ValueError as error:
        written.wrong("the http URL below which others reach this server's API port", str(error))


def name_problem(name: str) -> str | None:
    """What keeps a lower-case name from being a legal DNS host name (RFC 1123 §2.1, RFC 1035 §2.3.4), or None."""
    if not name:
        return "the name is empty"
    if len(name) > MAX_NAME_OCTETS:
        return f"the name has {len(name)} octets; a DNS name has at most {MAX_NAME_OCTETS}"
    labels = name.split(".")
    for label in labels:
        if len(label) > MAX_LABEL_OCTETS:
            return f"the label '{label[:20]}…' has {len(label)} octets; a DNS label has at most {MAX_LABEL_OCTETS}"
        if not _LABEL.fullmatch(label):
            shown = printable(label)
            return f"'{shown}' is not a DNS label; use letters, digits and inner hyphens, no empty label, no final dot"
    if labels[-1].isdigit():
        return "the last label is a number, so the name looks like an address"
    return None


def is_loopback(host: str) -> bool:
    """Whether a listening address or host name reaches this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# --- the table -------------------------------------------------------------------------------------------------------

_PORT_UNIT = "TCP port, 0 to 65535; 0 takes any free port"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="data_dir",
        flag="--data-dir",
        metavar="DIR",
        default="handfast-data",
        default_text="./handfast-data",
        help="Everything that handfast keeps: keys, credentials, registry.",
        unit="path of a directory",
        more="Made with mode 0700 on the first run. Files with a secret have mode 0600; a looser mode stops the start.",
        parse=_path,
    ),
    Setting(
        name="host",
        flag="--host",
        metavar="ADDR",
        default="127.0.0.1",
        default_text="127.0.0.1",
        help="Address that every listener binds.",
        unit="IP address or host name of this machine",
        more="On an address that is not loopback the API port speaks TLS, with a certificate under handfast's roots.",
        parse=_host,
    ),
    Setting(
        name="api_port",
        flag="--api-port",
        metavar="N",
        default=8080,
        default_text="8080",
        help="Port of the API: control plane, SigV4 data plane, /handfast/v1, /trust, /healthz, /metrics.",
        unit=_PORT_UNIT,
        parse=_port,
    ),
    Setting(
        name="mqtt_port",
        flag="--mqtt-port",
        metavar="N",
        default=8883,
        default_text="8883",
        help="Port of MQTT over mutual TLS.",
        unit=_PORT_UNIT,
        parse=_port,
    ),
    Setting(
        name="https_port",
        flag="--https-port",
        metavar="N",
        default=8443,
        default_text="8443",
        help="Port of the HTTPS data plane over mutual TLS.",
        unit=_PORT_UNIT,
        parse=_port,
    ),
    Setting(
        name="alpn_port",
        flag="--alpn-port",
        metavar="N",
        default=None,
        default_text="off",
        help="One port for all, as AWS IoT's 443: the client's ALPN chooses protocol and authentication.",
        unit=_PORT_UNIT + "; off",
        more="With ALPN `x-amzn-mqtt-ca` it is MQTT, with `x-amzn-http-ca` the HTTPS data plane, both over mutual TLS. "
        "Without ALPN, or with `http/1.1`, no client certificate is asked for, and every request must be signed with "
        "SigV4; `GET /mqtt` is MQTT over WebSocket there. Custom authorizers (ALPN `mqtt`) are not supported.",
        parse=_port_or_off,
    ),
    Setting(
        name="proxy_protocol",
        flag="--proxy-protocol",
        metavar="CIDR",
        default=(),
        default_text="none",
        help="A balancer that says whose connections it hands on, by the PROXY protocol 1 or 2; repeatable.",
        unit="addresses and networks in CIDR form; comma-separated in the environment, a list in the file",
        more="From these peers a PROXY header is required before TLS, on every TLS port; from others none is taken. "
        "The addresses in policies, limits and records are then the devices'. A header without addresses (LOCAL, "
        "UNKNOWN) stands for the balancer itself. The API port has to speak TLS for it.",
        parse=_networks,
        repeatable=True,
    ),
    Setting(
        name="region",
        flag="--region",
        metavar="NAME",
        default="us-east-1",
        default_text="us-east-1",
        help="Region of certificates that arrive without SNI; part of every endpoint's name.",
        unit="one DNS label: lower-case letters, digits, inner hyphens, at most 63 octets",
        parse=_region,
    ),
    Setting(
        name="domain",
        flag="--domain",
        metavar="NAME",
        default="localhost",
        default_text="localhost",
        help="Endpoints are {prefix}-ats.iot.{region}.{domain}.",
        unit="DNS name; the longest endpoint made from it has at most 253 octets",
        more="The longest name made from it is {prefix}.credentials.iot.{region}.{domain}, with a prefix of 14 octets.",
        parse=_domain,
    ),
    Setting(
        name="server_names",
        flag="--server-name",
        metavar="NAME",
        default=(),
        default_text="none beyond localhost, 127.0.0.1 and ::1, which are always there",
        help="A further name or address in the server's certificates; repeatable.",
        unit="host names and IP addresses; comma-separated in the environment, a list in the file",
        parse=_server_names,
        repeatable=True,
    ),
    Setting(
        name="prefer_chain",
        flag="--prefer-chain",
        metavar="rsa|ecdsa",
        default="rsa",
        default_text="rsa",
        help="The server chain for a client that can verify both kinds.",
        unit="rsa or ecdsa",
        more="Devices in the field embed the RSA root most often; an ECDSA signature costs the server a twentieth.",
        parse=_choice,
        choices=("rsa", "ecdsa"),
    ),
    Setting(
        name="tls_policy",
        flag="--tls-policy",
        metavar="NAME",
        default=DEFAULT_SECURITY_POLICY,
        default_text=DEFAULT_SECURITY_POLICY,
        help="AWS IoT's security policy for every TLS port: which versions and cipher suites are offered.",
        unit="name of one of AWS IoT's six security policies",
        more="The names: " + ", ".join(f"`{name}`" for name in SECURITY_POLICIES) + ". What each of them offers stands "
        "in [standards](standards.md#tls). TLS 1.2 is the least version in all of them.",
        parse=_choice,
        choices=tuple(SECURITY_POLICIES),
    ),
    Setting(
        name="serve_cross",
        flag="--serve-cross",
        metavar="",
        default=False,
        default_text="off",
        help="Send cross-certificates too, for devices that hold the legacy root alone.",
        unit="true or false",
        more="Behind leaf and intermediate goes the root as the legacy root signed it, never a root itself. It costs "
        "each handshake some 900 bytes: `handfast chain --sizes` says how many. A client that offers no "
        "`rsa_pkcs1_sha256` for certificates is sent none.",
        parse=_switch,
        switch=True,
    ),
    Setting(
        name="public_url",
        flag="--public-url",
        metavar="URL",
        default=None,
        default_text="none: certificates name no place, and no list is published",
        help="Where others reach the API port: certificates then name their issuer and a CRL below it.",
        unit="http://HOST[:PORT][/PATH]",
        more="Below it the API port publishes issuers' certificates (`/aia/`) and lists of revocations (`/crl/`) "
        "without credentials, the device issuing CA's among them; see [revocation](revocation.md). Server "
        "certificates are made anew when it changes.",
        parse=_public_url,
    ),
    Setting(
        name="legacy_endpoint",
        flag="--legacy-endpoint",
        metavar="",
        default=False,
        default_text="off",
        help="Serve iot:Data too, on a chain under the legacy root alone, to practise a fleet's move off an old root.",
        unit="true or false",
        more="`PREFIX.iot.REGION.DOMAIN` for MQTT 3.1.1 and HTTPS, with RSA alone: a device that holds only the legacy "
        "root verifies it, one that holds only the roots 1 to 4 does not. `handfast endpoint legacy` lists who comes.",
        parse=_switch,
        switch=True,
    ),
    Setting(
        name="refusals",
        flag="--refusals",
        metavar="explain|aws",
        default="explain",
        default_text="explain",
        help="Answer refused devices with a trace id, or close silently as AWS does.",
        unit="explain or aws",
        more="With explain: MQTT 5 CONNACK 0x87 with a Reason String, MQTT 3.1.1 CONNACK 5, HTTPS 403, each carrying "
        "a trace id and nothing else. With aws a refused MQTT 3.1.1 client gets no CONNACK.",
        parse=_choice,
        choices=("explain", "aws"),
    ),
    Setting(
        name="sni",
        flag="--sni",
        metavar="lenient|aws",
        default="lenient",
        default_text="lenient",
        help="Whether localhost and the server names may stand in for an endpoint's name.",
        unit="lenient or aws",
        parse=_choice,
        choices=("lenient", "aws"),
    ),
    Setting(
        name="quotas",
        flag="--quotas",
        metavar="off|aws",
        default="off",
        default_text="off",
        help="Whether the rate quotas of AWS IoT Core hold for MQTT and the API.",
        unit="off or aws",
        more="With aws: per connection 100 publishes a second in and out together, of which more are discarded or, "
        "outbound at QoS 1, delayed, and 512 KB a second in and out together, of which more are delayed; one CONNECT "
        "a second per client id and one retained message a second per topic, of which more are refused. The last "
        "holds for publishing over HTTPS and the API too. Per account, region and operation 10 or 15 calls a second of "
        "the API for certificates, of which more get ThrottlingException.",
        parse=_choice,
        choices=("off", "aws"),
    ),
    Setting(
        name="jitp",
        flag="--jitp",
        metavar="first-connection|aws",
        default="first-connection",
        default_text="first-connection",
        help="Whether a device that a CA's template provisions gets in on its first connection.",
        unit="first-connection or aws",
        more="With first-connection it does, when its template was carried out within the ten seconds that a CONNECT "
        "may take. With aws the first connection is closed, as AWS IoT does, and the device has to come back.",
        parse=_choice,
        choices=("first-connection", "aws"),
    ),
    Setting(
        name="jit_rate",
        flag="--jit-rate",
        metavar="N",
        default=500,
        default_text="500",
        help="Most first connections a second that are registered or provisioned under one CA, and from one address.",
        unit="connections a second, 1 or more",
        more="Of just-in-time registration and provisioning; twice as many may come at once. More are refused, and "
        "the device may come back.",
        parse=_count,
    ),
    Setting(
        name="jit_waiting",
        flag="--jit-waiting",
        metavar="N",
        default=20_000,
        default_text="20000",
        help="Most certificates of one CA that just-in-time registration leaves waiting for their activation.",
        unit="certificates, 1 or more",
        more="Beyond that a first connection registers nothing until some are activated or deleted; checked every few "
        "seconds.",
        parse=_count,
    ),
    Setting(
        name="decisions",
        flag="--decisions",
        metavar="on|off",
        default="on",
        default_text="on",
        help="Record what policies decide, for handfast policy replay.",
        unit="on or off",
        more="Recorded are the distinct decisions with their counts, at most 256 for each certificate, kept for 90 "
        "days in decisions.db. Recording costs nothing for decisions that a connection remembers. While it is off, "
        "handfast policy replay has nothing to judge a draft by, and says so.",
        parse=_choice,
        choices=("on", "off"),
    ),
    Setting(
        name="template_lint",
        flag="--template-lint",
        metavar="warn|refuse",
        default="warn",
        default_text="warn",
        help="Whether provisioning templates may give devices policies that are too broad.",
        unit="warn or refuse",
        more="Too broad is what AWS IoT Device Defender's audit check for overly permissive policies finds, such as "
        "publishing to any topic. With refuse such a template is refused when it is created; one whose policy depends "
        "on the device, when a device is provisioned; and in fleet provisioning one where the device chooses the "
        "policy. The default lets them pass, since AWS IoT's tutorials have such templates; handfast template lint "
        "names them.",
        parse=_choice,
        choices=("warn", "refuse"),
    ),
    Setting(
        name="database_url",
        flag="--database-url",
        metavar="URL",
        default=None,
        default_text="SQLite, handfast.db in the data directory",
        help="Where the registry is kept.",
        unit="sqlite:/// URL",
        parse=_database_url,
        secret=True,
    ),
    Setting(
        name="ready_file",
        flag="--ready-file",
        metavar="PATH",
        default=None,
        default_text="none",
        help="Written once every listener accepts: ports, endpoint, account as JSON.",
        unit="path of a file",
        more="Written whole, then renamed, so that a reader never sees half of it.",
        parse=_path,
    ),
    Setting(
        name="api_plaintext",
        flag="--api-plaintext",
        metavar="",
        default=False,
        default_text="off",
        help="Allow plain HTTP on an address that is not loopback, behind a proxy.",
        unit="true or false",
        parse=_switch,
        switch=True,
    ),
    Setting(
        name="dev",
        flag="--dev",
        metavar="",
        default=False,
        default_text="off",
        help="For tests: any 12-digit access key id is an account, any secret is accepted. Loopback only.",
        unit="true or false",
        more="Devices are authenticated exactly as without it. A data directory is made with or without --dev and "
        "stays so.",
        parse=_switch,
        switch=True,
    ),
    Setting(
        name="log_format",
        flag="--log-format",
        metavar="text|json",
        default=None,
        default_text="text on a terminal, json otherwise",
        help="Form of the log on standard error.",
        unit="text or json",
        parse=_choice,
        choices=("text", "json"),
    ),
    Setting(
        name="log_level",
        flag="--log-level",
        metavar="LEVEL",
        default="info",
        default_text="info",
        help="Least level that is logged.",
        unit="debug, info, warning or error",
        parse=_choice,
        choices=("debug", "info", "warning", "error"),
    ),
    Setting(
        name="key_passphrase_file",
        flag="--key-passphrase-file",
        metavar="FILE",
        default=None,
        default_text="none: online keys are plain files of mode 0600",
        help="Its first line encrypts the online keys and the access-key secrets.",
        unit="path of a file",
        parse=_path,
    ),
    Setting(
        name="root_passphrase_file",
        flag="--root-passphrase-file",
        metavar="FILE",
        default=None,
        default_text="none: a passphrase is made on the first run and printed once",
        help="Its first line encrypts the root keys that the first run makes.",
        unit="path of a file",
        more="serve never opens the root keys again; move pki/offline/ to a safe place.",
        parse=_path,
    ),
    Setting(
        name="metrics_token_file",
        flag="--metrics-token-file",
        metavar="FILE",
        default=None,
        default_text="none: /metrics answers on loopback only",
        help="Its first line is the bearer token that opens /metrics on an address that is not loopback.",
        unit="path of a file",
        parse=_path,
    ),
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}
assert [*BY_NAME, "file"] == [field.name for field in fields(Settings)]
FILE_TABLES = frozenset({"hooks", "bulk-input"})
"""What stands in handfast.toml alone, because it says what runs on this machine: never a flag, never in the API."""


# --- resolving -------------------------------------------------------------------------------------------------------


def resolve(
    flags: Mapping[str, Any], env: Mapping[str, str], file: Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """
    The validated settings, and for each field where its value came from.

    Args:
        flags: By field name; None and the empty list mean "not given".
        env: The environment; an empty variable means "not given".
        file: A handfast.toml that must exist; None reads none (see `config_file`).

    Returns:
        The settings and the origins: "flag", "environment VARIABLE", "file PATH" or "default".

    Raises:
        ConfigurationError: One line: what was seen, what was expected, what to do.

    A flag beats the environment, the environment beats the file. Relative paths in the file are relative to its
    directory, others to the working directory.
    """
    unknown = set(flags) - set(BY_NAME)
    if unknown:
        raise ConfigurationError(f"no such setting: {', '.join(sorted(unknown))}")
    in_file = _read_file(file) if file is not None else {}
    here = Path.cwd()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        flag = flags.get(setting.name)
        if flag is not None and not (setting.repeatable and not flag):
            written = _Written(value=flag, setting=setting, origin="flag", base=here)
            origin = "flag"
        elif env.get(setting.env):
            written = _Written(value=env[setting.env], setting=setting, origin="environment", base=here)
            origin = f"environment {setting.env}"
        elif file is not None and setting.key in in_file:
            written = _Written(value=in_file[setting.key], setting=setting, origin=str(file), base=file.parent)
            origin = f"file {file}"
        else:
            origin = "default"
            default = setting.default
            values[setting.name] = here / default if setting.name == "data_dir" else default
            origins[setting.name] = origin
            continue
        values[setting.name] = setting.parse(written)
        origins[setting.name] = origin
    settings = Settings(**values, file=file)
    _check_together(settings, origins)
    return settings, origins


def config_file(flag: str | Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read: `--config`, else HANDFAST_CONFIG, else ./handfast.toml where it exists, else none."""
    named = flag or env.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    found = Path(CONFIG_FILE)
    return found if found.exists() else None


def secret_from_file(path: Path, flag: str) -> str:
    """The first line of a file that holds a passphrase or token; never empty. ConfigurationError names `flag`."""
    try:
        with path.open(encoding="utf-8") as lines:
            first = lines.readline(4097)
    except OSError as error:
        raise ConfigurationError(
            f"{flag} {path} cannot be read ({error.strerror}): give a file that this user can read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{flag} {path} is not UTF-8 text: put the secret on its first line") from None
    secret = first.rstrip("\r\n")
    if not secret:
        raise ConfigurationError(f"{flag} {path} has an empty first line: put the secret there")
    if len(first) > 4096:
        raise ConfigurationError(f"{flag} {path} has a first line over 4096 characters: expected a passphrase or token")
    return secret


def shown(setting: Setting, value: Any) -> Any:
    """A value as `config show` prints it and `--json` carries it; passwords in URLs are left out."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    if setting.secret and isinstance(value, str):
        return re.sub(r"(?<=://)[^/@]*@", "…@", value)
    return value


def _read_file(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            read = tomllib.load(stream)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}): give an existing file to --config"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not TOML: {printable(str(error))}; correct that place") from None
    values: dict[str, Any] = {}
    for written, value in read.items():
        key = written.replace("_", "-")
        if key in FILE_TABLES:
            continue
        if key not in BY_KEY:
            known = ", ".join(sorted(BY_KEY.keys() | FILE_TABLES))
            raise ConfigurationError(
                f"{file} has the unknown key '{printable(written, limit=60)}': expected one of {known}; remove it"
            )
        if key in values:
            raise ConfigurationError(f"{file} has '{key}' twice, with - and with _: keep one")
        values[key] = value
    return values


def _check_together(settings: Settings, origins: Mapping[str, str]) -> None:
    """Rules that span settings."""
    longest = ENDPOINT_PREFIX_OCTETS + len(f"{LONGEST_ENDPOINT_INFIX}{settings.region}.{settings.domain}")
    if longest > MAX_NAME_OCTETS:
        raise ConfigurationError(
            f"--region and --domain make endpoint names of {longest} octets: expected at most {MAX_NAME_OCTETS}; "
            f"choose a domain that is {longest - MAX_NAME_OCTETS} octets shorter"
        )
    ports: dict[int, str] = {}
    for name in ("api_port", "mqtt_port", "https_port", "alpn_port"):
        port = getattr(settings, name)
        flag = BY_NAME[name].flag
        if port and port in ports:
            raise ConfigurationError(f"{ports[port]} and {flag} are both {port}: expected different ports; change one")
        ports[port] = flag
    if settings.dev and not settings.is_loopback:
        raise ConfigurationError(
            f"--dev with --host {settings.host}: expected a loopback address, because --dev accepts any secret; "
            "use --host 127.0.0.1, or leave --dev out"
        )


def flag_names(settings: Sequence[Setting] = SETTINGS) -> list[str]:
    """Every flag of `handfast serve` that this table makes."""
    return [setting.flag for setting in settings]
