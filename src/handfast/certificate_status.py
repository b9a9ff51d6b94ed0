"""
What is told of certificates' states, put together for the server: OCSP staples of the operator's certificates, and
what is published of the authorities' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog

from handfast.config.settings import Settings
from handfast.ports import Change, Clock, Entropy, Meter, Store
from handfast.responders.addresses import allowing
from handfast.responders.fetch import HttpResponders
from handfast.services.authorities import ServerAuthority
from handfast.services.pki_folder import PkiFolder
from handfast.services.publication import Publication, Publications
from handfast.services.revocation_lists import RevocationLists
from handfast.services.staple_files import StapleFiles
from handfast.services.stapling import Stapler
from handfast.tls.contexts import Contexts

log = structlog.get_logger("handfast")


def start_stapling(
    settings: Settings, contexts: Contexts, clock: Clock, entropy: Entropy, meter: Meter, stack: AsyncExitStack
) -> Stapler:
    """Certificates that are watched are stapled in the handshakes of `contexts`, until the stack is left."""
    responders = HttpResponders(allowed=allowing(settings.ocsp_allow))
    stapler = Stapler(responders, contexts.staple, StapleFiles(settings.data_dir), clock, entropy, meter)
    stack.push_async_callback(stapler.close)
    return stapler


@dataclass(frozen=True)
class Published:
    """What the front door answers of it, and what a commit tells it. Nothing without a public URL."""

    get: Callable[[str, str], Publication | None] = lambda _folder, _name: None
    changed: Callable[[Sequence[Change]], None] = lambda _changes: None
    host: str | None = None
    path: str = ""


async def start_publishing(
    settings: Settings, store: Store, authority: ServerAuthority, clock: Clock, meter: Meter, stack: AsyncExitStack
) -> Published:
    """
    Where there is a public URL, issuers' certificates and their lists of revocations are published, and kept fresh
    until the stack is left.

    Raises:
        ConfigurationError: A file of the PKI is missing or damaged.
    """
    if settings.public_url is None:
        return Published()
    if settings.api_tls:
        log.warning(
            "the API port speaks TLS: have a proxy forward plain HTTP for /aia/ and /crl/ to it",
            public_url=settings.public_url,
        )
    folder = PkiFolder(settings.data_dir / "pki")
    publications = Publications(folder, authority.list_issuers, lambda name: lists.get(name))
    lists = RevocationLists(store, folder, publications.look, clock, meter)
    await lists.start()
    stack.push_async_callback(lists.close)
    parts = urlsplit(settings.public_url)
    return Published(publications.get, lists.changed, parts.hostname, parts.path)
