"""What expires soon, asked of a real server with the command line, and what its metrics say."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
import urllib.request
import uuid
from typing import Any

from tests.support.registry import self_signed
from tests.support.server import Server

DAY = dt.timedelta(days=1)


def register(iot: Any, days: float, status: str = "ACTIVE") -> str:
    """A certificate that ends in so many days, registered without a CA."""
    now = dt.datetime.now(dt.UTC)
    pem = self_signed(uuid.uuid4().hex, not_before=now - DAY, not_after=now + days * DAY)
    made = iot.register_certificate_without_ca(certificatePem=pem, status=status)
    return str(made["certificateId"])


def test_expiring_certificates_in_order_and_the_exit_status(server: Server, iot: Any) -> None:
    late, soon, next_month = register(iot, 100), register(iot, 0.25), register(iot, 20)
    idle, revoked = register(iot, 0.2, "INACTIVE"), register(iot, 0.2, "REVOKED")
    ours = {late, soon, next_month, idle, revoked}

    done = server.handfast("cert", "expiring", "--within", "30d")
    assert [soon, next_month, idle] == [each for each in re.findall("[0-9a-f]{64}", done.stdout) if each in ours]
    # Where other rows leave no room for the id, it stands below its row.
    assert re.search(rf"^5 h +device +ACTIVE\b.*(?:\n  .*)*?{soon}$", done.stdout, re.MULTILINE)
    whole = json.loads(server.handfast("cert", "expiring", "--within", "30d", "--json").stdout)
    (row,) = [row for row in whole if row["certificateId"] == soon]
    assert ("DEVICE", "ACTIVE", "SNI_ONLY") == (row["kind"], row["status"], row["certificateMode"])

    failing = server.handfast("cert", "expiring", "--within", "12h", "--status", "ACTIVE", "--fail", check=False)
    assert (1, "") == (failing.returncode, failing.stderr)
    assert soon in failing.stdout
    assert next_month not in failing.stdout
    iot.update_certificate(certificateId=soon, newStatus="REVOKED")
    assert soon not in server.handfast("cert", "expiring", "--within", "12h").stdout

    listed = server.handfast("cert", "list", "--limit", "100000").stdout.splitlines()
    assert [soon, next_month, late] == [
        line.split()[-1] for line in listed if line.split()[-1] in ours - {idle, revoked}
    ]


def test_metrics_say_what_expires_when_and_when_the_servers_own_certificates_do(server: Server) -> None:
    deadline = time.monotonic() + 15
    text = ""
    while 'bucket="later",kind="ca"' not in text:  # counted once at the start, beside the event loop
        assert time.monotonic() < deadline, text
        with urllib.request.urlopen(f"{server.api}/metrics") as answer:
            text = answer.read().decode()
    counts = re.findall(r'^handfast_certificates_expiring{bucket="(\w+)",kind="(\w+)"} ', text, re.MULTILINE)
    buckets = ("expired", "1d", "7d", "30d", "90d", "365d", "later")
    assert {(bucket, kind) for bucket in buckets for kind in ("device", "ca")} == set(counts)
    ends = dict(re.findall(r'^handfast_server_certificate_not_after_seconds{kind="(\w+)"} (\S+)$', text, re.MULTILINE))
    now = time.time()
    assert now < float(ends["leaf"]) < float(ends["intermediate"]) < float(ends["root"])
