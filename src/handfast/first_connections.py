"""Just-in-time registration and provisioning, introduced to the rest of the plane."""

from __future__ import annotations

from contextlib import AsyncExitStack

from handfast.config import Settings
from handfast.ports import Clock, Entropy, Notify, Store
from handfast.services.just_in_time import JustInTime, JustInTimeLimits
from handfast.services.vouching import Vouching


async def start_just_in_time(
    store: Store, settings: Settings, *, clock: Clock, entropy: Entropy, notify: Notify, stack: AsyncExitStack
) -> JustInTime:
    """Ready for the first connection: which CAs register by themselves is known."""
    vouching = Vouching(store, clock)
    await vouching.load()
    just_in_time = JustInTime(
        store=store,
        vouching=vouching,
        clock=clock,
        entropy=entropy,
        notify=notify,
        limits=JustInTimeLimits(per_second=settings.jit_rate, waiting=settings.jit_waiting),
    )
    stack.push_async_callback(just_in_time.close)
    return just_in_time
