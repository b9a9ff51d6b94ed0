"""
What a device with a given trust store can verify: today, after each planned change, and until when.

A path counts when it is good in every rule of `chain.verify`. Verifiers differ in one thing that decides: whether a
certificate that is not self-signed may end a path because it is trusted (mbedTLS and wolfSSL: yes; OpenSSL by default,
and many others: no). What only such a path verifies is `PARTIAL`.

A change that is planned has no certificates yet below the root: there the question is whether the device accepts that
root, by itself or through its cross-certificate, whose signature is verified.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from handfast.core.pki import chain as chains
from handfast.core.pki.describe import pin as pin_of
from handfast.core.pki.keys import certificate_key_kind, validity_refusals
from handfast.core.pki.names import common_name, display
from handfast.core.pki.spki import public_key_refusals
from handfast.core.pki.trust_store import TrustStore
from handfast.core.pki.weak_keys import weaknesses

TODAY = "today"
MAX_FINDINGS = 200


class Status(StrEnum):
    """Whether a device verifies a chain; `PARTIAL`: where its library takes a trusted certificate for an end."""

    YES = "yes"
    PARTIAL = "partial"
    NO = "no"


class Severity(IntEnum):
    """How much is at stake."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """
    One chain at one time.

    Args:
        when: `TODAY`, or the change after which it is served.
        kind: `rsa` or `ecdsa`.
        chain: Leaf and intermediate; empty where they are not made yet.
        root: What `chain` hangs on.
        bridge: What is always sent behind `chain`: `root` as the root before it signed it, and so on.
        cross: The cross-certificate that may be sent behind these; None where there is none, or none any more.
    """

    when: str
    kind: str
    region: str | None = None
    chain: tuple[x509.Certificate, ...] = ()
    root: x509.Certificate
    bridge: tuple[x509.Certificate, ...] = ()
    cross: x509.Certificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What the device makes of one chain. `cross` says whether a cross-certificate is sent.

    `through` names the certificates of the best path from the intermediate's issuer up. `until` is when the device goes
    blind: the first notAfter on the path that lasts longest, of what is not the server's to renew. `why` is a
    sentence, None when all is well.
    """

    when: str
    kind: str
    region: str | None
    cross: bool
    status: Status
    through: tuple[str, ...] = ()
    until: dt.datetime | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a store. `code` is stable; texts may quote whoever made the store."""

    code: str
    severity: Severity
    place: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The server's own certificates: the roots by the names of their files, legacy too, and the rest."""

    roots: dict[str, x509.Certificate]
    legacy: str
    cross: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]
    leaves: tuple[x509.Certificate, ...]
    reserve: tuple[str, ...]
    """The roots that carry no chain yet."""
    retired: tuple[x509.Certificate, ...] = ()
    """Roots that were retired: published no more, and still nobody else's."""


def forecast(store: TrustStore, situations: Sequence[Situation], *, at: dt.datetime) -> list[Verdict]:
    """Each situation judged, first without and then with its cross-certificate where there is one."""
    device = _Device(store, at)
    verdicts = []
    for situation in situations:
        for cross in [None] if situation.cross is None else [None, situation.cross]:
            verdicts.append(device.judge(situation, cross))
    return verdicts


def findings(
    store: TrustStore, known: Known, verdicts: Sequence[Verdict], *, prefer: str, sends_cross: bool, at: dt.datetime
) -> list[Finding]:
    """
    Everything that is wrong with a store, the worst first.

    Args:
        verdicts: What `forecast` said of it.
        prefer: The kind that a client gets which can verify both.
        sends_cross: Whether the server sends cross-certificates.
    """
    found = [*_of_remarks(store), *_of_certificates(store, known, at), *_of_pins(store, known)]
    found += _of_whole(store, known, sends_cross)
    found += _of_verdicts(verdicts, prefer, sends_cross, at)
    return sorted(found, key=lambda each: -each.severity)[:MAX_FINDINGS]


