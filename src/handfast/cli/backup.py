"""`handfast backup` and `handfast restore`: the data directory as one archive, and back."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.backups import backup_without_server, restore_backup
from handfast.cli.call import Call, calls_server
from handfast.cli.connection import server_runs
from handfast.cli.options import AsJson, DataDir, data_directory
from handfast.cli.output import plain, print_json
from handfast.config.file import config_file
from handfast.config.resolving import resolve
from handfast.errors import ConfigurationError
from handfast.printable import printable
from handfast.services.backup import Backup, backup_name, megabytes, move_backup

PATIENCE_S = 6 * 3600.0
"""How long an answer may take: a registry of hundreds of gigabytes."""


@calls_server(operator=True, region=False)
def backup(
    call: Call,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE|DIR",
            help="Where the archive goes; never over another file.",
            show_default="backups/ in the data directory",
        ),
    ] = None,
) -> None:
    """
    Write everything that a server needs into one archive, while it serves or while it does not.

    The archive holds private keys. Whatever was acknowledged before the command is in it.
    """
    if call.endpoint_url is None:
        answer = _local(call, data_directory(call.data_dir), _target(out))
    elif out is None:
        answer = _ask(call)
    else:
        raise ConfigurationError("--out is for a server on this machine: leave it out, and fetch the file there")
    if call.as_json:
        print_json(answer)
        return
    print(f"backup    {printable(answer['path'])}")
    print(f"size      {megabytes(answer['size'])}, {len(answer['members'])} files")
    print(f"SHA-256   {printable(answer['sha256'])}")
    print(f"of        {plain(answer['createdAt'])}, handfast {printable(answer['version'])}")
    for warning in answer["warnings"]:
        print(f"warning   {printable(warning)}")


def restore(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="What 'handfast backup' wrote.")],
    data_dir: DataDir = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move what is in the data directory aside; nothing is deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """
    Make a data directory from an archive, all of it or nothing. No server may run on it.

    Whatever happened after the backup is undone: what was revoked since then is valid again.
    """
    directory = data_directory(data_dir)
    if server_runs(directory):
        raise ConfigurationError(f"A server runs on {directory}: stop it, or choose another --data-dir")
    path = Path(archive)
    if not path.is_file():
        raise ConfigurationError(f"{printable(archive)} is not a file: name what 'handfast backup' wrote")
    done = restore_backup(path, directory, force=force, say=_say)
    made = done.manifest
    if as_json:
        print_json(
            {
                "dataDir": str(done.data_dir),
                "movedAside": None if done.aside is None else str(done.aside),
                "createdAt": made.created,
                "version": made.version,
                "schemaRevision": made.schema,
                "members": [member._asdict() for member in made.members],
            }
        )
        return
    print(f"restored  {printable(str(done.data_dir))}, {len(made.members)} files")
    print(f"as of     {plain(made.created)}, handfast {printable(made.version)}")
    if done.aside is not None:
        print(f"before    {printable(str(done.aside))} is what stood there")
    print("warning   What happened since then is undone: revoke again what was revoked, certificates and access keys.")
    print(f"next      handfast serve --data-dir {printable(str(done.data_dir))}")


def _local(call: Call, directory: Path, target: Path | None) -> dict[str, Any]:
    """By the server that runs on the directory; without one, here, under the directory's lock."""
    if server_runs(directory):
        answer = _ask(call)
        if target is not None:
            move_backup(Path(answer["path"]), target, answer["sha256"])
            answer["path"] = str(target)
        return answer
    settings, _ = resolve({"data_dir": str(directory)}, os.environ, config_file(None, os.environ))
    return _answer(backup_without_server(directory, settings.database_url, target, _say))


def _ask(call: Call) -> dict[str, Any]:
    _say("the server writes the backup")
    with call.handfast(patience_s=PATIENCE_S) as api:
        answer: dict[str, Any] = api.create_backup()
    answer.pop("ResponseMetadata", None)
    return answer


def _answer(made: Backup) -> dict[str, Any]:
    """As the API answers."""
    return {
        "path": str(made.path),
        "size": made.size,
        "sha256": made.sha256,
        "createdAt": made.manifest.created,
        "version": made.manifest.version,
        "schemaRevision": made.manifest.schema,
        "members": [member._asdict() for member in made.manifest.members],
        "leftOut": list(made.manifest.left_out),
        "warnings": made.warnings,
    }


def _target(out: str | None) -> Path | None:
    """The file that `--out` names, in a folder that exists and under a name that is free."""
    if out is None:
        return None
    path = Path(out).absolute()
    if path.is_dir():
        path /= backup_name(dt.datetime.now(dt.UTC))
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path.parent} is not a directory: make it, or name another --out")
    if os.path.lexists(path):
        raise ConfigurationError(f"{path} is there already and is not overwritten: name another --out")
    return path


def _say(text: str) -> None:
    """What takes time is told to a person who waits."""
    if sys.stderr.isatty():
        print(f"{text} …", file=sys.stderr, flush=True)
