"""`handfast cert`: device certificates, through the running server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from handfast.cli.ca import CertificateId, print_line
from handfast.cli.connection import calling, find_server, handfast_api, iot_api
from handfast.cli.options import AsJson, DataDir, EndpointUrl, Profile, Region
from handfast.cli.output import print_json, print_table
from handfast.printable import printable

cert_app = typer.Typer(help="Device certificates: look at them, change their status, hand them over.")


@cert_app.command("list")
def list_certificates(
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """List the certificates, those that expire first at the top; asks about each one."""
    server = find_server(data_dir, endpoint_url, profile=profile, region=region)
    with calling(server):
        iot = iot_api(server)
        listed = [item for page in iot.get_paginator("list_certificates").paginate() for item in page["certificates"]]
        found = [
            iot.describe_certificate(certificateId=item["certificateId"])["certificateDescription"] for item in listed
        ]
    found.sort(key=lambda certificate: certificate["validity"]["notAfter"])
    if as_json:
        print_json(found)
        return
    print_table(
        ("expires", "status", "mode", "owner", "certificate id"),
        [
            (c["validity"]["notAfter"], c["status"], c.get("certificateMode"), c.get("ownedBy"), c["certificateId"])
            for c in found
        ],
        empty="no certificates",
    )


@cert_app.command("show")
def show(
    certificate_id: CertificateId,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show one certificate, and its last transfer."""
    server = find_server(data_dir, endpoint_url, profile=profile, region=region)
    with calling(server):
        found = iot_api(server).describe_certificate(certificateId=certificate_id)["certificateDescription"]
    if as_json:
        print_json(found)
        return
    transfer = found.get("transferData", {})
    for label, value in (
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
    ):
        if value is not None:
            print_line(label, value)


@cert_app.command("activate")
def activate(
    certificate_id: CertificateId,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Let the device connect."""
    _run(_status(certificate_id, "ACTIVE"), certificate_id, "ACTIVE", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("deactivate")
def deactivate(
    certificate_id: CertificateId,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Refuse the device until its certificate is activated again; its connections are cut at once."""
    call = _status(certificate_id, "INACTIVE")
    _run(call, certificate_id, "INACTIVE", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("revoke")
def revoke(
    certificate_id: CertificateId,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Refuse the device for good; deleting the certificate afterwards does not undo it."""
    call = _status(certificate_id, "REVOKED")
    _run(call, certificate_id, "REVOKED", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("delete")
def delete(
    certificate_id: CertificateId,
    force: Annotated[bool, typer.Option("--force", help="Detach its policies first.")] = False,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Delete a certificate that is not ACTIVE and serves no thing."""

    def call(iot: Any) -> None:
        iot.delete_certificate(certificateId=certificate_id, forceDelete=force)

    _run(call, certificate_id, "deleted", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("transfer")
def transfer(
    certificate_id: CertificateId,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Target account, 12 digits.")],
    message: Annotated[str | None, typer.Option("--message", metavar="TEXT", help="For the target account.")] = None,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Offer an INACTIVE certificate without policies and things to another account."""

    def call(iot: Any) -> None:
        more = {} if message is None else {"transferMessage": message}
        iot.transfer_certificate(certificateId=certificate_id, targetAwsAccount=account, **more)

    _run(call, certificate_id, "PENDING_TRANSFER", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("accept")
def accept(
    certificate_id: CertificateId,
    active: Annotated[bool, typer.Option("--activate", help="Let the device connect at once.")] = False,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Take over a certificate that another account offers."""

    def call(iot: Any) -> None:
        iot.accept_certificate_transfer(certificateId=certificate_id, setAsActive=active)

    status = "ACTIVE" if active else "INACTIVE"
    _run(call, certificate_id, status, data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("reject")
def reject(
    certificate_id: CertificateId,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="For the account it is from.")] = None,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Turn down a certificate that another account offers."""

    def call(iot: Any) -> None:
        more = {} if reason is None else {"rejectReason": reason}
        iot.reject_certificate_transfer(certificateId=certificate_id, **more)

    _run(call, certificate_id, "rejected", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("cancel")
def cancel(
    certificate_id: CertificateId,
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Take back an offer that was not accepted yet."""

    def call(iot: Any) -> None:
        iot.cancel_certificate_transfer(certificateId=certificate_id)

    _run(call, certificate_id, "INACTIVE", data_dir, endpoint_url, profile, region, as_json)


@cert_app.command("forget")
def forget(
    certificate_id: CertificateId,
    account: Annotated[str, typer.Option("--account", metavar="ACCOUNT", help="Account id, 12 digits.")],
    data_dir: DataDir = None,
    endpoint_url: EndpointUrl = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Let a certificate that was revoked and deleted be registered again. Operator only."""
    server = find_server(data_dir, endpoint_url, profile=profile, region=region, operator=True)
    with calling(server):
        handfast_api(server).forget_certificate(accountId=account, certificateId=certificate_id)
    _say(certificate_id, "forgotten", as_json)


def _status(certificate_id: str, status: str) -> Callable[[Any], None]:
    def call(iot: Any) -> None:
        iot.update_certificate(certificateId=certificate_id, newStatus=status)

    return call


def _run(
    call: Callable[[Any], None],
    certificate_id: str,
    status: str,
    data_dir: str | None,
    endpoint_url: str | None,
    profile: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    server = find_server(data_dir, endpoint_url, profile=profile, region=region)
    with calling(server):
        call(iot_api(server))
    _say(certificate_id, status, as_json)


def _say(certificate_id: str, status: str, as_json: bool) -> None:
    if as_json:
        print_json({"certificateId": certificate_id, "status": status})
    else:
        print(f"{printable(certificate_id)} is {status}")
