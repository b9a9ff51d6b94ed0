"""`ports.Bus`, against every adapter."""

from __future__ import annotations

from handfast.bus.local import LocalBus
from handfast.ports import Bus, Change, ChangeKind


async def test_announcing_without_peers_is_done_at_once() -> None:
    bus: Bus = LocalBus()
    assert None is bus.announce([Change(ChangeKind.POLICY, None, "p")])  # type: ignore[func-returns-value]
    await bus.close()
