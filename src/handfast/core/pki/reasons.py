"""Why a certificate is revoked (RFC 5280 §5.3.1), without the reasons that are for other lists and for holds."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, int] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}
"""RFC 5280's words, and their numbers on the wire."""
