"""
The roots' own lists of revocations: signed when root keys are at hand, at the first run or in a ceremony.

Each is good for over a year, so that one ceremony a year keeps them. Their numbers are the seconds since 1970 at which
they were signed: the machine in the safe has nothing to remember.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from cryptography import x509

from handfast.core.pki.issue import SigningKey
from handfast.core.pki.revocation_list import sign_list

LIFETIME: Final = dt.timedelta(days=400)
AHEAD: Final = dt.timedelta(days=120)
"""How long before its end a new list is due."""
BACKDATE: Final = dt.timedelta(hours=1)


def signed(root: x509.Certificate, key: SigningKey, now: dt.datetime) -> bytes:
    """DER of the root's list, empty: no intermediate was revoked."""
    return sign_list(
        b"",
        issuer=root,
        key=key,
        number=int(now.timestamp()),
        this_update=now - BACKDATE,
        next_update=now + LIFETIME,
    )
