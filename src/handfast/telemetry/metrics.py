"""
Metrics: names, units and labels in one table, and `ports.Meter` over prometheus-client.

A label never carries an account, a client id, a certificateId or anything else
that a peer chooses: every label has a closed set of values or is bounded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from handfast import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_VALUES_PER_LABEL = 400
"""A label with more distinct values than this counts the rest under `other`; the model has 272 operations."""


class Kind(StrEnum):
    """What a metric is, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table. `unit` is what one step of the value means."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

METRICS: tuple[Metric, ...] = (
    Metric(
        name="handfast_refusals_total",
        kind=Kind.COUNTER,
        unit="refusals",
        help="Recorded refusals by step of the verdict and decisive reason.",
        labels=("stage", "reason"),
    ),
    Metric(
        name="handfast_refusals_unrecorded_total",
        kind=Kind.COUNTER,
        unit="refusals",
        help="Refusals that came too fast to be recorded one by one; summaries in the record tell how many.",
    ),
    Metric(
        name="handfast_tls_handshakes_total",
        kind=Kind.COUNTER,
        unit="handshakes",
        help="Completed TLS handshakes of every port, by the key-exchange group that was agreed on (none: static RSA) "
        "and by whether the client offered a post-quantum hybrid group.",
        labels=("group", "hybrid_offered"),
    ),
    Metric(
        name="handfast_mqtt_sessions",
        kind=Kind.GAUGE,
        unit="sessions",
        help="Connected MQTT clients, by protocol version (4 is 3.1.1).",
        labels=("protocol",),
    ),
    Metric(
        name="handfast_websocket_upgrades_total",
        kind=Kind.COUNTER,
        unit="requests",
        help="Requests for MQTT over WebSocket (GET /mqtt), by outcome (accepted, refused).",
        labels=("outcome",),
    ),
    Metric(
        name="handfast_mqtt_messages_total",
        kind=Kind.COUNTER,
        unit="messages",
        help="Application messages, by direction (in, out) and QoS.",
        labels=("direction", "qos"),
    ),
    Metric(
        name="handfast_mqtt_messages_dropped_total",
        kind=Kind.COUNTER,
        unit="messages",
        help="Messages that a subscriber did not get, by reason.",
        labels=("reason",),
    ),
    Metric(
        name="handfast_mqtt_disconnects_total",
        kind=Kind.COUNTER,
        unit="connections",
        help="MQTT connections that ended, by AWS's disconnectReason.",
        labels=("reason",),
    ),
    Metric(
        name="handfast_revocation_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        help="RevokeCertificate of a certificate with sessions, from the call to the end of the last of them.",
        buckets=_SECONDS,
    ),
    Metric(
        name="handfast_mqtt_subscriptions",
        kind=Kind.GAUGE,
        unit="subscriptions",
        help="Subscriptions of connected clients.",
    ),
    Metric(
        name="handfast_retained_commit_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        help="One group commit of durable MQTT state.",
        buckets=_SECONDS,
    ),
    Metric(
        name="handfast_certificates_expiring",
        kind=Kind.GAUGE,
        unit="certificates",
        help="ACTIVE registered certificates of all accounts (device, ca) by the time left until notAfter, in disjoint "
        "buckets: expired; 1d is less than 1 day, 7d is 1 to 7 days and so on; later is beyond 365 days.",
        labels=("kind", "bucket"),
    ),
    Metric(
        name="handfast_server_certificate_not_after_seconds",
        kind=Kind.GAUGE,
        unit="seconds since the epoch",
        help="The first notAfter of the server's own certificates (leaf, intermediate, root).",
        labels=("kind",),
    ),
    Metric(
        name="handfast_audit_checkpoint",
        kind=Kind.GAUGE,
        unit="number",
        help="The newest checkpoint of the audit trail; it never falls unless checkpoints were lost or taken away.",
    ),
    Metric(
        name="handfast_audit_checkpoint_timestamp_seconds",
        kind=Kind.GAUGE,
        unit="seconds since the epoch",
        help="When the newest checkpoint of the audit trail was signed.",
    ),
    Metric(
        name="handfast_audit_breaks",
        kind=Kind.GAUGE,
        unit="chains",
        help="Audit chains in which a row that was sealed is not there any more; anything but 0 is an alarm.",
    ),
    Metric(
        name="handfast_audit_seal_failures_total",
        kind=Kind.COUNTER,
        unit="attempts",
        help="Checkpoints of the audit trail that could not be written.",
    ),
    Metric(
        name="handfast_hook_calls_total",
        kind=Kind.COUNTER,
        unit="calls",
        help="Calls of hooks, by what for (PreProvisioning, CertificateProvider) and how they ended; only ok allows.",
        labels=("event", "result"),
    ),
    Metric(
        name="handfast_hook_seconds",
        kind=Kind.HISTOGRAM,
        unit="seconds",
        help="One call of a hook, waiting for its turn included.",
        labels=("event",),
        buckets=_SECONDS,
    ),
    Metric(
        name="handfast_fleet_provisioning_requests_total",
        kind=Kind.COUNTER,
        unit="requests",
        help="Fleet provisioning requests over MQTT, by operation and outcome: accepted, gone (the connection was gone "
        "before anything was done), or the errorCode of the rejection.",
        labels=("operation", "outcome"),
    ),
    Metric(
        name="handfast_unclaimed_certificates_deleted_total",
        kind=Kind.COUNTER,
        unit="certificates",
        help="Certificates made by fleet provisioning that were deleted because nobody claimed them within an hour.",
    ),
    Metric(
        name="handfast_ocsp_refreshes_total",
        kind=Kind.COUNTER,
        unit="questions",
        help="Questions to the OCSP responders of operators' server certificates, by how they ended; good and revoked "
        "are answers that are stapled.",
        labels=("result",),
    ),
    Metric(
        name="handfast_ocsp_staples",
        kind=Kind.GAUGE,
        unit="certificates",
        help="Server certificates whose OCSP response is stapled, by what it says (good, revoked; none: there is "
        "none now).",
        labels=("state",),
    ),
    Metric(
        name="handfast_rehearsal_running",
        kind=Kind.GAUGE,
        unit="1 or 0",
        help="Whether a rehearsal of the next chain runs.",
    ),
    Metric(
        name="handfast_rehearsal_connections_total",
        kind=Kind.COUNTER,
        unit="connections",
        help="Connections that were sent the next chain in rehearsals, by what became of them: verified, or gone by an "
        "alert, closed without one, or silent until the time was up.",
        labels=("outcome",),
    ),
    Metric(
        name="handfast_crl_entries",
        kind=Kind.GAUGE,
        unit="certificates",
        help="Revoked certificates in the list of revocations that an issuer of ours publishes.",
        labels=("issuer",),
    ),
    Metric(
        name="handfast_crl_next_update_seconds",
        kind=Kind.GAUGE,
        unit="seconds since the epoch",
        help="nextUpdate of the list of revocations that an issuer of ours publishes.",
        labels=("issuer",),
    ),
    Metric(
        name="handfast_build_info",
        kind=Kind.GAUGE,
        unit="always 1",
        help="The running version.",
        labels=("version",),
    ),
)
_BY_NAME = {metric.name: metric for metric in METRICS}


