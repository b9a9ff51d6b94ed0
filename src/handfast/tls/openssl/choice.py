"""Which engine this process has."""

from __future__ import annotations

import os

from handfast.tls.openssl.binding import MISSING
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import Engine
from handfast.tls.openssl.public import PublicEngine


def default_engine() -> type[Engine]:
    """
    The engine of this process: HANDFAST_TLS_ENGINE says `direct` or `public`; otherwise direct where it can be.

    Raises:
        RuntimeError: Another word, or `direct` with a binding that lacks symbols.
    """
    wanted = os.environ.get("HANDFAST_TLS_ENGINE", "")
    if wanted not in ("", "direct", "public"):
        raise RuntimeError(f"HANDFAST_TLS_ENGINE is {wanted!r}; it can be direct or public")
    if wanted == "direct" and MISSING:
        raise RuntimeError(f"HANDFAST_TLS_ENGINE=direct, but the OpenSSL binding lacks {', '.join(MISSING)}")
    return PublicEngine if wanted == "public" or MISSING else DirectEngine
