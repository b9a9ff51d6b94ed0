"""`handfast device`: kits for devices, and a first message with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.options import AsJson
from handfast.cli.output import print_json
from handfast.cli.screens import handfast_command
from handfast.errors import ConfigurationError
from handfast.printable import printable

device_app = typer.Typer(help="Devices: make one, try one.")


@device_app.callback()
def group() -> None:
    """Devices: make one, try one."""


@device_app.command("create")
@calls_server()
def create(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the thing and of the folder.")],
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="p256|p384|rsa2048", help="Kind of key, made here.", show_default="p256"),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Policy document for the device.",
            show_default="connect as NAME; publish, subscribe, receive below NAME/",
        ),
    ] = None,
    csr: Annotated[
        Path | None,
        typer.Option("--csr", metavar="FILE", help="Sign this request; the key stays where it is.", show_default=False),
    ] = None,
    root_ca: Annotated[
        Path | None,
        typer.Option(
            "--root-ca", metavar="FILE", help="Roots for the device.", show_default="those the server publishes"
        ),
    ] = None,
) -> None:
    """
    Make the thing NAME with a certificate, and a folder NAME/ with all that the device needs.

    Uses the public API alone, so with --endpoint-url it works against a remote handfast, or AWS. The private key
    is made on this machine and never leaves it. An existing folder or thing is never overwritten.
    """
    from handfast.cli.kit import create_kit

    if key is not None and csr is not None:
        raise ConfigurationError("--key and --csr were both given: a CSR brings its own key; leave --key out")
    kit = create_kit(
        call.server(), name, Path(name), key_kind=key or "p256", policy_file=policy, csr_file=csr, root_ca=root_ca
    )
    if call.as_json:
        print_json(kit.as_json() | {"folder": str(Path(name).absolute())})
        return
    print(f"{name}/ is ready: certificate {kit.certificate_id}")
    attempt = f"; try: {handfast_command()} device try {name}" if csr is None else ""
    print(f"{name}/README.txt has lines to paste{attempt}")


@device_app.command("try")
def try_device(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="Folder that 'device create' made.")],
    message: Annotated[str, typer.Option("--message", metavar="TEXT", help="What to publish.")] = "Hello, handfast",
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="TOPIC", help="Where to.", show_default="NAME/greeting")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Connect as the device over mutual TLS, subscribe, publish a message and wait for it to arrive.

    Speaks MQTT 5 with the files in the folder and nothing else. Exit status 1 when it does not get through.
    """
    from handfast.cli.first_message import send_first_message
    from handfast.cli.kit import Kit

    kit = Kit.read(folder)
    arrived = send_first_message(
        folder, kit, topic=topic or f"{kit.thing_name}/greeting", payload=message.encode("utf-8")
    )
    if as_json:
        print_json(
            {
                "endpoint": arrived.endpoint,
                "tlsVersion": arrived.tls_version,
                "cipher": arrived.cipher,
                "topic": arrived.topic,
                "payload": arrived.payload.decode("utf-8"),
                "roundTripMs": round(arrived.round_trip_s * 1000, 3),
            }
        )
        return
    print(f"connected   {printable(arrived.endpoint)} as {printable(kit.client_id)}, mutual {arrived.tls_version}")
    print(f"published   {printable(arrived.topic)}")
    shown = printable(arrived.payload.decode("utf-8"))
    print(f"arrived     {printable(arrived.topic)}: {shown} ({arrived.round_trip_s * 1000:.1f} ms)")
