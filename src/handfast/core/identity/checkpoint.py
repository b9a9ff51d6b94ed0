"""
Checkpoints of the audit trail: what the sealer signs, as lines of a file.

    {"checkpoint":{…},"signature":"…"}

Each line is JSON in the canonical form of RFC 8785, ASCII alone. The signature is ECDSA with SHA-256 over the bytes
of the inner object as they stand in the line, DER in base64. `previous` is the SHA-256 of the line before, so
that a good signature vouches for every line that leads up to it.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from handfast.core.identity.audit_chain import AuditHead, Finding, FindingKind

VERSION: Final = 1
NO_PREVIOUS: Final = "0" * 64
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""A full set of heads takes about 100 bytes for each account."""
MAX_BREAKS: Final = 100
_OPENING: Final = b'{"checkpoint":'
_BETWEEN: Final = b',"signature":"'
_CLOSING: Final = b'"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """
    One checkpoint. `heads` are those that moved since the checkpoint before, or with `full` those of all chains.

    `rows` counts the rows of all chains. `key` is the SHA-256 of the signing key's SubjectPublicKeyInfo. `breaks`
    are heads that an earlier checkpoint sealed and the sealer did not find again: they stay in every later one.
    """

    number: int
    time: dt.datetime
    full: bool
    heads: Mapping[str, tuple[int, str]]
    rows: int
    previous: str
    key: str
    breaks: Sequence[AuditHead] = field(default=())

    def signed_bytes(self) -> bytes:
        """The canonical JSON that is signed."""
        return _canonical(
            {
                "version": VERSION,
                "number": self.number,
                "time": self.time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "full": self.full,
                "heads": {chain: list(head) for chain, head in self.heads.items()},
                "rows": self.rows,
                "previous": self.previous,
                "key": self.key,
                "breaks": [list(head) for head in self.breaks],
            }
        )


def line_of(signed: bytes, signature: bytes) -> bytes:
    """The line of a checkpoint, without its newline."""
    return _OPENING + signed + _BETWEEN + base64.b64encode(signature) + _CLOSING


def line_hash(line: bytes) -> str:
    """What the next line names as `previous`."""
    return hashlib.sha256(line).hexdigest()


def parse_line(line: bytes) -> tuple[Checkpoint, bytes]:
    """
    The checkpoint of a line and its signature, which is not verified here.

    Raises:
        ValueError: Not a line as `line_of` writes it.
    """
    if not line.startswith(_OPENING) or not line.endswith(_CLOSING):
        raise ValueError("not a checkpoint")
    signed, between, encoded = line[len(_OPENING) : -len(_CLOSING)].rpartition(_BETWEEN)
    if not between:
        raise ValueError("not signed")
    try:
        checkpoint = _checkpoint(json.loads(signed))
        signature = base64.b64decode(encoded, validate=True)
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError("not a checkpoint") from error
    if checkpoint.signed_bytes() != signed:
        raise ValueError("not in canonical form")
    return checkpoint, signature


def _checkpoint(plain: Any) -> Checkpoint:
    if plain["version"] != VERSION:
        raise ValueError(f"of version {plain['version']!r}; this handfast knows {VERSION}")
    return Checkpoint(
        number=_count(plain["number"]),
        time=dt.datetime.strptime(plain["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC),
        full=plain["full"] is True,
        heads={chain: (_count(number), _digest(link)) for chain, (number, link) in plain["heads"].items()},
        rows=_count(plain["rows"]),
        previous=_digest(plain["previous"]),
        key=_digest(plain["key"]),
        breaks=tuple(AuditHead(str(chain), _count(n), _digest(link)) for chain, n, link in plain["breaks"]),
    )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or bytes.fromhex(value).hex() != value:
        raise ValueError("not a SHA-256")
    return value


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class CheckpointKey:
    """The public half of the key that signs checkpoints; PEM of a SubjectPublicKeyInfo on a NIST curve."""

    def __init__(self, pem: bytes) -> None:
        key = load_pem_public_key(pem)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("checkpoints are signed with an EC key")
        self._key = key
        self.pem = pem
        self.fingerprint = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over the bytes."""
        try:
            self._key.verify(signature, signed, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


class CheckpointCheck:
    """
    Reads checkpoints from the first line kept to the last and tells the good ones from the rest.

    `feed` it each line without its newline, then `finish`. `good` are those that a signature vouches for, its own
    or that of a line which follows from it; `tail` is the hash of the last line, good or not.
    """

    def __init__(self, key: CheckpointKey) -> None:
        self.good: list[Checkpoint] = []
        self.findings: list[Finding] = []
        self.hashes: dict[int, str] = {}
        self._key = key
        self._run: list[tuple[int, Checkpoint, bytes]] = []
        self._tail: str | None = None
        self._lines = 0
        self._torn = False

    def feed(self, line: bytes) -> None:
        """The line that follows."""
        self._lines += 1
        try:
            checkpoint, signature = parse_line(line)
        except ValueError as error:
            self._close()
            self._find(f"line {self._lines} is {error}")
            self._tail = None
            return
        if self._tail is not None and checkpoint.previous != self._tail:
            self._close()
        self._run.append((self._lines, checkpoint, signature))
        self._tail = line_hash(line)
        self.hashes[checkpoint.number] = self._tail

    def finish(self, *, torn: bool = False) -> None:
        """There are no more lines; `torn`: the last one has no end."""
        self._close()
        if torn:
            self._find(f"line {self._lines + 1} has no end: a power cut while it was written, or an edit")

    def _close(self) -> None:
        """The run of lines that follow from each other has ended: its last good signature vouches for all before."""
        run, self._run = self._run, []
        bad: list[tuple[int, Checkpoint]] = []
        while run:
            line, checkpoint, signature = run[-1]
            if checkpoint.key != self._key.fingerprint:
                self._find(f"line {line} (checkpoint {checkpoint.number}) is signed with another key")
            elif self._key.verifies(checkpoint.signed_bytes(), signature):
                break
            else:
                bad.append((line, checkpoint))
            run.pop()
        for line, checkpoint in reversed(bad):
            self._find(f"line {line} (checkpoint {checkpoint.number}) is not what was signed")
        for _, checkpoint, _ in run:
            last = self.good[-1].number if self.good else None
            if last is not None and checkpoint.number <= last:
                self._find(f"checkpoint {checkpoint.number} stands after {last}")
                continue
            if last is not None and checkpoint.number > last + 1:
                self._find(f"the checkpoints between {last} and {checkpoint.number} are missing or damaged")
            elif last is None and not checkpoint.full:
                self._find(f"the checkpoints before {checkpoint.number} are missing: the first one kept has all heads")
            elif last is not None and checkpoint.previous != self.hashes.get(last):
                self._find(f"checkpoint {checkpoint.number} does not follow from checkpoint {last}")
            self.good.append(checkpoint)

    def _find(self, detail: str) -> None:
        if len(self.findings) < MAX_BREAKS:
            self.findings.append(Finding(FindingKind.CHECKPOINT, None, None, f"checkpoints: {detail}"))
