"""
`python -m handfast.services.check_worker`: the checks on a fleet, in a process of their own.

Parsing a million certificates and multiplying their moduli would hold the interpreter's lock for minutes. The server
feeds lines of JSON into standard input and reads lines of JSON from standard output:

    in    {"now": …, "checks": […], …}                         a `CheckRequest`, once
          ["ca", id, pem, status, creation_date]               every CA
          ["certificate", id, pem, status, creation_date]      every certificate, after the CAs
          ["end"]                                              without it the input was cut off, and nothing is told
    out   {"finding": …}      ready for the wire
          {"progress": […]}   the phase and the part of it that is done, from 0 to 1
          {"tally": …}        last
          {"error": …}        instead of it: the input cannot be used
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from handfast.core.identity.checks import MEANINGS, CheckName, Finding, Resource, ResourceType
from handfast.core.identity.fleet_check import CheckRequest, FleetCertificate, FleetCheck, Tally
from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.observations import Observation, Sighting
from handfast.core.pki.crl import read_revocation_file
from handfast.core.pki.pem import read_certificate
from handfast.core.pki.weak_keys import DEBIAN_ENTRY_BYTES
from handfast.errors import CertificateInputError

_MEMBER = {
    ResourceType.DEVICE_CERTIFICATE: "device_certificate_id",
    ResourceType.CA_CERTIFICATE: "ca_certificate_id",
    ResourceType.CLIENT_ID: "client_id",
}
_PROGRESS_STEP = 0.005


def main() -> int:
    """The exit status: 0 when every line was answered for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; it ends this process itself
    with contextlib.suppress(OSError):
        os.nice(10)
    try:
        run(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        os._exit(1)  # the server has gone; there is nobody to tell
    return 0


def run(lines: BinaryIO, out: BinaryIO) -> None:
    """Answer the lines; the protocol is the module's."""

    def say(**message: Any) -> None:
        out.write(json.dumps(message).encode() + b"\n")
        out.flush()

    try:
        request = request_of(json.loads(lines.readline()))
    except CertificateInputError as error:
        say(error=str(error))
        return
    check = FleetCheck(request, lambda found: say(finding=wire_finding(found)))
    if not _feed(check, lines):
        return
    told = 0.0

    def progress(part: float) -> None:
        nonlocal told
        if part - told >= _PROGRESS_STEP:
            told = part
            say(progress=["factors", part])

    say(progress=["factors", 0.0])
    check.finish(progress)
    say(tally=_tally(check.tally))


def _feed(check: FleetCheck, lines: Iterable[bytes]) -> bool:
    """Every certificate is in; False when the input was cut off."""
    begun = False
    for line in lines:
        kind, *rest = json.loads(line)
        if not begun and kind != "ca":
            check.begin()
            begun = True
        if kind == "end":
            return True
        identifier, pem, status, created = rest
        try:
            cert = read_certificate(pem).cert
        except CertificateInputError:
            check.unreadable()
            continue
        certificate = FleetCertificate(identifier, cert, status, dt.datetime.fromisoformat(created), kind == "ca")
        if kind == "ca":
            check.add_ca(certificate)
        else:
            check.add(certificate)
    return False


def request_line(request: Mapping[str, Any]) -> bytes:
    """A request as the first line; `files` and `debian` as bytes, `observations` as records."""
    plain = dict(request)
    plain["files"] = [base64.b64encode(file).decode() for file in request["files"]]
    plain["debian"] = base64.b64encode(request["debian"]).decode()
    plain["observations"] = [
        [
            each.sighting,
            each.subject,
            each.first_seen.isoformat(),
            each.last_seen.isoformat(),
            each.count,
            each.parties,
            each.addresses,
        ]
        for each in request["observations"]
    ]
    return json.dumps(plain).encode() + b"\n"


def request_of(plain: Mapping[str, Any]) -> CheckRequest:
    """The request of a first line. CertificateInputError: a file in it cannot be used."""
    packed = base64.b64decode(plain["debian"])
    age_days = plain["age_days"]
    files = []
    for number, file in enumerate(plain["files"], 1):
        try:
            files.append(read_revocation_file(base64.b64decode(file)))
        except CertificateInputError as error:
            raise CertificateInputError(f"Revocation list {number}: {error}", error.rule) from None
    return CheckRequest(
        now=dt.datetime.fromisoformat(plain["now"]),
        checks=frozenset(CheckName(name) for name in plain["checks"]),
        expiring_within=dt.timedelta(seconds=plain["expiring_within_s"]),
        age=dt.timedelta(days=age_days) if age_days is not None else None,
        debian=frozenset(
            packed[at : at + DEBIAN_ENTRY_BYTES]
            for at in range(0, len(packed) - DEBIAN_ENTRY_BYTES + 1, DEBIAN_ENTRY_BYTES)
        ),
        files=files,
        observations=[
            Observation(
                scope=Scope(AccountId(""), ""),  # all of one scope, which nobody asks about here
                sighting=Sighting(sighting),
                subject=subject,
                first_seen=dt.datetime.fromisoformat(first),
                last_seen=dt.datetime.fromisoformat(last),
                count=count,
                parties=tuple(parties),
                addresses=tuple(addresses),
            )
            for sighting, subject, first, last, count, parties, addresses in plain["observations"]
        ],
    )


def wire_finding(found: Finding) -> dict[str, Any]:
    """A finding with the members that the API's model has for it."""
    return {
        "check_name": found.check,
        "severity": found.severity,
        "non_compliant_resource": _resource(found.resource),
        "related_resources": [_resource(each) for each in found.related],
        "reason_for_non_compliance": found.reason,
        "reason_for_non_compliance_code": found.code,
        "next_step": MEANINGS[found.code].next_step,
    }


def _resource(resource: Resource) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "resource_type": resource.type,
        "resource_identifier": {_MEMBER[resource.type]: resource.identifier},
    }
    if resource.info:
        plain["additional_info"] = dict(resource.info)
    return plain


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "certificates": tally.certificates,
        "ca_certificates": tally.ca_certificates,
        "not_counted": tally.not_counted,
        "unreadable": tally.unreadable,
        "moduli": tally.moduli,
        "lists": tally.lists,
        "warnings": tally.warnings,
        "ran": tally.ran,
        "by_check": dict(tally.by_check),
    }


if __name__ == "__main__":
    sys.exit(main())
