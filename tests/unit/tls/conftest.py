"""Every test of the door runs on uvloop, as the server does, and with both engines."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from handfast.tls.engine import DirectEngine, Engine, PublicEngine


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy()


@pytest.fixture(params=[DirectEngine, PublicEngine], ids=["direct", "public"])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    return request.param  # type: ignore[no-any-return]
