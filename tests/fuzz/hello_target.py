"""
What must hold for any bytes that a connection begins with.

They are read, refused or waited on, in bounded time, and never raise; how they were cut into segments changes
nothing. What was read as a ClientHello says what OpenSSL says about the same bytes: the server name, the ALPN
protocols, the version that is agreed on, and that the chain which was chosen for it can be used.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from tests.support import hello as h
from tests.support.tls_door import contexts

from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES
from handfast.tls.chain import ChainKind, Reject, choose_chain, takes_rsa_signatures
from handfast.tls.client_hello import (
    MAX_HELD_BYTES,
    NEED_MORE,
    TLS12,
    TLS13,
    Bad,
    ClientHello,
    ClientHelloReader,
    NeedMore,
    printable,
)
from handfast.tls.fingerprint import fingerprint
from handfast.tls.openssl.engine import DONE
from handfast.tls.openssl.public import PublicEngine

VECTORS = Path(__file__).parents[1] / "vectors" / "tls" / "client_hello"
LIMIT_S = 0.25
"""Processor time for one input: the reader, the decisions and OpenSSL. A usual one needs a millisecond."""
MAX_SUMMARY_CHARACTERS = 12_000
_ALERTS = {10, 40, 47, 50, 70, 80, 109, 120}
_VERSIONS = {"TLSv1.2": TLS12, "TLSv1.3": TLS13}
_INTERESTING = (0, 1, 2, 3, 0x16, 0x14, 0x7F, 0x80, 0xFE, 0xFF)
_KINDS = (0, 1, 5, 10, 11, 13, 15, 16, 21, 22, 23, 28, 35, 41, 42, 43, 44, 45, 47, 49, 50, 51, 0x0A0A, 0xFE0D, 0xFF01)


@dataclass(frozen=True)
class Opening:
    """What a client sends first, and where the segments end."""

    data: bytes
    cuts: tuple[int, ...]
    after_retry: bool = False

    def saved(self) -> dict[str, Any]:
        return {"data": self.data.hex(), "cuts": list(self.cuts), "after_retry": self.after_retry}


class HelloTarget:
    """The corpus is the hellos of the vectors; inputs follow from the seed and their number alone."""

    def __init__(self) -> None:
        self.corpus: list[bytes] = []
        self.second: list[bytes] = []
        for path in sorted(VECTORS.glob("*.json")):
            for each in json.loads(path.read_text(encoding="utf-8"))["hellos"]:
                self.corpus.append(bytes.fromhex(each["hello"]))
                if "second" in each:
                    self.second.append(bytes.fromhex(each["second"]))
        self.contexts = contexts(PublicEngine)
        self.policy = SECURITY_POLICIES[DEFAULT_SECURITY_POLICY]
        self.accepted = 0

    def load(self, saved: dict[str, Any]) -> Opening:
        return Opening(bytes.fromhex(saved["data"]), tuple(saved["cuts"]), saved["after_retry"])

    # --- Inputs -------------------------------------------------------------------------------------------------

    def make(self, rng: random.Random) -> Opening:
        """A hello of the corpus, its parts changed and put together again, or its bytes changed."""
        after_retry = rng.random() < 0.1
        data = rng.choice(self.second if after_retry else self.corpus)
        if data[0] == 22 and rng.random() < 0.7:
            data = self._rebuilt(data[5:], rng)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            data = self._change(data, rng)
        cuts = tuple(sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 1, 2, 9)))))
        return Opening(data, cuts, after_retry)

    def _rebuilt(self, message: bytes, rng: random.Random) -> bytes:
        """Lengths fit again, so that the change is reached."""
        fields, extensions = split(message[4:])
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            self._change_extensions(extensions, rng)
        if rng.random() < 0.3:
            name = rng.choice(tuple(fields))
            fields[name] = self._change(fields[name], rng)
        body = fields["version"] + fields["random"]
        body += h.vector(fields["session"][:255], 1) + h.vector(fields["suites"][:65535])
        body += h.vector(fields["methods"][:255], 1)
        if extensions or rng.random() < 0.9:
            body += h.vector(b"".join(h.extension(kind, content[:65535]) for kind, content in extensions)[:65535])
        return h.records(h.message(body), rng.choice((16384, 16384, 1, 3, 4, 5, 100, 512, min(len(body) + 4, 65535))))

    def _change_extensions(self, extensions: list[tuple[int, bytes]], rng: random.Random) -> None:
        if not extensions or rng.random() < 0.1:
            extensions.append((rng.choice(_KINDS), rng.randbytes(rng.choice((0, 1, 2, 40)))))
            return
        at = rng.randrange(len(extensions))
        kind, content = extensions[at]
        match rng.randrange(9):
            case 0:
                del extensions[at]
            case 1:
                extensions.insert(rng.randrange(len(extensions)), extensions[at])
            case 2:
                rng.shuffle(extensions)
            case 3:
                extensions[at] = (rng.choice(_KINDS), content)
            case 4:
                lent = rng.choice(self.corpus)
                if lent[0] == 22:
                    extensions[at] = rng.choice(split(lent[9:])[1] or [(kind, content)])
            case 5:
                extensions[at] = (kind, content * rng.choice((2, 10, 300)))
            case 6:
                names = (b"", b"a" * 255, b"a" * 256, b"x\0y", b"\xff\xfe", b"127.0.0.1", b"a.b.", b"A.B", b"*.b")
                extensions[at] = (0, h.vector(rng.choice((b"\0", b"\1")) + h.vector(rng.choice(names))))
            case _:
                extensions[at] = (kind, self._change(content, rng))

    def _change(self, data: bytes, rng: random.Random) -> bytes:
        if not data:
            return rng.randbytes(rng.randrange(4))
        # Most of what decides stands in front.
        at = rng.randrange(len(data) if rng.random() < 0.6 else min(len(data), 60))
        end = min(len(data), at + rng.choice((1, 2, 4, 40)))
        match rng.randrange(7):
            case 0 | 1:
                return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 2:
                return data[:at] + bytes([rng.choice(_INTERESTING)]) + data[at + 1 :]
            case 3:
                return data[:at] + data[end:]
            case 4:
                return data[:at] + rng.choice((rng.randbytes(end - at), data[at:end])) + data[at:]
            case 5:
                return data[:at] if rng.random() < 0.5 else data + rng.choice(self.corpus)[: rng.choice((1, 5, 900))]
            case _:
                return data[:at] + rng.choice(self.corpus)[:end] + data[end:]

    # --- The judge ----------------------------------------------------------------------------------------------

    def judge(self, given: Opening) -> None:
        """Raises AssertionError, or whatever the product should not have raised."""
        began = time.process_time()
        whole = self._read(given, ())
        assert whole == self._read(given, given.cuts), "cut otherwise, another answer"
        if isinstance(whole, Bad):
            _sentence(whole.alert, whole.detail)
        elif isinstance(whole, ClientHello):
            self.accepted += 1
            self._hello(whole, given)
        else:
            assert len(given.data) <= MAX_HELD_BYTES, f"{len(given.data)} bytes are held and more is awaited"
        spent = time.process_time() - began
        assert spent < LIMIT_S, f"{spent:.2f} s of processor time for {len(given.data)} bytes"

    def _read(self, given: Opening, cuts: tuple[int, ...]) -> NeedMore | Bad | ClientHello:
        reader = ClientHelloReader(after_retry=given.after_retry)
        bounds = (0, *cuts, len(given.data))
        for start, end in itertools.pairwise(bounds):
            if start == end:
                continue
            result = reader.feed(given.data[start:end])
            assert end == reader.held_bytes
            if isinstance(result, ClientHello):
                hello, rest = reader.take()
                assert given.data[:end] == hello + rest
            if not isinstance(result, NeedMore):
                return result
        return NEED_MORE

    def _hello(self, hello: ClientHello, given: Opening) -> None:
        facts = hello.summary()
        for text in (*facts.values(), hello.sni or "", hello.alpn_text()):
            assert text.isascii()
            assert text.isprintable() or not text
        assert sum(map(len, facts.values())) <= MAX_SUMMARY_CHARACTERS
        assert re.fullmatch("[0-9a-f]{16}", fingerprint(hello))
        policies = SECURITY_POLICIES.values()
        kinds: tuple[ChainKind, ...] = ("rsa", "ecdsa")
        for answer in [choose_chain(hello, kind, policy) for policy in policies for kind in kinds]:
            if isinstance(answer, Reject):
                _sentence(answer.alert, answer.detail)
        if not given.after_retry:
            self._as_openssl_reads_it(hello, given.data)

    def _as_openssl_reads_it(self, hello: ClientHello, data: bytes) -> None:
        kind = choose_chain(hello, "rsa", self.policy)
        if isinstance(kind, Reject):
            return
        context = self.contexts.get(
            "us-east-1", kind, True, None, self.policy, whole=kind == "rsa" or takes_rsa_signatures(hello)
        )
        assert context is not None
        engine = self.contexts.engine(context)
        assert isinstance(engine, PublicEngine)
        status = engine.handshake(data)
        answer = engine.drain()
        assert DONE != status, "a handshake was done after one flight"
        if answer[:1] != b"\x16":
            return  # an alert: OpenSSL is stricter about what decides nothing here
        connection: SSL.Connection = engine._connection
        name = connection.get_servername()
        assert (None if name is None else printable(name)) == hello.sni, f"OpenSSL reads the name {name!r}"
        agreed = _VERSIONS[engine.version()]
        assert agreed == (TLS13 if hello.offers_tls13 else TLS12)
        assert hello.offers_tls12 or TLS13 == agreed


def split(body: bytes) -> tuple[dict[str, bytes], list[tuple[int, bytes]]]:
    """The fields of a ClientHello that is in order, without their lengths, and its extensions."""
    session = 35 + body[34]
    suites = session + 2 + int.from_bytes(body[session : session + 2], "big")
    methods = suites + 1 + body[suites]
    fields = {
        "version": body[:2],
        "random": body[2:34],
        "session": body[35:session],
        "suites": body[session + 2 : suites],
        "methods": body[suites + 1 : methods],
    }
    extensions = []
    block = body[methods + 2 :]
    while block:
        end = 4 + int.from_bytes(block[2:4], "big")
        extensions.append((int.from_bytes(block[:2], "big"), block[4:end]))
        block = block[end:]
    return fields, extensions


def _sentence(alert: int, detail: str) -> None:
    assert alert in _ALERTS
    assert 0 < len(detail) < 2000
    assert detail.isascii()
    assert detail.isprintable()
