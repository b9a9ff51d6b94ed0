"""
Which root the server's chains hang on: promoted, gone back from, retired. No root key is needed for any of it.

    add       (root_ceremony)   a new root is published, and an intermediate below it waits
    promote   here              that intermediate signs leaves; the new root is sent as the old one signed it
    promote   --alone           it is not sent so any more: devices have to hold the new root
    retire    here              the old root is published no more

Each change is one file that is replaced or renamed. Whoever is killed before has changed nothing, whoever is killed
after has changed all of it, and doing it again does no harm.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from handfast.core.pki import chain as chains
from handfast.errors import ConfigurationError
from handfast.services.pki_folder import (
    ROOTS,
    ChainKind,
    Intermediate,
    PkiFolder,
    RootSpec,
    Served,
    publish_trust,
)
from handfast.services.rehearsal_report import Report, dark_devices
from handfast.services.root_ceremony import carrier

SEEN_LATELY = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The chain of a kind hangs on another root, or is sent otherwise; `before` and `after` are roots' names."""

    kind: ChainKind
    before: str
    after: str
    intermediate: str
    alone: bool
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """Why a root cannot be retired. `code` is stable."""

    code: str
    text: str


def find_root(folder: PkiFolder, number: int) -> RootSpec:
    """ConfigurationError: there is no such root, or it was retired."""
    for spec in folder.rooted():
        if spec.number == number:
            return spec
    if folder.is_retired(f"root-ca-{number}"):
        raise ConfigurationError(f"root-ca-{number} was retired.")
    numbers = ", ".join(str(spec.number) for spec in folder.rooted())
    raise ConfigurationError(f"There is no root-ca-{number}: the roots here are {numbers}.")


def promotable(folder: PkiFolder, number: int) -> Intermediate:
    """
    The intermediate that would sign leaves: the one that waits below the root, else the newest below it.

    Raises:
        ConfigurationError: No such root, or none was made below it.
    """
    spec = find_root(folder, number)
    root = folder.roots()[spec.file]
    staged = folder.staged(spec.kind)
    candidates = [*folder.intermediates(spec.kind), *([staged] if staged is not None else [])]
    below = [each for each in candidates if chains.signed_by(each.certificate, root)]
    if not below:
        raise ConfigurationError(
            f"No intermediate was made below {spec.file}: "
            f"handfast roots request DIR --act next-{spec.kind} --under {number}, sign, install."
        )
    serving = folder.intermediate(spec.kind)
    return serving if serving in below and below[-1] != staged else below[-1]


def promotion(folder: PkiFolder, number: int, *, alone: bool = False) -> tuple[Promotion, Served]:
    """What `promote` would change, and what would be served then. Changes nothing; arguments and errors are its."""
    spec = find_root(folder, number)
    chosen = promotable(folder, number)
    before = carrier(folder, spec.kind)
    served = folder.served(spec.kind)
    waiting = served.next if served.next != chosen.generation else None
    if chosen.generation < served.generation:
        waiting = served.generation  # gone back from: it can be promoted again
    wanted = Served(chosen.generation, not alone, waiting)
    described = Promotion(
        kind=spec.kind,
        before=before.file,
        after=spec.file,
        intermediate=chosen.name,
        alone=alone,
        changed=wanted != served,
    )
    return described, wanted


def promote(folder: PkiFolder, number: int, *, alone: bool = False) -> Promotion:
    """
    Leaves of the root's kind are signed below it from now on. The caller has verified the intermediate.

    The intermediate that signed until then is kept: promoting its root goes back.

    Args:
        alone: The root is not sent as the one before it signed it.

    Raises:
        ConfigurationError: No such root, or no intermediate was made below it.
    """
    done, wanted = promotion(folder, number, alone=alone)
    if done.changed:
        folder.serve(done.kind, wanted)
    return done


def require_none_waits(folder: PkiFolder, kind: ChainKind) -> None:
    """ConfigurationError: a root of the kind was added after the one that carries the chain, and is not promoted."""
    after = max(carrier(folder, kind).number, len(ROOTS))
    for spec, root in folder.rooted().items():
        if spec.kind == kind and spec.number > after:
            try:
                promotable(folder, spec.number)
                todo = f"Go on with handfast roots rehearse, then handfast roots promote {spec.number}."
            except ConfigurationError as error:
                todo = str(error)
            raise ConfigurationError(
                f"{spec.file} ({spec.key}, made {root.not_valid_before_utc:%Y-%m-%d}) was added for the {kind.upper()} "
                f"chain already and is not promoted yet. {todo} To make a further root all the same, where that one is "
                "not to be used: --another."
            )


def blockers(folder: PkiFolder, number: int, reports: Iterable[Report], *, now: dt.datetime) -> list[Blocker]:
    """
    Every reason not to retire a root; empty when no device is known to need it.

    Args:
        reports: Of rehearsals, the oldest first.

    Raises:
        ConfigurationError: No such root.
    """
    spec = find_root(folder, number)
    root = folder.roots()[spec.file]
    found = []
    serving = carrier(folder, spec.kind)
    served = folder.served(spec.kind)
    hanging = [
        f"the {spec.kind.upper()} chain of {region}"
        for region in folder.regions()
        if (chain := folder.leaf_chain(region, spec.kind)) and chains.signed_by(chain[-1], root)
    ]
    if serving == spec or hanging:
        names = ", ".join(hanging) or f"new {spec.kind.upper()} chains"
        found.append(Blocker(code="carries", text=f"{spec.file} carries {names}: promote another root first."))
        return found
    way = folder.way_back(serving.file)
    bridging = [each for each in way if spec.file in (each.root, each.signer)]
    if served.bridged and bridging:
        found.append(
            Blocker(
                code="vouches",
                text=f"Served chains hang on {spec.file}: it vouches for {bridging[-1].root} to devices that hold no "
                f"newer root. Stop sending that with: handfast roots promote {serving.number} --alone.",
            )
        )
    carried = any(chains.signed_by(each.certificate, root) for each in folder.intermediates(spec.kind))
    if not carried:
        return found  # no chain ever hung on it: no device can have come to need it
    free = [each for each in reports if each.is_without(spec.file, spec.kind)]
    for device in dark_devices(free, since=now - SEEN_LATELY):
        found.append(Blocker(code="needed", text=f"{device.sentence()} Seen last {device.last_seen:%Y-%m-%d %H:%M}."))
    if not any(each.verified(spec.kind) for each in free):
        others = [each.signer for each in folder.bridges() if each.root == serving.file and each.signer != spec.file]
        only = "" if others else f"{spec.file} is the only cross-signer of {serving.file}, and "
        text = f"{only}no rehearsal has shown that devices verify the chain without it"
        start = f"handfast roots rehearse start --kind {spec.kind} --alone --share 1 --stop-after 5"
        found.append(Blocker(code="untested", text=f"{text[0].upper()}{text[1:]}: {start}."))
    return found


OVERRIDABLE = frozenset({"needed", "untested"})


def may_retire(found: Iterable[Blocker], *, force: bool) -> bool:
    """Whether nothing is in the way; with `force`, nothing but what devices are thought to need."""
    return all(force and each.code in OVERRIDABLE for each in found)


def retire(folder: PkiFolder, number: int, trust_dir: Path) -> RootSpec:
    """The root is published no more, in `trust/` and its bundles. The caller has looked at the `blockers`."""
    spec = find_root(folder, number)
    folder.retire(spec.file)
    publish_trust(folder, trust_dir)
    return spec
