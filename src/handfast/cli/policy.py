"""`handfast policy`: what policies decide, what a draft would change, and what is wrong with a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.output import plain, print_json, print_table
from handfast.cli.policy_files import principal_id, read_document, statement_text
from handfast.cli.policy_lint import lint
from handfast.cli.policy_replay import replay
from handfast.core.policy.reading import MAX_TEXT_CHARACTERS
from handfast.errors import ConfigurationError
from handfast.printable import printable

policy_app = typer.Typer(no_args_is_help=True, help="Policies: test, replay and lint them before a rollout.")
policy_app.command("replay")(replay)
policy_app.command("lint")(lint)

ACTIONS = {
    "connect": "CONNECT",
    "publish": "PUBLISH",
    "retain": "RETAIN_PUBLISH",
    "retainpublish": "RETAIN_PUBLISH",
    "subscribe": "SUBSCRIBE",
    "receive": "RECEIVE",
}


@policy_app.command("test")
@calls_server()
def ask(
    call: Call,
    principal: Annotated[
        str, typer.Argument(metavar="PRINCIPAL", help="A certificate id, a certificate's ARN, or its PEM file.")
    ],
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="connect, publish, retain, subscribe or receive; or iot:Publish.")
    ],
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]",
            help="The topic, or topic filter; to connect, the client id.",
            show_default=False,
        ),
    ] = None,
    client_id: Annotated[
        str | None,
        typer.Option(
            "--client-id",
            metavar="ID",
            help="Client id of the connection.",
            show_default="the certificate's thing, else none, as over HTTPS",
        ),
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option(
            "--draft",
            metavar="FILE",
            help="Document to judge as if it were in force: of the policy --policy, added where it is not attached.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="NAME", help="The draft's policy.", show_default="the file's name, no suffix"),
    ] = None,
    source_ip: Annotated[
        str | None, typer.Option("--source-ip", metavar="ADDRESS", help="The device's address.")
    ] = None,
    persistent: Annotated[
        bool, typer.Option("--persistent", help="To connect: with a session that outlives the connection.")
    ] = False,
    will: Annotated[
        str | None, typer.Option("--will", metavar="TOPIC", help="To connect: with a Will for this topic.")
    ] = None,
) -> None:
    """
    Say what the gateway decides about one question, and why.

    Exit status 1 when it is denied.
    """
    asked = ACTIONS.get(action.lower().removeprefix("iot:"))
    if asked is None:
        raise ConfigurationError(
            f"ACTION is {printable(action, limit=80)!r}: expected connect, publish, retain, subscribe or receive"
        )
    name = topic if topic is not None else client_id if asked == "CONNECT" else None
    if name is None:
        raise ConfigurationError("TOPIC is missing: name the topic, the topic filter or, to connect, the client id")
    if draft is None and policy is not None:
        raise ConfigurationError("--policy names the policy of a draft: give --draft FILE too")
    given: dict[str, Any] = {"principal": principal_id(principal), "action": asked, "name": name}
    if client_id is not None and asked != "CONNECT":
        given["clientId"] = client_id
    if draft is not None:
        given["draft"] = {
            "policyName": policy or draft.stem,
            "policyDocument": read_document(draft),
            "use": "ADD",
        }
    if source_ip is not None:
        given["sourceIp"] = source_ip
    if persistent:
        given["persistentSession"] = True
    if will is not None:
        given["lastWillTopic"] = will
    with call.handfast() as api:
        answer: dict[str, Any] = api.test_policy(**given)
    answer.pop("ResponseMetadata", None)
    if call.as_json:
        print_json(answer)
    else:
        print("\n".join(_in_words(answer)))
    if answer["decision"] != "ALLOWED":
        raise typer.Exit(1)


def _in_words(answer: dict[str, Any]) -> list[str]:
    lines = [f"{answer['decision']}  {printable(answer['resource'], limit=2000)}"]
    lines += [f"  by {statement_text(each)}" for each in answer.get("statements", [])]
    if not answer.get("policies"):
        lines.append("  no policy is attached")
    elif answer["decision"] == "IMPLICIT_DENY":
        lines.append("  no statement allows it")
    client = answer.get("clientId")
    lines.append(f"  client id: {printable(client) if client is not None else 'none, as over HTTPS'}")
    lines.append(f"  thing: {printable(plain(answer.get('thingName')))}")
    lines += [f"  ${{{printable(n)}}} = {', '.join(map(printable, v))}" for n, v in answer.get("variables", {}).items()]
    if answer.get("missing"):
        lines.append(f"  without a usable value: {', '.join(map(printable, answer['missing']))}")
    asked = ", ".join(f"{printable(each['policyName'])} ({printable(each['version'])})" for each in answer["policies"])
    if asked:
        lines.append(f"  policies (version): {asked}")
    return lines


@policy_app.command("list")
@calls_server()
def list_policies(call: Call) -> None:
    """List the account's policies."""
    with call.iot() as iot:
        found = [each for page in iot.get_paginator("list_policies").paginate() for each in page["policies"]]
    if call.as_json:
        print_json(found)
        return
    print_table(("policy", "ARN"), [(each["policyName"], each["policyArn"]) for each in found], empty="no policies")


@policy_app.command("show")
@calls_server()
def show_policy(call: Call, name: Annotated[str, typer.Argument(metavar="NAME", help="The policy.")]) -> None:
    """Print a policy's document, the default version's."""
    with call.iot() as iot:
        found = iot.get_policy(policyName=name)
    found.pop("ResponseMetadata", None)
    if call.as_json:
        print_json(found)
    else:
        print("\n".join(printable(line, limit=MAX_TEXT_CHARACTERS) for line in found["policyDocument"].splitlines()))
