"""
What a flood of refusals costs honest devices: python -m benchmarks.refusals [--seconds S] [--per-second N] [--json OUT]

A real server on loopback. In turns, with and without a flood, a device connects again and again, one connection after
the other: TCP, TLS with mutual authentication, CONNECT and CONNACK. The flood comes from processes of their own: bytes
that are no TLS, and ClientHellos that are malformed or cut off. Printed: the delays of the
honest device in both turns and their ratio, how many refusals there were, and what is on the disk of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.synchronize
import socket
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import SCRATCH, machine
from benchmarks.revocation import Fleet, percentile
from benchmarks.servers import HOST, SetupError, handfast, open_for_json, prepare_folder

ROUNDS = 3
FLOODERS = 2
_HELLO = bytes.fromhex("16030100370100003303030000000000000000000000000000000000000000000000000000000000000000000004")
BAD = (
    b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",  # MQTT without TLS
    _HELLO,  # cut off
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",  # malformed
    b"GET / HTTP/1.1\r\n\r\n",
)


def flood(port: int, per_second: float, on: multiprocessing.synchronize.Event, sent: Any) -> None:
    """Refused connections while `on` is set, about so many a second; `sent` counts them."""
    number = 0
    while True:
        on.wait()
        began = time.monotonic()
        try:
            with socket.create_connection((HOST, port), timeout=2.0) as plain:
                plain.sendall(BAD[number % len(BAD)])
                if number % len(BAD) != 1:
                    plain.recv(64)
        except OSError:
            pass
        number += 1
        with sent.get_lock():
            sent.value += 1
        time.sleep(max(0.0, 1 / per_second - (time.monotonic() - began)))


def honest(fleet: Fleet, context: Any, seconds: float) -> list[float]:
    """The delay of each connection that a device makes in this time, in seconds."""
    delays = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        device = fleet.open(context, "honest")
        delays.append(time.monotonic() - began)
        device.close()
        time.sleep(0.02)  # the client's own part of the work stays small
    return delays


def measure(seconds: float, per_second: float) -> dict[str, Any]:
    """The figures; delays in milliseconds."""
    folder = prepare_folder(SCRATCH / "refusals")
    server = handfast("handfast", folder / "server", folder / "none", {})
    server.start("0-1")
    processes = []
    try:
        fleet = Fleet(server, folder)
        _, context = fleet.identity("honest")
        on, sent = multiprocessing.Event(), multiprocessing.Value("Q", 0)
        for _ in range(FLOODERS):
            arguments = (server.port, per_second / FLOODERS, on, sent)
            processes.append(multiprocessing.Process(target=flood, args=arguments, daemon=True))
            processes[-1].start()
        honest(fleet, context, 1.0)
        delays: dict[str, list[float]] = {"quiet": [], "flood": []}
        for _ in range(ROUNDS):
            delays["quiet"] += honest(fleet, context, seconds)
            on.set()
            delays["flood"] += honest(fleet, context, seconds)
            on.clear()
    finally:
        for process in processes:
            process.kill()
        server.stop()
    data = folder / "server" / "data"
    figures: dict[str, Any] = {
        "machine": machine(),
        "refused": int(sent.value),
        "refused_per_second": round(sent.value / (ROUNDS * seconds)),
        "refusals_db_kb": sum(file.stat().st_size for file in data.glob("refusals.db*")) // 1024,
        "log_kb": server.log.stat().st_size // 1024,
    }
    for name, values in delays.items():
        shares = {"p50": 0.5, "p99": 0.99}
        figures[name] = {label: round(percentile(values, share) * 1000, 2) for label, share in shares.items()}
    figures["ratio"] = {label: round(figures["flood"][label] / figures["quiet"][label], 2) for label in ("p50", "p99")}
    return figures


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each of the six turns; 5")
    parser.add_argument("--per-second", type=float, default=200.0, help="refused connections; 200")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there")
    asked = parser.parse_args(argv)
    try:
        figures = measure(asked.seconds, asked.per_second)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{figures['refused']} refusals, {figures['refused_per_second']} a second while they came")
    for name in ("quiet", "flood"):
        print(f"{name:<8} p50 {figures[name]['p50']} ms, p99 {figures[name]['p99']} ms")
    print(f"ratio    p50 {figures['ratio']['p50']}, p99 {figures['ratio']['p99']}")
    print(f"refusals.db {figures['refusals_db_kb']} KB, log {figures['log_kb']} KB")
    if asked.json is not None:
        with open_for_json(asked.json) as out:
            json.dump(figures, out, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
