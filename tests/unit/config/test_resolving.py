"""Settings: one table, three sources, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from handfast.config.file import config_file
from handfast.config.hosts import is_loopback, name_problem
from handfast.config.resolving import resolve
from handfast.config.secret_file import secret_from_file
from handfast.config.setting import shown
from handfast.config.table import SETTINGS
from handfast.errors import ConfigurationError


def refusal(flags: dict[str, object] | None = None, env: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        resolve(flags or {}, env or {}, file)
    text = str(caught.value)
    assert "\n" not in text
    return text


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "handfast.toml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings, origins = resolve({}, {})
    assert tmp_path / "handfast-data" == settings.data_dir
    assert ("127.0.0.1", 8080, 8883, 8443) == (
        settings.host,
        settings.api_port,
        settings.mqtt_port,
        settings.https_port,
    )
    assert ("us-east-1", "localhost", ()) == (settings.region, settings.domain, settings.server_names)
    assert ("rsa", "explain", "lenient") == (settings.prefer_chain, settings.refusals, settings.sni)
    assert "off" == settings.quotas
    assert "IoTSecurityPolicy_TLS13_1_2_2022_10" == settings.tls_policy
    assert not settings.dev
    assert not settings.api_plaintext
    assert settings.database_url is None
    assert {"default"} == set(origins.values())


def test_names_have_preferences(tmp_path: Path) -> None:
    file = toml(tmp_path, 'prefer-chain-for = ["A.example=ecdsa", "a.example=ECDSA", "b.example=rsa"]\n')
    assert ("a.example=ecdsa", "b.example=rsa") == resolve({}, {}, file)[0].prefer_chain_for
    environment = {"HANDFAST_PREFER_CHAIN_FOR": "c.example=rsa, d.example=ecdsa"}
    assert ("c.example=rsa", "d.example=ecdsa") == resolve({}, environment, file)[0].prefer_chain_for


def test_balancers_are_networks_and_a_port_can_be_off(tmp_path: Path) -> None:
    file = toml(tmp_path, "alpn-port = 443\n")
    settings, _ = resolve({"proxy_protocol": ["10.0.0.5", "2001:db8::/64"]}, {"HANDFAST_ALPN_PORT": "off"}, file)
    assert ("10.0.0.5/32", "2001:db8::/64") == settings.proxy_protocol
    assert settings.alpn_port is None
    assert 443 == resolve({}, {}, file)[0].alpn_port
    with pytest.raises(ConfigurationError, match="--alpn-port"):
        resolve({"alpn_port": "8883"}, {})


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'mqtt-port = 1\napi_port = 2\nregion = "eu-west-1"\n')
    settings, origins = resolve(
        {"mqtt_port": "3"}, {"HANDFAST_MQTT_PORT": "4", "HANDFAST_API_PORT": "5", "HANDFAST_REGION": ""}, file
    )
    assert (3, 5, "eu-west-1") == (settings.mqtt_port, settings.api_port, settings.region)
    assert "flag" == origins["mqtt_port"]
    assert "environment HANDFAST_API_PORT" == origins["api_port"]
    assert f"file {file}" == origins["region"]
    assert "default" == origins["https_port"]


def test_quotas_are_named_alike_in_flag_environment_and_file(tmp_path: Path) -> None:
    assert "aws" == resolve({"quotas": "aws"}, {})[0].quotas
    assert "aws" == resolve({}, {"HANDFAST_QUOTAS": "aws"})[0].quotas
    assert "aws" == resolve({}, {}, toml(tmp_path, 'quotas = "aws"\n'))[0].quotas


def test_paths_in_the_file_are_relative_to_it_and_others_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    file = toml(tmp_path / "etc", 'data-dir = "d"\n')
    assert tmp_path / "etc" / "d" == resolve({}, {}, file)[0].data_dir
    assert tmp_path / "d" == resolve({"data_dir": "d"}, {}, file)[0].data_dir
    assert tmp_path / "d" == resolve({}, {"HANDFAST_DATA_DIR": "d"}, file)[0].data_dir


def test_repeatable_names_come_as_list_or_comma_separated(tmp_path: Path) -> None:
    names = ("gateway.example", "::1", "10.0.0.1")
    assert names == resolve({"server_names": ["Gateway.Example", "0:0::1", "10.0.0.1"]}, {})[0].server_names
    assert names == resolve({}, {"HANDFAST_SERVER_NAME": "gateway.example, ::1,10.0.0.1,::1"})[0].server_names
    file = toml(tmp_path, 'server-name = ["gateway.example", "::1", "10.0.0.1"]')
    assert names == resolve({"server_names": []}, {}, file)[0].server_names


@pytest.mark.parametrize(("text", "value"), [("1", True), ("True", True), ("on", True), ("no", False), ("0", False)])
def test_switches_in_the_environment(text: str, value: bool) -> None:
    assert value is resolve({}, {"HANDFAST_DEV": text})[0].dev


def test_a_switch_that_the_environment_sets_is_taken_back_by_its_flag() -> None:
    assert resolve({"dev": False}, {"HANDFAST_DEV": "1"})[0].dev is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mqtt_port", "65536"),
        ("mqtt_port", "-1"),
        ("mqtt_port", "eight"),
        ("mqtt_port", True),
        ("mqtt_port", "٣"),
        ("prefer_chain", "dsa"),
        ("prefer_chain_for", "ecdsa"),
        ("prefer_chain_for", "a.example=dsa"),
        ("prefer_chain_for", "a..example=rsa"),
        ("prefer_chain_for", ["a.example=rsa", "A.example=ecdsa"]),
        ("prefer_chain_for", [1]),
        ("proxy_protocol", "10.0.0.1/8"),
        ("proxy_protocol", "0.0.0.0/0"),
        ("proxy_protocol", ["balancer.example"]),
        ("alpn_port", "none"),
        ("tls_policy", "TLS13_1_3_2022_10"),
        ("refusals", "EXPLAIN"),
        ("sni", 1),
        ("quotas", "AWS"),
        ("quotas", True),
        ("log_level", "trace"),
        ("dev", "maybe"),
        ("dev", 1),
        ("region", "us_east"),
        ("region", "us.east"),
        ("region", "-us"),
        ("region", "a" * 64),
        ("domain", "under_score.example"),
        ("domain", "two..dots"),
        ("domain", "end.example."),
        ("domain", "10.0.0.1"),
        ("domain", "a" * 64 + ".example"),
        ("domain", "bücher.example"),
        ("server_names", ["*.example"]),
        ("server_names", ["ok.example", "a b"]),
        ("server_names", 5),
        ("host", "not a host"),
        ("database_url", "mysql://h/db"),
        ("database_url", "sqlite://"),
        ("data_dir", ""),
        ("data_dir", "a\0b"),
    ],
)
def test_a_bad_value_is_named_with_its_flag_and_what_was_expected(name: str, value: object) -> None:
    text = refusal({name: value})
    flag = next(setting.flag for setting in SETTINGS if setting.name == name)
    assert flag in text
    assert "expected" in text


def test_a_bad_value_is_named_where_it_was_written(tmp_path: Path) -> None:
    assert "HANDFAST_API_PORT is 'x'" in refusal(env={"HANDFAST_API_PORT": "x"})
    assert "'api-port' in " in refusal(file=toml(tmp_path, 'api-port = "x"'))


def test_terminal_escapes_in_a_value_do_not_reach_the_terminal() -> None:
    text = refusal({"region": "\x1b[31mred\u202e"})
    assert text.isprintable()


def test_postgresql_is_refused_in_words_and_its_password_is_not_repeated() -> None:
    text = refusal({"database_url": "postgresql://u:hunter2@db/x"})
    assert "PostgreSQL is not supported by this version yet" in text
    assert "hunter2" not in text


def test_an_unknown_key_in_the_file_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    text = refusal(file=toml(tmp_path, "mqtt_prot = 1"))
    assert "mqtt_prot" in text
    assert "mqtt-port" in text


def test_a_key_given_with_dash_and_underscore_is_an_error(tmp_path: Path) -> None:
    assert "twice" in refusal(file=toml(tmp_path, "mqtt_port = 1\nmqtt-port = 2"))


def test_a_file_that_is_missing_or_not_toml_is_one_line(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(file=tmp_path / "absent.toml")
    assert "not TOML" in refusal(file=toml(tmp_path, "= 3"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "not TOML" in refusal(file=tmp_path / "binary.toml")


def test_the_longest_endpoint_name_has_at_most_253_octets() -> None:
    # {14}.credentials.iot.us-east-1.{domain}: 14 + 17 + 9 + 1 = 41 octets before the domain
    label = "a" * 63
    fits = f"{label}.{label}.{label}.{'b' * 20}"
    assert 212 == len(fits)
    assert fits == resolve({"domain": fits}, {})[0].domain
    assert "254 octets" in refusal({"domain": fits + "b"})


def test_the_same_port_twice_is_refused_but_0_is_free() -> None:
    assert "--mqtt-port and --https-port are both 9000" in refusal({"mqtt_port": 9000, "https_port": "9000"})
    resolve({"mqtt_port": 0, "https_port": 0, "api_port": 0}, {})


def test_dev_is_loopback_only() -> None:
    assert "--dev with --host 0.0.0.0" in refusal({"dev": True, "host": "0.0.0.0"})
    assert resolve({"dev": True, "host": "::1"}, {})[0].dev


def test_the_api_speaks_tls_off_loopback_unless_plaintext_is_allowed() -> None:
    assert not resolve({}, {})[0].api_tls
    assert resolve({"host": "0.0.0.0"}, {})[0].api_tls
    assert not resolve({"host": "0.0.0.0", "api_plaintext": True}, {})[0].api_tls


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert loopback is is_loopback(host)


def test_names_of_63_octet_labels_are_legal_and_longer_ones_not() -> None:
    assert name_problem("a" * 63 + ".example") is None
    assert "63" in str(name_problem("a" * 64 + ".example"))
    assert "253" in str(name_problem(".".join(["a" * 60] * 5)))


def test_the_file_is_found_by_flag_variable_or_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_file(None, {}) is None
    toml(tmp_path, "")
    assert Path("handfast.toml") == config_file(None, {})
    assert Path("b") == config_file(None, {"HANDFAST_CONFIG": "b"})
    assert Path("a") == config_file("a", {"HANDFAST_CONFIG": "b"})


def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("correct horse\nsecond line\n")
    assert "correct horse" == secret_from_file(path, "--key-passphrase-file")
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="empty first line"):
        secret_from_file(path, "--key-passphrase-file")
    with pytest.raises(ConfigurationError, match=r"--key-passphrase-file .* cannot be read"):
        secret_from_file(tmp_path / "absent", "--key-passphrase-file")


def test_a_password_in_a_url_is_not_shown() -> None:
    setting = next(setting for setting in SETTINGS if setting.name == "database_url")
    assert "sqlite://…@/x" == shown(setting, "sqlite://user:hunter2@/x")


def test_every_row_of_the_table_is_documented() -> None:
    for setting in SETTINGS:
        assert setting.help.endswith("."), setting.name
        assert setting.unit, setting.name
        assert setting.default_text, setting.name
        assert setting.env == "HANDFAST_" + setting.flag[2:].replace("-", "_").upper()
