"""
Certificates by the end of their validity, for `handfast ca` and `handfast cert`.

A handfast lists them in that order, a page per call. AWS has no such listing:
there each certificate is described, and all are sorted here.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final

from handfast.cli.call import Call
from handfast.cli.connection import ServerAddress, calling, handfast_api, iot_api
from handfast.cli.output import print_json_list, print_table
from handfast.errors import ConfigurationError
from handfast.printable import printable

DEVICE: Final = "DEVICE"
CA: Final = "CA"
STATUSES: Final = {
    DEVICE: ("ACTIVE", "PENDING_TRANSFER", "PENDING_ACTIVATION", "REGISTER_INACTIVE", "INACTIVE", "REVOKED"),
    CA: ("ACTIVE", "INACTIVE"),
}
IN_USE: Final = frozenset({"ACTIVE", "PENDING_TRANSFER", "PENDING_ACTIVATION"})
"""Expiry of the others locks nobody out."""
TABLE_ROWS: Final = 200
_PAGE: Final = 500

Described = dict[str, Any]


def by_expiry(
    server: ServerAddress,
    kind: str,
    *,
    until: dt.datetime | None = None,
    statuses: Collection[str] = (),
    at_most: int | None = None,
) -> Iterator[Described]:
    """The account's certificates of the kind, those that expire first at the top, asked for as they are read."""
    if server.is_aws:
        return iter(_described_one_by_one(server, kind, until, statuses))
    return _listed(server, kind, until, statuses, _PAGE if at_most is None else min(_PAGE, at_most + 1))


def _listed(
    server: ServerAddress, kind: str, until: dt.datetime | None, statuses: Collection[str], page_size: int
) -> Iterator[Described]:
    asked: dict[str, Any] = {"kind": kind, "pageSize": page_size}
    if until is not None:
        asked["until"] = until
    if statuses:
        asked["status"] = sorted(statuses)
    api = handfast_api(server)
    while True:
        answer = api.list_certificates_by_expiry(**asked)
        yield from answer.get("certificates", [])
        if not answer.get("nextMarker"):
            return
        asked["marker"] = answer["nextMarker"]


def _described_one_by_one(
    server: ServerAddress, kind: str, until: dt.datetime | None, statuses: Collection[str]
) -> list[Described]:
    iot = iot_api(server)
    name, describe = (
        ("list_ca_certificates", iot.describe_ca_certificate)
        if kind == CA
        else ("list_certificates", iot.describe_certificate)
    )
    found = []
    for page in iot.get_paginator(name).paginate():
        for item in page["certificates"]:
            if statuses and item["status"] not in statuses:
                continue
            described = describe(certificateId=item["certificateId"])["certificateDescription"]
            if until is None or described["validity"]["notAfter"] <= until:
                found.append({"kind": kind} | described)
    return sorted(found, key=expires)


def expires(described: Described) -> dt.datetime:
    """The instant at which its validity ends."""
    instant: dt.datetime = described["validity"]["notAfter"]
    return instant


def statuses_asked(given: Sequence[str] | None, *kinds: str) -> list[str]:
    """What `--status` names; ConfigurationError for what is no status of these kinds."""
    known = list(dict.fromkeys(status for kind in kinds for status in STATUSES[kind]))
    wanted = [status.upper() for status in given or ()]
    for status in wanted:
        if status not in known:
            raise ConfigurationError(f"--status is {printable(status, limit=80)!r}: expected one of {', '.join(known)}")
    return wanted


def print_listing(
    call: Call,
    found: Callable[[ServerAddress, int | None], Iterable[Described]],
    heads: Sequence[str],
    row: Callable[[Described], Sequence[Any]],
    *,
    limit: int | None,
    empty: str,
) -> int:
    """
    The listing: with `--json` an array, printed as it arrives; else a table of at most `limit` rows that says when
    there are more. `found` is told how many are wanted at most.

    Returns:
        How many were printed.
    """
    rows = limit if limit is not None or call.as_json else TABLE_ROWS
    server = call.server()
    with calling(server):
        items = iter(found(server, rows))
        if call.as_json:
            return print_json_list(itertools.islice(items, rows))
        shown = list(itertools.islice(items, rows))
        more = next(items, None) is not None
    print_table(heads, [row(item) for item in shown], empty=empty)
    if more:
        print(f"These are the first {len(shown)}; there are more: --limit N shows N, --json all of them.")
    return len(shown)


def left(described: Described, now: dt.datetime) -> str:
    """The time until it expires, or since it did, for a person."""
    seconds = (expires(described) - now).total_seconds()
    days, rest = divmod(int(abs(seconds)), 86400)
    length = f"{days} d" if days else f"{rest // 3600} h" if rest >= 3600 else f"{rest // 60} min"
    return length if seconds >= 0 else f"expired {length} ago"


def days_left(described: Described, now: dt.datetime) -> int:
    """Whole days until it expires, rounded down; negative once it has."""
    return (expires(described) - now) // dt.timedelta(days=1)
