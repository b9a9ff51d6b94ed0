"""The command line over a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command_line import CommandLine, command_line


@pytest.fixture
def handfast(tmp_path: Path) -> Iterator[CommandLine]:
    """`handfast …` against the API in this process."""
    with command_line(tmp_path / "data") as line:
        yield line
