"""
Arrows point inward only: which package may import which.

    app ──▶ adapters ──▶ services ──▶ ports ──▶ core

Read from the source with `ast`, so that an import inside a function counts too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

LEAVES = frozenset({"handfast", "errors", "printable"})
"""May be imported by every package but the core: the version, the errors, escaping."""

CORE = {
    # the core's packages, and which others of the core each may use
    "core.topics": set(),
    "core.pki": set(),
    "core.policy": {"core.topics"},
    "core.mqtt": {"core.topics"},
    "core.identity": {"core.pki"},
    "core.provisioning": {"core.identity", "core.pki", "core.policy"},
}
CORE_STDLIB = frozenset(
    [
        "__future__",
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "functools",
        "decimal",
        "hashlib",
        "heapq",
        "hmac",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "string",
        "struct",
        "threading",
        "types",
        "typing",
        "unicodedata",
        "urllib",
        "warnings",
    ]
)
"""Modules of values, and what guards them (a lock, a warning): no sockets, files, clocks, randomness or loops."""
CORE_THIRD_PARTY = frozenset({"cryptography"})

OUTER = {
    # every other package or module, and which of ours it may import (LEAVES are implied)
    "errors": set(),
    "printable": set(),
    "durations": set(),
    "ports": {"core"},
    "seam": {"core"},
    "config": {"core"},
    "datadir": set(),
    "services": {"core", "ports", "seam", "datadir"},  # the PKI and the credentials are files of the directory
    # driving adapters
    "gateway": {"core", "ports", "seam", "services"},
    "control": {"core", "ports", "seam", "services"},
    "data": {"core", "ports", "seam", "services", "wire"},  # the HTTPS door is an HTTP adapter of its own
    "tls": {"core", "seam"},
    "wire": {"core"},
    "doctor": {"core", "services", "datadir"},
    "cli": {"core", "ports", "services", "wire", "config", "datadir", "durations", "doctor"},
    # driven adapters
    "storage": {"core", "ports"},
    "bus": {"core", "ports"},
    "hooks": {"core", "ports"},
    "bulk_inputs": {"core", "ports"},
    "responders": {"core", "ports"},
    "keystore": {"core", "ports", "datadir"},
    "telemetry": {"core", "ports"},
}
COMPOSITION = frozenset(
    {
        "announcing",
        "api_calls",
        "app",
        "audit_trail",
        "backups",
        "bulk_tasks",
        "certificate_status",
        "checking",
        "decision_record",
        "domain_names",
        "doors",
        "first_device",
        "fleet_provisioning",
        "first_connections",
        "front",
        "hooking",
        "legacy_endpoint",
        "listeners",
        "http_server",
        "pki",
        "records",
        "rehearsing",
        "refusal_reports",
        "server_leaves",
        "sighting_record",
        "verifier",
        "websocket_door",
    }
)
"""The composition root and its parts: they introduce the adapters to each other."""
STARTS = {
    "cli.serve": {"app"},
    "cli.roots": {"pki"},
    "cli.roots_keys": {"pki"},
    "cli.roots_rollover": {"pki"},
    "cli.backup": {"backups"},
    "cli.audit": {"audit_trail"},
}
"""A command that runs something of the composition root asks it to."""


def module_name(path: Path, src: Path) -> str:
    parts = path.relative_to(src).with_suffix("").parts[1:]
    return ".".join(part for part in parts if part != "__init__") or "handfast"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            module = node.module or ""
            if module == "handfast":
                for alias in node.names:
                    yield node.lineno, f"handfast.{alias.name}"
            else:
                yield node.lineno, module


def package_of(module: str) -> str:
    """`core.mqtt.codec` → `core.mqtt`, `services.registry` → `services`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "core" and len(parts) > 1 else parts[0]


def violations(src: Path) -> list[str]:
    """Each import that points outward, with its place and what is allowed."""
    found = []
    for path in sorted((src / "handfast").rglob("*.py")):
        module = module_name(path, src)
        package = package_of(module)
        if package.split(".")[0] in COMPOSITION or package in ("handfast", "core"):
            continue
        for line, name in imports(path):
            problem = judge(module, package, name)
            if problem:
                found.append(f"{path.relative_to(src)}:{line}: {module} imports {name}: {problem}")
    return found


