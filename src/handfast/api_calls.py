"""Who signs the calls of the API, and what is kept of those that are refused."""

from __future__ import annotations

from typing import Any

from handfast.core.identity.refusal import Reason, Refusal, Stage
from handfast.services.accounts import Accounts, Signer
from handfast.telemetry.clock import SystemClock
from handfast.wire.sigv4 import SigningKey
from handfast.wire.skeleton import ApiRefusal


def key_lookup(accounts: Accounts) -> Any:
    """What finds the key of a signature."""

    async def lookup(access_key_id: str) -> SigningKey | None:
        signer = await accounts.signer(access_key_id)
        return None if signer is None else _signing_key(signer)

    return lookup


def dev_keys(accounts: Accounts) -> Any:
    """What makes the key of a signature with `--dev`."""

    async def made(access_key_id: str) -> SigningKey:
        return _signing_key(await accounts.dev_signer(access_key_id))

    return made


def _signing_key(signer: Signer) -> SigningKey:
    key = signer.key
    return SigningKey(key.secret, key.account_id, active=key.active, account_disabled=signer.account_disabled)


def api_refusal(refused: ApiRefusal, clock: SystemClock) -> Refusal:
    """A refused API call as the record keeps it, under the request id that its response carried."""
    facts = {
        "error": refused.error_code,
        "request": f"{refused.method} {refused.path}",
        **({"operation": refused.operation} if refused.operation else {}),
        **({"access_key_id": refused.access_key_id} if refused.access_key_id else {}),
    }
    return Refusal(
        trace_id=refused.request_id,
        at=clock.now(),
        stage=Stage.API,
        reasons=(Reason(refused.reason, refused.detail),),
        address=refused.address,
        account=refused.account_id,
        region=refused.region,
        facts=facts,
    )
