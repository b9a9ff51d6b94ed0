"""Refusals, made from what is known about a connection and handed to the sink."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509

from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.refusal import Reason, Refusal, Stage
from handfast.core.pki import keys, names
from handfast.ports import Clock, RefusalSink
from handfast.seam import TLSFacts

MAX_TEXT_CHARACTERS = 512
MAX_FACTS = 40
MAX_REASONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen:
    """What is known of a connection whose handshake did not come to its end. `offered` has the names of facts."""

    listener: str
    address: str
    port: int
    sni: str | None = None
    alpn: str | None = None
    certificate_der: bytes = b""
    offered: Mapping[str, str] = field(default_factory=dict)


def _bounded(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _bounded_or_none(text: str | None, limit: int = MAX_TEXT_CHARACTERS) -> str | None:
    return None if text is None else _bounded(text, limit)


def _bounded_reasons(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    return tuple(Reason(each.code, _bounded(each.detail), each.subject) for each in reasons[:MAX_REASONS])


def _bounded_facts(about: Mapping[str, str]) -> dict[str, str]:
    return {_bounded(name, 64): _bounded(value) for name, value in itertools.islice(about.items(), MAX_FACTS)}


class Recorder:
    """Turns a connection's facts into a `Refusal`, bounded in size, and records it. Never raises."""

    def __init__(self, sink: RefusalSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock

    def name_client(self, trace_id: str, client_id: str) -> None:
        """The refusal of that trace id came from this Client Identifier."""
        self._sink.name_client(trace_id, client_id)

    def worth_examining(self, address: str) -> bool:
        """False while refusals from `address` are only counted: nobody would read what an examination finds."""
        return not self._sink.suppressing(address)

    def record_handshake(self, reasons: tuple[Reason, ...], failed: HalfOpen) -> str:
        """A handshake that failed, which belongs to no account; the trace id."""
        trace = self._sink.trace_id()
        about: dict[str, str] = {}
        serial = None
        if not self._sink.suppressing(failed.address):
            about = {"listener": failed.listener, "peer_port": str(failed.port)}
            if failed.certificate_der:
                serial = _add_certificate(about, failed.certificate_der)
            about.update(failed.offered)
        der = failed.certificate_der
        self._sink.record(
            Refusal(
                trace_id=trace,
                at=self._clock.now(),
                stage=Stage.TLS,
                reasons=_bounded_reasons(reasons),
                address=_bounded(failed.address, 64),
                sni=_bounded_or_none(failed.sni, 256),
                alpn=_bounded_or_none(failed.alpn, 256),
                certificate_id=hashlib.sha256(der).hexdigest() if der else None,
                serial_number=serial,
                facts=_bounded_facts(about),
            )
        )
        return trace

    def record(
        self,
        stage: Stage,
        reasons: tuple[Reason, ...],
        facts: TLSFacts | None,
        scope: Scope | None,
        *,
        account: AccountId | None = None,
        certificate_id: CertificateId | None = None,
        address: str = "",
        client_id: str | None = None,
        resource: str | None = None,
        details: Mapping[str, str] | None = None,
        trace_id: str | None = None,
    ) -> str:
        """
        Record it; the trace id.

        `scope` says whose it is, or `account` alone where the region is not
        known; None belongs to the operator. `trace_id` joins it to another one.
        `certificate_id` says whose certificate it was where there are no `facts`.
        """
        trace = trace_id if trace_id is not None else self._sink.trace_id()
        source = address or (facts.peer_address if facts is not None else "")
        about: dict[str, str] = {}
        serial = None
        if not self._sink.suppressing(source):
            about, serial = _facts(facts, details)
        self._sink.record(
            Refusal(
                trace_id=trace,
                at=self._clock.now(),
                stage=stage,
                reasons=_bounded_reasons(reasons),
                address=_bounded(source, 64),
                account=scope.account if scope is not None else account,
                region=scope.region if scope is not None else None,
                sni=_bounded_or_none(facts.sni, 256) if facts is not None else None,
                alpn=_bounded_or_none(facts.alpn, 256) if facts is not None else None,
                certificate_id=facts.certificate_id or None if facts is not None else certificate_id,
                serial_number=serial,
                client_id=_bounded_or_none(client_id, 256),
                resource=_bounded_or_none(resource),
                facts=about,
            )
        )
        return trace


def _facts(facts: TLSFacts | None, details: Mapping[str, str] | None) -> tuple[dict[str, str], str | None]:
    """The facts as bounded text, and the certificate's serial number in hex."""
    about: dict[str, str] = {}
    serial: str | None = None
    if facts is not None:
        about["listener"] = str(facts.listener)
        about["peer_port"] = str(facts.peer_port)
        if facts.version:
            about["tls_version"] = facts.version
            about["cipher"] = facts.cipher
            about["chain"] = facts.chain_kind
        if facts.group:
            about["group"] = facts.group
        if facts.signed is not None:
            about["access_key_id"] = facts.signed.access_key_id
        if facts.certificate_der:
            serial = _add_certificate(about, facts.certificate_der)
        for name, value in facts.offered.items():
            about[f"offered_{name}"] = value
    if details:
        about.update(details)
    return _bounded_facts(about), serial


def _add_certificate(about: dict[str, str], der: bytes) -> str | None:
    try:
        certificate = x509.load_der_x509_certificate(der)
        serial = f"{certificate.serial_number:x}"
        about["certificate_not_before"] = f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
        about["certificate_not_after"] = f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        about["certificate_serial"] = serial
        about["certificate_key"] = keys.certificate_key_kind(certificate)
        about["certificate_signature"] = keys.signature_name(certificate)
        about["certificate_subject"] = names.display(certificate.subject)
        about["certificate_issuer"] = names.display(certificate.issuer)
    except Exception as error:  # a device chooses what its certificate says; recording must not fail over it
        about["certificate_unreadable"] = type(error).__name__
        return about.get("certificate_serial")
    return serial
