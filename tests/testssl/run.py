"""
Runs testssl.sh on every TLS port of a server with its defaults and holds its findings against `expected.toml`.

`make testssl` runs it: about ten minutes. Exit status: 0 nothing but what is expected, 1 not so, 2 it could not be run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tests.support import server as servers
from tests.support.server import Server, start

LIMIT_S = 1500
FINE = ("OK", "INFO", "DEBUG")
OF_THE_CLIENT = ("engine_problem", "scanTime")
"""What testssl.sh says of itself."""


def scan(server: Server, name: str, port: int, folder: Path) -> list[dict[str, str]]:
    """
    testssl.sh's findings on one port; RuntimeError where it gave none.

    Its test of ROBOT tells answers apart by whether they come in time, so on a busy
    machine it may see an oracle where there is none: such a finding counts when it
    comes three times running.
    """
    findings = _testssl(server, name, port, folder)
    for attempt in (2, 3):
        if not any(finding["id"] == "ROBOT" and finding["severity"] not in FINE for finding in findings):
            break
        again = _testssl(server, f"{name}-robot-{attempt}", port, folder, "--robot")
        findings = [finding for finding in findings if finding["id"] != "ROBOT"]
        findings += [finding for finding in again if finding["id"] == "ROBOT"]
    return findings


def _testssl(server: Server, name: str, port: int, folder: Path, *only: str) -> list[dict[str, str]]:
    answer = folder / f"{name}.json"
    roots = ",".join(str(server.trust / f"root-ca-{n}.pem") for n in (1, 3))
    command = ["testssl", "--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1"]
    limits = ["--connect-timeout", "10", "--openssl-timeout", "20"]
    done = subprocess.run(
        [*command, "--add-ca", roots, *limits, *only, "-oj", str(answer), f"localhost:{port}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    if not answer.exists():
        raise RuntimeError(f"testssl.sh gave no findings on {name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found: list[dict[str, str]] = json.loads(answer.read_text())
    return found


def judge(name: str, findings: list[dict[str, str]], expected: dict[str, Any]) -> list[str]:
    """What is wrong on the port, in words; nothing where all is as expected."""
    wrong = []
    by_id = {finding["id"]: finding for finding in findings}
    for key, begins in expected["must"].items():
        said = by_id.get(key, {}).get("finding", "nothing")
        if not said.startswith(begins if isinstance(begins, str) else tuple(begins)):
            wrong.append(f"{name}: {key} is {said!r}, expected {begins!r}")
    offered = {finding["finding"].split()[1] for finding in findings if finding["id"].startswith("cipher_x")}
    if offered != set(expected["suites"]):
        wrong.append(f"{name}: suites differ from the security policy's: {sorted(offered ^ set(expected['suites']))}")
    left = {(each["id"], each["severity"]) for each in expected["left"] if name in each["ports"]}
    seen = {
        (finding["id"], finding["severity"])
        for finding in findings
        if finding["severity"] not in FINE and finding["id"] not in OF_THE_CLIENT
    }
    for key, severity in sorted(seen - left):
        wrong.append(f"{name}: {key} ({severity}) is new: {by_id[key]['finding']}")
    always = {(each["id"], each["severity"]) for each in expected["left"] if not each.get("sometimes")}
    missed = sorted(left & always - seen)
    wrong += [f"{name}: {key} ({severity}) is expected and not found" for key, severity in missed]
    return wrong


def main() -> int:
    """Scan one port after the other; the exit status."""
    if shutil.which("testssl") is None:
        print("testssl.sh is missing: sudo apt-get install testssl.sh", file=sys.stderr)
        return 2
    expected = tomllib.loads(Path(__file__).with_name("expected.toml").read_text())
    with tempfile.TemporaryDirectory(prefix="testssl-") as scratch:
        folder = Path(scratch)
        servers.shared_folder = folder
        server = start(folder / "data", "--host", "0.0.0.0")  # beyond loopback the API port speaks TLS too
        ports = {
            "8883": server.mqtt_port,
            "8443": server.https_port,
            "ALPN": server.alpn_port,
            "API": int(server.api.rsplit(":", 1)[1]),
        }
        wrong = []
        try:
            for name, port in ports.items():
                findings = scan(server, name, port, folder)
                problems = judge(name, findings, expected)
                fine = sum(finding["severity"] == "OK" for finding in findings)
                print(f"{name}: {len(findings)} findings, {fine} good; {len(problems)} not as expected", flush=True)
                wrong += problems
        finally:
            server.stop()
    print("\n".join(wrong) or "All as expected.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
