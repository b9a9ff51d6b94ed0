"""
What a million registered certificates cost at connect: python -m benchmarks.lookup_scale [--small N] [--large N]

Two registries, one with 1,000 and one with 1,000,000 certificates. First the lookup alone: the store answers for
certificates that no cache holds, drawn at random from all that are registered. Then whole connections: two servers,
each with 1,000 devices that connect for the first time since its start (full mutual TLS 1.3 handshake, CONNECT,
CONNACK, DISCONNECT), so that every one of them is looked up. Both are measured in turn, in an order that changes from
round to round; the figure is the median of the rounds' ratios of CPU time, large ÷ small. Exit status 1: above 1.10.

Making the large registry takes ten to twenty minutes, once; it is kept in benchmarks/scratch/lookup.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import LOADGEN
from benchmarks.make_fleet import Issuer, client_certificates, make_fleet
from benchmarks.register import register
from benchmarks.servers import HOST, ROOT, Server, handfast, prepare_folder
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.storage.sql import SQLStore

TARGET = 1.10
CLIENTS = 1_000
LOOKUPS = 2_000
_REGION = "us-east-1"


def fillers(count: int) -> Iterator[bytes]:
    """
    `count` certificates in DER, all different.

    A million signatures would take minutes and change nothing here: one certificate is signed and its last eight
    octets are counted up, which leaves it as long and as unique as a real one. Nobody connects with these.
    """
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = Issuer().client("filler", key).public_bytes(serialization.Encoding.DER)
    for number in range(count):
        yield der[:-8] + number.to_bytes(8, "big")


async def fill(data_dir: Path, fleet: Path, scope: Scope, count: int) -> list[CertificateId]:
    """`count` certificates are registered, the fleet's with the policy; 50,000 of their ids at most, at random."""
    sample = random.Random(7)
    kept = [CertificateId(hashlib.sha256(der).hexdigest()) for der in client_certificates(fleet)]

    def watched() -> Iterator[bytes]:
        for der in fillers(count - CLIENTS):
            if sample.random() < 50_000 / count:
                kept.append(CertificateId(hashlib.sha256(der).hexdigest()))
            yield der

    await register(data_dir, scope, client_certificates(fleet), watched())
    return kept


def prepare(scratch: Path, fleet: Path, count: int) -> Path:
    """A data directory with `count` certificates; made once, with `ids.json` beside it."""
    folder = scratch / f"registry-{count}"
    if (folder / "ids.json").exists():
        return folder / "data"
    shutil.rmtree(folder, ignore_errors=True)
    server = handfast(f"first run of {count}", folder, folder / "none", {})
    server.start(_cores())
    account = json.loads((folder / "ready.json").read_text())["account"]
    server.stop()
    began = time.monotonic()
    scope = Scope(AccountId(account), _REGION)
    ids = asyncio.run(fill(folder / "data", fleet, scope, count))
    (folder / "ids.json").write_text(json.dumps({"account": account, "ids": ids}))
    print(f"{count:,} certificates registered in {time.monotonic() - began:.0f} s", flush=True)
    return folder / "data"


def _cores() -> str:
    return f"0-{(os.cpu_count() or 1) - 1}"


# --- the lookup alone -----------------------------------------------------------------------------------------------


class Lookups:
    """An open registry; `measure` looks certificates up that it has not been asked for in this run."""

    def __init__(self, data_dir: Path) -> None:
        facts = json.loads((data_dir.parent / "ids.json").read_text())
        self._scope = Scope(AccountId(facts["account"]), _REGION)
        self._ids = [CertificateId(each) for each in facts["ids"]]
        self._path = data_dir / "handfast.db"
        self._store: SQLStore | None = None
        self._random = random.Random(11)

    async def open(self) -> None:
        """The registry is open."""
        self._store = await SQLStore.open(self._path)

    async def close(self) -> None:
        """It is closed."""
        assert self._store is not None
        await self._store.close()

    async def measure(self) -> float:
        """CPU microseconds of one lookup, all threads of this process together."""
        assert self._store is not None
        wanted = self._random.choices(self._ids, k=LOOKUPS)
        began = time.process_time()
        for certificate_id in wanted:
            (found,) = await self._store.principals([(self._scope, certificate_id)])
            assert found is not None
        return (time.process_time() - began) / LOOKUPS * 1e6


async def compare_lookups(small: Path, large: Path, rounds: int) -> list[tuple[float, float]]:
    """(small, large) of each round."""
    registries = Lookups(small), Lookups(large)
    for registry in registries:
        await registry.open()
        await registry.measure()  # both have the pages that every lookup needs
    found = []
    for number in range(rounds):
        order = registries if number % 2 == 0 else registries[::-1]
        measured = {registry: await registry.measure() for registry in order}
        found.append((measured[registries[0]], measured[registries[1]]))
    for registry in registries:
        await registry.close()
    return found


# --- whole connections ----------------------------------------------------------------------------------------------


def connections(server: Server, fleet: Path) -> float:
    """CPU milliseconds of the server for one connection of a device that it has not seen since its start."""
    command = [str(LOADGEN), "connect", "--count", str(CLIENTS), "--concurrency", "10"]
    command += ["--host", HOST, "--port", str(server.port), "--ca", str(server.ca), "--sni", server.sni]
    command += ["--cert-dir", str(fleet / "clients"), "--server-pid", str(server.pid), "--limit", "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the generator failed: {done.stdout} {done.stderr}")
    return 1000 / float(json.loads(done.stdout)["per_server_cpu_s"])


def compare_connections(scratch: Path, fleet: Path, small: Path, large: Path, rounds: int) -> list[tuple[float, float]]:
    """(small, large) of each round, each on servers just started."""
    found = []
    for number in range(rounds):
        measured = {}
        for data_dir in (small, large) if number % 2 == 0 else (large, small):
            server = _server(prepare_folder(scratch / "run"), data_dir)
            server.start("0")
            measured[data_dir] = connections(server, fleet)
            server.stop()
        found.append((measured[small], measured[large]))
    return found


def _server(folder: Path, data_dir: Path) -> Server:
    server = handfast("handfast", folder / "server", folder / "none", {})
    server.argv[server.argv.index("--data-dir") + 1] = str(data_dir)
    return server


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup_scale")
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scratch", type=Path, default=ROOT / "benchmarks" / "scratch" / "lookup")
    parser.add_argument("--no-connections", action="store_true", help="The lookup alone; needs no load generator.")
    arguments = parser.parse_args()
    fleet = arguments.scratch / "fleet"
    make_fleet(fleet, CLIENTS, 0)
    small = prepare(arguments.scratch, fleet, arguments.small)
    large = prepare(arguments.scratch, fleet, arguments.large)
    rows = [("lookup, CPU µs", asyncio.run(compare_lookups(small, large, arguments.rounds)))]
    if not arguments.no_connections:
        measured = compare_connections(arguments.scratch, fleet, small, large, arguments.rounds)
        rows.append(("connection, CPU ms of the server", measured))
    print(f"\n{'':34}{arguments.small:>12,}{arguments.large:>12,}   ratio (least to greatest)")
    worst = 0.0
    for name, pairs in rows:
        ratios = sorted(after / before for before, after in pairs)
        ratio = statistics.median(ratios)
        worst = max(worst, ratio) if name.startswith("connection") or arguments.no_connections else worst
        one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:34}{one:12.2f}{other:12.2f}   {ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(f"target at connect: below {TARGET:.2f}")
    return 0 if worst < TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