class _Device:
    """A verifier with this store and a right clock."""

    def __init__(self, store: TrustStore, at: dt.datetime) -> None:
        self._at = at
        certificates = list(dict.fromkeys(held.certificate for held in store.certificates))
        self._roots = [each for each in certificates if chains.self_issued(each) and chains.signed_by(each, each)]
        self._others = [each for each in certificates if each not in self._roots]
        self._certificates = certificates
        self._pins = frozenset(pin.digest.hex() for pin in store.pins)

    def judge(self, situation: Situation, cross: x509.Certificate | None) -> Verdict:
        reasons: list[str] = []
        for status, ways in (
            (Status.YES, self._whole_ways(situation, cross)),
            (Status.PARTIAL, self._partial_ways(situation, cross)),
        ):
            good = []
            for path in ways:
                problems = self._problems(path)
                if problems:
                    reasons += problems
                else:
                    good.append((self._end(path, situation), path))
            if good:
                until, path = max(good, key=lambda each: each[0])
                return self._verdict(
                    situation,
                    cross,
                    status,
                    through=tuple(display(each.subject) for each in path if each not in situation.chain)
                    or (display(path[-1].subject),),
                    until=until,
                    why=None if status is Status.YES else self._why_partial(path[-1]),
                )
        if not reasons:
            top = situation.chain[-1].issuer if situation.chain else situation.root.subject
            needed = [top, *(each.issuer for each in situation.bridge)]
            needed += [cross.issuer] if cross is not None else []
            reasons = [f"It lacks {' or '.join(display(name) for name in needed)}."]
            if self._pins and not self._certificates:
                reasons = ["None of its pins is the key of a certificate that is sent; a root never is."]
        return self._verdict(situation, cross, Status.NO, why=" ".join(dict.fromkeys(reasons[:3])))

    def _whole_ways(
        self, situation: Situation, cross: x509.Certificate | None
    ) -> Iterator[tuple[x509.Certificate, ...]]:
        """Paths that end at a trusted root, through what is sent and what lies in the store besides."""
        sent = [*situation.chain[1:], *situation.bridge, *([cross] if cross is not None else [])]
        pool = [*sent, *self._others]
        if situation.chain:
            yield from chains.paths(situation.chain[0], pool, self._roots)
            return
        for root in self._roots:
            if _twins(root, situation.root):
                yield (root,)
        for top in pool:
            if _twins(top, situation.root):
                yield from chains.paths(top, pool, self._roots)

    def _partial_ways(
        self, situation: Situation, cross: x509.Certificate | None
    ) -> Iterator[tuple[x509.Certificate, ...]]:
        """Paths that end at a trusted certificate that is no root, or at a pinned key where there is nothing else."""
        sent = (*situation.chain, *situation.bridge, *([cross] if cross is not None else []))
        if not self._certificates:
            for position, each in enumerate(sent):
                if pin_of(each) in self._pins:
                    yield sent[: position + 1]
        elif situation.chain:
            yield from chains.paths(sent[0], sent[1:], self._others)
        else:
            yield from ((other,) for other in self._others if _twins(other, situation.root))

    def _problems(self, path: tuple[x509.Certificate, ...]) -> list[str]:
        """What `chain.verify` finds, and a pin that no certificate of the path fits."""
        if len(path) == 1:
            problems = [f"{display(path[0].subject)}: {rule.message}" for rule in validity_refusals(path[0], self._at)]
        else:
            problems = [rule.message for rule in chains.verify(path[:-1], [path[-1]], at=self._at)]
        if self._pins and not any(pin_of(each) in self._pins for each in path):
            problems.append("None of its pins is the key of a certificate on the path.")
        return problems

    def _end(self, path: tuple[x509.Certificate, ...], situation: Situation) -> dt.datetime:
        """The first notAfter on the path; leaf and intermediate are the server's to renew, unless it ends there."""
        lasting = [each for each in path if each not in situation.chain] or [path[-1]]
        return min(each.not_valid_after_utc for each in lasting)

    def _why_partial(self, end: x509.Certificate) -> str:
        if not self._certificates:
            return "It pins a key and holds no certificate: it can recognise only what the server happens to send."
        return f"It trusts {display(end.subject)}, which is no root: OpenSSL and others do not end a path there."

    def _verdict(
        self,
        situation: Situation,
        cross: x509.Certificate | None,
        status: Status,
        *,
        through: tuple[str, ...] = (),
        until: dt.datetime | None = None,
        why: str | None = None,
    ) -> Verdict:
        return Verdict(
            when=situation.when,
            kind=situation.kind,
            region=situation.region,
            cross=cross is not None,
            status=status,
            through=through,
            until=until,
            why=why,
        )


