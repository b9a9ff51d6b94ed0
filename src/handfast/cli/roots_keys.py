"""What the commands of `handfast roots` share: where the keys are, their passphrases, and what is shown of a step."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.options import data_directory
from handfast.cli.output import plain, print_json, print_table
from handfast.errors import ConfigurationError
from handfast.pki import key_folder, system_entropy
from handfast.printable import printable
from handfast.services import root_ceremony as ceremony
from handfast.services.pki_folder import LEGACY, KeyFolder, PkiFolder

KeyPassphraseFile = Annotated[
    str | None,
    typer.Option(
        "--key-passphrase-file", metavar="FILE", help="Passphrase of the online keys.", show_default="keys are plain"
    ),
]
Keys = Annotated[
    str | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        help="The folder with the root keys.",
        show_default="where they are found: DIR, DIR/offline, pki/offline of the data directory",
    ),
]
PassphraseFile = Annotated[
    str | None,
    typer.Option("--passphrase-file", metavar="FILE", help="The root passphrase.", show_default="asked for"),
]


@contextmanager
def readable_errors() -> Iterator[None]:
    """A file that cannot be read or written is one line, not a traceback."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: {error.strerror}.") from error


def pki_folder(data_dir: str | None) -> PkiFolder:
    """The PKI of a data directory."""
    folder = PkiFolder(data_directory(data_dir) / "pki")
    folder.insist()
    return folder


def online_folder(data_dir: str | None, key_passphrase_file: str | None) -> tuple[PkiFolder, KeyFolder]:
    """The PKI of a data directory and its online keys."""
    folder = pki_folder(data_dir)
    named = key_passphrase_file or os.environ.get("HANDFAST_KEY_PASSPHRASE_FILE")
    passphrase = _first_line(named) if named else None
    return folder, key_folder(folder.path, passphrase, system_entropy)


def root_keys(places: list[Path], keys: str | None, data_dir: str | None) -> Path:
    """The folder with the root keys; the data directory is looked at last, and only if there is one."""
    there = data_directory(data_dir) / "pki" / "offline"
    candidates = [*places, there] if keys is None else [Path(keys)]
    for candidate in candidates:
        if (candidate / f"{LEGACY}.key").exists() or any(candidate.glob("root-ca-*.key")):
            return candidate
    raise ConfigurationError(f"No root keys (root-ca-1.key …) in {', '.join(map(str, candidates))}: give --keys DIR.")


def root_passphrase(file: str | None) -> bytes:
    """Out of the file, or asked for; without a terminal the first line of standard input."""
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        given = sys.stdin.readline(4096).rstrip("\r\n")
        if not given:
            raise ConfigurationError("No passphrase, and no terminal to ask for it: give --passphrase-file FILE.")
        return given.encode("utf-8")
    return str(typer.prompt("Root passphrase", hide_input=True, err=True)).encode("utf-8")


def _first_line(file: str) -> bytes:
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


def show_steps(steps: Sequence[ceremony.Step], as_json: bool, then: str) -> None:
    """What one half of a ceremony did, and what comes next."""
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
