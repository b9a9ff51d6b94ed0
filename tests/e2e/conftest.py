"""One server for the tests that only use it; tests that stop or configure one start their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server import Server, start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with every default, on free ports."""
    running = start(tmp_path_factory.mktemp("plane") / "data")
    yield running
    assert running.process.poll() is None, f"the server died:\n{running.log.read_text()[-4000:]}"
    assert 0 == running.stop()
    log = running.log.read_text()
    assert "Traceback" not in log, log[-6000:]


@pytest.fixture
def iot(server: Server) -> Any:
    return server.client()


@pytest.fixture
def endpoint_resolves(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint's name, which in this process resolves to the server as the hosts file would make it."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host == server.endpoint else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return server.endpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test keeps its devices' files."""
    return tmp_path / "devices"