class PrometheusMeter:
    """
    `ports.Meter` over a registry of its own.

    A name that is not in the table, or other labels than the table's, is a bug and raises ValueError.
    Label values beyond the bound are counted under `other`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._collectors: dict[str, Counter | Gauge | Histogram] = {}
        self._seen: dict[tuple[str, str], set[str]] = {}
        for metric in METRICS:
            self._collectors[metric.name] = _collector(metric, self.registry)
        self.gauge("handfast_build_info", 1, {"version": __version__})

    def count(self, name: str, by: int = 1, labels: Mapping[str, str] | None = None) -> None:
        """Add `by`, at least 0, to a counter."""
        collector = self._labelled(name, Kind.COUNTER, labels)
        assert isinstance(collector, Counter)
        collector.inc(by)

    def gauge(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Set a gauge."""
        collector = self._labelled(name, Kind.GAUGE, labels)
        assert isinstance(collector, Gauge)
        collector.set(value)

    def observe(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """Add one observation to a histogram."""
        collector = self._labelled(name, Kind.HISTOGRAM, labels)
        assert isinstance(collector, Histogram)
        collector.observe(value)

    def render(self) -> bytes:
        """Everything in the text exposition format, of media type `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _labelled(self, name: str, kind: Kind, labels: Mapping[str, str] | None) -> Counter | Gauge | Histogram:
        metric = _BY_NAME.get(name)
        if metric is None or metric.kind is not kind:
            raise ValueError(f"no {kind} named {name!r} in telemetry.metrics.METRICS: add a row")
        given = labels or {}
        if set(given) != set(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}, not {tuple(given)}")
        collector = self._collectors[name]
        if not metric.labels:
            return collector
        return collector.labels(*[self._bounded(name, label, str(given[label])) for label in metric.labels])

    def _bounded(self, name: str, label: str, value: str) -> str:
        seen = self._seen.setdefault((name, label), set())
        if value not in seen:
            if len(seen) >= MAX_VALUES_PER_LABEL:
                return "other"
            seen.add(value)
        return value


def _collector(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind is Kind.COUNTER:
        return Counter(metric.name, metric.help, metric.labels, registry=registry)
    if metric.kind is Kind.GAUGE:
        return Gauge(metric.name, metric.help, metric.labels, registry=registry)
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
