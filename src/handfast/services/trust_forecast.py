"""
The chains that this server presents, and those that it may come to present: what `trust_lint` judges a store by.

Reads certificates of the PKI folder and no key. The planned changes are those that the root ceremony can bring about.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from handfast.core.pki.chain import same_key, signed_by
from handfast.core.pki.trust_lint import TODAY, Finding, Known, Situation, Verdict, findings, forecast
from handfast.core.pki.trust_store import MAX_FILE_BYTES, TrustStore, read_store
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.services.pki_folder import KINDS, LEGACY, ROOTS, ChainKind, PkiFolder

MAX_FILES = 1000
"""Of one folder."""
LEGACY_RETIRED = "legacy root retired"


class Report(NamedTuple):
    """What a store holds, what a device with it verifies, and what is wrong with it."""

    store: TrustStore
    verdicts: list[Verdict]
    findings: list[Finding]


def lint(folder: PkiFolder, paths: Iterable[Path], *, prefer: ChainKind, sends_cross: bool, now: dt.datetime) -> Report:
    """
    A device's trust store judged against this server's chains.

    Args:
        paths: Files and folders that make the store together; folders are not descended into.
        prefer: The kind that a client gets which can verify both.
        sends_cross: Whether the server sends cross-certificates.

    Raises:
        ConfigurationError: There is no PKI, a file cannot be read, or they hold too much.
    """
    if not folder.exists:
        raise ConfigurationError(f"{folder.path} is not there: start `handfast serve` once, or give --data-dir.")
    try:
        store = read_store(_contents(paths))
    except CertificateInputError as error:
        raise ConfigurationError(str(error)) from error
    verdicts = forecast(store, situations(folder), at=now)
    found = findings(store, known(folder), verdicts, prefer=prefer, sends_cross=sends_cross, at=now)
    return Report(store, verdicts, found)


def situations(folder: PkiFolder) -> list[Situation]:
    """
    Every chain of today by region, then each planned change: a renewed intermediate, another root that takes over,
    the legacy root gone.

    Raises:
        ConfigurationError: A certificate is missing or damaged.
    """
    roots, cross = folder.roots(), folder.cross_certificates()

    def twin(root: x509.Certificate) -> x509.Certificate | None:
        found = [cert for cert in cross if cert.subject == root.subject and same_key(cert, root)]
        return found[-1] if found else None

    def carrier(cert: x509.Certificate) -> str:
        return next(spec.file for spec in ROOTS if signed_by(cert, roots[spec.file]))

    today, planned = [], []
    for kind in KINDS:
        intermediate = folder.intermediate(kind).certificate
        in_use = carrier(intermediate)
        chains = {region: folder.leaf_chain(region, kind) for region in folder.regions()}
        for region, chain in chains.items():
            if chain:
                root = roots[carrier(chain[-1])]
                today.append(
                    Situation(when=TODAY, kind=kind, region=region, chain=tuple(chain), root=root, cross=twin(root))
                )
        for when, name in [
            (f"new intermediate under {in_use}", in_use),
            *(
                (f"{spec.file} in place of {in_use}", spec.file)
                for spec in ROOTS
                if spec.kind == kind and spec.file != in_use
            ),
        ]:
            planned.append(Situation(when=when, kind=kind, root=roots[name], cross=twin(roots[name])))
        planned.append(Situation(when=LEGACY_RETIRED, kind=kind, root=roots[in_use]))
    return [*today, *planned]


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
    carrying = {spec.file for spec in ROOTS if any(signed_by(cert, roots[spec.file]) for cert in intermediates)}
    return Known(
        roots=roots,
        legacy=LEGACY,
        cross=tuple(folder.cross_certificates()),
        intermediates=tuple(intermediates),
        leaves=tuple(leaves),
        reserve=tuple(spec.file for spec in ROOTS if spec.file not in carrying),
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
