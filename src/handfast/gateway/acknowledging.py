"""The inbound half of QoS 1: which messages wait to become durable, and the PUBACKs in the order they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handfast.core.mqtt.connection import Connection
from handfast.core.mqtt.reasons import Code
from handfast.errors import ProtocolViolation
from handfast.gateway.receiver import OPEN, Receiver

if TYPE_CHECKING:
    from handfast.gateway.gateway import Gateway


class Acknowledger(Receiver):
    """A client that publishes. Usually nothing waits, and a PUBACK goes out at the end of the turn."""

    __slots__ = ("_receive_maximum", "_unsettled", "engine")

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.engine = Connection(gateway.limits.mqtt)
        self._receive_maximum = gateway.limits.mqtt.receive_maximum
        self._unsettled: dict[bytes, int] = {}  # Packet Identifier -> Reason Code, -1 while it is not durable yet

    def close(self, last: bytes, reason: str) -> None:
        """Write `last` and end the connection."""
        raise NotImplementedError

    def hold(self) -> None:
        """Take no more packets for now."""
        raise NotImplementedError

    def release(self) -> None:
        """Go on with what was held back."""
        raise NotImplementedError

    def acknowledge_run(self, ids: list[bytes]) -> None:
        """PUBACK for messages that need not become durable; behind those that do, in the order they came."""
        if not self._unsettled:
            self.unflushed += len(ids)
            self.enqueue(b"@\x02" + (ids[0] if len(ids) == 1 else b"@\x02".join(ids)))
            if self.unflushed > self._receive_maximum:
                self._check_receive_maximum()
            return
        for packet_id in ids:
            self._unsettled.setdefault(packet_id, 0)
        self._check_receive_maximum()

    def _check_receive_maximum(self) -> None:
        maximum = self._receive_maximum
        if self.version == 5:
            if self.unflushed + len(self._unsettled) > maximum:  # [MQTT-3.3.4-9]
                raise ProtocolViolation(
                    f"more than {maximum} PUBLISH packets wait for their PUBACK", Code.RECEIVE_MAXIMUM_EXCEEDED
                )
        elif len(self._unsettled) >= maximum:
            self.hold()

    def acknowledge(self, packet_id: int, reason: int) -> None:
        """PUBACK for one message, with its Reason Code."""
        raw = packet_id.to_bytes(2, "big")
        if self._unsettled:
            self._unsettled.setdefault(raw, reason)
        else:
            self.unflushed += 1
            self.enqueue(self._puback(raw, reason))
        self._check_receive_maximum()

    def _puback(self, packet_id: bytes, reason: int) -> bytes:
        return b"@\x02" + packet_id if not reason else b"@\x03" + packet_id + bytes((reason,))

    def await_durable(self, packet_id: int) -> bool:
        """The PUBACK of this message waits for `settled`; False when it waits already (a repeated PUBLISH)."""
        raw = packet_id.to_bytes(2, "big")
        if raw in self._unsettled:
            return False
        self._unsettled[raw] = -1
        self._check_receive_maximum()
        return True

    def settled(self, packet_id: int, reason: int) -> None:
        """The message is durable (0), or will never be (a Reason Code)."""
        unsettled = self._unsettled
        raw = packet_id.to_bytes(2, "big")
        if self.state != OPEN or raw not in unsettled:
            return
        if reason and self.version != 5:
            self.close(b"", "SERVER_ERROR")  # 3.1.1 has no way to say no: the client sends it again
            return
        unsettled[raw] = reason
        while unsettled:
            head = next(iter(unsettled))
            if unsettled[head] < 0:
                break
            self.unflushed += 1
            self.enqueue(self._puback(head, unsettled.pop(head)))
        if len(unsettled) < self._receive_maximum // 2:
            self.release()
