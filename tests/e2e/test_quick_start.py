"""The README's quick start, run as it stands there: `make run` in one terminal, the pasted lines in another."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from tests.support.server import clean_environment

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 90.0


def block(name: str) -> str:
    """The lines of the README's block that this comment announces."""
    found = re.search(
        rf"<!-- quick start: {name} -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert found is not None, name
    return found[1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose set-up is done: this interpreter stands in for the one that `make setup` would install."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    script = binaries / "handfast"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from handfast.cli.main import main\nmain()\n"
    )
    script.chmod(0o755)
    stamps = folder / ".venv" / ".stamps"
    stamps.mkdir()
    for name in ("venv", "runtime", "package"):
        (stamps / name).touch()
    return folder


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Free ports, and the tools of this environment on PATH."""
    ports = {f"HANDFAST_{name}_PORT": "0" for name in ("API", "MQTT", "HTTPS")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return clean_environment() | ports | {"PATH": path}


@pytest.fixture(scope="module")
def screen(checkout: Path, environment: dict[str, str]) -> Iterator[str]:
    """What `make run` prints, up to its last line; the server runs until the module's tests are done."""
    process = subprocess.Popen(
        ["bash", "-c", block("the server")],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    watchdog = Timer(START_LIMIT_S, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C stops the server" in line:
            break
    watchdog.cancel()
    try:
        assert lines, "make run printed nothing"
        assert "Ctrl-C" in lines[-1], "".join(lines)
        yield "".join(lines)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)
        process.stdout.close()


def paste(lines: str, checkout: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-e", "-c", lines], cwd=checkout, env=environment, capture_output=True, text=True, timeout=120
    )
    assert 0 == done.returncode, f"{lines}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_device_of_the_readme_publishes_its_first_message(
    screen: str, checkout: Path, environment: dict[str, str]
) -> None:
    said = paste(block("the device"), checkout, environment)
    assert re.search(r"^connected +\w+-ats\.iot\.us-east-1\.localhost as hello, mutual TLSv1\.3$", said, re.MULTILINE)
    assert re.search(r"^arrived +hello/greeting: Hello, handfast \(", said, re.MULTILINE)
    assert "; try: .venv/bin/handfast device try hello\n" in said
    assert 0o600 == (checkout / "hello" / "private.key").stat().st_mode & 0o777


def test_the_line_on_the_screen_does_the_same(screen: str, checkout: Path, environment: dict[str, str]) -> None:
    (line,) = [line.strip() for line in screen.splitlines() if " device create " in line]
    said = paste(line.replace("hello", "pasted"), checkout, environment)
    assert "arrived     pasted/greeting: Hello, handfast" in said


def test_the_exports_of_the_readme_and_of_the_screen_reach_the_api(
    screen: str, checkout: Path, environment: dict[str, str]
) -> None:
    api = re.search(r"^ +API +(http://\S+)$", screen, re.MULTILINE)
    assert api is not None
    of_readme = block("the SDK").replace("http://127.0.0.1:8080", shlex.quote(api[1]))
    assert of_readme != block("the SDK")
    assert '"things"' in paste(of_readme, checkout, environment)
    exports = "\n".join(line.strip() for line in screen.splitlines() if line.strip().startswith("export "))
    assert '"things"' in paste(f"{exports}\naws iot list-things", checkout, environment)


def test_the_mosquitto_line_on_the_screen_publishes(screen: str, checkout: Path, environment: dict[str, str]) -> None:
    if not (checkout / "hello").exists():
        paste(block("the device"), checkout, environment)
    (line,) = [line.strip() for line in screen.splitlines() if line.strip().startswith("mosquitto_pub ")]
    assert "sending PUBLISH" in paste(line, checkout, environment)


@pytest.mark.parametrize("section", ["mosquitto_pub", "paho", "AWS IoT device SDK", "openssl s_client", "curl"])
def test_the_lines_in_the_kits_readme_work_when_pasted(
    section: str, screen: str, checkout: Path, environment: dict[str, str]
) -> None:
    kit = checkout / "hello"
    if not kit.exists():
        paste(block("the device"), checkout, environment)
    text = (kit / "README.txt").read_text()
    lines = re.search(rf"== {section}[^\n]*==\n\n(.*?)(?=\n== |\Z)", text, re.DOTALL)
    assert lines is not None
    tool = lines[1].split()[0]
    assert shutil.which(tool, path=environment["PATH"]), f"{tool} is needed: make system-packages"
    paste(lines[1], kit, environment)
