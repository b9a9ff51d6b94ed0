"""The data directory of a server, running or not: what would stop a start, lock devices out, or give keys away."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from handfast.core.pki.keyfile import is_encrypted
from handfast.core.pki.names import display
from handfast.datadir import FORMAT, check_modes, read_marker
from handfast.doctor.report import Report, Step, fail, ok, warn
from handfast.errors import ConfigurationError
from handfast.services.authorities import WARN_INTERMEDIATE
from handfast.services.pki_folder import KINDS, PkiFolder

LEAST_FREE_BYTES = 64 << 20
LITTLE_FREE_BYTES = 1 << 30
DEVICE_CA_WARNING = dt.timedelta(days=365)
CLOCK_TOLERANCE = dt.timedelta(minutes=5)


def examine(report: Report, data_dir: Path, now: dt.datetime, *, server: str | None) -> None:
    """
    Every check of the directory.

    Args:
        server: The API address of the server that runs on it; None: none runs.
    """
    if not data_dir.is_dir():
        saw = f"{data_dir} is not there"
        report.add(fail("directory", saw, "No server has started here.", "Give --data-dir, or start `handfast serve`."))
        return
    runs = f"runs, API at {server}" if server else "none runs on this directory"
    report.add(ok("server", runs))
    try:
        check_modes(data_dir)
        report.add(ok("directory", f"{data_dir} and the files in it are its owner's alone"))
    except ConfigurationError as error:
        report.add(fail("directory", str(error), "The next start refuses.", "Set the mode or the owner that it names."))
    except OSError as error:
        saw = f"{error.filename or data_dir} cannot be read: {error.strerror}"
        report.add(fail("directory", saw, "The next start refuses.", "Run as the directory's owner."))
        return
    report.add(_format(data_dir))
    folder = PkiFolder(data_dir / "pki")
    if folder.exists:
        report.add(_online_keys(folder), _root_keys(folder))
        report.add(*_expiry(folder, now))
    else:
        why = "Without it no server can show who it is."
        report.add(fail("keys", f"{folder.path} is not there", why, "Restore the directory from a backup."))
    report.add(_clock(data_dir, now), _disk(data_dir))


def _format(data_dir: Path) -> Step:
    try:
        dev, version = read_marker(data_dir)
    except FileNotFoundError:
        fix = "Restore handfast.json from a backup."
        return fail("format", "handfast.json is missing", "The directory's version is not known.", fix)
    except ConfigurationError as error:
        return fail("format", str(error), "The directory's version is not known.", "Restore it from a backup.")
    if version > FORMAT:
        why = f"This handfast reads formats up to {FORMAT}."
        return fail("format", f"format {version}", why, "Install a newer handfast.")
    if dev:
        why = "Any secret is accepted at the API."
        return warn("format", f"format {version}, made with --dev", why, "Use it for tests alone.")
    return ok("format", f"format {version}")


def _online_keys(folder: PkiFolder) -> Step:
    """Those of the running server; the root keys are a matter of their own."""
    keys = [path for path in sorted(folder.path.rglob("*.key")) if folder.offline not in path.parents]
    plain = [path for path in keys if not is_encrypted(path.read_bytes()[:65536])]
    if plain:
        return warn(
            "online keys",
            f"{len(plain)} of {len(keys)} private keys are plain files (0600), {plain[0].name} among them",
            "Whoever reads the disk or a backup has the server's keys and the device issuing CA's.",
            "Give `handfast serve` a --key-passphrase-file: it encrypts them in place.",
        )
    return ok("online keys", f"{len(keys)} private keys, all encrypted")


def _root_keys(folder: PkiFolder) -> Step:
    lying = sorted(folder.offline.glob("*.key")) if folder.offline.is_dir() else []
    if lying:
        return warn(
            "root keys",
            f"{len(lying)} root keys still lie in {folder.offline}",
            "The server never needs them; whoever takes this machine can try their passphrase.",
            "Move the folder to a safe.",
        )
    return ok("root keys", "not on this machine")


def _expiry(folder: PkiFolder, now: dt.datetime) -> Iterable[Step]:
    """Roots, intermediates, leaves and the device issuing CA by their notAfter."""
    try:
        roots = folder.roots()
        intermediates = [folder.intermediate(kind).certificate for kind in KINDS]
        issuer = folder.device_issuer()
        leaves = [
            chain[0] for region in folder.regions() for kind in KINDS if (chain := folder.leaf_chain(region, kind))
        ]
    except ConfigurationError as error:
        yield fail("expiry", str(error), "The server cannot start with it.", "Restore it from a backup.")
        return
    renewed = "A running server renews them by itself: start it, and look into its log."
    yield _first("roots", roots.values(), now, WARN_INTERMEDIATE, "Begin to give devices another root now.")
    yield _first("intermediates", intermediates, now, WARN_INTERMEDIATE, "Begin with `handfast roots request DIR`.")
    yield _first("device CA", [issuer], now, DEVICE_CA_WARNING, "Certificates for devices end with it: see docs.")
    yield _first("leaves", leaves, now, dt.timedelta(days=7), renewed)


def _first(name: str, certificates: Iterable[x509.Certificate], now: dt.datetime, soon: dt.timedelta, fix: str) -> Step:
    found = sorted(certificates, key=lambda each: each.not_valid_after_utc)
    if not found:
        return warn(name, "there is none yet", "The first start makes them.", "Start `handfast serve`.")
    first = found[0]
    end = first.not_valid_after_utc
    saw = f"{len(found)}, the first to expire is {display(first.subject)} on {end:%Y-%m-%d}"
    if end < now:
        return fail(name, saw, "It has expired: whoever depends on it is locked out.", fix)
    if end - now < soon:
        return warn(name, saw, f"That is in {(end - now).days} days.", fix)
    return ok(name, saw)


def _clock(data_dir: Path, now: dt.datetime) -> Step:
    """A clock that runs behind what was already written here is wrong; ahead cannot be told from this machine alone."""
    newest = max(
        (path for path in data_dir.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime, default=data_dir
    )
    written = dt.datetime.fromtimestamp(newest.stat().st_mtime, dt.UTC)
    saw = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    if written - now > CLOCK_TOLERANCE:
        why = f"{newest.name} was written at {written:%Y-%m-%dT%H:%M:%SZ}, which has not come yet by this clock."
        return fail("clock", saw, why, "Set the clock (NTP): validity and signatures are judged by it.")
    return ok("clock", f"{saw}, not behind what was written here")


def _disk(data_dir: Path) -> Step:
    free = shutil.disk_usage(data_dir).free
    nodes = os.statvfs(data_dir)
    saw = f"{free // (1 << 20):,} MiB free"
    if free < LEAST_FREE_BYTES or (nodes.f_files and not nodes.f_favail):
        return fail("disk", saw, "The registry cannot be written any more.", "Make room, or give it a larger disk.")
    if free < LITTLE_FREE_BYTES:
        return warn("disk", saw, "Backups and upgrades need the registry's size once more.", "Make room.")
    return ok("disk", saw)
