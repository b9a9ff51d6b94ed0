"""`handfast trust`: the roots that a device may embed."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.options import AsJson, DataDir, data_directory
from handfast.cli.output import print_json, print_table
from handfast.datadir import write_atomically
from handfast.errors import ConfigurationError
from handfast.services import trust

trust_app = typer.Typer(no_args_is_help=True, help="The roots that devices embed, and bundles of them.")


@trust_app.command("list")
def list_roots(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """
    The roots with key kinds, dates, fingerprints and pins.

    The fingerprint is the SHA-256 of the certificate, the pin that of its public key (SubjectPublicKeyInfo). Who must
    pin, pins the latter: a cross-certificate has the same pin and another fingerprint.
    """
    roots = trust.list_roots(data_directory(data_dir) / "trust")
    if as_json:
        print_json(
            [{"file": str(root.file), "use": root.use, **dataclasses.asdict(root.certificate)} for root in roots]
        )
        return
    print_table(
        ("file", "subject", "key", "from", "to", "for"),
        [
            (
                root.file.name,
                root.certificate.subject,
                root.certificate.key,
                f"{root.certificate.not_before:%Y-%m-%d}",
                f"{root.certificate.not_after:%Y-%m-%d}",
                root.use,
            )
            for root in roots
        ],
        empty="No roots.",
    )
    print()
    print_table(
        ("file", "", "SHA-256"),
        [
            row
            for root in roots
            for row in (
                (root.file.name, "certificate", root.certificate.fingerprint),
                ("", "pin (SPKI)", root.certificate.pin),
            )
        ],
        empty="",
    )


@trust_app.command("bundle")
def bundle(
    rsa: Annotated[bool, typer.Option("--rsa", help="For devices that verify RSA only.")] = False,
    ecc: Annotated[bool, typer.Option("--ecc", help="For devices that verify ECDSA only.")] = False,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it.", show_default="standard output"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """A bundle of roots as PEM: all of them, or those that a device with little memory can use."""
    if rsa and ecc:
        raise ConfigurationError("--rsa and --ecc exclude each other: without either, the bundle is for everyone.")
    name = "bundle-rsa.pem" if rsa else "bundle-ecc.pem" if ecc else "bundle.pem"
    text = trust.bundle(data_directory(data_dir) / "trust", name)
    if output is not None:
        file = Path(output)
        try:
            write_atomically(file, text.encode("ascii"), 0o644)
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be written: {error.strerror}.") from error
        if as_json:
            print_json({"bundle": name, "file": str(file.absolute())})
    elif as_json:
        print_json({"bundle": name, "pem": text})
    else:
        sys.stdout.write(text)
