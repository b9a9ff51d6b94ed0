"""What a client is served, by the name that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from handfast.core.identity.security_policy import SecurityPolicy
from handfast.seam import TLSFacts
from handfast.tls.chain import ChainKind
from handfast.tls.client_hello import ClientHello
from handfast.tls.failures import TLSFailure


class Watch(Protocol):
    """Is told how a connection fared, once: by `opened` or by `failed`."""

    def opened(self, facts: TLSFacts, application: asyncio.Protocol) -> asyncio.Protocol:
        """The handshake is done: what is to speak on the connection, `application` or something before it."""
        ...

    def failed(self, failure: TLSFailure) -> None:
        """The connection was refused, or lost, before that."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Which certificates a connection gets, and how."""

    certificates: str
    """The name of a set of certificates in `Contexts`: a region for the built-in ones."""
    policy: SecurityPolicy | None = None
    """None: the listener's."""
    prefer: ChainKind | None = None
    """What a client gets that can verify both; None: what `Contexts` prefers."""
    only: ChainKind | None = None
    """The set has this kind alone; a client that cannot verify it is refused."""
    client_certificate: bool | None = None
    """On the port where ALPN decides, for a client whose ALPN leaves it open: whether a certificate is required of it.
    None: as the port has it."""
    watch: Watch | None = None
    """Who wants to know how it goes on; nobody, usually."""


Decider = Callable[[str | None, ClientHello, str], Serving | None]
"""SNI, ClientHello and address of a connection to what it is served; None: not for this decider to say."""

Amender = Callable[[Serving, str | None, ClientHello, str], Serving]
"""What a connection would be served, SNI, ClientHello and address to what it is served."""
