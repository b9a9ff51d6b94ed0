"""
What a rehearsal found: who verified the next chain, who did not, and which device that was, as far as can be told.

A client that does not verify a chain goes before it shows its certificate. What is known of it is where it came from
and what its ClientHello was like; the certificate that comes from there next, on the old chain, is probably its own.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from handfast.datadir import write_atomically
from handfast.errors import ConfigurationError

FILE = "rehearsals.json"
FORMAT = 1
MAX_REPORTS = 20
MAX_SUSPECTS = 16
"""Certificates that are remembered for one failure; there are as many devices behind an address as somebody likes."""


class Certainty(StrEnum):
    """How sure it is whose failure it was."""

    CERTAIN = "certain"  # it showed its certificate, then said what it did not like
    PROBABLE = "probable"  # one certificate came back from there; or it went without a word after showing its own
    AMBIGUOUS = "ambiguous"  # several devices share the address and the ClientHello
    UNSEEN = "unseen"  # nobody came back yet


class How(StrEnum):
    """How the client went."""

    ALERT = "alert"  # it said why
    CLOSED = "closed"  # it closed or reset the connection without a word
    SILENT = "silent"  # it said nothing until the time was up


@dataclass(slots=True, kw_only=True)
class Suspect:
    """A certificate that came from where a failure did, afterwards, on the old chain."""

    certificate_id: str
    first_seen: dt.datetime
    last_seen: dt.datetime
    same_hello: bool


@dataclass(slots=True, kw_only=True)
class Failure:
    """
    One client that did not verify the next chain.

    `alert` is TLS's name of what it said; `shown` the certificate that it had shown by then, which few clients do.
    """

    at: dt.datetime
    kind: str
    address: str
    sni: str
    fingerprint: str
    how: How
    alert: str | None
    shown: str | None = None
    suspects: list[Suspect] = field(default_factory=list)
    more_suspects: bool = False

    def saw(self, certificate_id: str, now: dt.datetime, *, same_hello: bool) -> None:
        """A device came from there on the old chain."""
        for suspect in self.suspects:
            if suspect.certificate_id == certificate_id:
                suspect.last_seen = now
                suspect.same_hello = suspect.same_hello or same_hello
                return
        if len(self.suspects) >= MAX_SUSPECTS:
            self.more_suspects = True
            return
        self.suspects.append(
            Suspect(certificate_id=certificate_id, first_seen=now, last_seen=now, same_hello=same_hello)
        )


@dataclass(slots=True, kw_only=True)
class Good:
    """A device that verified the next chain of these kinds and went on to speak."""

    first_seen: dt.datetime
    last_seen: dt.datetime
    kinds: set[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextChain:
    """What was served: `root` at its top, and the roots that vouch for it in what is sent, `signers`."""

    kind: str
    root: str
    signers: tuple[str, ...]
    intermediate: str
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A failure as it is told. `candidates` are those that it may have been, the likeliest first."""

    certainty: Certainty
    candidates: tuple[Suspect, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DarkDevice:
    """A failure that stands: nobody it may have been has verified the chain since."""

    failure: Failure
    verdict: Verdict
    last_seen: dt.datetime

    def sentence(self) -> str:
        """Who, and how sure that is."""
        names = " or ".join(each.certificate_id for each in self.verdict.candidates) or self.failure.shown
        who = f"Certificate {names}" if names else "A device that did not come back"
        return f"{who} at {self.failure.address} ({self.verdict.certainty}): {self.verdict.why}"


@dataclass(slots=True, kw_only=True)
class Report:
    """
    One rehearsal. `share` is a percentage; `name` the canary name; `end` says why it ended, None while it runs.

    `verified_without` counts connections that verified the chain and had to show no certificate.
    """

    rehearsal_id: str
    started: dt.datetime
    share: float
    stop_after: int
    name: str | None
    alone: bool
    chains: tuple[NextChain, ...]
    ended: dt.datetime | None = None
    end: str | None = None
    attempts: int = 0
    verified_without: int = 0
    failures: list[Failure] = field(default_factory=list)
    good: dict[str, Good] = field(default_factory=dict)
    good_left_out: int = 0

    def verdict(self, failure: Failure) -> Verdict:
        """Whose failure it was, and why that is thought."""
        said = {
            How.ALERT: f"it sent the alert {failure.alert}",
            How.CLOSED: "it closed the connection without an alert",
            How.SILENT: "it said nothing more until the time was up",
        }[failure.how]
        on = f"on the next {failure.kind.upper()} chain {said}"
        if failure.shown is not None:
            suspect = Suspect(
                certificate_id=failure.shown, first_seen=failure.at, last_seen=failure.at, same_hello=True
            )
            certain = failure.how is How.ALERT
            why = f"{on} after it had shown this certificate" + ("" if certain else ", before it sent any data")
            return Verdict(
                certainty=Certainty.CERTAIN if certain else Certainty.PROBABLE, candidates=(suspect,), why=why
            )
        possible = [each for each in failure.suspects if not self._is_good(each.certificate_id, failure.kind)]
        alike = [each for each in possible if each.same_hello]
        chosen = tuple(alike or possible)
        if not chosen:
            why = f"{on}; nobody came back from there since"
            return Verdict(certainty=Certainty.UNSEEN, candidates=(), why=why)
        if len(alike) == 1 and not failure.more_suspects:
            why = f"{on}, and this certificate then came from the same address with the same ClientHello"
            return Verdict(certainty=Certainty.PROBABLE, candidates=chosen, why=why)
        shared = "several devices share this address" + (" and ClientHello" if alike else ", none with its ClientHello")
        if not alike and len(chosen) == 1:
            shared = "what came from this address next had another ClientHello"
        return Verdict(certainty=Certainty.AMBIGUOUS, candidates=chosen, why=f"{on}; {shared}")

    def verified(self, kind: str) -> bool:
        """Whether any device verified the chain of this kind."""
        return any(kind in each.kinds for each in self.good.values())

    def is_without(self, root: str, kind: str) -> bool:
        """Whether it served a chain of the kind in which the root has no part."""
        return any(each.kind == kind and root != each.root and root not in each.signers for each in self.chains)

    def _is_good(self, certificate_id: str, kind: str) -> bool:
        good = self.good.get(certificate_id)
        return good is not None and kind in good.kinds


def dark_devices(reports: Iterable[Report], *, since: dt.datetime) -> list[DarkDevice]:
    """Every failure since then that no later rehearsal has put right; `reports` the oldest first."""
    verified: dict[tuple[str, str], dt.datetime] = {}
    listed = list(reports)
    for report in listed:
        for certificate_id, good in report.good.items():
            for kind in good.kinds:
                verified[certificate_id, kind] = max(good.last_seen, verified.get((certificate_id, kind), since))
    found = []
    for report in listed:
        for failure in report.failures:
            verdict = report.verdict(failure)
            last = max([failure.at, *(each.last_seen for each in verdict.candidates)])
            names = [each.certificate_id for each in verdict.candidates]
            healed = names and all(verified.get((name, failure.kind), failure.at) > failure.at for name in names)
            if last >= since and not healed:
                found.append(DarkDevice(failure=failure, verdict=verdict, last_seen=last))
    return found


def to_json(report: Report) -> dict[str, Any]:
    """Everything of a report, for the file that keeps it."""
    return {
        "rehearsal_id": report.rehearsal_id,
        "started": _text(report.started),
        "ended": _text(report.ended),
        "end": report.end,
        "share": report.share,
        "stop_after": report.stop_after,
        "name": report.name,
        "alone": report.alone,
        "chains": [
            {
                "kind": each.kind,
                "root": each.root,
                "signers": list(each.signers),
                "intermediate": each.intermediate,
                "sent_bytes": each.sent_bytes,
            }
            for each in report.chains
        ],
        "attempts": report.attempts,
        "verified_without": report.verified_without,
        "good_left_out": report.good_left_out,
        "good": {
            name: [_text(each.first_seen), _text(each.last_seen), sorted(each.kinds)]
            for name, each in report.good.items()
        },
        "failures": [
            {
                "at": _text(each.at),
                "kind": each.kind,
                "address": each.address,
                "sni": each.sni,
                "fingerprint": each.fingerprint,
                "how": each.how.value,
                "alert": each.alert,
                "shown": each.shown,
                "more_suspects": each.more_suspects,
                "suspects": [
                    [one.certificate_id, _text(one.first_seen), _text(one.last_seen), one.same_hello]
                    for one in each.suspects
                ],
            }
            for each in report.failures
        ],
    }


def from_json(document: Mapping[str, Any]) -> Report:
    """The report that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    started = _instant(document["started"])
    if started is None:
        raise ValueError("a rehearsal without a beginning")
    return Report(
        rehearsal_id=str(document["rehearsal_id"]),
        started=started,
        ended=_instant(document["ended"]),
        end=document["end"],
        share=float(document["share"]),
        stop_after=int(document["stop_after"]),
        name=document["name"],
        alone=bool(document["alone"]),
        chains=tuple(NextChain(**{**each, "signers": tuple(each["signers"])}) for each in document["chains"]),
        attempts=int(document["attempts"]),
        verified_without=int(document["verified_without"]),
        good_left_out=int(document["good_left_out"]),
        good={
            name: Good(first_seen=_given(first), last_seen=_given(last), kinds=set(kinds))
            for name, (first, last, kinds) in document["good"].items()
        },
        failures=[
            Failure(
                **{
                    **each,
                    "at": _given(each["at"]),
                    "how": How(each["how"]),
                    "suspects": [
                        Suspect(certificate_id=name, first_seen=_given(first), last_seen=_given(last), same_hello=same)
                        for name, first, last, same in each["suspects"]
                    ],
                }
            )
            for each in document["failures"]
        ],
    )


def _text(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _instant(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


def _given(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def load(data_dir: Path) -> list[Report]:
    """
    The rehearsals of a data directory, the oldest first; one that ran when its server went is over.

    Raises:
        ConfigurationError: The file is damaged.
    """
    file = data_dir / FILE
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(document["format"])
        return [from_json(each) for each in document["reports"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not what handfast writes: restore it, or move it away.") from error


def save(data_dir: Path, reports: Iterable[Report]) -> None:
    """The last `MAX_REPORTS` of them are on the disk, whole."""
    kept = [to_json(each) for each in reports][-MAX_REPORTS:]
    write_atomically(data_dir / FILE, json.dumps({"format": FORMAT, "reports": kept}).encode("utf-8"))
