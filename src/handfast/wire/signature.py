"""
The signature of a request under AWS Signature Version 4, recomputed from what was received.

Source: "Create a signed AWS API request" (AWS IAM user guide). Written down
here because botocore's signer brings botocore's HTTP client with it, which a
server has no use for; the tests hold the two against each other.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import quote, unquote_to_bytes

from handfast.wire.parser import HttpRequest

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"


class Signed(Protocol):
    """What a request says about its signature."""

    @property
    def day(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def signed_headers(self) -> Sequence[str]: ...
    @property
    def timestamp(self) -> str: ...


def signature(claim: Signed, secret: str, request: HttpRequest, query: str, payload_hash: str) -> str:
    """
    The signature that the holder of the secret makes.

    Args:
        claim: Its headers, date and scope are what is signed.
        secret: The secret access key.
        request: Method, raw path and headers as received, the headers' names in lower case.
        query: One of `canonical_queries`.
        payload_hash: SHA-256 of the body in hex, or what x-amz-content-sha256 says instead.

    Returns:
        64 lower-case hexadecimal digits.
    """
    canonical = "\n".join(
        (
            request.method.upper(),
            quote(plain_path(request.raw_path), safe="/~"),
            query,
            *(f"{name}:{_header(request, name)}" for name in claim.signed_headers),
            "",
            ";".join(claim.signed_headers),
            payload_hash,
        )
    )
    scope = (claim.day, claim.region, claim.service, _TERMINATOR)
    text = "\n".join((ALGORITHM, claim.timestamp, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def plain_path(path: str) -> str:
    """The path without empty and dot segments (RFC 3986 §5.2.4; SigV4 drops empty ones too)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return f"/{'/'.join(kept)}/" if kept and path.endswith("/") else f"/{'/'.join(kept)}"


def _header(request: HttpRequest, name: str) -> str:
    """The values in the order received, each with its white space trimmed and sequences of it made one space."""
    return ",".join(" ".join(value.split()) for each, value in request.headers if each == name)


def canonical_queries(query: str, *, presigned: bool) -> Sequence[str]:
    """
    The canonical query as SDKs make it: of the pairs as sent, and of the pairs encoded anew.

    botocore signs exactly what it sends; others sign the strict encoding and send
    a looser one. Either pins down every decoded name and value.
    """
    if not query:
        return ("",)
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]
    if presigned:
        pairs = [(name, value) for name, value in pairs if name != "X-Amz-Signature"]
    as_sent = _join(pairs)
    strict = _join([(_encode_anew(name), _encode_anew(value)) for name, value in pairs])
    return (as_sent,) if as_sent == strict else (as_sent, strict)


def _join(pairs: Sequence[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encode_anew(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="-._~")
