"""Variables that look like settings and are none: warned of, with the setting that was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handfast.cli.main import run
from handfast.config.environment import unknown_variables
from handfast.config.table import SETTINGS


def test_a_typing_error_is_told_with_what_was_meant() -> None:
    assert [
        "the environment variable HANDFAST_MQTT_PROT is no setting and is ignored; did you mean HANDFAST_MQTT_PORT?"
    ] == unknown_variables({"HANDFAST_MQTT_PROT": "secret", "PATH": "/bin", "MQTT_PROT": "1"})
    assert ["the environment variable HANDFAST_ZZZZ is no setting and is ignored"] == unknown_variables(
        {"HANDFAST_ZZZZ": "1"}
    )


def test_what_is_read_or_set_by_anybody_else_is_not_warned_of() -> None:
    settings = {setting.env: "1" for setting in SETTINGS}
    ours = dict.fromkeys(("HANDFAST_CONFIG", "HANDFAST_TLS_ENGINE", "HANDFAST_HOOK", "HANDFAST_EVENT"), "1")
    links = ("SERVICE_HOST", "SERVICE_PORT_MQTT", "PORT_8883_TCP", "PORT_8883_TCP_ADDR", "API_SERVICE_PORT")
    assert [] == unknown_variables(settings | ours | {f"HANDFAST_{name}": "10.0.0.1" for name in links})
    assert [] == unknown_variables({"HANDFAST_MQTT_PROT": "", "HANDFAST_PORT": "tcp://10.0.0.1:8883"})
    assert 1 == len(unknown_variables({"HANDFAST_MQT_PORT": "1883"}))


def test_the_lines_are_few_and_cannot_act_on_a_terminal() -> None:
    lines = unknown_variables({f"HANDFAST_ZZ{number:02}\x1b[2J": "1" for number in range(12)})
    assert 11 == len(lines)
    assert "2 more variables that begin with HANDFAST_ are ignored" == lines[-1]
    assert "\x1b" not in "".join(lines)


def test_config_show_warns_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDFAST_MQTT_PROT", "1883")
    assert 0 == run(["config", "show", "--json"])
    said = capsys.readouterr()
    assert 8883 == json.loads(said.out)["mqtt-port"]["value"]
    (line,) = said.err.splitlines()
    assert line.startswith("handfast: warning: the environment variable HANDFAST_MQTT_PROT ")
    assert line.endswith("did you mean HANDFAST_MQTT_PORT?")