def _of_remarks(store: TrustStore) -> Iterator[Finding]:
    severity = {"private_key": Severity.CRITICAL, "unreadable": Severity.MEDIUM, "ignored": Severity.LOW}
    for remark in store.remarks:
        yield Finding(code=remark.code, severity=severity[remark.code], place=remark.place, message=remark.message)


def _of_certificates(store: TrustStore, known: Known, at: dt.datetime) -> Iterator[Finding]:
    seen: dict[x509.Certificate, str] = {}
    ours = tuple(known.roots.values())
    held_whole = {each.certificate for each in store.certificates}
    for held in store.certificates:
        cert, place = held.certificate, held.place

        def say(code: str, severity: Severity, message: str, place: str = place) -> Finding:
            return Finding(code=code, severity=severity, place=place, message=message)

        named = display(cert.subject)
        if cert in seen:
            yield say("duplicate", Severity.LOW, f"{named} is here a second time, after {seen[cert]}.")
            continue
        seen[cert] = place
        mine = cert in ours
        for rule in validity_refusals(cert, at):
            yield say("expired", Severity.HIGH if mine else Severity.MEDIUM, f"{named}: {rule.message}")
        for problem in _weak(cert):
            yield say("weak_key", Severity.HIGH, f"{named}: {problem}")
        if mine:
            continue
        renewed = next((root for root in ours if _twins(cert, root)), None)
        impostor = next((root for root in ours if root.subject == cert.subject), None)
        if cert in known.retired:
            yield say("old_root", Severity.LOW, f"{named} was retired here: take it out of the store.")
        elif cert in known.leaves or not _is_ca(cert):
            yield say("leaf_trusted", Severity.CRITICAL, f"{named} is a leaf: the server replaces it without notice.")
        elif renewed is not None and not chains.self_issued(cert):
            beside = renewed in held_whole
            yield say(
                "cross_trusted",
                Severity.LOW if beside else Severity.MEDIUM,
                f"{named} is the cross-certificate, no root: it ends on {cert.not_valid_after_utc:%Y-%m-%d}, and many "
                f"verifiers end no path there. {'The root is here too.' if beside else 'Embed the root itself.'}",
            )
        elif renewed is not None:
            yield say("old_root", Severity.LOW, f"{named} was renewed with the same key: embed the newer one.")
        elif impostor is not None:
            yield say(
                "other_root",
                Severity.HIGH,
                f"{named} has the name of one of this server's roots and another key: it is another server's.",
            )
        elif cert in known.intermediates or not chains.self_issued(cert):
            yield say(
                "intermediate_trusted", Severity.HIGH, f"{named} is an intermediate: it is replaced without notice."
            )
        else:
            yield say(
                "unknown", Severity.LOW, f"{named} is none of this server's: whoever holds its key can be the server."
            )


def _of_pins(store: TrustStore, known: Known) -> Iterator[Finding]:
    whole = {
        cert.fingerprint(hashes.SHA256()): cert
        for cert in (*known.roots.values(), *known.cross, *known.intermediates, *known.leaves)
    }
    keys = {pin_of(cert): cert for cert in known.roots.values()}
    below = {pin_of(cert): cert for cert in (*known.intermediates, *known.leaves)}
    seen: dict[bytes, str] = {}
    for pin in store.pins:

        def say(code: str, severity: Severity, message: str, place: str = pin.place) -> Finding:
            return Finding(code=code, severity=severity, place=place, message=message)

        if pin.digest in seen:
            yield say("duplicate", Severity.LOW, f"The pin is here a second time, after {seen[pin.digest]}.")
            continue
        seen[pin.digest] = pin.place
        text = pin.digest.hex()
        if pin.digest in whole:
            yield say(
                "certificate_pin",
                Severity.CRITICAL,
                f"This is the hash of the whole certificate {display(whole[pin.digest].subject)}: a cross-certificate "
                "or a renewed one of the same key has another. Pin the key: handfast trust pins.",
            )
        elif text in below:
            leaf = below[text] in known.leaves
            yield say(
                "leaf_pinned" if leaf else "intermediate_pinned",
                Severity.CRITICAL if leaf else Severity.HIGH,
                f"This pins the key of {display(below[text].subject)}, which is replaced without notice.",
            )
        elif text not in keys:
            yield say("unknown_pin", Severity.MEDIUM, "This is the key of none of the server's roots.")


