"""Metrics: what is in the table, nothing else, and no label that a peer chooses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from handfast.telemetry.metrics import MAX_VALUES_PER_LABEL, METRICS, Kind, PrometheusMeter

SRC = Path(__file__).parents[3] / "src" / "handfast"
FORBIDDEN_LABELS = {
    "account",
    "account_id",
    "client_id",
    "clientid",
    "certificate_id",
    "certificateid",
    "thing",
    "topic",
}


def test_counters_gauges_and_histograms_are_rendered() -> None:
    meter = PrometheusMeter()
    meter.count("handfast_refusals_total", 2, {"stage": "tls", "reason": "NOT_TLS"})
    meter.gauge("handfast_mqtt_subscriptions", 7)
    meter.observe("handfast_retained_commit_seconds", 0.002)
    text = meter.render().decode()
    assert 'handfast_refusals_total{reason="NOT_TLS",stage="tls"} 2.0' in text
    assert "handfast_mqtt_subscriptions 7.0" in text
    assert 'handfast_retained_commit_seconds_bucket{le="0.0025"} 1.0' in text


def test_a_name_kind_or_label_that_is_not_in_the_table_is_a_bug() -> None:
    meter = PrometheusMeter()
    with pytest.raises(ValueError, match="no counter named 'handfast_unknown'"):
        meter.count("handfast_unknown")
    with pytest.raises(ValueError, match="no gauge"):
        meter.gauge("handfast_refusals_total", 1)
    with pytest.raises(ValueError, match="has the labels"):
        meter.count("handfast_refusals_total", labels={"account": "1"})


def test_label_values_are_bounded() -> None:
    meter = PrometheusMeter()
    for number in range(MAX_VALUES_PER_LABEL + 50):
        meter.count("handfast_mqtt_disconnects_total", labels={"reason": f"r{number}"})
    text = meter.render().decode()
    assert 'handfast_mqtt_disconnects_total{reason="other"} 50.0' in text
    assert f'reason="r{MAX_VALUES_PER_LABEL}"' not in text


def test_no_label_names_an_account_client_or_certificate() -> None:
    for metric in METRICS:
        assert not FORBIDDEN_LABELS & {label.lower() for label in metric.labels}, metric.name


def test_names_say_their_unit() -> None:
    for metric in METRICS:
        assert metric.name.startswith("handfast_")
        assert metric.unit
        assert metric.help.endswith(".")
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total"), metric.name
        if metric.kind is Kind.HISTOGRAM:
            assert metric.name.endswith("_seconds")


def test_every_metric_of_the_table_is_measured_and_every_measured_one_is_in_the_table() -> None:
    used: dict[str, str] = {}
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("count", "gauge", "observe")
                and ("meter" in ast.unparse(node.func.value) or path.name == "metrics.py")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                used[str(node.args[0].value)] = str(path.relative_to(SRC))
    assert {metric.name for metric in METRICS} == set(used), used
