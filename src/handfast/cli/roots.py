"""`handfast roots`: what needs a root key, in two halves, so that the root keys can live in a safe."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.options import AsJson, DataDir, data_directory
from handfast.cli.output import plain, print_json, print_table
from handfast.config import config_file, resolve
from handfast.errors import ConfigurationError
from handfast.pki import key_folder, system_clock, system_entropy
from handfast.printable import printable
from handfast.services import root_ceremony as ceremony
from handfast.services import roots_plan
from handfast.services.authorities import WARN_INTERMEDIATE
from handfast.services.pki_folder import LEGACY, KeyFolder, PkiFolder

roots_app = typer.Typer(
    no_args_is_help=True,
    help=(
        "New intermediates and cross-certificates, signed by root keys that lie elsewhere. "
        "1. Here: 'roots request DIR'. 2. Where the root keys are: 'roots sign --offline DIR'. "
        "3. Here again: 'roots install DIR'."
    ),
)


class Act(StrEnum):
    """What can be asked of the root keys."""

    INTERMEDIATE_RSA = "intermediate-rsa"
    INTERMEDIATE_ECDSA = "intermediate-ecdsa"
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
        ("expires", "certificate", "key", "signed by", "state", "act by", "what hangs on it"),
        [
            (
                f"{each.not_after:%Y-%m-%d}",
                each.name,
                each.key,
                each.issuer,
                each.state,
                "by itself" if each.automatic and each.role == "leaf" else f"{each.act_by:%Y-%m-%d}",
                ", ".join(each.carries) or "nothing",
            )
            for each in entries
        ],
        empty="Nothing.",
    )
    print("\nWhat to do, and by when:")
    for each in steps:
        print(
            printable(
                f"  {'now' if each.state is not roots_plan.State.GOOD else f'{each.act_by:%Y-%m-%d}':<12}{each.todo}"
            )
        )


KeyPassphraseFile = Annotated[
    str | None,
    typer.Option(
        "--key-passphrase-file", metavar="FILE", help="Passphrase of the online keys.", show_default="keys are plain"
    ),
]


@roots_app.command("request")
def request(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where the requests go: a USB stick, for instance.")],
    act: Annotated[
        list[Act] | None, typer.Option("--act", help="What to ask for; repeatable.", show_default="whatever is due")
    ] = None,
    under: Annotated[
        int | None,
        typer.Option("--under", metavar="N", help="Another root for an intermediate.", show_default="1 RSA, 3 ECDSA"),
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
    folder, online = _online(data_dir, key_passphrase_file)
    wanted = [each.value for each in act or ()] or ceremony.due(folder, system_clock.now(), WARN_INTERMEDIATE)
    if not wanted:
        if as_json:
            print_json([])
        else:
            print("Nothing is due within two years. To ask for something all the same: --act intermediate-rsa …")
        return
    with _readable_errors():
        steps = ceremony.request(folder, online, Path(directory), wanted, under=under)
    _show(steps, as_json, "Next, where the root keys are: handfast roots sign --offline DIR")


@roots_app.command("sign")
def sign(
    offline: Annotated[
        str,
        typer.Option("--offline", metavar="DIR", help="Holds the requests, and the root keys if they travel along."),
    ],
    keys: Annotated[
        str | None,
        typer.Option(
            "--keys",
            metavar="DIR",
            help="The folder with the root keys.",
            show_default="the first of DIR, DIR/offline, pki/offline of the data directory that has them",
        ),
    ] = None,
    passphrase_file: Annotated[
        str | None,
        typer.Option("--passphrase-file", metavar="FILE", help="The root passphrase.", show_default="asked for"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Second half, where the root keys are: answer every request in DIR.

    Needs no server, network or data directory when the folder with the root keys is named or lies in DIR. Refuses keys
    whose file or folder others may read: copy a USB stick's content to a private folder first.
    """
    directory = Path(offline)
    folder = _root_keys(directory, keys, data_dir)
    if passphrase_file is not None:
        passphrase = _passphrase(passphrase_file)
    else:
        passphrase = typer.prompt("Root passphrase", hide_input=True, err=True).encode("utf-8")
    with _readable_errors():
        steps = ceremony.sign(
            directory,
            key_folder(folder, passphrase, system_entropy),
            folder,
            now=system_clock.now(),
            entropy=system_entropy,
        )
    _show(steps, as_json, "Next, where the server runs: handfast roots install DIR")


@roots_app.command("install")
def install(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where the answers lie.")],
    data_dir: DataDir = None,
    key_passphrase_file: KeyPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Last half, here again: verify every answer in DIR, then put all of them in place.

    One that does not verify stops everything and nothing is changed. A running server takes new intermediates up at its
    next renewal check, and issues its certificates anew below them.
    """
    folder, online = _online(data_dir, key_passphrase_file)
    with _readable_errors():
        steps = ceremony.install(folder, online, folder.path.parent / "trust", Path(directory), now=system_clock.now())
    _show(steps, as_json, "Installed. Where the server runs, it follows within the hour; a restart is not needed.")


@contextmanager
def _readable_errors() -> Iterator[None]:
    """A file that cannot be read or written is one line, not a traceback."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}.") from error


def _online(data_dir: str | None, key_passphrase_file: str | None) -> tuple[PkiFolder, KeyFolder]:
    folder = PkiFolder(data_directory(data_dir) / "pki")
    if not folder.exists:
        raise ConfigurationError(f"{folder.path} is not there: start `handfast serve` once, or give --data-dir.")
    named = key_passphrase_file or os.environ.get("HANDFAST_KEY_PASSPHRASE_FILE")
    passphrase = _passphrase(named) if named else None
    return folder, key_folder(folder.path, passphrase, system_entropy)


def _root_keys(directory: Path, keys: str | None, data_dir: str | None) -> Path:
    """The folder with the root keys; the data directory is looked at last, and only if there is one."""
    if keys is not None:
        candidates = [Path(keys)]
    else:
        candidates = [directory, directory / "offline", data_directory(data_dir) / "pki" / "offline"]
    for candidate in candidates:
        if (candidate / f"{LEGACY}.key").exists() or any(candidate.glob("root-ca-*.key")):
            return candidate
    raise ConfigurationError(f"No root keys (root-ca-1.key …) in {', '.join(map(str, candidates))}: give --keys DIR.")


def _passphrase(file: str) -> bytes:
    """The first line of the file."""
    try:
        with open(file, "rb") as opened:
            text = opened.read(4096)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error
    line = text.splitlines()[0] if text.strip() else b""
    if not line:
        raise ConfigurationError(f"{file} holds no passphrase in its first line.")
    return line


def _show(steps: Sequence[ceremony.Step], as_json: bool, then: str) -> None:
    if as_json:
        print_json([dataclasses.asdict(step) for step in steps])
        return
    print_table(
        ("act", "certificate for", "signer", "until", "file"),
        [
            (step.act, step.subject, step.signer, plain(step.not_after)[:10] if step.not_after else None, step.file)
            for step in steps
        ],
        empty="Nothing.",
    )
    for step in steps:
        if step.key is not None:
            print(printable(f"Key of {step.act}, to compare: {step.key}"))
    print(then)
