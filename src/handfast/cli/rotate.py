"""`handfast cert rotate` and `handfast cert rotations`: a successor for a certificate, and its takeover."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.connection import CallFailed
from handfast.cli.options import CertificateId
from handfast.cli.output import plain, print_json, print_table
from handfast.cli.successor import Successor, request_successor
from handfast.durations import UNITS, parse_duration
from handfast.errors import ConfigurationError
from handfast.printable import printable

POLL_S = 1.0
MAX_DEADLINE = dt.timedelta(days=365)
_SHOWN_UNITS = "dhms"
_CHOICES = ("retire", "keep")

_ENDS = {
    "CONNECTED": "the new certificate has connected",
    "DEADLINE": "the deadline has passed and the new certificate has not connected",
    "REQUEST": "the rotation was cancelled",
    "CERTIFICATE_CHANGED": "the old certificate was taken out of use by somebody else",
    "SUCCESSOR_CHANGED": "the new certificate was taken out of use by somebody else",
}


@calls_server()
def rotate(
    call: Call,
    certificate_id: CertificateId,
    csr: Annotated[
        Path | None,
        typer.Option("--csr", metavar="FILE", help="Sign this request; the key stays where it is.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for certificate.pem and private.key; no file in it is overwritten.",
            show_default="rotated-CERTIFICATE_ID, shortened",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="p256|p384|rsa2048", help="Kind of key, made here.", show_default="that of the old one"
        ),
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="How long to wait for the device: 90s, 30m, 12h, 7d.")
    ] = "7d",
    on_deadline: Annotated[
        str,
        typer.Option(
            "--on-deadline",
            metavar="retire|keep",
            help="At the deadline: retire the old certificate all the same, or keep it and end the rotation.",
        ),
    ] = "retire",
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke the old certificate, for good.")] = False,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Report until the rotation ends.", show_default="wait, but for --json"),
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the rotation: the old certificate stays, the new one is deactivated.")
    ] = False,
) -> None:
    """
    Replace a certificate: make its successor, and retire the old one once the new one has connected.

    The successor has the subject, the policies and the things of the old certificate. Both are good until the
    device connects with the new one; then the old one is deactivated and its connections are cut. The private key
    is made on this machine and never leaves it. The rotation goes on without this command.
    """
    if cancel:
        _cancel(call, certificate_id)
        return
    if on_deadline not in _CHOICES:
        raise ConfigurationError(f"--on-deadline is {printable(on_deadline, limit=40)!r}: expected retire or keep")
    options = {
        "deadlineSeconds": deadline_s(deadline),
        "onDeadline": on_deadline.upper(),
        "retireAction": "REVOKE" if revoke else "DEACTIVATE",
    }
    folder = out or Path(f"rotated-{printable(certificate_id)[:12]}")
    made = request_successor(call, certificate_id, folder, csr_file=csr, key_kind=key, options=options)
    wait = not call.as_json if wait is None else wait
    if not call.as_json:
        _tell(made)
    rotation = made.rotation
    if wait and rotation["state"] == "WAITING":
        rotation = _wait(call, rotation)
    if call.as_json:
        print_json(made.as_json() | {"rotation": rotation})
    elif rotation["state"] == "WAITING":
        print(_look_again(rotation))
    else:
        print(_ending(rotation))
    if wait and rotation["state"] == "CANCELLED":
        raise typer.Exit(1)


@calls_server()
def rotations(
    call: Call,
    every: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """List the rotations under way, the newest first."""
    found: list[Any] = []
    more = {} if every else {"state": "WAITING"}
    with call.handfast() as api:
        while True:
            page = api.list_rotations(maxResults=250, **more)
            found += page["rotations"]
            if not page.get("nextToken"):
                break
            more["nextToken"] = page["nextToken"]
    if call.as_json:
        print_json(found)
        return
    print_table(
        ("state", "ended by", "deadline", "then", "certificate id", "successor"),
        [
            (r["state"], r.get("endedBy"), r["deadline"], r["onDeadline"], r["certificateId"], r["successorId"])
            for r in found
        ],
        empty="no rotations" if every else "no rotations under way",
    )


def deadline_s(text: str) -> int:
    """`--deadline` in seconds, more than none and at most a year; ConfigurationError for anything else."""
    deadline = parse_duration(text, "--deadline", at_most=MAX_DEADLINE)
    if not deadline:
        raise ConfigurationError(f"--deadline is {text.strip()}: expected more than nothing, such as 7d")
    return int(deadline.total_seconds())


def time_left(seconds: float) -> str:
    """The two largest units: `6d 23h`, `59m 12s`."""
    whole = max(0, int(seconds))
    parts: list[str] = []
    for unit in _SHOWN_UNITS:
        count, whole = divmod(whole, UNITS[unit])
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def _tell(made: Successor) -> None:
    print(f"successor    {printable(made.certificate_id)}  (with the policies and things of the old one)")
    for what, path in made.files.items():
        print(f"{what:<12} {printable(str(path))}")


def _cancel(call: Call, certificate_id: str) -> None:
    with call.handfast() as api:
        rotation = api.cancel_rotation(certificateId=certificate_id)
    rotation.pop("ResponseMetadata", None)
    call.answer(
        rotation,
        f"{rotation['certificateId']} stays as it is; {rotation['successorId']}, which was to replace it, is INACTIVE",
    )


def _wait(call: Call, rotation: dict[str, Any]) -> dict[str, Any]:
    """The rotation once it has ended; what it waits for is shown meanwhile."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False)

    def waiting(note: str = "") -> str:
        left = (rotation["deadline"] - dt.datetime.now(dt.UTC)).total_seconds()
        then = "retired" if rotation["onDeadline"] == "RETIRE" else "kept"
        return f"Waiting for the new certificate to connect; in {time_left(left)} the old one is {then}{note}"

    try:
        if not console.is_terminal:
            print(waiting(), file=sys.stderr, flush=True)
            return _poll(call, rotation, lambda note: None)
        with console.status(waiting()) as status:
            return _poll(call, rotation, lambda note: status.update(waiting(note)))
    except KeyboardInterrupt:
        print(_look_again(rotation), file=sys.stderr)
        raise


