"""The operations of both APIs on an empty registry, called without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry import Plane, make_plane, sqlite_store, with_accounts


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """Two accounts with nothing in them."""
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        yield await make_plane(store)
