"""
What a backup holds: a tar archive of named members, the last of which, `manifest.json`, tells size and digest of each.

`RULES` is the one table of the files of a data directory. A backup copies them
in its order; a restore takes no name that is not in it. What is in a data
directory and in neither `RULES` nor `NOT_KEPT` is left out, and named.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from handfast.errors import ConfigurationError

FORMAT = 1
MANIFEST = "manifest.json"
REGISTRY = "handfast.db"
BACKUPS = "backups"
"""The folder of the data directory that backups are written to."""
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_MEMBERS = 50_000
MAX_NAME = 100
"""Characters of a member's name: what a tar header holds without an extension."""
ENDING = ".tar"


class Kind(StrEnum):
    """How a member is copied."""

    FILE = "file"
    DATABASE = "database"


class Rule(NamedTuple):
    """
    The members of one kind, by the names below the data directory that match whole.

    `rotated`: the server renames a full file to the name that is read after it.
    """

    kind: Kind
    name: re.Pattern[str]
    what: str
    rotated: bool = False


def _rule(kind: Kind, name: str, what: str, *, rotated: bool = False) -> Rule:
    return Rule(kind, re.compile(name, re.ASCII), what, rotated)


_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
RULES: tuple[Rule, ...] = (
    _rule(Kind.FILE, r"handfast\.json", "format and kind of the directory"),
    # Before the registry: what was sealed in them is in the registry's copy too, never the other way round.
    _rule(Kind.FILE, rf"audit(?:-{_PART})?(?:/{_PART})?", "sealed checkpoints of the audit trail", rotated=True),
    _rule(Kind.FILE, r"credentials", "access keys of the first account and of the operator"),
    _rule(Kind.FILE, rf"trust/{_PART}\.pem", "roots and bundles, as published"),
    # Before the intermediates that it names; none of them ever goes away.
    _rule(Kind.FILE, r"pki/serving\.json", "which intermediates sign the server's certificates"),
    _rule(Kind.FILE, r"rehearsals\.json", "what rehearsals of root changes found"),
    # A key is written before its certificate: so certificates are read before the keys.
    _rule(Kind.FILE, rf"pki/(?:{_PART}/)?{_PART}\.(?:pem|pub)", "certificates and public keys"),
    _rule(Kind.FILE, rf"pki/(?:{_PART}/)?{_PART}\.key", "private keys of the PKI"),
    _rule(Kind.FILE, r"pki/offline/README\.txt", "what to do with the root keys"),
    _rule(Kind.FILE, rf"pki/crl/{_PART}\.(?:crl|json)", "lists of revocations"),
    _rule(Kind.FILE, r"staples/[0-9a-f]{64}\.der", "OCSP responses of the operator's server certificates"),
    _rule(Kind.DATABASE, re.escape(REGISTRY), "the registry"),
    # After the registry: a key is written before the registry names it, and the one before stays for a while.
    _rule(Kind.FILE, rf"server-certificates/{_PART}\.key", "private keys of server certificates that were imported"),
    # After the registry: a task that goes on takes back what they tell of lines that it has not done.
    _rule(Kind.FILE, rf"bulk-reports/{_PART}\.ndjson", "reports of bulk registration tasks"),
    _rule(Kind.DATABASE, r"sessions\.db", "retained messages"),
    _rule(Kind.DATABASE, r"refusals\.db", "the record of refusals"),
    _rule(Kind.DATABASE, r"observations\.db", "what was observed of connections, for handfast check"),
    _rule(Kind.DATABASE, r"sightings\.db", "who came to the legacy endpoint, and who offers which key exchange"),
    _rule(Kind.DATABASE, r"decisions\.db", "the record of what policies decided"),
)
REQUIRED = ("handfast.json", REGISTRY)

NOT_KEPT = re.compile(
    rf"handfast\.lock|serve\.json|{BACKUPS}/.*|[^/]+\.db-(?:wal|shm|journal)|(?:.*/)?\.[^/]*\.tmp", re.DOTALL
)
"""Belongs to the process that runs, or to writing: another one makes it anew."""


def rule_of(name: str) -> Rule | None:
    """The rule that takes the name, if one does."""
    if len(name) > MAX_NAME or ".." in name:
        return None
    return next((rule for rule in RULES if rule.name.fullmatch(name)), None)


class Databases(Protocol):
    """How SQLite files are copied and looked at (storage.snapshot). Blocking; raises ConfigurationError."""

    def copy(self, source: Path, target: Path, looking: Callable[[], None]) -> None:
        """`target`, which is new, holds what `source` held at one instant, whoever writes it meanwhile."""
        ...

    def check(self, path: Path, looking: Callable[[], None]) -> None:
        """The file is a sound database; ConfigurationError when not."""
        ...

    def schema(self, path: Path) -> str:
        """The registry's schema revision; empty where there is none."""
        ...

    def knows(self, schema: str) -> bool:
        """Whether this version can open, or migrate, that revision."""
        ...


class Member(NamedTuple):
    """One file of a backup: its name below the data directory, size in bytes and SHA-256 in lower-case hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself. `left_out` are files that stood in the data directory and are not in it."""

    version: str
    schema: str
    created: dt.datetime
    members: Sequence[Member]
    left_out: Sequence[str] = ()

    @property
    def root_keys(self) -> bool:
        """Whether the root keys are in it."""
        return any(re.match(r"pki/offline/.*\.key$", member.name) for member in self.members)

    def encoded(self) -> bytes:
        """As `manifest.json` holds it."""
        document = {
            "format": FORMAT,
            "version": self.version,
            "schema": self.schema,
            "created": self.created.isoformat(),
            "members": [member._asdict() for member in self.members],
            "leftOut": list(self.left_out),
        }
        return json.dumps(document, indent=1).encode("ascii") + b"\n"

    @classmethod
    def decoded(cls, data: bytes, archive: Path) -> Manifest:
        """
        The manifest that the bytes hold, every value checked.

        Raises:
            ConfigurationError: They hold none, or one of a newer format.
        """
        try:
            document = json.loads(data.decode("ascii"))
            form, version = document["format"], document["version"]
            if type(form) is not int or not isinstance(version, str) or not re.fullmatch(r"[\w.+-]{1,64}", version):
                raise ValueError("format or version")
            if form > FORMAT:
                raise ConfigurationError(
                    f"{archive} was made by handfast {version} in format {form}, this version reads up to {FORMAT}: "
                    f"install handfast {version} and restore with it"
                )
            return cls(
                version=version,
                schema=_text(document["schema"], r"[\w-]{1,64}"),
                created=_instant(document["created"]),
                members=[_member(each) for each in _list(document["members"])],
                left_out=[str(each) for each in _list(document["leftOut"])],
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigurationError(f"{archive} is not a whole backup: its {MANIFEST} cannot be read") from error


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_MEMBERS:
        raise ValueError("a list was expected")
    return value


def _text(value: Any, pattern: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(pattern)
    return value


def _instant(value: Any) -> dt.datetime:
    found = dt.datetime.fromisoformat(_text(value, r"[0-9T:.+-]{1,40}"))
    if found.tzinfo is None:
        raise ValueError("an instant without an offset")
    return found


def _member(value: Any) -> Member:
    name, size, digest = value["name"], value["size"], value["sha256"]
    if not isinstance(name, str) or type(size) is not int or size < 0:
        raise ValueError("a member")
    return Member(name, size, _text(digest, r"[0-9a-f]{64}"))
