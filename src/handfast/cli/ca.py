"""`handfast ca`: the account's own CAs, through the running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.expiry import CA, by_expiry, expires, print_listing, statuses_asked
from handfast.cli.options import CertificateId, Limit, Status
from handfast.errors import ConfigurationError

ca_app = typer.Typer(help="Your own CAs: register them, look at them, deactivate them.")


@ca_app.command("register")
@calls_server()
def register(
    call: Call,
    ca: Annotated[Path, typer.Argument(metavar="CA.PEM", help="The CA certificate.")],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The CA's private key, used here and not sent.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", metavar="FILE", help="First line: the key's passphrase.")
    ] = None,
    offline: Annotated[
        Path | None,
        typer.Option("--offline", metavar="DIR", help="In two halves: the CA's key stays on another machine."),
    ] = None,
    sni_only: Annotated[
        bool, typer.Option("--sni-only", help="Register in SNI_ONLY mode, which needs no proof and no key.")
    ] = False,
    inactive: Annotated[bool, typer.Option("--inactive", help="Leave it INACTIVE.")] = False,
    auto_registration: Annotated[
        bool, typer.Option("--auto-registration", help="Allow its devices to register themselves.")
    ] = False,
) -> None:
    """
    Register a CA and prove that you hold its key.

    Gets the registration code, signs a verification certificate with the CA's key and registers. With --offline DIR
    the first run writes what must be signed, the second takes back what was.
    """
    from handfast.cli.ceremony import collect, prepare, read_ca, verification_certificate

    if [key is not None, offline is not None, sni_only].count(True) != 1:
        raise ConfigurationError("give one of --key FILE, --offline DIR and --sni-only")
    if passphrase_file is not None and key is None:
        raise ConfigurationError("--passphrase-file needs --key")
    parsed = read_ca(ca)
    given: dict[str, Any] = {"caCertificate": parsed.pem, "setAsActive": not inactive}
    with call.iot() as iot:
        if sni_only:
            given["certificateMode"] = "SNI_ONLY"
        else:
            code = iot.get_registration_code()["registrationCode"]
            if key is not None:
                proof: str | None = verification_certificate(parsed, key, _first_line(passphrase_file), code)
            else:
                assert offline is not None
                proof = collect(offline, code)
                if proof is None:
                    prepare(offline, parsed, code)
                    _say_offline(call, offline, ca)
                    return
            given["verificationCertificate"] = proof
        if auto_registration:
            given["allowAutoRegistration"] = True
        answer = iot.register_ca_certificate(**given)
    answer.pop("ResponseMetadata", None)
    status = "INACTIVE" if inactive else "ACTIVE"
    call.answer(answer | {"status": status}, f"{answer['certificateId']} is registered, {status}")


@ca_app.command("list")
@calls_server()
def list_cas(call: Call, status: Status = None, limit: Limit = None) -> None:
    """List the CAs, those that expire first at the top."""
    statuses = statuses_asked(status, CA)
    print_listing(
        call,
        lambda server, rows: by_expiry(server, CA, statuses=statuses, at_most=rows),
        ("expires", "status", "mode", "auto-registration", "certificate id"),
        lambda ca: (
            expires(ca),
            ca["status"],
            ca.get("certificateMode"),
            ca.get("autoRegistrationStatus"),
            ca["certificateId"],
        ),
        limit=limit,
        empty="no CA certificates",
    )


@ca_app.command("show")
@calls_server()
def show(call: Call, certificate_id: CertificateId) -> None:
    """Show one CA."""
    with call.iot() as iot:
        ca = iot.describe_ca_certificate(certificateId=certificate_id)["certificateDescription"]
    call.answer_facts(
        ca,
        (
            ("expires", ca["validity"]["notAfter"]),
            ("status", ca["status"]),
            ("mode", ca.get("certificateMode")),
            ("auto-registration", ca.get("autoRegistrationStatus")),
            ("created", ca["creationDate"]),
            ("changed", ca["lastModifiedDate"]),
            ("arn", ca["certificateArn"]),
        ),
    )


@ca_app.command("deactivate")
@calls_server()
def deactivate(call: Call, certificate_id: CertificateId) -> None:
    """Stop a CA from vouching for new devices; those that are registered stay as they are."""
    with call.iot() as iot:
        iot.update_ca_certificate(
            certificateId=certificate_id, newStatus="INACTIVE", newAutoRegistrationStatus="DISABLE"
        )
    call.answer({"certificateId": certificate_id, "status": "INACTIVE"}, f"{certificate_id} is INACTIVE")


def _first_line(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise ConfigurationError(f"--passphrase-file {path} cannot be read: {error.strerror}") from None


def _say_offline(call: Call, folder: Path, ca: Path) -> None:
    call.answer(
        {"folder": str(folder.absolute()), "next": "sign.sh"},
        f"{folder}/ holds what must be signed. Take it to the machine with the CA's key and run",
        f"  sh {folder}/sign.sh /path/to/ca.key",
        "then bring it back and run the same command again:",
        f"  handfast ca register {ca} --offline {folder}",
    )
