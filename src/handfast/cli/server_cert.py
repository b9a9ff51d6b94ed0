"""`handfast server-cert`: server certificates of your own, for the domain names of domain configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.key_files import read_pem
from handfast.cli.output import plain, print_json, print_table
from handfast.errors import ConfigurationError

server_cert_app = typer.Typer(help="Server certificates of your own, for domain names of your own.")

_Account = Annotated[
    str | None,
    typer.Option("--account", metavar="ACCOUNT", help="Whose domain configurations can name it.", show_default=False),
]


_WITH_KEY = "stored"
_WITHOUT_KEY = (
    "none (no --key): it vouches for others and cannot be served; to serve it, import it to this ARN with --key"
)


@server_cert_app.command("import")
@calls_server(operator=True)
def import_certificate(
    call: Call,
    cert: Annotated[
        Path,
        typer.Option("--cert", metavar="FILE", help="PEM: the certificate, or it and its chain.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="1 to 64 letters, digits, dots, _ and -.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="PEM: its private key, not encrypted. Without it the certificate only vouches for others.",
            show_default=False,
        ),
    ] = None,
    chain: Annotated[
        Path | None,
        typer.Option(
            "--chain", metavar="FILE", help="PEM: the rest of the chain, its root or not.", show_default=False
        ),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--account",
            metavar="ACCOUNT",
            help="Whose domain configurations can name it.",
            show_default="the first account",
        ),
    ] = None,
    arn: Annotated[
        str | None,
        typer.Option("--arn", metavar="ARN", help="Replace the certificate of this ARN.", show_default=False),
    ] = None,
) -> None:
    """
    Import a server certificate, or replace one under its ARN: new connections get it at once, open ones stay.

    One that was imported without --key can be given its key: import the same certificate with --arn and --key. A
    replacement has the same kind of key, and the same CN or subjectAltName. One that breaks a rule is not taken: the
    last valid certificate is served on, its status is INVALID, and the exit status 1. The private key is stored in the
    server's data directory and never shown.
    """
    if (name is None) == (arn is None):
        raise ConfigurationError("give either a NAME for a new certificate, or --arn to replace one")
    if arn is not None and account is not None:
        raise ConfigurationError("--arn says whose the certificate is: leave --account out")
    given: dict[str, Any] = {"certificate": read_pem(cert, "--cert")}
    if key is not None:
        given["privateKey"] = read_pem(key, "--key")
    if chain is not None:
        given["certificateChain"] = read_pem(chain, "--chain")
    with call.handfast() as api:
        if arn is not None:
            given["serverCertificateArn"] = arn
        else:
            given |= {"name": name, "accountId": account or api.list_accounts()["accounts"][0]["accountId"]}
        answer = api.import_server_certificate(**given)
    answer.pop("ResponseMetadata", None)
    call.answer_facts(
        answer,
        (
            ("ARN", answer["serverCertificateArn"]),
            ("names", ", ".join(answer.get("domainNames", ()))),
            ("until", plain(answer["notAfter"])),
            ("private key", _WITH_KEY if answer["hasPrivateKey"] else _WITHOUT_KEY),
            ("status", answer["status"]),
            ("detail", answer.get("statusDetail")),
        ),
    )
    if answer["status"] != "VALID":
        raise typer.Exit(1)


@server_cert_app.command("list")
@calls_server(operator=True, region=False)
def list_certificates(call: Call, account: _Account = None) -> None:
    """
    List the server certificates of an account, or of all, and how the OCSP stapling of each stands.

    The staple of a certificate is good or revoked, as its responder said, or none; - where no domain configuration asks
    for one (enableOCSPCheck).
    """
    with call.handfast() as api:
        found = api.list_server_certificates(**({} if account is None else {"accountId": account}))
    certificates = found.get("serverCertificates", [])
    if call.as_json:
        print_json(certificates)
        return
    print_table(
        ("name", "account", "names", "until", "key", "staple", "status", "ARN"),
        [
            (
                each["name"],
                each["accountId"],
                ", ".join(each.get("domainNames", ())),
                each["notAfter"],
                "yes" if each["hasPrivateKey"] else "no",
                each.get("stapling", {}).get("state"),
                each["status"],
                each["serverCertificateArn"],
            )
            for each in certificates
        ],
        empty="no server certificates: 'handfast server-cert import NAME --cert FILE --key FILE' imports one",
    )
    for each in certificates:
        if each.get("statusDetail"):
            call.answer(each, f"{each['name']}: {each['statusDetail']}")
        if "stapling" in each:
            call.answer(each, f"{each['name']}: {_in_words(each['stapling'])}")


def _in_words(stapling: dict[str, Any]) -> str:
    """A sentence on what is stapled and how its responder was last asked."""
    held = f"stapled as {stapling['state']} until {plain(stapling['nextUpdate'])}" if "nextUpdate" in stapling else ""
    words = f"OCSP: {held or 'nothing is stapled'}; "
    asked = stapling.get("responder", "the responder")
    if "askedDate" not in stapling:
        return f"{words}{asked} was not asked yet"
    words += f"{asked} was asked at {plain(stapling['askedDate'])}: {stapling['result']}"
    return f"{words}: {stapling['detail']}" if "detail" in stapling else words


@server_cert_app.command("delete")
@calls_server(operator=True, region=False)
def delete(call: Call, arn: Annotated[str, typer.Argument(metavar="ARN", show_default=False)]) -> None:
    """Delete a server certificate and its private key, if it has one. Refused while a domain configuration names it."""
    with call.handfast() as api:
        api.delete_server_certificate(serverCertificateArn=arn)
    call.answer({"serverCertificateArn": arn}, f"{arn} is deleted, and its private key where it had one")
