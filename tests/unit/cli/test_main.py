"""The command line's frame: every command loads, mistakes are one line, nothing heavy is imported early."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import handfast
from handfast.cli.main import COMMANDS, Command, load, run
from handfast.config.table import SETTINGS

SRC = Path(__file__).parents[3] / "src"


def handfast_process(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return python("-m", "handfast.cli.main", *args, cwd=cwd)


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin"},
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_loads_and_has_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    name = command.name
    loaded = load(command)
    assert (name, command.summary) == (loaded.name, loaded.get_short_help_str(1000))
    assert 0 == run([name, "--help"])
    assert f"Usage: handfast {name}" in capsys.readouterr().out


def test_the_list_of_commands_is_shown_without_loading_any(tmp_path: Path) -> None:
    code = "import sys; from handfast.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = python("-c", code, cwd=tmp_path)
    for command in COMMANDS:
        assert re.search(rf"^  {command.name}  +{command.summary.split()[0]} ", done.stdout, re.MULTILINE)
        assert command.module not in done.stderr.split()


def test_text_and_flags_are_taken_without_pydantic(tmp_path: Path) -> None:
    code = (
        "import sys; from handfast.cli.main import run; "
        "print(run(['cert', 'list', '--data-dir', 'none', '--status', 'ACTIVE', '--json']), 'pydantic' in sys.modules)"
    )
    done = python("-c", code, cwd=tmp_path)
    assert "2 False\n" == done.stdout
    assert "handfast: no server runs on " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cert", "list", "--limit", "many"], "unable to parse string as an integer"),
        (["cert", "list", "--limit", "0"], "greater than or equal to 1"),
    ],
)
def test_a_value_that_is_none_of_its_kind_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == run(arguments)
    assert said in capsys.readouterr().err


def test_serve_has_the_flags_of_the_table_and_nothing_that_is_not_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["serve", "--help"])
    text = capsys.readouterr().out
    for setting in SETTINGS:
        assert setting.flag in text
    for later in ("--dev-listen", "--clock", "--nats-url", "--workers"):
        assert later not in text


def test_a_bad_flag_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = handfast_process("serve", "--mqtt-port", "eight", cwd=tmp_path)
    assert (2, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert "handfast: --mqtt-port is 'eight': expected a TCP port, 0 to 65535; 0 takes any free port" == line
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["serve", "--no-such-flag"], ["nonsense"], ["device"], ["serve", "surplus"], ["account", "disable"]]
)
def test_misuse_is_one_line_that_names_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(arguments)
    out, err = capsys.readouterr()
    assert "" == out
    (line,) = err.splitlines()
    assert line.startswith("handfast: ")
    assert "--help'" in line


def test_a_wrong_choice_is_named_without_the_words_of_a_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["roots", "add", "--key", "p257"])
    err = capsys.readouterr().err
    assert err.startswith("handfast: Invalid value for '--key': 'p257' is not one of 'rsa2048'")


@pytest.mark.parametrize(
    "arguments", [["trust", "list"], ["roots", "plan"], ["doctor"], ["hosts"], ["trust", "lint", "."], ["serve"]]
)
def test_a_directory_that_cannot_be_read_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    for name in ("stat", "open", "iterdir", "mkdir"):
        monkeypatch.setattr(Path, name, denied)
    assert 2 == run([*arguments, "--data-dir", str(tmp_path / "data")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("handfast: ")
    assert "Permission denied" in line


def test_a_data_directory_where_none_can_be_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["serve", "--data-dir", "/proc/handfast"])
    assert (
        "handfast: /proc/handfast cannot be made: No such file or directory; choose another --data-dir\n"
        == capsys.readouterr().err
    )


def test_a_mistyped_key_in_the_file_has_its_neighbour_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "handfast.toml"
    file.write_text("mqtt-prot = 1\n")
    assert 2 == run(["config", "show", "--config", str(file)])
    assert capsys.readouterr().err.endswith("; did you mean mqtt-port?\n")


def test_version_answers_without_importing_anything_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; from handfast.cli.main import run; run(['version'])\n"
        "heavy = ('botocore', 'cryptography', 'sqlalchemy', 'rich', 'uvloop', 'asyncio')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": str(SRC)}, cwd=tmp_path
    )
    assert [f"handfast {handfast.__version__}", "[]"] == done.stdout.splitlines(), done.stderr


def test_version_as_an_option_of_the_whole_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["--version"])
    assert f"handfast {handfast.__version__}\n" == capsys.readouterr().out


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["version", "--json"])
    assert handfast.__version__ == json.loads(capsys.readouterr().out)["version"]


def test_config_show_prints_each_value_and_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handfast.toml").write_text('region = "eu-west-1"\n')
    monkeypatch.setenv("HANDFAST_API_PORT", "1234")
    assert 0 == run(["config", "show", "--mqtt-port", "0", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert {"value": 0, "origin": "flag"} == shown["mqtt-port"]
    assert {"value": 1234, "origin": "environment HANDFAST_API_PORT"} == shown["api-port"]
    assert {"value": "eu-west-1", "origin": "file handfast.toml"} == shown["region"]
    assert {"value": 8443, "origin": "default"} == shown["https-port"]
    assert [setting.key for setting in SETTINGS] == list(shown)
    assert 0 == run(["config", "show"])
    assert "region                eu-west-1" in capsys.readouterr().out


def test_a_missing_config_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["config", "show", "--config", str(tmp_path / "absent.toml")])
    assert 1 == len(capsys.readouterr().err.splitlines())
