"""A store of each adapter, for the suite that all of them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry import with_accounts
from tests.support.stores import ADAPTERS

from handfast.ports import Store


@pytest.fixture(params=ADAPTERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Empty but for two accounts."""
    async with ADAPTERS[request.param](tmp_path) as opened:
        await with_accounts(opened)
        yield opened
