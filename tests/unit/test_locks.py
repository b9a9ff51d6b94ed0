"""The locked dependencies: what the tests are run with is what users get, and more."""

from __future__ import annotations

import re
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[2] / "requirements"


def _locked(name: str) -> dict[str, tuple[str, set[str]]]:
    """Version and hashes of each package."""
    text = (REQUIREMENTS / name).read_text()
    entries = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    found = [re.match(r"([a-z0-9._-]+)==(\S+)", entry) for entry in entries]
    assert None not in found
    hashes = [set(re.findall(r"sha256:[0-9a-f]{64}", entry)) for entry in entries]
    return {match[1]: (match[2], each) for match, each in zip(found, hashes, strict=True) if match}


def test_the_developers_lock_holds_all_of_the_users() -> None:
    """`make test` installs from dev.lock alone."""
    users = _locked("runtime.lock")
    assert {"cryptography", "starlette", "uvloop"} <= users.keys()
    assert users == {name: entry for name, entry in _locked("dev.lock").items() if name in users}
