"""
What of the PKI expires when, what hangs on it, and what is to be done by when.

Reads certificates of the PKI folder, no key. What the plan says to do are acts of `root_ceremony`, or what `serve` does
by itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

from handfast.core.pki import profile as profiles
from handfast.core.pki.chain import signed_by
from handfast.core.pki.keys import certificate_key_kind
from handfast.core.pki.names import display
from handfast.services.authorities import WARN_INTERMEDIATE
from handfast.services.pki_folder import KINDS, LEGACY, ChainKind, PkiFolder, RootSpec, twin_of

assert profiles.INTERMEDIATE.lifetime is not None
ROOT_AHEAD = profiles.INTERMEDIATE.lifetime + WARN_INTERMEDIATE
"""So long before its end a root stops being good for another intermediate of full length."""

RENEW_LEGACY = "Renew the legacy root and what it signed"


class State(StrEnum):
    """Where the time stands: before `act_by`, after it, after the end."""

    GOOD = "good"
    DUE = "due"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One certificate. `carries` names what hangs on it and fails with it, empty where nothing does.

    `act_by` is when `todo` is to be done at the latest; `automatic` says that `serve` does it.
    """

    name: str
    role: str
    subject: str
    key: str
    issuer: str
    not_after: dt.datetime
    carries: tuple[str, ...]
    act_by: dt.datetime
    state: State
    automatic: bool
    todo: str


def plan(folder: PkiFolder, *, serves_cross: bool, now: dt.datetime) -> list[Entry]:
    """
    Every certificate that the server's chains or its devices depend on, the one that ends first in front.

    Args:
        serves_cross: Whether the server sends cross-certificates.

    Raises:
        ConfigurationError: There is no PKI, or a certificate is missing or damaged.
    """
    folder.insist()
    planner = _Planner(folder, serves_cross, now)
    return sorted(planner.entries(), key=lambda each: (each.not_after, each.name))


def next_steps(entries: list[Entry]) -> list[Entry]:
    """What somebody has to do, one entry for each different step, the most urgent first."""
    steps: dict[str, Entry] = {}
    for each in sorted(entries, key=lambda entry: entry.act_by):
        if not each.automatic:
            steps.setdefault(each.todo, each)
    return list(steps.values())


