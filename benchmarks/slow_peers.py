"""
What slow and silent connections cost honest ones: python -m benchmarks.slow_peers [--slow N] [--honest N] [--json OUT]

A real server on loopback. Honest devices connect one after the other, each a whole first message: TCP, mutual TLS,
CONNECT, CONNACK, a publish at QoS 1 and its PUBACK. First alone, then while other connections are held open from
several addresses and made anew whenever they are shed: some say nothing, some send half a ClientHello, some a whole
one and no more, some a ClientHello byte by byte, and some finish the handshake and send no CONNECT. Exit status 1: an
honest device was not let in, or the median of its delay is more than three times what it is alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import multiprocessing.synchronize
import random
import resource
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import SCRATCH, machine
from benchmarks.revocation import Fleet, percentile
from benchmarks.servers import HOST, Server, SetupError, handfast, open_for_json, prepare_folder

from handfast.core.mqtt.codec import MQTT_5, encode
from handfast.core.mqtt.packets import Connect, Publish

TARGET_RATIO = 3.0
_LIMIT_S = 30.0
_KINDS = ("silent", "half a hello", "a hello and no more", "byte by byte", "no CONNECT")


def client_hello(name: str) -> bytes:
    """What OpenSSL would send first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


async def _hold(kind: str, address: str, port: int, hello: bytes, context: ssl.SSLContext, name: str) -> None:
    """One slow connection until the server ends it."""
    tls: dict[str, Any] = {"ssl": context, "server_hostname": name} if kind == "no CONNECT" else {}
    reader, writer = await asyncio.open_connection(HOST, port, local_addr=(address, 0), **tls)
    try:
        if kind == "half a hello":
            writer.write(hello[: len(hello) // 2])
        elif kind == "a hello and no more":
            writer.write(hello)
        elif kind == "byte by byte":
            for byte in hello:
                writer.write(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.5)
                    return
        while await reader.read(65536):
            pass
    finally:
        writer.close()


async def _attack(
    under_way: multiprocessing.synchronize.Event,
    count: int,
    addresses: int,
    port: int,
    name: str,
    ca: str,
    identity: str,
    seconds: float,
) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(identity)
    hello = client_hello(name)
    begun: set[int] = set()

    async def one(number: int) -> None:
        address = f"127.0.1.{1 + number % addresses}"
        # Every 20th finishes its handshake: that costs the server a millisecond each time, and the attacker more.
        kind = _KINDS[4] if number % 20 == 0 else _KINDS[number % 4]
        await asyncio.sleep(random.random() * 5)
        begun.add(number)
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _hold(kind, address, port, hello, context, name)
            if len(begun) == count:  # all of them are there, and this one was shed
                under_way.set()
            await asyncio.sleep(1)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(one(number) for number in range(count)))


def attack(*arguments: Any) -> None:
    """Hold connections for so many seconds, in a process of its own; its event says when all are there."""
    asyncio.run(_attack(*arguments))


def first_message(server: Server, context: ssl.SSLContext, number: int) -> float:
    """Seconds from the SYN to the PUBACK; SetupError when the device was not let in."""
    began = time.monotonic()
    try:
        plain = socket.create_connection((HOST, server.port), timeout=_LIMIT_S)
        with context.wrap_socket(plain, server_hostname=server.sni) as tls:
            tls.sendall(encode(MQTT_5, Connect(version=MQTT_5, client_id=f"honest-{number}", keep_alive=60)))
            if tls.recv(256)[:1] != b"\x20":
                raise SetupError("not let in")
            tls.sendall(encode(MQTT_5, Publish(topic="first", payload=b"x", qos=1, packet_id=1)))
            if tls.recv(256)[:1] != b"\x40":
                raise SetupError("not acknowledged")
    except OSError as error:
        raise SetupError(f"an honest device was refused: {error}") from error
    return time.monotonic() - began


def series(server: Server, context: ssl.SSLContext, honest: int, start: int) -> tuple[list[float], int]:
    """The delays of those that got in, and how many did not."""
    delays, refused = [], 0
    for number in range(start, start + honest):
        try:
            delays.append(first_message(server, context, number))
        except SetupError:
            refused += 1
        time.sleep(0.02)  # the client's own part of the work stays small
    return delays, refused


def measure(slow: int, addresses: int, honest: int) -> dict[str, Any]:
    """The figures, in milliseconds."""
    folder = prepare_folder(SCRATCH / "slow-peers")
    server = handfast("handfast", folder / "server", folder / "none", {})
    server.start("0-1")
    attacker = None
    try:
        fleet = Fleet(server, folder)
        _, context = fleet.identity("honest")
        series(server, context, 20, 0)  # warm
        alone, refused_alone = series(server, context, honest, 1000)
        arguments = (slow, addresses, server.port, server.sni, str(server.ca), str(folder / "honest.pem"), 600.0)
        spawn = multiprocessing.get_context("spawn")
        under_way = spawn.Event()
        attacker = spawn.Process(target=attack, args=(under_way, *arguments), daemon=True)
        attacker.start()
        if not under_way.wait(_LIMIT_S):
            raise SetupError(f"the {slow} slow connections were not all there after {_LIMIT_S:.0f} s")
        beside, refused = series(server, context, honest, 100_000)
        if not attacker.is_alive():
            raise SetupError("the slow connections ended early")
    finally:
        if attacker is not None:
            attacker.kill()
            attacker.join(_LIMIT_S)
        server.stop()
    if not beside or not alone:
        raise SetupError(f"of {honest} honest devices none was let in")
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    figures: dict[str, Any] = {"slow": slow, "addresses": addresses, "honest": honest, "machine": machine()}
    for name, values in (("alone", alone), ("beside", beside)):
        figures[name] = {label: round(percentile(values, share) * 1000, 2) for label, share in shares.items()}
    figures["refused"] = {"alone": refused_alone, "beside": refused}
    figures["ratio"] = {label: round(figures["beside"][label] / figures["alone"][label], 2) for label in shares}
    return figures


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_peers", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--slow", type=int, default=3_000, help="connections held open, or tried anew; 3000")
    parser.add_argument("--addresses", type=int, default=8, help="they come from; 8")
    parser.add_argument("--honest", type=int, default=500, help="devices, one after the other, twice; 500")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there")
    asked = parser.parse_args(argv)
    if not (0 < asked.slow <= 20_000 and 0 < asked.addresses <= 250 and 0 < asked.honest <= 10_000):
        parser.error("--slow takes 1 to 20000, --addresses 1 to 250, --honest 1 to 10000")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        figures = measure(asked.slow, asked.addresses, asked.honest)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    for name in ("alone", "beside"):
        each, refused = figures[name], figures["refused"][name]
        print(f"{name:<8} p50 {each['p50']} ms, p99 {each['p99']} ms, max {each['max']} ms, {refused} not let in")
    print(f"ratio    p50 {figures['ratio']['p50']}, p99 {figures['ratio']['p99']}")
    if asked.json is not None:
        with open_for_json(asked.json) as out:
            json.dump(figures, out, indent=2)
    return 0 if figures["ratio"]["p50"] <= TARGET_RATIO and not figures["refused"]["beside"] else 1


if __name__ == "__main__":
    sys.exit(main())
