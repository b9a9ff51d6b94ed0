"""What a client's stack is like, by its ClientHello: the same for every connection that it makes with one set-up."""

from __future__ import annotations

import hashlib
from typing import Final

from handfast.tls.client_hello import ClientHello
from handfast.tls.iana import GREASE

# What differs from one connection of a client to the next: padding, cookie, and what resumption adds.
_PASSING: Final = frozenset({21, 35, 41, 42, 44})


def fingerprint(hello: ClientHello) -> str:
    """
    16 hex digits over what a client offers.

    GREASE (RFC 8701) counts nowhere, the order of extensions does not matter, which some clients shuffle, and neither
    does what comes and goes with resumption and padding. Neither SNI nor random values are part of it.
    """
    digest = hashlib.sha256()
    for values in (
        (hello.legacy_version,),
        hello.versions,
        hello.cipher_suites,
        sorted(kind for kind in hello.extensions if kind not in _PASSING),
        hello.groups,
        hello.signature_schemes,
        hello.signature_schemes_cert,
    ):
        kept = "-" if values is None else ",".join(f"{each:x}" for each in values if each not in GREASE)
        digest.update(f"{kept};".encode("ascii"))
    for name in hello.alpn:
        if len(name) != 2 or int.from_bytes(name, "big") not in GREASE:
            digest.update(len(name).to_bytes(1, "big") + name)
    return digest.hexdigest()[:16]
