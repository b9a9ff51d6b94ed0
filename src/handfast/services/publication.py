"""What is published below a public URL: issuers' certificates and lists of revocations, both DER."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from cryptography import x509

from handfast.core.pki.pointers import CERTIFICATES, LISTS, base_of
from handfast.services.pki_folder import DEVICE_CA, KINDS, ListIssuer, PkiFolder, der_of
from handfast.services.root_crls import AHEAD

CERTIFICATE_TYPE = "application/pkix-cert"
LIST_TYPE = "application/pkix-crl"  # RFC 2585 §3


class Publication(NamedTuple):
    """A file as it is answered."""

    content: bytes
    media_type: str

    @property
    def entity_tag(self) -> str:
        """Another one for other content: certificates and lists end with their signature, and so need no hash."""
        return f'"{self.content[-16:].hex()}"'


class Publications:
    """
    The files by folder and name: `aia/rsa-1.cer`, `crl/device-ca-1.crl`.

    A name from outside is looked up and never becomes part of a path.
    """

    def __init__(
        self, folder: PkiFolder, issuers: Callable[[], Sequence[ListIssuer]], online: Callable[[str], bytes | None]
    ) -> None:
        """
        Args:
            issuers: Who signs lists here; blocking.
            online: Their lists, by name, as they are now.
        """
        self._folder = folder
        self._issuers = issuers
        self._online = online
        self._certificates: Mapping[str, bytes] = {}
        self._lists: Mapping[str, bytes] = {}

    def look(self) -> Sequence[ListIssuer]:
        """
        What lies in the PKI's folder now is what is published; who signs lists here. Blocking.

        Raises:
            ConfigurationError: A file is missing or damaged.
        """
        roots = self._folder.roots()
        certificates = {
            **roots,
            **{each.published_name: each.certificate for kind in KINDS for each in self._folder.intermediates(kind)},
            DEVICE_CA: self._folder.device_issuer(),
        }
        self._certificates = {f"{name}.cer": der_of(certificate) for name, certificate in certificates.items()}
        self._lists = {f"{name}.crl": der for name in roots if (der := self._folder.list_of(name)) is not None}
        return self._issuers()

    def get(self, folder: str, name: str) -> Publication | None:
        """The file, or None."""
        if folder == CERTIFICATES:
            content = self._certificates.get(name)
            return None if content is None else Publication(content, CERTIFICATE_TYPE)
        if folder == LISTS and name.endswith(".crl"):
            content = self._online(name.removesuffix(".crl")) or self._lists.get(name)
            return None if content is None else Publication(content, LIST_TYPE)
        return None


def base_named(folder: PkiFolder) -> str | None:
    """The public URL that the server's leaves name, as they were last issued; None where they name none."""
    for region in folder.regions():
        for kind in KINDS:
            chain = folder.leaf_chain(region, kind)
            if chain:
                return base_of(chain[0])
    return None


def warnings(folder: PkiFolder, now: dt.datetime) -> list[str]:
    """What an operator should do about the roots' lists, in sentences; none where no list was ever made."""
    said = []
    for spec in folder.rooted():
        der = folder.list_of(spec.file)
        if der is None:
            continue
        try:
            end = x509.load_der_x509_crl(der).next_update_utc
        except ValueError:
            end = None
        if end is None or end - now < AHEAD:
            state = "cannot be read" if end is None else f"{'ended' if end < now else 'ends'} on {end:%Y-%m-%d}"
            said.append(f"The list of revocations of {spec.file} {state}: `handfast roots request DIR --act crl`.")
    return said
