"""`handfast hook` against the API in this process and a webhook on loopback."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import CommandLine
from tests.support.registry import NOW, SCOPE, cause, provisioning_template
from tests.support.webhook_server import YES, reply, webhook_server

from handfast.core.provisioning.hooks import HookName, hook_arn
from handfast.core.provisioning.records import (
    CertificateProviderName,
    CertificateProviderRecord,
    PreProvisioningHook,
)


def test_a_webhook_is_added_tried_listed_and_removed(handfast: CommandLine, tmp_path: Path) -> None:
    assert ["no hooks: 'handfast hook add NAME --url URL' adds one"] == handfast.ok("hook", "list").lines
    with webhook_server() as server:
        server.answers["/vet"] = reply(YES)
        roots = tmp_path / "roots.pem"
        roots.write_text(server.ca_pem)
        url = server.url("/vet?code=hush")
        made = handfast.ok("hook", "add", "vet", "--url", url, "--ca-file", str(roots), "--account", SCOPE.account)
        assert f"vet calls {server.url('/vet')}?…" == made.lines[0]
        assert made.lines[1].startswith("secret = ")
        secret = made.lines[1].removeprefix("secret = ")
        tried = handfast.ok("hook", "test", "vet")
        assert "result             ok: the sample is allowed" == tried.lines[0]
        assert 'answer             {"allowProvisioning": true}' == tried.lines[-1]
        assert "handfast-sample" == server.calls[0].document["clientId"]

        as_provider = handfast("hook", "test", "vet", "--event", "CertificateProvider")
        assert (1, "CertificateProvider") == (as_provider.status, server.calls[-1].headers["handfast-event"])
        assert "certificatePem is no text" in as_provider.out

        server.answers["/vet"] = reply(YES, "302 Found", "Location: http://169.254.169.254/")
        denied = handfast("hook", "test", "vet")
        assert 1 == denied.status
        assert "refused: the sample is denied" in denied.out
        assert "redirects are not followed" in denied.out
    head, row, *detail = handfast.ok("hook", "list").lines
    assert "PreProvisioning: it answered with the HTTP status 302; redirects are not followed" == " ".join(
        " ".join(detail).split()
    )
    assert ["name", "calls", "accounts", "limit", "last", "call", "result", "took"] == head.split()
    assert ["vet", f"{server.url('/vet')}?…", SCOPE.account, "5", "s"] == row.split()[:5]
    assert "refused" in row
    (listed,) = handfast.ok("hook", "list", "--json").json
    assert ["refused", "invalid", "ok"] == [call["result"] for call in listed["calls"]]
    assert listed["ownRoots"]
    for shown in (str(listed), handfast.ok("audit", "--json").out):
        assert secret not in shown
        assert "hush" not in shown
    assert "vet is removed" in handfast.ok("hook", "remove", "vet").out
    gone = handfast("hook", "remove", "vet")
    assert (1, "") == (gone.status, gone.out)
    assert "There is no hook of the name vet" in gone.err


def test_a_hook_that_is_named_is_removed_by_force_alone(handfast: CommandLine) -> None:
    for name in ("vet", "v_t"):
        handfast.ok("hook", "add", name, "--url", "https://hooks.example.com/")
    target = hook_arn(SCOPE, HookName("vet"))
    template = provisioning_template("line-3", hook=PreProvisioningHook(target_arn=target))
    handfast.wait(handfast.store.create_provisioning_template(template, cause(), limit=9))
    provider = CertificateProviderRecord(
        scope=SCOPE,
        name=CertificateProviderName("signer"),
        function_arn=target,
        request_digest="d1",
        creation_date=NOW,
        last_modified_date=NOW,
    )
    handfast.wait(handfast.store.create_certificate_provider(provider, cause()))
    said = handfast.refused("hook", "remove", "vet")
    where = f"(account {SCOPE.account}, {SCOPE.region})"
    assert f"named by: provisioning template line-3 {where}; certificate provider signer {where}." in said
    assert "--force" in said
    assert ["v_t is removed"] == handfast.ok("hook", "remove", "v_t").lines
    assert ["vet"] == [hook.name for hook in handfast.wait(handfast.store.hooks())]
    assert "vet is removed; devices of templates" in handfast.ok("hook", "remove", "vet", "--force").out


def test_a_secret_of_one_s_own_is_not_printed(handfast: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("correct-horse-battery\nsecond line\n")
    url = "https://hooks.example.com/"
    made = handfast.ok("hook", "add", "vet", "--url", url, "--secret-file", str(file), "--timeout", "0.5", "--json")
    assert "correct-horse" not in made.out
    assert 500 == made.json["timeoutMilliseconds"]
    stored = handfast.wait(handfast.store.hooks())
    assert ["correct-horse-battery"] == [hook.secret for hook in stored]


def test_what_cannot_be_is_one_line(handfast: CommandLine, tmp_path: Path) -> None:
    binary = tmp_path / "roots.der"
    binary.write_bytes(b"\x30\x82\xff")
    url = "https://hooks.example.com/"
    for arguments, said in [
        (("add", "vet", "--url", "http://169.254.169.254/latest"), "must begin with https://"),
        (
            ("add", "a.b", "--url", url),
            "Value 'a.b' at 'hookName' failed to satisfy constraint: Member must be letters, digits",
        ),
        (("add", "vet", "--url", url, "--ca-file", str(binary)), "is not PEM"),
        (("add", "vet", "--url", url, "--ca-file", str(tmp_path / "none")), "cannot be read"),
        (("add", "vet", "--url", url, "--secret-file", str(tmp_path / "none")), "cannot be read"),
        (("add", "vet", "--url", url, "--timeout", "9"), "timeoutMilliseconds"),
        (("test", "vet"), "There is no hook"),
        (("add", "vet", "--url", url, "--profile", "default"), "operator"),
    ]:
        done = handfast("hook", *arguments)
        assert done.status in (1, 2)
        assert said in done.err
        assert 1 == len(done.err.splitlines())
