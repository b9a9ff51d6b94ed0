"""Domain configurations put together: directory, use cases, and what the TLS doors ask about a name."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from cryptography import x509

from handfast.config.settings import Settings
from handfast.core.identity.domains import ApplicationProtocol, AuthenticationType
from handfast.core.identity.security_policy import SECURITY_POLICIES
from handfast.keystore.file import FileKeyStore
from handfast.ports import Clock, Entropy, Store
from handfast.seam import DataPlane, TLSFacts
from handfast.services.commit import Committer
from handfast.services.domain_directory import CertificateSets, DomainDirectory, Staples
from handfast.services.domains import LIMIT, QUOTA, Domains, EnsureRegion
from handfast.services.endpoints import EndpointDirectory
from handfast.services.pki_folder import KeyFolder
from handfast.services.server_certificates import ServerCertificates
from handfast.tls.client_hello import ClientHello
from handfast.tls.serving import Serving

MAX_BUNDLE_BYTES = 4 << 20


class DomainNames:
    """Everything about domain configurations that one process has."""

    def __init__(
        self,
        store: Store,
        endpoints: EndpointDirectory,
        keys: KeyFolder,
        directory: DomainDirectory,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._clock = clock
        self._entropy = entropy
        self._keys = keys
        self.directory = directory
        self.changed = directory.changed

    @classmethod
    async def open(
        cls,
        store: Store,
        data_dir: Path,
        endpoints: EndpointDirectory,
        sets: CertificateSets,
        clock: Clock,
        entropy: Entropy,
        key_passphrase: bytes | None,
        staples: Staples,
    ) -> DomainNames:
        """What the registry holds is known, and its certificates are served from `sets`."""
        keys = FileKeyStore(data_dir, key_passphrase, entropy)
        directory = DomainDirectory(store, endpoints, keys, sets, staples=staples)
        endpoints.also(directory.resolve, directory.names)
        await directory.load()
        return cls(store, endpoints, keys, directory, clock, entropy)

    def command(self, data_plane: DataPlane) -> None:
        """The connections of `data_plane` are cut when their name is disabled."""
        self.directory.command(data_plane.disconnect_domain)

    def services(
        self,
        commit: Committer,
        ensure_region: EnsureRegion,
        settings: Settings,
        local_names: Iterable[str],
    ) -> tuple[Domains, ServerCertificates]:
        """The use cases, whose writes go through `commit`."""
        certificates = ServerCertificates(
            self._store,
            self._keys,
            self._clock,
            self._entropy,
            commit,
            public_roots=public_roots,
            stapling=self.directory.stapling,
        )
        domains = Domains(
            self._store,
            self.directory,
            self._endpoints,
            certificates,
            self._clock,
            self._entropy,
            commit,
            ensure_region,
            local_names=local_names,
            security_policy=settings.tls_policy,
            limit=QUOTA if settings.quotas == "aws" else LIMIT,
        )
        return domains, certificates

    # --- what the doors ask -----------------------------------------------------------------------------------

    def serving(self, sni: str | None, _hello: ClientHello, _address: str) -> Serving | None:
        """`tls.serving.Decider`: by the configuration of the name that is asked for."""
        record = self.directory.find(sni) if sni else None
        if record is None:
            return None
        policy = None if record.security_policy is None else SECURITY_POLICIES.get(record.security_policy)
        installed = self.directory.installed(record)
        x509_only = record.authentication_type is AuthenticationType.AWS_X509
        return Serving(
            # A broken domain shows the server's own certificate: a client that goes on is told, and recorded.
            certificates=record.scope.region if installed is None else installed.name,
            policy=policy,
            only=None if installed is None else installed.kind,
            client_certificate=True if x509_only else None,
        )

    def protocol_of(self, facts: TLSFacts) -> ApplicationProtocol | None:
        """What a client with a certificate speaks where its ALPN does not say; None: nothing is settled by the name."""
        record = self.directory.find(facts.sni) if facts.sni else None
        if record is None or not facts.certificate_der:
            return None
        return record.application_protocol if record.authentication_type is AuthenticationType.AWS_X509 else None


@cache
def public_roots() -> Sequence[x509.Certificate]:
    """
    The roots that this machine's TLS trusts (on most systems Mozilla's), read once; none where there is no bundle.

    SSL_CERT_FILE names another file, as for every program on OpenSSL.
    """
    paths = ssl.get_default_verify_paths()
    places = [paths.cafile, paths.openssl_cafile, f"{paths.openssl_capath}/ca-certificates.crt"]
    for place in places:
        with suppress(OSError, ValueError):
            file = Path(place or "")
            if file.is_file() and file.stat().st_size <= MAX_BUNDLE_BYTES:
                return tuple(x509.load_pem_x509_certificates(file.read_bytes()))
    return ()
