"""
Fill a stopped handfast's registry: python -m benchmarks.register DATA_DIR FLEET_DIR --account ID --region NAME

Every certificate of the fleet is registered ACTIVE in DEFAULT mode; those that connect get the policy that says
what mosquitto's ACL says: publish below one's own name, listen to anybody's `up` topics. It talks to the store
itself, because a hundred thousand API calls would measure patience.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime as dt
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

from benchmarks.make_fleet import client_certificates, filler_certificates
from cryptography import x509

from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope
from handfast.core.identity.records import CertificateMode, CertificateRecord, CertificateStatus, PolicyRecord
from handfast.errors import StoreConflict
from handfast.ports import Cause
from handfast.storage.sql import SQLStore

POLICY = PolicyName("benchmark")
_BATCH = 2_000
_OWN = "${iot:Certificate.Subject.CommonName}"


def policy_document(scope: Scope) -> str:
    """The policy of every device: as narrow as the ACL patterns `write dev/%u/#` and `read dev/+/up/+`."""
    prefix = f"arn:aws:iot:{scope.region}:{scope.account}"
    allowed = {
        "iot:Connect": f"client/{_OWN}",
        "iot:Publish": f"topic/dev/{_OWN}/*",
        "iot:Subscribe": "topicfilter/dev/*/up/*",
        "iot:Receive": "topic/dev/*/up/*",
    }
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": f"{prefix}:{resource}"}
        for action, resource in allowed.items()
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _records(scope: Scope, certificates: Iterable[bytes], now: dt.datetime) -> Iterator[CertificateRecord]:
    validity: tuple[dt.datetime, dt.datetime] | None = None
    for der in certificates:
        if validity is None:  # the whole fleet has the same
            first = x509.load_der_x509_certificate(der)
            validity = first.not_valid_before_utc, first.not_valid_after_utc
        yield CertificateRecord(
            scope=scope,
            certificate_id=CertificateId(hashlib.sha256(der).hexdigest()),
            pem=_pem(der),
            status=CertificateStatus.ACTIVE,
            mode=CertificateMode.DEFAULT,
            creation_date=now,
            last_modified_date=now,
            not_before=validity[0],
            not_after=validity[1],
            generation_id=str(uuid4()),
        )


async def register(data_dir: Path, scope: Scope, connecting: Iterable[bytes], others: Iterable[bytes]) -> int:
    """Certificates in DER are registered in `scope`, those that connect with the policy; how many there are."""
    now = dt.datetime.now(dt.UTC)
    cause = Cause(actor="benchmark", address="", operation="benchmark", request_id=str(uuid4()), at=now)
    store = await SQLStore.open(data_dir / "handfast.db")
    try:
        policy = PolicyRecord(
            scope=scope,
            policy_name=POLICY,
            default_version_id="1",
            document=policy_document(scope),
            creation_date=now,
            last_modified_date=now,
            generation_id=str(uuid4()),
        )
        await store.create_policy(policy, cause)
        clients = list(_records(scope, connecting, now))
        fillers = _records(scope, others, now)
        total = await _insert(store, iter(clients), cause) + await _insert(store, fillers, cause)
        for start in range(0, len(clients), _BATCH):
            await asyncio.gather(
                *(
                    store.attach_policy(scope, POLICY, client.certificate_id, limit=10, cause=cause)
                    for client in clients[start : start + _BATCH]
                )
            )
        return total
    finally:
        await store.close()


async def _insert(store: SQLStore, records: Iterator[CertificateRecord], cause: Cause) -> int:
    total = 0
    while batch := list(islice(records, _BATCH)):
        for outcome in await store.insert_certificates(batch, cause):
            if isinstance(outcome, StoreConflict):
                raise outcome
        total += len(batch)
    return total


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.register")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("fleet", type=Path)
    parser.add_argument("--account", required=True)
    parser.add_argument("--region", default="us-east-1")
    arguments = parser.parse_args()
    began = time.monotonic()
    scope = Scope(AccountId(arguments.account), arguments.region)
    total = asyncio.run(
        register(arguments.data_dir, scope, client_certificates(arguments.fleet), filler_certificates(arguments.fleet))
    )
    print(f"{total:,} certificates registered in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
