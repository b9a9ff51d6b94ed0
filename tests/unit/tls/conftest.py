"""Every test of the door runs on uvloop, as the server does, and with both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import Engine
from handfast.tls.openssl.public import PublicEngine


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[DirectEngine, PublicEngine], ids=["direct", "public"])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    return request.param  # type: ignore[no-any-return]