class _Planner:
    def __init__(self, folder: PkiFolder, serves_cross: bool, now: dt.datetime) -> None:
        self._folder = folder
        self._serves_cross = serves_cross
        self._now = now
        self._roots = folder.roots()
        self._specs = list(folder.rooted())
        self._cross = folder.cross_certificates()
        self._newest = {kind: folder.intermediate(kind) for kind in KINDS}
        stored = {(region, kind): folder.leaf_chain(region, kind) for region in folder.regions() for kind in KINDS}
        self._chains = {key: chain for key, chain in stored.items() if chain}

    def entries(self) -> Iterator[Entry]:
        for spec in self._specs:
            yield self._root(spec)
        yield self._legacy()
        yield from self._cross_certificates()
        yield from self._bridges()
        for kind in KINDS:
            yield self._intermediate(kind)
        for (region, kind), chain in self._chains.items():
            yield self._leaf(region, kind, chain)
        yield self._device_issuer()

    def _root(self, spec: RootSpec) -> Entry:
        root = self._roots[spec.file]
        carries = self._carried(root)
        others = [other for other in self._specs if other.kind == spec.kind and other.file != spec.file]
        successor = max(others, key=lambda other: self._roots[other.file].not_valid_after_utc, default=None)
        lasting = (
            successor is not None
            and self._roots[successor.file].not_valid_after_utc - root.not_valid_after_utc > ROOT_AHEAD
        )
        followers = [each.root for each in self._folder.bridges() if each.signer == spec.file]
        if not carries and followers:
            todo = (
                f"It vouches for {', '.join(followers)} to devices that hold no other root: when no device needs it "
                f"(handfast roots rehearse start --alone), handfast roots promote {_number(followers[-1])} --alone, "
                f"then handfast roots retire {spec.number}"
            )
        elif not carries:
            todo = "In reserve: nothing to do but to see to it that devices hold it."
        elif lasting and successor is not None:
            todo = (
                f"Let {successor.file} take over, once devices hold it (handfast trust lint): "
                f"handfast roots request DIR --act next-{spec.kind} --under {successor.number}, then "
                f"handfast roots rehearse, then handfast roots promote {successor.number}"
            )
        else:
            todo = (
                f"Add an {spec.kind.upper()} root and ship it to devices: handfast roots add --key {spec.key}. "
                f"Intermediates below {spec.file} get shorter lives from then on"
            )
        return self._entry(spec.file, "root", root, "itself", carries, ROOT_AHEAD, todo, automatic=not carries)

    def _bridges(self) -> Iterator[Entry]:
        sent = {
            each.certificate
            for kind in KINDS
            if self._folder.served(kind).bridged
            for each in self._folder.way_back(self._carrier(kind).file)
        }
        for bridge in self._folder.bridges():
            carries = self._carried(self._roots[bridge.root]) if bridge.certificate in sent else ()
            yield self._entry(
                f"{bridge.root}-by-{bridge.signer}",
                "cross-certificate",
                bridge.certificate,
                bridge.signer,
                tuple(f"{each} for devices with {bridge.signer} alone" for each in carries),
                WARN_INTERMEDIATE,
                f"Devices that hold {bridge.signer} alone need {bridge.root} before then: "
                "handfast roots rehearse start --alone names them",
                automatic=not carries,
            )

    def _carrier(self, kind: ChainKind) -> RootSpec:
        newest = self._newest[kind].certificate
        return next(spec for spec in self._specs if signed_by(newest, self._roots[spec.file]))

    def _legacy(self) -> Entry:
        twins = [spec.file for spec in self._specs if self._twin(spec) is not None]
        sent = "sent" if self._serves_cross else "not sent: --serve-cross is off"
        return self._entry(
            LEGACY,
            "legacy root",
            self._roots[LEGACY],
            "itself",
            (f"{len(twins)} cross-certificates, {sent}",),
            WARN_INTERMEDIATE,
            f"{RENEW_LEGACY}: handfast roots request DIR --act legacy --act cross",
        )

    def _cross_certificates(self) -> Iterator[Entry]:
        legacy_end = self._roots[LEGACY].not_valid_after_utc
        for spec in self._specs:
            twin = self._twin(spec)
            if twin is None:
                continue
            sent = self._carried(self._roots[spec.file]) if self._serves_cross else ()
            what, acts = "Renew the cross-certificates", "--act cross"
            if legacy_end - twin.not_valid_after_utc < WARN_INTERMEDIATE:
                # Signed anew by the present legacy root, it would end as soon.
                what, acts = RENEW_LEGACY, "--act legacy --act cross"
            yield self._entry(
                f"cross-{spec.file}",
                "cross-certificate",
                twin,
                LEGACY,
                tuple(f"{each} for devices with the legacy root alone" for each in sent),
                WARN_INTERMEDIATE,
                f"{what}: handfast roots request DIR {acts}",
            )

    def _intermediate(self, kind: ChainKind) -> Entry:
        newest = self._newest[kind]
        root = self._carrier(kind)
        staged = self._folder.staged(kind)
        todo = (
            f"Renew the {kind.upper()} intermediate: "
            f"handfast roots request DIR --act intermediate-{kind} --under {root.number}"
        )
        if self._folder.requested_generation(kind) is not None:
            todo = (
                f"A new {kind.upper()} intermediate was requested: handfast roots sign, then handfast roots install DIR"
            )
        elif staged is not None:
            above = next(spec for spec in self._specs if signed_by(staged.certificate, self._roots[spec.file]))
            todo = (
                f"{staged.name} waits under {above.file}: handfast roots rehearse start --share 1 --stop-after 5, then "
                f"handfast roots promote {above.number}"
            )
        carries = tuple(
            _chain_name(kind, region)
            for (region, other), chain in self._chains.items()
            if other == kind and chain[-1] == newest.certificate
        )
        return self._entry(newest.name, "intermediate", newest.certificate, root.file, carries, WARN_INTERMEDIATE, todo)

    def _leaf(self, region: str, kind: ChainKind, chain: list[x509.Certificate]) -> Entry:
        leaf = chain[0]
        third = (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 3
        late = self._now >= leaf.not_valid_after_utc - third / 2
        return self._entry(
            f"leaf {region} {kind}",
            "leaf",
            leaf,
            self._newest[kind].name if chain[-1] == self._newest[kind].certificate else "an earlier intermediate",
            (_chain_name(kind, region),),
            third,
            "It should have been renewed: look into the log of handfast serve, and at the intermediate"
            if late
            else "handfast serve renews it by itself",
            automatic=not late,
        )

    def _device_issuer(self) -> Entry:
        return self._entry(
            "device-ca/issuer-1",
            "device issuing CA",
            self._folder.device_issuer(),
            "itself",
            ("device certificates that handfast issues",),
            WARN_INTERMEDIATE,
            "Move devices to certificates of a CA of your own (handfast ca register): this one is not renewed",
        )

    def _entry(
        self,
        name: str,
        role: str,
        certificate: x509.Certificate,
        issuer: str,
        carries: tuple[str, ...],
        ahead: dt.timedelta,
        todo: str,
        *,
        automatic: bool = False,
    ) -> Entry:
        end = certificate.not_valid_after_utc
        act_by = end - ahead
        state = State.EXPIRED if self._now > end else State.DUE if self._now >= act_by else State.GOOD
        return Entry(
            name=name,
            role=role,
            subject=display(certificate.subject),
            key=certificate_key_kind(certificate),
            issuer=issuer,
            not_after=end,
            carries=carries,
            act_by=act_by,
            state=state,
            automatic=automatic,
            todo=todo,
        )

    def _carried(self, root: x509.Certificate) -> tuple[str, ...]:
        """The chains that hang on a root: those that are served, and those that the newest intermediate will sign."""
        served = [
            _chain_name(kind, region) for (region, kind), chain in self._chains.items() if signed_by(chain[-1], root)
        ]
        coming = [
            f"new {kind.upper()} chains" for kind, each in self._newest.items() if signed_by(each.certificate, root)
        ]
        return (*served, *coming)

    def _twin(self, spec: RootSpec) -> x509.Certificate | None:
        return twin_of(self._roots[spec.file], self._cross)


def _number(name: str) -> str:
    return name.removeprefix("root-ca-")


def _chain_name(kind: ChainKind, region: str) -> str:
    return f"{kind.upper()} chain of {region}"
