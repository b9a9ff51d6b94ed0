"""`handfast cert`: device certificates, through the running server."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from typing import Annotated

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.connection import ServerAddress, calling, handfast_api
from handfast.cli.expiry import (
    CA,
    DEVICE,
    IN_USE,
    STATUSES,
    Described,
    by_expiry,
    days_left,
    expires,
    left,
    print_listing,
    statuses_asked,
)
from handfast.cli.import_ import import_certificates
from handfast.cli.options import CertificateId, Limit, Status
from handfast.cli.rotate import rotate, rotations
from handfast.core.pki.reasons import REASONS
from handfast.durations import parse_duration
from handfast.errors import ConfigurationError

cert_app = typer.Typer(help="Device certificates: look at them, change their status, hand them over.")


@cert_app.command("list")
@calls_server()
def list_certificates(call: Call, status: Status = None, limit: Limit = None) -> None:
    """List the certificates, those that expire first at the top; --json tells all of each."""
    statuses = statuses_asked(status, DEVICE)
    print_listing(
        call,
        lambda server, rows: by_expiry(server, DEVICE, statuses=statuses, at_most=rows),
        ("expires", "status", "certificate id"),
        lambda c: (f"{expires(c):%Y-%m-%d}", c["status"], c["certificateId"]),
        limit=limit,
        empty="no certificates",
    )


@cert_app.command("expiring")
@calls_server()
def expiring(
    call: Call,
    within: Annotated[str, typer.Option("--within", metavar="TIME", help="Such as 30d, 12h or 90m.")] = "30d",
    fail: Annotated[bool, typer.Option("--fail", help="Exit with status 1 when there is any.")] = False,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only those of this status; repeatable.",
            show_default="every one but REVOKED",
        ),
    ] = None,
    limit: Limit = None,
) -> None:
    """
    List device and CA certificates that have expired or will soon.

    Those in use come first (ACTIVE, PENDING_TRANSFER, PENDING_ACTIVATION), whose expiry locks somebody out; within
    that, those that expire first.
    """
    now = dt.datetime.now(dt.UTC)
    until = now + parse_duration(within, "--within")
    wanted = statuses_asked(status, DEVICE, CA) or [name for name in STATUSES[DEVICE] if name != "REVOKED"]

    def found(server: ServerAddress, rows: int | None) -> Iterator[Described]:
        for group in (IN_USE.intersection(wanted), set(wanted) - IN_USE):
            listings = [
                by_expiry(server, kind, until=until, statuses=statuses, at_most=rows)
                for kind in (DEVICE, CA)
                if (statuses := group.intersection(STATUSES[kind]))
            ]
            for item in heapq.merge(*listings, key=expires):
                yield item | {"daysLeft": days_left(item, now)}

    count = print_listing(
        call,
        found,
        ("left", "kind", "status", "certificate id"),
        lambda c: (left(c, now), "CA" if c["kind"] == CA else "device", c["status"], c["certificateId"]),
        limit=limit,
        empty=f"no certificate has expired or expires within {within.strip()}",
    )
    if fail and count:
        raise typer.Exit(1)


@cert_app.command("show")
@calls_server()
def show(call: Call, certificate_id: CertificateId) -> None:
    """Show one certificate, and its last transfer."""
    with call.iot() as iot:
        found = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    transfer = found.get("transferData", {})
    call.answer_facts(
        found,
        (
            ("expires", found["validity"]["notAfter"]),
            ("status", found["status"]),
            ("mode", found.get("certificateMode")),
            ("owner", found.get("ownedBy")),
            ("previous owner", found.get("previousOwnedBy")),
            ("signed by", found.get("caCertificateId")),
            ("created", found["creationDate"]),
            ("changed", found["lastModifiedDate"]),
            ("offered", transfer.get("transferDate")),
            ("message", transfer.get("transferMessage")),
            ("accepted", transfer.get("acceptDate")),
            ("rejected", transfer.get("rejectDate")),
            ("reason", transfer.get("rejectReason")),
            ("arn", found["certificateArn"]),
        ),
    )


@cert_app.command("activate")
@calls_server()
def activate(call: Call, certificate_id: CertificateId) -> None:
    """Let the device connect."""
    _set_status(call, certificate_id, "ACTIVE")


@cert_app.command("deactivate")
@calls_server()
def deactivate(call: Call, certificate_id: CertificateId) -> None:
    """Refuse the device until its certificate is activated again; its connections are cut at once."""
    _set_status(call, certificate_id, "INACTIVE")


@cert_app.command("revoke")
@calls_server()
def revoke(
    call: Call,
    certificate_id: CertificateId,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            metavar="REASON",
            help=f"What the list of revocations says of it: {', '.join(REASONS)}.",
            show_default="unspecified",
        ),
    ] = None,
) -> None:
    """
    Refuse the device for good; deleting the certificate afterwards does not undo it.

    Answers when the last session is gone, with how many there were and how long that took; AWS tells neither.
    """
    server = call.server()
    if server.is_aws:
        if reason is not None:
            raise ConfigurationError("AWS keeps no reason of a revocation: leave --reason out")
        _set_status(call, certificate_id, "REVOKED")
        return
    with calling(server):
        given = {} if reason is None else {"reason": reason}
        receipt = handfast_api(server).revoke_certificate(certificateId=certificate_id, **given)
    receipt.pop("ResponseMetadata", None)
    cut = receipt["sessionsCut"]
    gone = f"{cut} session{'s' if cut != 1 else ''} cut, the last after {receipt['worstDelayMs']:.0f} ms"
    call.answer(receipt, f"{receipt['certificateId']} is {receipt['status']}; {gone if cut else 'it had no session'}")


@cert_app.command("delete")
@calls_server()
def delete(
    call: Call,
    certificate_id: CertificateId,
    force: Annotated[bool, typer.Option("--force", help="Detach its policies first.")] = False,
) -> None:
    """Delete a certificate that is not ACTIVE and serves no thing."""
    with call.iot() as iot:
        iot.delete_certificate(certificateId=certificate_id, forceDelete=force)
    _say(call, certificate_id, "deleted")


@cert_app.command("transfer")
@calls_server()
def transfer(
    call: Call,
    certificate_id: CertificateId,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Target account, 12 digits.")],
    message: Annotated[str | None, typer.Option("--message", metavar="TEXT", help="For the target account.")] = None,
) -> None:
    """Offer an INACTIVE certificate without policies and things to another account."""
    more = {} if message is None else {"transferMessage": message}
    with call.iot() as iot:
        iot.transfer_certificate(certificateId=certificate_id, targetAwsAccount=account, **more)
    _say(call, certificate_id, "PENDING_TRANSFER")


@cert_app.command("accept")
@calls_server()
def accept(
    call: Call,
    certificate_id: CertificateId,
    active: Annotated[bool, typer.Option("--activate", help="Let the device connect at once.")] = False,
) -> None:
    """Take over a certificate that another account offers."""
    with call.iot() as iot:
        iot.accept_certificate_transfer(certificateId=certificate_id, setAsActive=active)
    status = "ACTIVE" if active else "INACTIVE"
    _say(call, certificate_id, status)


@cert_app.command("reject")
@calls_server()
def reject(
    call: Call,
    certificate_id: CertificateId,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="For the account it is from.")] = None,
) -> None:
    """Turn down a certificate that another account offers."""
    more = {} if reason is None else {"rejectReason": reason}
    with call.iot() as iot:
        iot.reject_certificate_transfer(certificateId=certificate_id, **more)
    _say(call, certificate_id, "rejected")


@cert_app.command("cancel")
@calls_server()
def cancel(call: Call, certificate_id: CertificateId) -> None:
    """Take back an offer that was not accepted yet."""
    with call.iot() as iot:
        iot.cancel_certificate_transfer(certificateId=certificate_id)
    _say(call, certificate_id, "INACTIVE")


@cert_app.command("forget")
@calls_server(operator=True)
def forget(
    call: Call,
    certificate_id: CertificateId,
    account: Annotated[str, typer.Option("--account", metavar="ACCOUNT", help="Account id, 12 digits.")],
) -> None:
    """Let a certificate that was revoked and deleted be registered again. Operator only."""
    with call.handfast() as api:
        api.forget_certificate(accountId=account, certificateId=certificate_id)
    _say(call, certificate_id, "forgotten")


cert_app.command("import")(import_certificates)


def _set_status(call: Call, certificate_id: str, status: str) -> None:
    with call.iot() as iot:
        iot.update_certificate(certificateId=certificate_id, newStatus=status)
    _say(call, certificate_id, status)


def _say(call: Call, certificate_id: str, status: str) -> None:
    call.answer({"certificateId": certificate_id, "status": status}, f"{certificate_id} is {status}")


cert_app.command("rotate")(rotate)
cert_app.command("rotations")(rotations)
