"""The bounds of the gateway, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from handfast.core.mqtt.connection import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """Structural limits, AWS IoT's where it has one; sizes in bytes, times in seconds."""

    mqtt: Limits = field(default_factory=Limits)
    subscriptions_per_connection: int = 50
    share_groups_per_scope: int = 100
    share_members_per_group: int = 100
    outbound_inflight: int = 100
    """QoS 1 messages sent and not acknowledged; delivery pauses there."""
    queue_bytes: int = 1_048_576
    """What may wait for one slow consumer; QoS 0 beyond it is dropped, QoS 1 beyond it ends the connection."""
    turn_bytes: int = 16_777_216
    """What may gather in one turn of the loop before it is written."""
    topics_remembered_per_connection: int = 128
    topics_remembered_per_scope: int = 65_536
    quotas: bool = False
    """Whether AWS IoT's rate quotas hold; `gateway.quotas` has the figures."""
    linger_s: float = 5.0
    """How long a closed connection may take to flush before it is aborted."""