def judge(module: str, package: str, name: str) -> str | None:
    top = name.split(".")[0]
    inside_core = package.startswith("core.")
    if top != "handfast":
        if not inside_core:
            return None
        if top in sys.stdlib_module_names:
            return None if top in CORE_STDLIB else "the core uses no module that reaches the world"
        return None if top in CORE_THIRD_PARTY else "the core depends on cryptography alone"
    target = name.removeprefix("handfast").removeprefix(".") or "handfast"
    target_package = package_of(target)
    if target_package == package:
        return None
    if inside_core:
        allowed = CORE.get(package)
        if allowed is None:
            return f"{package} is not in the table of this test"
        if target_package == "errors" or target_package in allowed:
            return None
        return f"{package} may import {', '.join(sorted(allowed | {'errors'}))}"
    outer = OUTER.get(package)
    if outer is None:
        return f"{package} is not in the table of this test"
    if target == "__version__" or target_package in LEAVES or target_package.split(".")[0] in outer:
        return None
    if target_package in STARTS.get(module, set()):
        return None
    return f"{package} may import {', '.join(sorted(outer | LEAVES))}"


def test_imports_point_inward() -> None:
    assert [] == violations(SRC)


def test_no_module_has_a_package_outside_the_table() -> None:
    packages = {
        package_of(module_name(path, SRC))
        for path in (SRC / "handfast").rglob("*.py")
        if "__pycache__" not in str(path)
    }
    assert packages - {"handfast", "core"} <= set(CORE) | set(OUTER) | COMPOSITION


def test_one_package_touches_openssl_and_one_file_of_it_the_private_binding() -> None:
    binding = re.compile(r"\b_(lib|ffi)\b")
    importing = set()
    naming = set()
    for path in (SRC / "handfast").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        place = str(path.relative_to(SRC / "handfast"))
        if "OpenSSL" in text and any(name.split(".")[0] == "OpenSSL" for _, name in imports(path)):
            importing.add(place)
        if binding.search(text):
            naming.add(place)
    # `handfast chain` is a client, with pyOpenSSL's public methods.
    assert {"cli/chain.py"} == {place for place in importing if not place.startswith("tls/openssl/")}
    assert {"tls/openssl/binding.py"} == naming


@pytest.mark.parametrize(
    ("file", "code", "said"),
    [
        ("core/mqtt/x.py", "import socket", "reaches the world"),
        ("core/mqtt/x.py", "import time", "reaches the world"),
        ("core/pki/x.py", "from os import urandom", "reaches the world"),
        ("core/policy/x.py", "import sqlalchemy", "cryptography alone"),
        ("core/topics/x.py", "from handfast.core.mqtt import packets", "core.topics may import errors"),
        ("core/pki/x.py", "from handfast.core.identity import ids", "core.pki may import errors"),
        ("core/mqtt/x.py", "def f():\n    from handfast.core.policy import document", "core.mqtt may import"),
        ("ports.py", "from handfast.services import registry", "ports may import"),
        ("services/x.py", "from handfast.storage import sql", "services may import"),
        ("services/x.py", "from handfast import app", "services may import"),
        ("gateway/x.py", "import handfast.storage.sql", "gateway may import"),
        ("storage/x.py", "from handfast.services.registry import Registry", "storage may import"),
        ("storage/x.py", "from handfast.control import things", "storage may import"),
        ("tls/x.py", "from handfast.services import verdict", "tls may import"),
        ("wire/x.py", "from handfast.services import registry", "wire may import"),
        ("cli/x.py", "from handfast.storage import sql", "cli may import"),
        ("cli/account.py", "from handfast.app import serve", "cli may import"),
        ("new/x.py", "from handfast.core import mqtt", "not in the table"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, code: str, said: str) -> None:
    path = tmp_path / "handfast" / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    (found,) = violations(tmp_path)
    assert said in found


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (
            "core/mqtt/x.py",
            "import struct\nfrom handfast.core.topics import name\nfrom handfast.errors import HandfastError",
        ),
        ("core/pki/x.py", "from cryptography import x509\nimport datetime"),
        ("services/x.py", "import asyncio\nfrom handfast.ports import Store\nfrom handfast.core.policy import match"),
        ("cli/serve.py", "def f():\n    from handfast.app import serve"),
        ("app.py", "import handfast.storage.sql, handfast.gateway, handfast.cli.screens"),
    ],
)
def test_what_points_inward_is_allowed(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / "handfast" / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert [] == violations(tmp_path)