def _of_whole(store: TrustStore, known: Known, sends_cross: bool) -> Iterator[Finding]:
    """What is missing: a matter of the store, and of no line in it."""
    held = {pin_of(each.certificate) for each in store.certificates}
    pinned = {pin.digest.hex() for pin in store.pins}
    names = [name for name, root in known.roots.items() if pin_of(root) in held or pin_of(root) in pinned]
    if store.pins and not store.certificates:
        yield Finding(
            code="pins_alone",
            severity=Severity.HIGH,
            place="the store",
            message="It holds pins and no certificate. A pin is no key, and no root is ever sent: such a device can "
            "recognise a cross-certificate, an intermediate or a leaf at most. Embed the roots too, or give their file "
            "as well.",
        )
    if names == [known.legacy]:
        yield Finding(
            code="legacy_only",
            severity=Severity.HIGH,
            place="the store",
            message="Of the server's roots it knows the legacy root alone: it depends on cross-certificates being "
            f"sent, and ends on {known.roots[known.legacy].not_valid_after_utc:%Y-%m-%d}.",
        )
    if sends_cross and names and known.legacy not in names:
        yield Finding(
            code="legacy_missing",
            severity=Severity.LOW,
            place="the store",
            message="The server sends cross-certificates. A verifier that follows the chain to its very top, and does "
            "not stop at the first key that it trusts, needs the legacy root too.",
        )
    for name in known.reserve:
        root = known.roots[name]
        kind = certificate_key_kind(root)
        carriers = [each for each in names if each not in (*known.reserve, known.legacy)]
        if name not in names and any(_same_sort(known.roots[each], root) for each in carriers):
            yield Finding(
                code="reserve_missing",
                severity=Severity.MEDIUM,
                place="the store",
                message=f"It lacks {common_name(root.subject)} ({kind}), which is in reserve: it goes dark when that "
                "root takes over.",
            )


def _of_verdicts(verdicts: Sequence[Verdict], prefer: str, sends_cross: bool, at: dt.datetime) -> Iterator[Finding]:
    best: dict[str, Verdict] = {}
    for each in verdicts:
        if each.when == TODAY and (each.cross == sends_cross or each.kind not in best):
            before = best.get(each.kind)
            if before is None or before.cross != sends_cross or _rank(each) < _rank(before):
                best[each.kind] = each  # the worst of the regions
    good = [kind for kind, each in best.items() if each.status is Status.YES]
    if best and all(each.status is Status.NO for each in best.values()):
        yield Finding(
            code="dark",
            severity=Severity.CRITICAL,
            place="the store",
            message="A device with this store verifies no chain of this server"
            + (" as it is sent today." if any(each.status is not Status.NO for each in verdicts) else "."),
        )
    if good and prefer in best and prefer not in good:
        (only,) = good if len(good) == 1 else (good[0],)
        yield Finding(
            code="preference",
            severity=Severity.HIGH,
            place="the store",
            message=f"It verifies the {only.upper()} chain alone, and the server prefers {prefer.upper()}: the device "
            f"must offer {only.upper()} alone (signature algorithms and suites), or it is sent the other chain.",
        )
    for kind, each in best.items():
        if each.status is not Status.NO and each.until is not None and each.until - at < dt.timedelta(days=2 * 365):
            yield Finding(
                code="blind_soon",
                severity=Severity.HIGH if each.until - at < dt.timedelta(days=365) else Severity.MEDIUM,
                place="the store",
                message=f"It verifies the {kind.upper()} chain until {each.until:%Y-%m-%d} and no longer.",
            )


def _rank(verdict: Verdict) -> int:
    return [Status.NO, Status.PARTIAL, Status.YES].index(verdict.status)


def _twins(one: x509.Certificate, other: x509.Certificate) -> bool:
    """One name and one key: a root and its cross-certificate, or its renewal."""
    return one.subject == other.subject and chains.same_key(one, other)


def _same_sort(one: x509.Certificate, other: x509.Certificate) -> bool:
    return certificate_key_kind(one).startswith("RSA") == certificate_key_kind(other).startswith("RSA")


def _is_ca(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        # A root of version 1 has no extensions, and is one all the same for who trusts it.
        return chains.self_issued(cert)


def _weak(cert: x509.Certificate) -> list[str]:
    broken = [rule.message for rule in public_key_refusals(cert)]
    if not broken:
        key = cert.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            broken = [f"The RSA key is weak: {each}." for each in weaknesses(numbers.n, numbers.e)]
    return broken
