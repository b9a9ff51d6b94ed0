"""`handfast check`: what is wrong with the certificates of an account, and what to do about it."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.connection import CallFailed
from handfast.cli.output import print_json, print_table
from handfast.core.identity.checks import CheckName, Severity
from handfast.core.identity.fleet_check import MAX_AGE_DAYS, MIN_AGE_DAYS, known_checks
from handfast.core.pki.crl import MAX_FILE_BYTES, read_revocation_file
from handfast.core.pki.weak_keys import read_debian_blocklist
from handfast.durations import parse_duration
from handfast.errors import CertificateInputError, ConfigurationError
from handfast.printable import printable

UPLOAD_PART_BYTES = 512 * 1024
"""Base64 in JSON makes it a third longer; a request may have 1 MiB."""
SHOWN_PER_CODE = 20
_POLL_S = 0.3
_MAX_WITHIN = dt.timedelta(days=3652)


@calls_server()
def check(
    call: Call,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CHECK", help="Only this check; repeatable.", show_default="all"),
    ] = None,
    crl: Annotated[
        list[Path] | None,
        typer.Option(
            "--crl", metavar="FILE", help="A certificate revocation list, PEM or DER; repeatable.", show_default=False
        ),
    ] = None,
    expiring_within: Annotated[
        str, typer.Option("--expiring-within", metavar="TIME", help="What counts as expiring soon, such as 30d.")
    ] = "30d",
    age_days: Annotated[
        int | None,
        typer.Option(
            "--age-days",
            metavar="N",
            min=MIN_AGE_DAYS,
            max=MAX_AGE_DAYS,
            help="Report certificates registered for so many days.",
            show_default="not checked",
        ),
    ] = None,
    debian_blocklist: Annotated[
        list[Path] | None,
        typer.Option(
            "--debian-blocklist",
            metavar="FILE",
            help="Weak keys of Debian's OpenSSL, in the format of openssl-blacklist; repeatable.",
            show_default="not looked for",
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="critical|high|medium|low",
            help="Exit status 1 when something this bad, or worse, was found.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """
    Check an account's certificates in one region: weak and shared keys, revocation, expiry, shared certificates.

    The names are those of AWS IoT Device Defender's audit. docs/checks.md says what each one looks at.
    """
    asked = _asked(only, expiring_within, age_days)
    worst_allowed = _severity(fail_on)
    lists = [_revocation_file(path) for path in crl or ()]
    debian = _blocklist(debian_blocklist or [])
    with call.handfast() as api:
        if lists:
            asked["revocationListUploadIds"] = [_upload(api, data) for data in lists]
        if debian:
            asked["debianBlocklistUploadId"] = _upload(api, debian)
        task_id = api.start_check(**asked)["taskId"]
        task = _awaited(api, task_id)
        findings = list(_findings(api, task_id))
    if task["taskStatus"] != "COMPLETED":
        raise CallFailed(
            f"The check did not end: {printable(str(task.get('message') or task['taskStatus']), limit=2000)}"
        )
    if call.as_json:
        print_json({"task": task, "findings": findings})
    else:
        _report(task, findings, debian=bool(debian), lists=bool(lists))
    severities = task.get("severities", {})
    if worst_allowed is not None and any(severities.get(each) for each in list(Severity)[: worst_allowed + 1]):
        raise typer.Exit(1)


def _asked(only: list[str] | None, expiring_within: str, age_days: int | None) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    within = parse_duration(expiring_within, "--expiring-within", at_most=_MAX_WITHIN)
    asked["expiringWithinSeconds"] = max(int(within.total_seconds()), 1)
    if age_days is not None:
        asked["ageThresholdDays"] = age_days
    if only:
        try:
            asked["targetCheckNames"] = sorted(known_checks(only))
        except ValueError:
            raise ConfigurationError(
                f"--only {printable(', '.join(only), limit=200)}: known are "
                + ", ".join(name.removesuffix("_CHECK") for name in CheckName)
            ) from None
    return asked


def _severity(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return list(Severity).index(Severity(text.upper()))
    except ValueError:
        raise ConfigurationError(
            f"--fail-on is {printable(text, limit=40)!r}: expected critical, high, medium or low"
        ) from None


def _read(path: Path, flag: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{flag} {printable(str(path))} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{flag} {printable(str(path))} is longer than {MAX_FILE_BYTES // 2**20} MiB")
    return data


def _revocation_file(path: Path) -> bytes:
    """The file, once it could be read here: the server would say the same, later."""
    data = _read(path, "--crl")
    try:
        read_revocation_file(data)
    except CertificateInputError as error:
        raise ConfigurationError(f"--crl {printable(str(path))}: {printable(str(error), limit=500)}") from None
    return data


def _blocklist(paths: list[Path]) -> bytes:
    """The entries of all files, packed."""
    entries: set[bytes] = set()
    for path in paths:
        try:
            entries |= read_debian_blocklist(_read(path, "--debian-blocklist").decode("ascii", "replace"))
        except CertificateInputError as error:
            raise ConfigurationError(
                f"--debian-blocklist {printable(str(path))}: {printable(str(error), limit=500)}"
            ) from None
    return b"".join(sorted(entries))


def _upload(api: Any, data: bytes) -> str:
    upload: dict[str, str] = {}
    for start in range(0, len(data), UPLOAD_PART_BYTES):
        answer = api.upload_check_file(data=data[start : start + UPLOAD_PART_BYTES], **upload)
        upload = {"uploadId": answer["uploadId"]}
    return upload["uploadId"]


def _awaited(api: Any, task_id: str) -> dict[str, Any]:
    """The task, ended; Ctrl-C ends it."""
    said = ""
    try:
        while True:
            task: dict[str, Any] = api.describe_check(taskId=task_id)
            if task["taskStatus"] != "IN_PROGRESS":
                return task
            said = _say(task, said)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        api.cancel_check(taskId=task_id)
        raise
    finally:
        if said and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _say(task: dict[str, Any], said: str) -> str:
    """Tell how far it is, on a terminal in place; the text, so that the same is not told twice elsewhere."""
    phase = task.get("phase", "")
    read = f"{task.get('certificatesRead', 0):,} certificates read"
    text = {
        "waiting": "waiting for another account's check",
        "certificates": read,
        "factors": f"{read}, common factors of their keys: {task.get('progress', 0):.0%}",
    }.get(phase, "")
    if text and text != said and sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    return text or said


def _findings(api: Any, task_id: str) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        page = api.list_check_findings(taskId=task_id, maxResults=250, **token)
        yield from page.get("findings", [])
        if "nextToken" not in page:
            return
        token = {"nextToken": page["nextToken"]}


def _report(task: dict[str, Any], findings: list[dict[str, Any]], *, debian: bool, lists: bool) -> None:
    details: dict[str, Any] = task.get("auditDetails", {})
    by_code: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for found in findings:
        by_code.setdefault((found["checkName"], found["reasonForNonComplianceCode"]), []).append(found)
    rank = {str(severity): place for place, severity in enumerate(Severity)}
    for group in sorted(by_code.values(), key=lambda each: rank.get(each[0]["severity"], len(rank))):
        _print_group(group)
    rows = [
        (name, _OUTCOME.get(detail.get("checkRunStatus", ""), detail.get("checkRunStatus")), _count(detail))
        for name, detail in sorted(details.items(), key=lambda item: _place(item[0]))
    ]
    print_table(("check", "result", "findings"), rows, empty="no checks")
    print()
    print(_looked_at(task))
    for warning in task.get("warnings", []):
        print(f"Note: {printable(str(warning), limit=2000)}")
    if not lists:
        print("Note: what issuers revoked was not looked at: give their lists with --crl.")
    if not debian:
        print("Note: the weak keys of Debian's OpenSSL of 2008 were not looked for: give --debian-blocklist.")
    kept = len(findings)
    total = sum(task.get("severities", {}).values())
    if kept < total:
        print(f"Note: {kept:,} of {total:,} findings were kept; mend these and check again, or narrow it with --only.")


_OUTCOME = {"COMPLETED_COMPLIANT": "passed", "COMPLETED_NON_COMPLIANT": "FOUND", "NOT_RUN": "not run"}


def _place(name: str) -> int:
    names = [str(check) for check in CheckName]
    return names.index(name) if name in names else len(names)


def _count(detail: dict[str, Any]) -> str:
    return str(detail.get("nonCompliantResourcesCount", 0)) if detail.get("checkRunStatus") != "NOT_RUN" else "-"


def _print_group(group: list[dict[str, Any]]) -> None:
    first = group[0]
    print(
        f"{printable(first['severity'])}  {printable(first['checkName'])}: "
        f"{printable(first['reasonForNonComplianceCode'])} ({len(group):,})"
    )
    print(f"  {printable(first['reasonForNonCompliance'], limit=1000)}")
    if first.get("nextStep"):
        print(f"  What to do: {printable(first['nextStep'], limit=1000)}")
    for found in group[:SHOWN_PER_CODE]:
        resource = found["nonCompliantResource"]
        facts = [
            f"{k.lower().replace('_', ' ')} {v}" for k, v in sorted(resource.get("additionalInfo", {}).items()) if v
        ]
        with_ = [_identifier(each) for each in found.get("relatedResources", [])]
        more = f"  with {', '.join(with_[:3])}{' …' if len(with_) > 3 else ''}" if with_ else ""
        told = f"  ({printable('; '.join(facts), limit=300)})" if facts else ""
        print(f"    {printable(_identifier(resource), limit=200)}{told}{printable(more, limit=500)}")
    if len(group) > SHOWN_PER_CODE:
        print(f"    … and {len(group) - SHOWN_PER_CODE:,} more: --json lists them")
    print()


def _identifier(resource: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in resource.get("resourceIdentifier", {}).values())


def _looked_at(task: dict[str, Any]) -> str:
    parts = [
        f"{task.get('certificates', 0):,} certificates and {task.get('caCertificates', 0):,} CA certificates looked at",
        f"{task.get('rsaModuli', 0):,} RSA moduli searched for common factors",
    ]
    if task.get("notCounted"):
        parts.append(f"{task['notCounted']:,} left out because they are not active")
    if task.get("unreadable"):
        parts.append(f"{task['unreadable']:,} could not be read")
    return "; ".join(parts) + "."
