"""Fleet provisioning, put together: the service behind the request topics, and the task that tidies up after it."""

from __future__ import annotations

from contextlib import AsyncExitStack

from handfast.gateway.gateway import Gateway
from handfast.ports import Clock, Entropy, Meter, Notify, Store
from handfast.services.certificates import Issuer
from handfast.services.commit import Committer
from handfast.services.fleet import FleetProvisioning, Hooks, Providers
from handfast.services.provisioner import Provisioner
from handfast.services.recording import Recorder
from handfast.services.unclaimed import UnclaimedSweeper


def start_fleet_provisioning(
    store: Store,
    issuer: Issuer,
    provisioner: Provisioner,
    gateway: Gateway,
    *,
    clock: Clock,
    entropy: Entropy,
    meter: Meter,
    notify: Notify,
    recorder: Recorder,
    stack: AsyncExitStack,
    hooks: Hooks | None = None,
    providers: Providers | None = None,
) -> None:
    """Devices of `gateway` can provision themselves, until `stack` ends; what is written then is written."""
    commit = Committer(notify)
    stack.push_async_callback(commit.settle)
    sweeper = UnclaimedSweeper(store, clock, notify, meter)
    stack.push_async_callback(sweeper.close)
    fleet = FleetProvisioning(
        store,
        issuer,
        provisioner,
        clock=clock,
        entropy=entropy,
        meter=meter,
        commit=commit,
        recorder=recorder,
        hooks=hooks,
        providers=providers,
    )
    gateway.serve_requests(fleet)
    sweeper.start()