def _poll(call: Call, rotation: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    known = rotation
    while known["state"] == "WAITING":
        time.sleep(POLL_S)
        try:
            with call.handfast() as api:
                while known["state"] == "WAITING":
                    known = api.describe_rotation(certificateId=rotation["certificateId"])
                    if known["successorId"] != rotation["successorId"]:
                        # It has ended, and the old certificate, activated again, is being rotated anew.
                        known = api.describe_rotation(certificateId=rotation["successorId"])
                    tell("")
                    if known["state"] == "WAITING":
                        time.sleep(POLL_S)
        except (CallFailed, ConfigurationError) as error:
            if isinstance(error, CallFailed) and error.code:
                raise
            tell(" (the server does not answer)")  # the rotation is in its registry: it may come back
    known.pop("ResponseMetadata", None)
    return known


def _ending(rotation: dict[str, Any]) -> str:
    old = printable(rotation["certificateId"])
    why = _ENDS.get(rotation.get("endedBy", ""), "the rotation has ended")
    if rotation["state"] == "CANCELLED":
        return f"{old} stays as it is: {why}"
    if rotation.get("endedBy") == "CERTIFICATE_CHANGED":
        return f"{old} is retired: {why}"
    status = "REVOKED" if rotation["retireAction"] == "REVOKE" else "INACTIVE"
    return f"{old} is {status}: {why}"


def _look_again(rotation: dict[str, Any]) -> str:
    old = printable(rotation["certificateId"])
    return (
        f"The rotation goes on by itself until {plain(rotation['deadline'])}.\n"
        "Look again:  handfast cert rotations\n"
        f"Take it back:  handfast cert rotate --cancel {old}"
    )
