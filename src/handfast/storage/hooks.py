"""The operator's webhooks: the operations on their table. Commands are not here: they come from the settings alone."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, delete, func, literal, select

from handfast.core.identity.ids import AccountId
from handfast.core.provisioning.hooks import HookName, Webhook, shown_url
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.secretbox import SecretBox, open_plain, seal_plain
from handfast.storage.tables import certificate_providers, hooks, provisioning_templates

_H = hooks.c
_P = certificate_providers.c
_T = provisioning_templates.c
_USERS_TOLD = 10


def add(connection: Connection, hook: Webhook, limit: int, box: SecretBox | None, cause: Cause) -> list[Change]:
    row = {
        "name": hook.name,
        "url": hook.url,
        "secret": seal_plain(hook.secret) if box is None else box.seal(hook.secret, sealed_name(hook.name)),
        "ca_pem": hook.ca_pem,
        "accounts": json.dumps(hook.accounts),
        "timeout_ms": round(hook.timeout_s * 1000),
        "creation_date": hook.creation_date,
    }
    if connection.execute(insert_or_ignore(connection, hooks).returning(_H.name), row).first() is None:
        raise StoreConflict("exists", f"Hook {hook.name} exists")
    if connection.execute(select(func.count()).select_from(hooks)).scalar_one() > limit:
        raise StoreConflict("limit", f"There are {limit} hooks", limit=limit)
    return record(connection, cause, _change(hook.name), after=_facts(hook))


def get(connection: Connection, name: HookName, box: SecretBox | None) -> Webhook | None:
    row = connection.execute(select(hooks).where(_H.name == name)).first()
    return None if row is None else _webhook(row, box)


def list_all(connection: Connection, box: SecretBox | None) -> list[Webhook]:
    return [_webhook(row, box) for row in connection.execute(select(hooks).order_by(_H.name))]


def remove(connection: Connection, name: HookName, box: SecretBox | None, force: bool, cause: Cause) -> list[Change]:
    old = get(connection, name, box)
    if old is None:
        raise StoreConflict("missing", f"Hook {name} does not exist")
    names = [] if force else _named_by(connection, name)
    if names:
        raise StoreConflict("named", f"Hook {name} is named by {', '.join(names)}", names=names)
    connection.execute(delete(hooks).where(_H.name == name))
    return record(connection, cause, _change(name), before=_facts(old))


def _named_by(connection: Connection, name: HookName) -> list[str]:
    """The templates and certificate providers whose devices the hook decides about, in words; the first ones."""
    found = []
    for what, table, named, arn in (
        ("provisioning template", _T, _T.template_name, _T.hook_target_arn),
        ("certificate provider", _P, _P.name, _P.function_arn),
    ):
        wanted = literal("arn:aws:lambda:") + table.region + ":" + table.account_id + f":function:{name}"
        query = select(named, table.account_id, table.region).where(arn == wanted).order_by(table.account_id, named)
        found += [
            f"{what} {row[0]} (account {row[1]}, {row[2]})" for row in connection.execute(query.limit(_USERS_TOLD))
        ]
    return found[:_USERS_TOLD]


def sealed_name(name: str) -> str:
    """What the sealed secret of the hook is bound to: never the name of an access key."""
    return f"hook/{name}"


def _change(name: HookName) -> Change:
    return Change(ChangeKind.HOOK, None, name)


def _facts(hook: Webhook) -> dict[str, Any]:
    return {
        "url": shown_url(hook.url),
        "accounts": list(hook.accounts),
        "timeoutMilliseconds": round(hook.timeout_s * 1000),
        "ownRoots": hook.ca_pem is not None,
    }


def _webhook(row: Row[*tuple[Any, ...]], box: SecretBox | None) -> Webhook:
    return Webhook(
        name=HookName(row.name),
        url=row.url,
        secret=open_plain(row.secret) if box is None else box.open(row.secret, sealed_name(row.name)),
        ca_pem=row.ca_pem,
        accounts=tuple(AccountId(account) for account in json.loads(row.accounts)),
        timeout_s=row.timeout_ms / 1000,
        creation_date=row.creation_date,
    )
