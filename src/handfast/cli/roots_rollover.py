"""`handfast roots add`, `promote` and `retire`: another root for the server, and no device goes dark."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from handfast.cli.connection import CallFailed, calling, find_server, handfast_api, server_runs
from handfast.cli.options import AsJson, DataDir
from handfast.cli.output import print_json
from handfast.cli.roots_keys import (
    KeyPassphraseFile,
    Keys,
    PassphraseFile,
    online_folder,
    pki_folder,
    readable_errors,
    root_keys,
    root_passphrase,
    show_steps,
)
from handfast.errors import ConfigurationError
from handfast.pki import key_folder, system_clock, system_entropy
from handfast.printable import printable
from handfast.services import rehearsal_report, root_changes
from handfast.services import root_ceremony as ceremony
from handfast.services.pki_folder import ROOT_KEYS, PkiFolder


class RootKey(StrEnum):
    """What key a root may have."""

    RSA2048 = "rsa2048"
    RSA4096 = "rsa4096"
    P256 = "p256"
    P384 = "p384"


Number = Annotated[int, typer.Argument(metavar="N", help="The number of the root: 5 for root-ca-5.", min=1, max=9999)]


def add(
    key: Annotated[RootKey, typer.Option("--key", help="What key the new root has.", show_default=False)],
    request: Annotated[
        str | None,
        typer.Option(
            "--request",
            metavar="DIR",
            help="Only write the requests there: the root keys are elsewhere.",
            show_default="all at once, with the root keys at hand",
        ),
    ] = None,
    another: Annotated[
        bool, typer.Option("--another", help="Although one that was added for the same chain is not promoted yet.")
    ] = False,
    keys: Keys = None,
    passphrase_file: PassphraseFile = None,
    data_dir: DataDir = None,
    key_passphrase_file: KeyPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Make a further root, for devices to embed beside the present ones, and an intermediate below it that waits.

    The root's key is made and stays where the other root keys are. The root that carries the chain today signs it, and
    so does the legacy root where its key is there. It is published in trust/; nothing is served below it before
    'roots promote'. Doing it again after an interruption makes no second root; while the new one is not promoted,
    one more for the same chain takes --another.
    """
    folder, online = online_folder(data_dir, key_passphrase_file)
    kind = ROOT_KEYS[key.value]
    if not another:
        root_changes.require_none_waits(folder, kind)
    acts, under = ["root", f"next-{kind}"], folder.next_root()
    with readable_errors():
        if request is not None:
            steps = ceremony.request(folder, online, Path(request), acts, under=under, key=key.value)
            show_steps(steps, as_json, "Next, where the root keys are: handfast roots sign --offline DIR")
            return
        offline = root_keys([], keys, data_dir)
        passphrase = root_passphrase(passphrase_file)
        opened = key_folder(offline, passphrase, system_entropy)
        opened.signing_key(ceremony.carrier(folder, kind).file)  # a wrong passphrase leaves no request behind
        with tempfile.TemporaryDirectory(prefix="handfast-roots-") as made:
            ceremony.request(folder, online, Path(made), acts, under=under, key=key.value)
            ceremony.sign(Path(made), opened, offline, now=system_clock.now(), entropy=system_entropy)
            trust = folder.path.parent / "trust"
            steps = ceremony.install(folder, online, trust, Path(made), now=system_clock.now())
    named = f"root-ca-{under}"
    steps = [dataclasses.replace(step, file=trust / f"{named}.pem") for step in steps if step.act == "root"]
    told = tell_server(folder.path.parent)
    show_steps(
        steps,
        as_json,
        f"{named} is published, and an intermediate below it waits. {told}\n"
        f"Give devices {trust / f'{named}.pem'} beside what they hold. Then: handfast roots rehearse start --share 1",
    )


def promote(
    number: Number,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Do not send the root as the one before it signed it: devices must hold it."),
    ] = False,
    data_dir: DataDir = None,
    key_passphrase_file: KeyPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Let the server's chains of the root's kind hang on it, from now on; the old intermediate is kept.

    The root is sent as the one before it signed it, so that devices which hold only that verify the chain too, until
    --alone. To go back, promote the old root. A running server obeys at once and drops no connection.
    """
    folder = pki_folder(data_dir)
    if server_runs(folder.path.parent):
        done = _ask(folder, "promote_root", rootNumber=number, alone=alone)
    else:
        _, online = online_folder(data_dir, key_passphrase_file)
        chosen = root_changes.promotable(folder, number)
        with readable_errors():
            ceremony.check_serving(folder, online, chosen, now=system_clock.now())
            promotion = root_changes.promote(folder, number, alone=alone)
        done = {
            "rootName": promotion.after,
            "replacedRootName": promotion.before,
            "kind": promotion.kind,
            "intermediate": promotion.intermediate,
            "alone": promotion.alone,
            "changed": promotion.changed,
            "served": False,
        }
    if as_json:
        print_json(done)
        return
    if not done["changed"]:
        print(printable(f"{done['rootName']} carries the {done['kind'].upper()} chain already, sent in this way."))
        return
    when = "from now on" if done["served"] else "from the next start of the server"
    print(printable(f"The {done['kind'].upper()} chain hangs on {done['rootName']} {when} ({done['intermediate']})."))
    if done["replacedRootName"] != done["rootName"]:
        back = done["replacedRootName"].removeprefix("root-ca-")
        print(printable(f"To go back: handfast roots promote {back}"))


def retire(
    number: Number,
    force: Annotated[
        bool, typer.Option("--force", help="Retire it although devices need it, or nobody knows whether any does.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Publish a root no more, when nothing hangs on it.

    Refused, with exit status 1 and every reason, while a served chain hangs on it, while a device that a rehearsal
    found to need it was seen in the last thirty days, and while no rehearsal has shown that devices do without it.
    """
    folder = pki_folder(data_dir)
    now = system_clock.now()
    if server_runs(folder.path.parent):
        done = _ask(folder, "retire_root", rootNumber=number, force=force)
        found = [(each["code"], each["text"]) for each in done.get("blockers", ())]
        retired = bool(done["retired"])
    else:
        blockers = root_changes.blockers(folder, number, rehearsal_report.load(folder.path.parent), now=now)
        found = [(each.code, each.text) for each in blockers]
        retired = root_changes.may_retire(blockers, force=force)
        if retired:
            with readable_errors():
                root_changes.retire(folder, number, folder.path.parent / "trust")
    if as_json:
        print_json({"retired": retired, "blockers": [{"code": code, "text": text} for code, text in found]})
    else:
        for code, text in found:
            print(printable(f"{code}: {text}", limit=1000))
        print(f"root-ca-{number} is {'retired: take it out of trust stores' if retired else 'not retired'}.")
    if not retired:
        raise typer.Exit(1)


def tell_server(data_dir: Path) -> str:
    """A running server takes up what was installed; what to say of it."""
    if not server_runs(data_dir):
        return "A server takes it up when it starts."
    try:
        server = find_server(str(data_dir), None, operator=True)
        with calling(server):
            handfast_api(server).take_up_roots()
    except (CallFailed, ConfigurationError) as error:
        return f"The server could not be told ({printable(str(error), limit=200)}): it follows within the hour."
    return "The server has taken it up."


def _ask(folder: PkiFolder, operation: str, **members: Any) -> dict[str, Any]:
    server = find_server(str(folder.path.parent), None, operator=True)
    with calling(server):
        answer = getattr(handfast_api(server), operation)(**members)
    answer.pop("ResponseMetadata", None)
    return dict(json.loads(json.dumps(answer, default=str)))
