"""What `handfast cert import` does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from cryptography import x509

from handfast.cli.call import Call
from handfast.cli.connection import CallFailed, handfast_api
from handfast.cli.import_journal import Report, journal_for
from handfast.cli.import_progress import counted, shown
from handfast.cli.import_run import ImportRun, Outcome, Sender, Wishes
from handfast.cli.import_sources import Sources
from handfast.cli.output import print_json
from handfast.core.pki.manifest import ManifestSigner
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.printable import printable

_MAX_SIGNER_BYTES = 65536
_STATUSES = ("ACTIVE", "INACTIVE")


def import_all(
    call: Call,
    paths: Sequence[Path],
    *,
    status: str | None,
    require_ca: bool,
    manifest_cert: Path | None,
    include_ca: bool,
    report: Path | None,
    resume: bool,
) -> None:
    """
    The certificates are registered, and what was done is told; the arguments are the command's options.

    Raises:
        ConfigurationError: An option makes no sense, or a file cannot be read.
        CallFailed: The server said no, or was not there.
        typer.Exit: Some were not registered.
    """
    if status is not None and status not in _STATUSES:
        raise ConfigurationError(f"--status {printable(status)}: expected {' or '.join(_STATUSES)}")
    server = call.server()
    if server.is_aws:
        raise ConfigurationError("AWS IoT has no operation for batches: 'cert import' needs a handfast server")
    signer = None if manifest_cert is None else _signer(manifest_cert)
    journal = journal_for(
        {
            "api": server.api,
            "region": server.region,
            "key": server.access_key_id,
            "paths": [os.path.abspath(path) for path in paths],
            "status": status,
            "ca": require_ca,
            "includeCa": include_ca,
        },
        report,
    )
    own_files = [journal.path, journal.temporary, *([] if report is None else [report])]
    sources = Sources(paths, signer=signer, include_ca=include_ca, own_files=own_files)
    wishes = Wishes(status=status, require_ca=require_ca)

    def open_report(keep_bytes: int | None) -> Report | None:
        return None if report is None else Report(report, keep_bytes=keep_bytes)

    began = time.monotonic()
    with shown(sources.total_bytes()) as progress:
        run = ImportRun(
            sources,
            Sender(server, handfast_api(server), wishes),
            wishes,
            journal=journal,
            open_report=open_report,
            progress=progress,
        )
        try:
            outcome = run(resume=resume)
        except CallFailed as error:
            raise CallFailed(f"{error}; the same command with --resume goes on from here", error.code) from None
        except KeyboardInterrupt:
            print("handfast: stopped; the same command with --resume goes on from here", file=sys.stderr)
            raise
    _tell(call, outcome, time.monotonic() - began, report)
    if outcome.totals.failed:
        raise typer.Exit(1)


def _signer(path: Path) -> ManifestSigner:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SIGNER_BYTES)
    except OSError as error:
        raise ConfigurationError(f"--manifest-cert {printable(str(path))} cannot be read: {error.strerror}") from None
    try:
        load = x509.load_der_x509_certificate if data[:1] == b"\x30" else x509.load_pem_x509_certificate
        return ManifestSigner(load(data))
    except CertificateInputError as error:
        raise ConfigurationError(f"--manifest-cert {printable(str(path))}: {error}") from None
    except Exception:
        raise ConfigurationError(
            f"--manifest-cert {printable(str(path))} is not a certificate: give the signer's, in PEM or DER"
        ) from None


def _tell(call: Call, outcome: Outcome, seconds: float, report: Path | None) -> None:
    totals = outcome.totals
    if call.as_json:
        print_json(
            {
                "registered": totals.registered,
                "existed": totals.existed,
                "failed": totals.failed,
                "skipped": totals.skipped,
                "resumedAfter": outcome.resumed_after,
                "seconds": round(seconds, 3),
                "report": None if report is None else str(report),
                "failures": [{k: v for k, v in row.items() if v} for row in outcome.failures],
            }
        )
        return
    if outcome.restarted:
        print("the sources have changed since the last run: everything was done again", file=sys.stderr)
    for row in outcome.failures:
        where = f"{row['source']}:{row['place'].removeprefix('line ')}" if row["place"] else row["source"]
        named = f" ({row['uniqueId']})" if row["uniqueId"] else ""
        print(f"{where}{named}: {row['code']}: {row['message']}", file=sys.stderr)
    if totals.failed > len(outcome.failures):
        hint = f"all of them are in {printable(str(report))}" if report else "--report FILE names all of them"
        print(f"and {totals.failed - len(outcome.failures):,} more failures: {hint}", file=sys.stderr)
    rate = (totals.items - outcome.resumed_after) / max(seconds, 1e-9)
    print(f"{counted(totals)} in {seconds:.1f} s ({rate:,.0f}/s)")
