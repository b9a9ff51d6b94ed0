"""
Where a certificate says that its issuer's certificate and list of revocations are published (RFC 5280 §4.2.1.13,
§4.2.2.1).

Both are http: who follows them has no reason yet to trust a TLS server (RFC 5280 §8), and both are signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

MAX_URL_CHARACTERS = 200
"""Of the base; it stands in every certificate twice, and small devices have little room."""
CERTIFICATES, LISTS = "aia", "crl"
"""The folders below the base."""

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_HOST = re.compile(r"[a-z0-9.-]{1,253}|\[[0-9a-f:]{2,39}\]")


@dataclass(frozen=True, slots=True)
class Pointers:
    """URLs of the issuer's certificate (DER) and of its list of revocations (DER)."""

    certificate: str
    revocations: str

    def extensions(self) -> tuple[x509.AuthorityInformationAccess, x509.CRLDistributionPoints]:
        """As they stand in a certificate, neither critical."""
        issuer = x509.UniformResourceIdentifier(self.certificate)
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, issuer)
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.revocations)], None, None, None)
        return x509.AuthorityInformationAccess([access]), x509.CRLDistributionPoints([point])


def pointers_to(base: str | None, issuer: str) -> Pointers | None:
    """Those below the base to what is published of the issuer of this name (`rsa-1`); None where there is no base."""
    if base is None:
        return None
    return Pointers(f"{base}/{CERTIFICATES}/{issuer}.cer", f"{base}/{LISTS}/{issuer}.crl")


def points_to(cert: x509.Certificate, wanted: Pointers | None) -> bool:
    """Whether the certificate has exactly these pointers, or with None none at all."""
    found: list[x509.ExtensionType] = [
        extension.value
        for extension in cert.extensions
        if isinstance(extension.value, x509.AuthorityInformationAccess | x509.CRLDistributionPoints)
    ]
    return found == ([] if wanted is None else list(wanted.extensions()))


def base_of(cert: x509.Certificate) -> str | None:
    """The base of a certificate of ours that has pointers; None where it has none."""
    try:
        access = cert.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return None
    for description in access:
        location = description.access_location
        if isinstance(location, x509.UniformResourceIdentifier):
            base, folder, _ = location.value.rpartition(f"/{CERTIFICATES}/")
            if folder and description.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
                return base
    return None


def public_base(text: str) -> str:
    """
    The base in its one form: `http://host[:port][/path]`, lower-case host, no slash at the end.

    Raises:
        ValueError: It is none; the message ends a sentence that names what was expected.
    """
    if not text.isascii() or not text.isprintable() or len(text) > MAX_URL_CHARACTERS:
        raise ValueError(f"printable ASCII, at most {MAX_URL_CHARACTERS} characters")
    parts = urlsplit(text)  # ValueError: brackets
    if parts.scheme == "https":
        raise ValueError("http, not https: who follows the URL does not trust a TLS server yet")
    netloc, path = parts.netloc.lower(), parts.path.rstrip("/")
    host, separator, port = netloc.partition(":") if not netloc.startswith("[") else _bracketed(netloc)
    surplus = "@" in netloc or "?" in text or bool(parts.fragment)
    if parts.scheme != "http" or not _HOST.fullmatch(host) or surplus:
        raise ValueError("http://HOST[:PORT][/PATH], without user name, query and fragment")
    if separator and not (port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("a port from 1 to 65535")
    if not _PATH.fullmatch(path) or ".." in path:
        raise ValueError("a path of letters, digits and . _ ~ -")
    return f"http://{netloc}{path}"


def _bracketed(netloc: str) -> tuple[str, str, str]:
    address, _, rest = netloc.partition("]")
    return f"{address}]", rest[:1], rest[1:] if rest.startswith(":") else "no port" if rest else ""
