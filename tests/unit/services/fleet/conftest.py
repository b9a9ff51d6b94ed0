"""The service with two claims and a template, for each test its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.fleet_world import World
from tests.support.registry import OTHER_ACCOUNT, cause, certificate, sqlite_store, with_accounts

from handfast.core.identity.records import CertificateStatus


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Two claims of one account, a certificate of another, and the template `fleet`."""
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        for number in (50, 51):
            await store.insert_certificate(certificate(number, status=CertificateStatus.ACTIVE), cause())
        await store.insert_certificate(certificate(60, scope=OTHER_ACCOUNT, status=CertificateStatus.ACTIVE), cause())
        world = World(store)
        await world.template()
        yield world
