"""`handfast trust`: the roots that a device may embed."""

from __future__ import annotations

import base64
import dataclasses
import sys
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.options import AsJson, DataDir, data_directory
from handfast.cli.output import print_json, print_table
from handfast.cli.trust_lint import lint
from handfast.errors import ConfigurationError
from handfast.printable import printable
from handfast.services import trust
from handfast.services.bundle_file import write_bundle

trust_app = typer.Typer(no_args_is_help=True, help="The roots that devices embed, and bundles of them.")

trust_app.command("lint")(lint)

CERTIFICATE_PIN_WARNING = (
    "Pin these keys, never a whole certificate. Each root exists as two certificates with one key and one name: its "
    "own and its cross-certificate, signed by the legacy root. Their SHA-256 differ, and so will a renewed one's."
)

ForRsa = Annotated[bool, typer.Option("--rsa", help="For devices that verify RSA only.")]
ForEcc = Annotated[bool, typer.Option("--ecc", help="For devices that verify ECDSA only.")]
ForAll = Annotated[bool, typer.Option("--all", help="For every device; so it is without --rsa and --ecc too.")]


@trust_app.command("list")
def list_roots(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """
    The roots with key kinds, dates, fingerprints and pins.

    The fingerprint is the SHA-256 of the certificate, the pin that of its public key (SubjectPublicKeyInfo). Who must
    pin, pins the latter: a cross-certificate has the same pin and another fingerprint.
    --json says too since when each is valid and how many bytes it has.
    """
    roots = trust.list_roots(data_directory(data_dir) / "trust")
    if as_json:
        print_json(
            [{"file": str(root.file), "use": root.use, **dataclasses.asdict(root.certificate)} for root in roots]
        )
        return
    print_table(
        ("file", "subject", "key", "until", "for"),
        [
            (
                root.file.name,
                root.certificate.subject,
                root.certificate.key,
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
    rsa: ForRsa = False,
    ecc: ForEcc = False,
    every: ForAll = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--out",
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; replaces a trust bundle alone.",
            show_default="stdout",
        ),
    ] = None,
    der: Annotated[
        bool, typer.Option("--der", help="Write DER, one certificate straight after the other, for small devices.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    A bundle of roots: all of them, or those that a device with little memory can use, and what they take of it.

    The sizes go to standard error when the bundle goes to standard output. --out replaces no file but a trust bundle:
    certificates of CAs and nothing else.
    """
    made = trust.bundle(data_directory(data_dir) / "trust", _bundle_name(rsa, ecc, every))
    content = made.der if der else made.pem.encode("ascii")
    if output is not None:
        write_bundle(Path(output), content)
    elif der and not as_json and sys.stdout.isatty():
        raise ConfigurationError("DER does not belong on a terminal: give --out FILE, or redirect standard output.")
    if as_json:
        _print_bundle_json(made, None if output is None else Path(output).absolute())
        return
    if output is None:
        sys.stdout.buffer.write(content) if der else sys.stdout.write(made.pem)
        sys.stdout.flush()
    with redirect_stdout(sys.stderr if output is None else sys.stdout):
        rows = [(each.file, each.key, each.pem_bytes, each.der_bytes) for each in made.members]
        rows.append(("together", "", len(made.pem), len(made.der)))
        print_table(("certificate", "key", "bytes PEM", "bytes DER"), rows, empty="")


@trust_app.command("pins")
def pins(
    rsa: ForRsa = False, ecc: ForEcc = False, every: ForAll = False, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """
    The pins of the roots: SHA-256 of each public key, one a line, as 'trust lint' reads them.

    A device that pins should pin keys of roots, all of them, and hold the roots too: a pin is no key. Never pin a whole
    certificate: each root exists as two with the same key, its own and the one that the legacy root signed, and a
    server may send the second.
    """
    found = trust.pins(data_directory(data_dir) / "trust", _bundle_name(rsa, ecc, every))
    if as_json:
        print_json({"warning": CERTIFICATE_PIN_WARNING, "pins": [dataclasses.asdict(each) for each in found]})
        return
    for each in found:
        about = f"{each.file}: {each.subject}, {each.key}, until {each.not_after}"
        print(f"sha256/{each.pin_base64}  # {printable(about)}")
    for line in textwrap.wrap(CERTIFICATE_PIN_WARNING, 100):
        print(f"# {line}")
    for each in found:
        for fingerprint in each.fingerprints:
            print(f"#   not to be pinned, a certificate of {each.file}: {fingerprint}")


def _bundle_name(rsa: bool, ecc: bool, every: bool) -> str:
    if rsa + ecc + every > 1:
        raise ConfigurationError("--rsa, --ecc and --all exclude each other: without any, it is for everyone.")
    return "bundle-rsa.pem" if rsa else "bundle-ecc.pem" if ecc else "bundle.pem"


def _print_bundle_json(made: trust.Bundle, file: Path | None) -> None:
    """`file` is where it was written; None: the bundle stands in the answer."""
    answer: dict[str, object] = {"bundle": made.name}
    if file is not None:
        answer["file"] = str(file)
    else:
        answer |= {"pem": made.pem, "der": base64.b64encode(made.der).decode("ascii")}
    answer |= {"pem_bytes": len(made.pem), "der_bytes": len(made.der)}
    print_json(answer | {"certificates": [dataclasses.asdict(each) for each in made.members]})
