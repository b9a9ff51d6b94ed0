"""
The chains that this server presents, and those that it may come to present: what `trust_lint` judges a store by.

Reads certificates of the PKI folder and no key. The planned changes are those that the root ceremony can bring about.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

from handfast.core.pki.chain import signed_by
from handfast.core.pki.server_certificates import chain_kind, read_chain, served_part
from handfast.core.pki.trust_lint import TODAY, Finding, Known, Situation, Verdict, findings, forecast
from handfast.core.pki.trust_store import MAX_FILE_BYTES, TrustStore, read_store
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.services.pki_folder import KINDS, LEGACY, Bridge, ChainKind, PkiFolder, twin_of

MAX_FILES = 1000
"""Of one folder."""
LEGACY_RETIRED = "legacy root retired"
LEGACY_ENDPOINT = "legacy endpoint (iot:Data)"
"""Of `--legacy-endpoint`; what it presents hangs on the legacy root alone."""


class Report(NamedTuple):
    """What a store holds, what a device with it verifies, and what is wrong with it."""

    store: TrustStore
    verdicts: list[Verdict]
    findings: list[Finding]


def lint(
    folder: PkiFolder,
    paths: Iterable[Path],
    *,
    prefer: ChainKind,
    sends_cross: bool,
    now: dt.datetime,
    own_chains: Iterable[Path] = (),
) -> Report:
    """
    A device's trust store judged against this server's chains.

    Args:
        paths: Files and folders that make the store together; folders are not descended into.
        own_chains: PEM of the operator's server certificates with their chains, as they are imported for domains.
        prefer: The kind that a client gets which can verify both.
        sends_cross: Whether the server sends cross-certificates.

    Raises:
        ConfigurationError: There is no PKI, a file cannot be read, or they hold too much.
    """
    folder.insist()
    try:
        store = read_store(_contents(paths))
    except CertificateInputError as error:
        raise ConfigurationError(str(error)) from error
    verdicts = forecast(store, [*situations(folder), *map(_own, own_chains)], at=now)
    found = findings(store, known(folder), verdicts, prefer=prefer, sends_cross=sends_cross, at=now)
    return Report(store, verdicts, found)


def situations(folder: PkiFolder) -> list[Situation]:
    """
    Every chain of today by region and that of a legacy endpoint, then each planned change: a renewed intermediate,
    another root that takes over, a new root that the present one vouches for, the root before or the present one
    retired, the legacy root gone.

    Raises:
        ConfigurationError: A certificate is missing or damaged.
    """
    roots, specs, cross = folder.roots(), list(folder.rooted()), folder.cross_certificates()

    def carrier(cert: x509.Certificate) -> str:
        return next(spec.file for spec in specs if signed_by(cert, roots[spec.file]))

    def way(name: str) -> list[Bridge]:
        return folder.way_back(name)

    def situation(when: str, kind: ChainKind, name: str, *, bridged: bool, **more: Any) -> Situation:
        sent = way(name) if bridged else []
        top = roots[sent[-1].signer if sent else name]
        bridge = tuple(each.certificate for each in sent)
        return Situation(when=when, kind=kind, root=roots[name], bridge=bridge, cross=twin_of(top, cross), **more)

    today, planned = [], []
    for kind in KINDS:
        bridged = folder.served(kind).bridged
        in_use = carrier(folder.intermediate(kind).certificate)
        for region in folder.regions():
            chain = folder.leaf_chain(region, kind)
            if chain:
                name = carrier(chain[-1])
                today.append(situation(TODAY, kind, name, bridged=bridged, region=region, chain=tuple(chain)))
        planned.append(situation(f"new intermediate under {in_use}", kind, in_use, bridged=bridged))
        for spec in specs:
            if spec.kind != kind or spec.file == in_use:
                continue
            planned.append(situation(f"{spec.file} in place of {in_use}", kind, spec.file, bridged=True))
            if way(spec.file):
                planned.append(situation(f"{spec.file} alone, {in_use} retired", kind, spec.file, bridged=False))
        if bridged and way(in_use):
            before = " and ".join(each.signer for each in way(in_use))
            planned.append(situation(f"{in_use} alone, {before} retired", kind, in_use, bridged=False))
        # Whoever trusts the present root accepts what it signs; the new root alone nobody can know yet.
        planned.append(situation(f"a new root that {in_use} vouches for", kind, in_use, bridged=bridged))
        planned.append(replace(situation(LEGACY_RETIRED, kind, in_use, bridged=bridged), cross=None))
    if folder.legacy_intermediate() is not None:
        today.append(Situation(when=LEGACY_ENDPOINT, kind="rsa", root=roots[LEGACY]))
    return [*today, *planned]


def _own(path: Path) -> Situation:
    """What a domain with this certificate presents: all but a root at the end."""
    try:
        with path.open("rb") as opened:
            chain = served_part(read_chain(opened.read(MAX_FILE_BYTES).decode("ascii", "replace")))
        return Situation(when=path.name, kind=chain_kind(chain[0]), root=chain[-1], chain=chain)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except CertificateInputError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def known(folder: PkiFolder) -> Known:
    """
    Every certificate of the server's that a device might hold.

    Raises:
        ConfigurationError: A certificate is missing or damaged.
    """
    roots = folder.roots()
    intermediates = [folder.intermediate(kind).certificate for kind in KINDS]
    stored = [folder.leaf_chain(region, kind) for region in folder.regions() for kind in KINDS]
    leaves = [chain[0] for chain in stored if chain]
    intermediates += [cert for chain in stored if chain for cert in chain[1:] if cert not in intermediates]
    specs = list(folder.rooted())
    carrying = {spec.file for spec in specs if any(signed_by(cert, roots[spec.file]) for cert in intermediates)}
    # A root that is only sent as the bridge to the present one has had its time.
    had = {each.signer for spec in specs if spec.file in carrying for each in folder.way_back(spec.file)}
    return Known(
        roots=roots,
        legacy=LEGACY,
        cross=(*folder.cross_certificates(), *(each.certificate for each in folder.bridges())),
        intermediates=tuple(intermediates),
        leaves=tuple(leaves),
        reserve=tuple(spec.file for spec in specs if spec.file not in carrying and spec.file not in had),
        retired=folder.retired_roots(),
    )


def _contents(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        files = [path]
        try:
            if path.is_dir():
                # A folder of `openssl rehash` holds each certificate twice, once as a link.
                files = sorted({each.resolve() for each in path.iterdir() if each.is_file()})
                if len(files) > MAX_FILES:
                    raise ConfigurationError(f"{path} holds {len(files)} files; at most {MAX_FILES} are read.")
            for file in files:
                with file.open("rb") as opened:
                    yield str(file), opened.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"{error.filename or path} cannot be read: {error.strerror}.") from error
