"""`handfast hook`: what is called before devices are provisioned, and to issue their certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.call import Call, calls_server
from handfast.cli.key_files import read_pem
from handfast.cli.output import plain, print_json, print_table
from handfast.config.secret_file import secret_from_file

hook_app = typer.Typer(help="Hooks in place of cloud functions: webhooks, and commands of handfast.toml.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 letters, digits, _ and -.")]


@hook_app.command("add")
@calls_server(operator=True, region=False)
def add(
    call: Call,
    name: Name,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="https://…, or http:// to this machine.", show_default=False)
    ],
    secret_file: Annotated[
        str | None,
        typer.Option(
            "--secret-file",
            metavar="FILE",
            help="Its first line is the secret that calls are signed with.",
            show_default="one is made and printed once",
        ),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(
            "--ca-file",
            metavar="FILE",
            help="PEM of the roots that the webhook's certificate must lead to.",
            show_default="those of the server's system",
        ),
    ] = None,
    account: Annotated[
        list[str] | None,
        typer.Option("--account", metavar="ACCOUNT", help="For this account alone; repeatable.", show_default="all"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Of a call in total, 0.1 to 5.", show_default="5"),
    ] = None,
) -> None:
    """
    Add a webhook: it is called by HTTPS POST, signed, and anything but a clear answer in time denies.

    A provisioning template or certificate provider names it arn:aws:lambda:REGION:ACCOUNT:function:NAME. Commands
    are not added here: write [hooks.NAME] into the server's handfast.toml.
    """
    given: dict[str, Any] = {"hookName": name, "url": url}
    if secret_file is not None:
        given["secret"] = secret_from_file(Path(secret_file), "--secret-file")
    if ca_file is not None:
        given["caCertificates"] = read_pem(Path(ca_file), "--ca-file")
    if account:
        given["accounts"] = account
    if timeout is not None:
        given["timeoutMilliseconds"] = round(timeout * 1000)
    hook = _ask(call, "add_hook", **given)
    lines = [f"{hook['hookName']} calls {hook['url']}"]
    if secret_file is None:
        lines.append(f"secret = {hook['secret']}")
        lines.append("The secret verifies the signature of each call. Note it: it is not shown again.")
    else:
        hook.pop("secret", None)
    call.answer(hook, *lines, f"Try it with: handfast hook test {name}")


@hook_app.command("list")
@calls_server(operator=True, region=False)
def list_hooks(call: Call) -> None:
    """List the hooks, and how the last call of each went since the server started."""
    hooks = _ask(call, "list_hooks").get("hooks", [])
    if call.as_json:
        print_json(hooks)
        return
    print_table(
        ("name", "calls", "accounts", "limit", "last call", "result", "took"),
        [_row(hook) for hook in hooks],
        empty="no hooks: 'handfast hook add NAME --url URL' adds one",
        beneath=[_detail(hook) for hook in hooks],
    )


@hook_app.command("remove")
@calls_server(operator=True, region=False)
def remove(
    call: Call,
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Although something names it: its devices are denied from then on.")
    ] = False,
) -> None:
    """
    Remove a webhook.

    Refused while a provisioning template or a certificate provider names it: every device that provisions by those
    would be denied.
    """
    _ask(call, "remove_hook", hookName=name, **({"force": True} if force else {}))
    denied = "; devices of templates and certificate providers that name it are denied" if force else ""
    call.answer({"hookName": name}, f"{name} is removed{denied}")


@hook_app.command("test")
@calls_server(operator=True, region=False)
def try_out(
    call: Call,
    name: Name,
    event: Annotated[
        str, typer.Option("--event", metavar="PreProvisioning|CertificateProvider", help="What it is called for.")
    ] = "PreProvisioning",
) -> None:
    """
    Call a hook with a sample of a device that does not exist.

    As before provisioning, or with a signing request as a certificate provider's hook: the certificate that it
    answers is checked and thrown away. Exit status 1 when the answer would deny the device.
    """
    answer = _ask(call, "test_hook", hookName=name, event=event)
    made = answer["call"]
    allowed = made["result"] == "ok"
    call.answer_facts(
        answer,
        (
            ("result", f"{made['result']}: the sample is {'allowed' if allowed else 'denied'}"),
            ("detail", made.get("detail")),
            ("took", f"{made['latencyMilliseconds']} ms"),
            ("answer", answer.get("answer")),
        ),
    )
    if not allowed:
        raise typer.Exit(1)


def _row(hook: dict[str, Any]) -> tuple[Any, ...]:
    calls = hook.get("calls") or [{}]
    last = calls[0]
    return (
        hook["hookName"],
        hook.get("url") or " ".join(hook.get("command", ())),
        ", ".join(hook.get("accounts", ())) or "all",
        f"{hook['timeoutMilliseconds'] / 1000:g} s",
        plain(last.get("at")),
        last.get("result"),
        f"{last['latencyMilliseconds']} ms" if last else None,
    )


def _detail(hook: dict[str, Any]) -> list[str]:
    """What the last call was for, and what was wrong with it."""
    for last in hook.get("calls", ())[:1]:
        if last.get("detail"):
            return [f"{last['event']}: {last['detail']}"]
    return []


def _ask(call: Call, operation: str, **given: Any) -> dict[str, Any]:
    with call.handfast() as api:
        answer: dict[str, Any] = getattr(api, operation)(**given)
    answer.pop("ResponseMetadata", None)
    return answer
