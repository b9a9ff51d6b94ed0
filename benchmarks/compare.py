"""
Compare handfast with mosquitto: python -m benchmarks.compare [--rounds N] [--loads A,B] [--quick] [--json OUT]

All servers are up at once on one core, the generator has another. Each load is put on one server after the other
within seconds, in an order that turns from round to round; what counts is work per CPU second of the server, as a
ratio to mosquitto's in the same round. The idle load comes first, each time on a server that has just started.

Exit status: 0 every target met and nothing lost, 1 not so, 2 the comparison could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ratios import BASE, FALLBACK, GOALS, SUBJECT, Measurement, all_met, problems, render, table
from benchmarks.servers import (
    HOST,
    ROOT,
    Server,
    SetupError,
    handfast,
    mosquitto,
    open_for_json,
    prepare_fleet,
    prepare_folder,
    prepare_registry,
)

SCRATCH = ROOT / "benchmarks" / "scratch"
LOADGEN = SCRATCH / "loadgen"
IDLE_ROUNDS = 3
"""Each needs a restart of every server; memory differs little from round to round."""
_BUSY_CORES = 0.15
"""More than this used by others during a load is worth a warning."""


def load_flags(load: str, quick: bool) -> list[str]:
    """The generator's mode and flags for a load of the table."""
    seconds = ["--seconds", "1" if quick else "2.5", "--warmup", "0.3" if quick else "0.5", "--payload", "100"]
    pairs = ["pub", "--pairs", "20", *seconds]
    flags = {
        "handshake": ["connect", "--count", "400" if quick else "1200", "--concurrency", "20"],
        "q0w20": [*pairs, "--qos", "0", "--window", "20"],
        "q0w1": [*pairs, "--qos", "0", "--window", "1"],
        "q1w20": [*pairs, "--qos", "1", "--window", "20"],
        "q1w1": [*pairs, "--qos", "1", "--window", "1"],
        "fanout100": ["fanout", "--subs", "100", "--qos", "0", "--window", "20", *seconds],
        "idle": ["idle", "--count", "500" if quick else "2000", "--concurrency", "50", "--hold", "1"],
    }
    return flags[load]


