"""`handfast explain`: why a device or a request was refused, in words."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.output import folded, plain, print_json
from handfast.core.identity.refusal import Stage
from handfast.printable import printable

STAGES = {
    "tls": "in the TLS handshake",
    "account": "when its account was looked for",
    "certificate": "when its certificate was looked up",
    "protocol": "by the rules of MQTT or HTTP",
    "connect": "when it asked to connect",
    "will": "because of its Will",
    "publish": "when it published",
    "retain": "when it published a retained message",
    "subscribe": "when it subscribed",
    "receive": "when a message was about to be delivered to it",
    "api": "at the API",
}
_FACTS = (
    ("resource", "resource"),
    ("clientId", "client id"),
    ("certificateId", "certificate id"),
    ("serialNumber", "serial number"),
    ("accountId", "account"),
    ("region", "region"),
    ("sni", "server name (SNI)"),
    ("alpn", "ALPN"),
)


@calls_server(operator=True, region=False)
def explain(
    call: Call,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[TRACE|CERTIFICATE_ID|SERIAL|CLIENT_ID|ADDRESS|REASON]",
            help="What to look for; without it the newest refusals.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=250, help="At most so many.")] = 5,
) -> None:
    """
    Say in plain words what was refused, why, and what to do.

    What a client offered in its ClientHello is told where the handshake failed, and with --json always. Exit status 1
    when nothing was found.
    """
    given: dict[str, Any] = {"maxResults": limit} | ({"query": what} if what else {})
    with call.handfast() as api:
        refusals: list[dict[str, Any]] = api.explain(**given).get("refusals", [])
    if call.as_json:
        print_json(refusals)
    elif refusals:
        text = "\n\n".join(in_words(refusal) for refusal in refusals)
        print(folded(text, hanging=3) if sys.stdout.isatty() else text)
    else:
        about = f" about {printable(what)!r}" if what else ""
        print(f"Nothing{about} was refused, as far as is still recorded.")
    if not refusals:
        raise typer.Exit(1)


def in_words(refusal: dict[str, Any]) -> str:
    """One refusal for a person, every string of it escaped."""
    stage = str(refusal.get("stage", ""))
    address = f" {printable(str(refusal['address']))}" if refusal.get("address") else ""
    lines = [
        f"{printable(plain(refusal.get('at')))}{address} was refused {STAGES.get(stage, printable(stage))} "
        f"(trace {printable(str(refusal.get('traceId', '')))})"
    ]
    reasons = refusal.get("reasons", [])
    what_to_do = "What to do first" if len(reasons) > 1 else "What to do"
    for number, reason in enumerate(reasons, 1):
        mark = f"{number}. " if len(reasons) > 1 else ""
        said = reason.get("explanation") or reason.get("detail") or reason.get("code", "")
        lines.append(f"  {mark}{printable(str(said))}")
        if reason.get("explanation") and reason.get("detail") and reason["detail"] not in reason["explanation"]:
            lines.append(f"     {printable(str(reason['detail']))}")
        if reason.get("fix"):
            lines.append(f"     {what_to_do}: {printable(str(reason['fix']))}")
            what_to_do = "What to do"
    facts = [(label, refusal[key]) for key, label in _FACTS if refusal.get(key)]
    told = {str(value) for _, value in facts}
    more = sorted((refusal.get("facts") or {}).items())
    if stage != Stage.TLS:  # what the ClientHello offered fills the screen, and the handshake is done
        more = [(name, value) for name, value in more if not name.startswith("offered_")]
    facts += [(_label(name), _with_remark(name, value)) for name, value in more if str(value) not in told]
    lines += [f"  {printable(label)}: {printable(str(value))}" for label, value in facts]
    codes = [printable(str(r.get("code", ""))) for r in reasons]
    aws = [printable(str(r["awsLogReason"])) for r in reasons if r.get("awsLogReason")]
    lines.append(f"  code: {', '.join(codes)}" + (f" (AWS logs {', '.join(aws)})" if aws else ""))
    return "\n".join(lines)


def _with_remark(name: str, value: object) -> object:
    """The key exchange of a handshake says whether it withstands a quantum computer."""
    return f"{value} (post-quantum hybrid)" if name == "group" and "MLKEM" in str(value) else value


def _label(name: str) -> str:
    return str(name).replace("_", " ").replace("offered offered", "offered")
