"""Who calls the API, once the signature has been verified."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from handfast.core.identity.ids import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """
    The verified caller of one API request.

    `account_id` is None for the operator's key. `region` is the credential
    scope's. `address` is the peer's as text, `request_id` the UUID that the
    response carries. `endpoint` is the URL that the request was sent to, without a
    path, as the signed Host header has it; empty where that is no plain name.
    """

    account_id: AccountId | None
    region: str
    access_key_id: str
    address: str
    request_id: str
    at: dt.datetime
    endpoint: str = ""

    @property
    def is_operator(self) -> bool:
        """True for the operator's key, which owns no resources and may administer accounts."""
        return self.account_id is None
