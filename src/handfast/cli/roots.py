"""`handfast roots`: what needs a root key, in two halves, so that the root keys can live in a safe."""

from __future__ import annotations

import dataclasses
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.options import AsJson, DataDir
from handfast.cli.output import folded, print_json, print_table
from handfast.cli.roots_keys import (
    KeyPassphraseFile,
    Keys,
    PassphraseFile,
    online_folder,
    readable_errors,
    root_keys,
    root_passphrase,
    show_steps,
)
from handfast.cli.roots_rehearse import rehearse_app
from handfast.cli.roots_rollover import add, promote, retire, tell_server
from handfast.config.file import config_file
from handfast.config.resolving import resolve
from handfast.pki import key_folder, system_clock, system_entropy
from handfast.printable import printable
from handfast.services import root_ceremony as ceremony
from handfast.services import roots_plan
from handfast.services.authorities import WARN_INTERMEDIATE
from handfast.services.pki_folder import PkiFolder

roots_app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Roots and what they sign, with root keys that lie elsewhere. "
        "1. Here: 'roots request DIR' or 'roots add --request DIR'. "
        "2. Where the root keys are: 'roots sign --offline DIR'. 3. Here again: 'roots install DIR'."
    ),
)


roots_app.command("add")(add)
roots_app.command("promote")(promote)
roots_app.command("retire")(retire)
roots_app.add_typer(rehearse_app, name="rehearse")


class Act(StrEnum):
    """What can be asked of the root keys."""

    INTERMEDIATE_RSA = "intermediate-rsa"
    INTERMEDIATE_ECDSA = "intermediate-ecdsa"
    NEXT_RSA = "next-rsa"
    NEXT_ECDSA = "next-ecdsa"
    CRL = "crl"
    INTERMEDIATE_LEGACY = "intermediate-legacy"
    CROSS = "cross"
    LEGACY = "legacy"


@roots_app.command("plan")
def plan(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """
    What expires when, which chains hang on it, and what to do next and by when.

    Counts roots, cross-certificates, intermediates, the server's leaves and the device issuing CA. Needs no key and no
    running server.
    """
    settings, _ = resolve({"data_dir": data_dir}, os.environ, config_file(None, os.environ))
    entries = roots_plan.plan(
        PkiFolder(settings.data_dir / "pki"), serves_cross=settings.serve_cross, now=system_clock.now()
    )
    steps = roots_plan.next_steps(entries)
    if as_json:
        print_json(
            {
                "certificates": [dataclasses.asdict(each) for each in entries],
                "next": [{"by": each.act_by, "state": each.state, "todo": each.todo} for each in steps],
            }
        )
        return
    print_table(
        ("expires", "certificate", "signed by", "act by", "what hangs on it"),
        [
            (
                f"{each.not_after:%Y-%m-%d}",
                each.name,
                each.issuer,
                _act_by(each),
                ", ".join(each.carries) or "nothing",
            )
            for each in entries
        ],
        empty="Nothing.",
    )
    print("\nWhat to do, and by when:")
    for each in steps:
        when = f"{each.act_by:%Y-%m-%d}" if each.state is roots_plan.State.GOOD else "now"
        print(folded(printable(f"  {when:<12}{each.todo}"), hanging=12))


def _act_by(entry: roots_plan.Entry) -> str:
    """A date, or what its state is once that has passed."""
    if entry.state is not roots_plan.State.GOOD:
        return f"now: {entry.state}"
    return "by itself" if entry.automatic and entry.role == "leaf" else f"{entry.act_by:%Y-%m-%d}"


@roots_app.command("request")
def request(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where the requests go: a USB stick, for instance.")],
    act: Annotated[
        list[Act] | None, typer.Option("--act", help="What to ask for; repeatable.", show_default="whatever is due")
    ] = None,
    under: Annotated[
        int | None,
        typer.Option("--under", metavar="N", help="Another root for an intermediate.", show_default="today's"),
    ] = None,
    data_dir: DataDir = None,
    key_passphrase_file: KeyPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """
    First half, here: write a request for each act into DIR.

    Due are intermediates, cross-certificates and the legacy root in the last two years of their life. The new
    intermediate's private key stays here. Compare the key that is printed with what 'roots sign' prints.
    """
    folder, online = online_folder(data_dir, key_passphrase_file)
    wanted = [each.value for each in act or ()] or ceremony.due(folder, system_clock.now(), WARN_INTERMEDIATE)
    if not wanted:
        if as_json:
            print_json([])
        else:
            print("Nothing is due within two years. To ask for something all the same: --act intermediate-rsa …")
        return
    with readable_errors():
        steps = ceremony.request(folder, online, Path(directory), wanted, under=under)
    show_steps(steps, as_json, "Next, where the root keys are: handfast roots sign --offline DIR")


@roots_app.command("sign")
def sign(
    offline: Annotated[
        str,
        typer.Option("--offline", metavar="DIR", help="Holds the requests, and the root keys if they travel along."),
    ],
    keys: Keys = None,
    passphrase_file: PassphraseFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Second half, where the root keys are: answer every request in DIR.

    Needs no server, network or data directory when the folder with the root keys is named or lies in DIR. Refuses keys
    whose file or folder others may read: copy a USB stick's content to a private folder first.
    """
    directory = Path(offline)
    folder = root_keys([directory, directory / "offline"], keys, data_dir)
    ceremony.requests_in(directory)  # before anybody types a passphrase for nothing
    passphrase = root_passphrase(passphrase_file)
    with readable_errors():
        steps = ceremony.sign(
            directory,
            key_folder(folder, passphrase, system_entropy),
            folder,
            now=system_clock.now(),
            entropy=system_entropy,
        )
    show_steps(steps, as_json, "Next, where the server runs: handfast roots install DIR")


@roots_app.command("install")
def install(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where the answers lie.")],
    data_dir: DataDir = None,
    key_passphrase_file: KeyPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Last half, here again: verify every answer in DIR, then put all of them in place.

    One that does not verify stops everything and nothing is changed. A running server is told; it issues its
    certificates anew below a new intermediate, unless that was asked for with next-rsa or next-ecdsa: then it waits for
    'roots promote'.
    """
    folder, online = online_folder(data_dir, key_passphrase_file)
    with readable_errors():
        steps = ceremony.install(folder, online, folder.path.parent / "trust", Path(directory), now=system_clock.now())
    show_steps(steps, as_json, f"Installed. {tell_server(folder.path.parent)}")
