"""`handfast cert import`: certificates that a manufacturer delivers, registered by the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.call import Call, calls_server


@calls_server()
def import_certificates(
    call: Call,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="PEM bundles, DER, PKCS#7, Microchip manifests, and folders of them."),
    ],
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="ACTIVE or INACTIVE.", show_default="INACTIVE"),
    ] = None,
    require_ca: Annotated[
        bool,
        typer.Option(
            "--ca/--without-ca", help="Register each under the registered CA that signed it, or whoever signed it."
        ),
    ] = False,
    manifest_cert: Annotated[
        Path | None,
        typer.Option("--manifest-cert", metavar="FILE", help="Certificate that signed the manifests, PEM or DER."),
    ] = None,
    include_ca: Annotated[
        bool, typer.Option("--include-ca", help="Register CA certificates too, which are left out otherwise.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write what was not registered, and why: .csv or .jsonl."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the same command was stopped before.")] = False,
) -> None:
    """Register the certificates that a manufacturer delivers."""
    # Here, since what reads certificates and manifests takes longer to load than the other commands of this group.
    from handfast.cli.import_command import import_all

    import_all(
        call,
        paths,
        status=status,
        require_ca=require_ca,
        manifest_cert=manifest_cert,
        include_ca=include_ca,
        report=report,
        resume=resume,
    )