def busy_s() -> float:
    """CPU seconds that all cores have worked since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(text) for text in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # but idle and iowait


def used_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Run:
    """The measurements of one comparison, as they come."""

    def __init__(self, arguments: argparse.Namespace, fleet: Path) -> None:
        self.quick: bool = arguments.quick
        self.core: int = arguments.load_core
        self.clients = fleet / "clients"
        self.measurements: list[Measurement] = []
        self.reports: list[dict[str, Any]] = []

    def put(self, load: str, server: Server, number: int) -> None:
        """The load was put on the server; its figures are noted and a line is printed."""
        command = ["taskset", "-c", str(self.core), str(LOADGEN), *load_flags(load, self.quick)]
        command += ["--host", HOST, "--port", str(server.port), "--ca", str(server.ca), "--sni", server.sni]
        command += ["--cert-dir", str(self.clients), "--server-pid", str(server.pid), "--limit", "60"]
        began, busy = time.monotonic(), busy_s()
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = used_s(server.pid)
        report: dict[str, Any] = {"server": server.name, "load": load, "round": number}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=90)
            report |= json.loads(done.stdout)
            problem = None if done.returncode == 0 else done.stderr.strip() or "the generator says that it failed"
        except (ValueError, subprocess.TimeoutExpired):
            problem = "the generator gave no figures"
        if server.process is None or server.process.poll() is not None:
            raise SetupError(f"{server.name} ended under load {load}; its output is in {server.log}")
        later = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = later.ru_utime + later.ru_stime - own.ru_utime - own.ru_stime + used_s(server.pid) - used
        report["others_cores"] = round(max(0.0, busy_s() - busy - ours) / (time.monotonic() - began), 3)
        report["problem"] = problem
        self.reports.append(report)
        self._note(report, problem)

    def _note(self, report: dict[str, Any], problem: str | None) -> None:
        load, figure = report["load"], "kb_per_connection" if report["load"] == "idle" else "per_server_cpu_s"
        self._measure(report, load, figure, problem)
        if load == "idle":  # its connections were the first that the server saw
            self._measure(report, "cold", "per_server_cpu_s", None)
        value = report.get(figure)
        print(
            f"round {report['round'] + 1}  {load:<10} {report['server']:<24}"
            f" {'no figure' if value is None else format(value, ',.1f'):>12}"
            f"   server {report.get('server_cores', 0):.2f}, generator {report.get('own_cores', 0):.2f},"
            f" others {report['others_cores']:.2f} cores{'' if problem is None else '   ' + problem}",
            flush=True,
        )

    def _measure(self, report: dict[str, Any], load: str, figure: str, problem: str | None) -> None:
        self.measurements.append(
            Measurement(
                server=report["server"],
                load=load,
                round=report["round"],
                value=report.get(figure),
                lost=int(report.get("lost", 0)),
                problem=problem,
            )
        )


def _turned(servers: list[Server], by: int) -> list[Server]:
    by %= len(servers)
    return servers[by:] + servers[:by]


def measure(run: Run, servers: list[Server], loads: list[str], rounds: int, core: int) -> None:
    """All rounds; every server that was started is stopped, whatever happens."""
    try:
        for number in range(min(rounds, IDLE_ROUNDS) if "idle" in loads else 0):
            for server in servers:
                server.stop()
                server.start(core)
            for server in _turned(servers, number):
                run.put("idle", server, number)
        for server in servers:
            if server.process is None:
                server.start(core)
        for number in range(rounds):
            for load in loads:
                for server in _turned(servers, number) if load != "idle" else []:
                    run.put(load, server, number)
    finally:
        for server in servers:
            server.stop()


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return "unknown"
    return (done.stdout.splitlines() or done.stderr.splitlines() or ["unknown"])[0]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    from cryptography.hazmat.backends.openssl import backend

    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl_of_handfast": backend.openssl_version_text(),
        "openssl_of_the_system": _version(["openssl", "version"]),
        "mosquitto": _version([shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "", "-h"]),
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    loads = [load for load in GOALS if load != "cold"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="5; 1 with --quick")
    parser.add_argument("--loads", default=",".join(loads), help="comma-separated: " + ", ".join(loads))
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all?")
    parser.add_argument("--no-fallback", action="store_true", help="leave the public TLS API out")
    parser.add_argument("--json", type=Path, metavar="OUT", help="every report and the table, for machines")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    arguments = parser.parse_args(argv)
    arguments.loads = arguments.loads.split(",")
    if unknown := [load for load in arguments.loads if load not in loads]:
        parser.error(f"unknown load {', '.join(unknown)}: choose from {', '.join(loads)}")
    if not 1 <= arguments.rounds <= 100:
        parser.error("--rounds: 1 to 100")
    if arguments.quick:
        arguments.rounds = 1
    if not {arguments.server_core, arguments.load_core} <= os.sched_getaffinity(0):
        parser.error("two cores are needed: --server-core and --load-core name them")
    return arguments


def compare(arguments: argparse.Namespace) -> bool:
    """The comparison was run and printed; whether all is well."""
    if not LOADGEN.exists():
        raise SetupError("the load generator is not built: make -C benchmarks loadgen")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the servers inherit it
    fleet = prepare_fleet(SCRATCH)
    registry = prepare_registry(SCRATCH, fleet, arguments.server_core)
    folder = prepare_folder(SCRATCH / "run")
    servers = [
        mosquitto(folder / "mosquitto", fleet),
        handfast(SUBJECT, folder / "handfast", registry, {"HANDFAST_TLS_ENGINE": ""}),
    ]
    if not arguments.no_fallback:
        servers.append(handfast(FALLBACK, folder / "public", registry, {"HANDFAST_TLS_ENGINE": "public"}))
    run = Run(arguments, fleet)
    measure(run, servers, arguments.loads, arguments.rounds, arguments.server_core)

    lines, wrong = table(run.measurements), problems(run.measurements)
    print(f"\n{render(lines)}\n")
    others = max((report["others_cores"] for report in run.reports), default=0.0)
    if others > _BUSY_CORES:
        print(f"Other work used up to {others:.2f} cores meanwhile: these ratios are not to be relied on.")
    for sentence in wrong:
        print(f"wrong: {sentence}")
    well = all_met(lines) and not wrong
    print("Nothing was lost." if not wrong else "", "Every target is met." if all_met(lines) else "A target is missed.")
    if arguments.json is not None:
        with open_for_json(arguments.json) as out:
            whole = {
                "base": BASE,
                "machine": machine(),
                "reports": run.reports,
                "table": [asdict(line) for line in lines],
                "problems": wrong,
                "well": well,
            }
            json.dump(whole, out, indent=1)
    return well


def main(argv: list[str] | None = None) -> int:
    """The command line; see the module."""
    arguments = parse(argv)
    try:
        return 0 if compare(arguments) else 1
    except (SetupError, subprocess.SubprocessError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
