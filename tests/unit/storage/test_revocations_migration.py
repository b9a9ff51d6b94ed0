"""What was REVOKED before there was a table of revocations is in it afterwards, where it was issued here."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.unit.storage.test_every_migration import REVISIONS, make

from handfast.storage import migrations
from handfast.storage.sql import SQLStore

(FILE,) = (Path(migrations.__file__).parent / "versions").glob("*_revocations.py")
BEFORE = REVISIONS[REVISIONS.index(FILE.name[:4]) - 1]


async def test_certificates_that_are_revoked_already(tmp_path: Path) -> None:
    path = tmp_path / "handfast.db"
    make(path, BEFORE)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE certificates SET mode = 'DEFAULT', ca_certificate_id = NULL WHERE status = 'REVOKED'")
        revoked = raw.execute("SELECT pem FROM certificates WHERE status = 'REVOKED'").fetchall()
    raw.close()
    store = await SQLStore.open(path)
    found = await store.revocations_after(0, 10)
    await store.close()
    assert 1 == len(revoked)
    assert [(1, revoked[0][0], "unspecified")] == [(each.sequence, each.pem, each.reason) for each in found]
