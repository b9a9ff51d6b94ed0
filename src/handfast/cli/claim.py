"""`handfast claim`: what devices may do with a claim certificate."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.options import CertificateId
from handfast.errors import ConfigurationError

claim_app = typer.Typer(help="Claim certificates, with which devices provision themselves.")

_RATE_HELP = "At most so many certificates made, and devices provisioned, in a minute; of each server process."


@claim_app.command("limit")
@calls_server()
def limit(
    call: Call,
    certificate_id: CertificateId,
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", help="So many devices in all, those before included.", show_default=False),
    ] = None,
    rate: Annotated[str | None, typer.Option("--rate", metavar="N/min", help=_RATE_HELP, show_default=False)] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address", metavar="CIDR", help="Only from this network; repeatable, replaces all.", show_default=False
        ),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take away what is not given.")] = False,
) -> None:
    """
    Limit what devices can do with a claim certificate, should its key get about.

    A limit that is not given stays as it is. What a claim has provisioned already is counted.
    """
    if count is None and rate is None and not address and not clear:
        raise ConfigurationError("nothing to limit: give --count, --rate or --address, or --clear to take limits away")
    with call.handfast() as api:
        before = {} if clear else api.describe_claim(certificateId=certificate_id)
        wanted: dict[str, Any] = {
            "devices": before.get("devices") if count is None else count,
            "perMinute": before.get("perMinute") if rate is None else _per_minute(rate),
            "addresses": address or before.get("addresses"),
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        claim = api.set_claim_limits(certificateId=certificate_id, **given)
    _show(call, claim)


@claim_app.command("show")
@calls_server()
def show(call: Call, certificate_id: CertificateId) -> None:
    """Show a claim certificate's limits, and how many devices it has provisioned."""
    with call.handfast() as api:
        claim = api.describe_claim(certificateId=certificate_id)
    _show(call, claim)


def _show(call: Call, claim: dict[str, Any]) -> None:
    claim.pop("ResponseMetadata", None)
    devices, per_minute = claim.get("devices"), claim.get("perMinute")
    used = str(claim["provisioned"])
    call.answer_facts(
        claim,
        (
            ("claim", claim["certificateId"]),
            ("provisioned", used if devices is None else f"{used} of {devices} devices"),
            ("rate", "the server's default" if per_minute is None else f"{per_minute}/min"),
            ("addresses", ", ".join(claim.get("addresses", ())) or "any"),
        ),
    )


def _per_minute(text: str) -> int:
    number, slash, unit = text.partition("/")
    if not number.isascii() or not number.isdigit() or (slash and unit != "min"):
        raise ConfigurationError(f"--rate {text}: give a number of devices in a minute, such as 30/min")
    return int(number)
