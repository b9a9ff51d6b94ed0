"""The services of domain configurations over a store, with certificates and keys in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from handfast.core.pki.issue import SigningKey
from handfast.errors import ConfigurationError
from handfast.ports import Clock, Entropy, Notify
from handfast.services.commit import Committer
from handfast.services.domain_directory import DomainDirectory
from handfast.services.domains import LIMIT, Domains
from handfast.services.endpoints import EndpointDirectory
from handfast.services.server_certificates import ServerCertificates

DEFAULT_POLICY = "IoTSecurityPolicy_TLS13_1_2_2022_10"


class MemoryKeys:
    """`services.pki_folder.KeyFolder` without files."""

    encrypted = False

    def __init__(self) -> None:
        self.kept: dict[str, SigningKey] = {}

    def has(self, name: str) -> bool:
        return name in self.kept

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self.kept if name.startswith(f"{folder}/"))

    def new_key(self, kind: str) -> SigningKey:
        raise NotImplementedError

    def generate(self, name: str, kind: str) -> SigningKey:
        raise NotImplementedError

    def save(self, name: str, key: SigningKey) -> None:
        self.kept[name] = key

    def signing_key(self, name: str) -> SigningKey:
        try:
            return self.kept[name]
        except KeyError:
            raise ConfigurationError(f"{name} cannot be read. Restore it from a backup.") from None

    def remove(self, name: str) -> None:
        self.kept.pop(name, None)


@dataclass
class Sets:
    """`tls.contexts.Contexts` as far as it is told what to serve: name to kind and chain."""

    served: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def install(self, name: str, kind: str, chain_pem: bytes, key_pem: bytes) -> None:
        self.served[name] = (kind, chain_pem)

    def remove(self, name: str) -> None:
        self.served.pop(name, None)


@dataclass
class DomainPlane:
    """What one process has; `cut` are the names whose connections were ended."""

    directory: DomainDirectory
    domains: Domains
    certificates: ServerCertificates
    keys: MemoryKeys
    sets: Sets
    cut: list[str]


async def no_region(_region: str) -> None:
    """Every region is served."""


def domain_plane(
    store: Any,
    endpoints: EndpointDirectory,
    clock: Clock,
    entropy: Entropy,
    notify: Notify,
    *,
    ensure_region: Callable[[str], Awaitable[None]] = no_region,
    keys: MemoryKeys | None = None,
    staples: Any = None,
    public_roots: Sequence[x509.Certificate] = (),
    limit: int = LIMIT,
) -> DomainPlane:
    """As the composition root puts it together; `notify` has to reach the directory's `changed`."""
    keys, sets, cut = keys or MemoryKeys(), Sets(), list[str]()
    directory = DomainDirectory(store, endpoints, keys, sets, staples=staples)
    endpoints.also(directory.resolve, directory.names)

    def ended(name: str, _reason: str) -> int:
        cut.append(name)
        return 0

    directory.command(ended)
    commit = Committer(notify)
    certificates = ServerCertificates(
        store, keys, clock, entropy, commit, public_roots=lambda: public_roots, stapling=directory.stapling
    )
    domains = Domains(
        store,
        directory,
        endpoints,
        certificates,
        clock,
        entropy,
        commit,
        ensure_region,
        local_names=("localhost", "127.0.0.1", "::1"),
        security_policy=DEFAULT_POLICY,
        limit=limit,
    )
    return DomainPlane(directory, domains, certificates, keys, sets, cut)
