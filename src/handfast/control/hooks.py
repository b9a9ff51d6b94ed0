"""The operator's operations on hooks (/handfast/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from handfast.control.context import Handler, Result, cause_of, present, require_operator
from handfast.core.identity.caller import Caller
from handfast.core.provisioning.hooks import Hook, HookEvent, Webhook, shown_url
from handfast.errors import InvalidRequestError
from handfast.services.hooks import HookCall, Hooks


class HookHandlers:
    """Handlers by operation name in `handlers`. Each refuses an account's key."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.handlers: dict[str, Handler] = {
            "AddHook": self.add_hook,
            "ListHooks": self.list_hooks,
            "RemoveHook": self.remove_hook,
            "TestHook": self.test_hook,
        }

    async def add_hook(
        self,
        ctx: Caller,
        *,
        hook_name: str,
        url: str,
        secret: str | None = None,
        ca_certificates: str | None = None,
        accounts: Sequence[str] | None = None,
        timeout_milliseconds: int | None = None,
    ) -> Result:
        """The only answer that holds the secret."""
        require_operator(ctx)
        hook = await self._hooks.add(
            cause_of(ctx, "AddHook"),
            hook_name,
            url,
            secret=secret,
            ca_pem=ca_certificates,
            accounts=accounts or (),
            timeout_s=None if timeout_milliseconds is None else timeout_milliseconds / 1000,
        )
        return _hook(hook) | {"secret": hook.secret}

    async def list_hooks(self, ctx: Caller) -> Result:
        require_operator(ctx)
        states = await self._hooks.list_all()
        return {"hooks": [_hook(each.hook) | {"calls": [_call(call) for call in each.calls]} for each in states]}

    async def remove_hook(self, ctx: Caller, *, hook_name: str, force: bool = False) -> Result:
        require_operator(ctx)
        await self._hooks.remove(cause_of(ctx, "RemoveHook"), hook_name, force=bool(force))
        return {}

    async def test_hook(self, ctx: Caller, *, hook_name: str, event: str | None = None) -> Result:
        require_operator(ctx)
        if event is not None and event not in set(HookEvent):
            raise InvalidRequestError(f"event must be one of {', '.join(HookEvent)}")
        call, answer = await self._hooks.try_out(hook_name, HookEvent(event or HookEvent.PRE_PROVISIONING))
        return {"call": _call(call)} | present(answer=answer or None)


def _hook(hook: Hook) -> Result:
    common = {
        "hook_name": hook.name,
        "accounts": list(hook.accounts),
        "timeout_milliseconds": round(hook.timeout_s * 1000),
    }
    if isinstance(hook, Webhook):
        return common | {
            "kind": "WEBHOOK",
            "url": shown_url(hook.url),
            "own_roots": hook.ca_pem is not None,
            "creation_date": hook.creation_date,
        }
    return common | {"kind": "COMMAND", "command": list(hook.argv)}


def _call(call: HookCall) -> Result:
    return present(
        at=call.at,
        event=call.event.value,
        result=call.result.value,
        latency_milliseconds=round(call.latency_s * 1000),
        detail=call.detail or None,
    )
