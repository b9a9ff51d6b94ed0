"""Just-in-time registration and provisioning, introduced to the rest of the plane."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from handfast.config.settings import Settings
from handfast.core.identity.domains import ApplicationProtocol
from handfast.ports import Clock, Entropy, Notify, Store
from handfast.seam import DataPlane, TLSFacts
from handfast.services.first_provisioning import FirstProvisioning
from handfast.services.just_in_time import JustInTime, JustInTimeLimits
from handfast.services.provisioner import Provisioner
from handfast.services.provisioning_runs import ProvisioningRuns
from handfast.services.vouching import Vouching


async def start_just_in_time(
    store: Store,
    settings: Settings,
    *,
    clock: Clock,
    entropy: Entropy,
    notify: Notify,
    protocol_of: Callable[[TLSFacts], ApplicationProtocol | None],
    stack: AsyncExitStack,
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
        protocol_of=protocol_of,
    )
    stack.push_async_callback(just_in_time.close)
    return just_in_time


def start_provisioning(
    just_in_time: JustInTime,
    store: Store,
    provisioner: Provisioner,
    data_plane: DataPlane,
    settings: Settings,
) -> ProvisioningRuns:
    """First connections are told through `data_plane` and provisioned by the templates of their CAs."""
    provisioning = FirstProvisioning(store, provisioner)
    just_in_time.provision_by(provisioning, closes_first=settings.jitp == "aws")
    just_in_time.command(data_plane)
    return ProvisioningRuns(store, provisioning)
