"""OCSP responders, as stapling needs them."""

from __future__ import annotations

from typing import Protocol


class Responders(Protocol):
    """Asks responders over the network, each question within limits of time and size of its own."""

    async def ask(self, url: str, request: bytes, *, trusted: bool) -> bytes:
        """
        The DER that the responder at `url` answered to the request, at most `core.pki.ocsp.MAX_RESPONSE_BYTES`.

        `trusted`: the URL is the operator's; another one may not lead to this machine, its link or a metadata service.

        Raises:
            ResponderFailed
        """
        ...
