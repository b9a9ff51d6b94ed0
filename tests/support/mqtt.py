"""Unmodified MQTT clients, wrapped so that a test awaits events and never sleeps."""

from __future__ import annotations

import queue
import ssl
import threading
import uuid
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from tests.support.device import Device
from tests.support.server import Server

LIMIT_S = 10.0


class Client:
    """A paho client. `connect` gives the CONNACK's reason code; `messages` and `disconnects` are queues."""

    def __init__(
        self,
        server: Server,
        device: Device,
        *,
        client_id: str | None = None,
        version: int = paho.MQTTv311,
        host: str = "localhost",
        tls_version: ssl.TLSVersion | None = None,
        reconnect: bool = False,
        port: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.server = server
        self.port = port or server.mqtt_port
        self.host = host
        self.version = version
        self.client_id = f"client-{uuid.uuid4().hex[:8]}" if client_id is None else client_id
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.connacks: queue.Queue[tuple[Any, Any, Any]] = queue.Queue()
        self.disconnects: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self.subacks: queue.Queue[tuple[int, list[Any]]] = queue.Queue()
        self.pubacks: queue.Queue[tuple[int, Any]] = queue.Queue()
        self.logged: list[str] = []
        self.raw = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=version, reconnect_on_failure=reconnect
        )
        if context is None:
            context = ssl.create_default_context(cafile=str(device.root))
            context.load_cert_chain(str(device.certificate), str(device.key))
        if tls_version:
            context.minimum_version = context.maximum_version = tls_version
        self.raw.tls_set_context(context)
        self.raw.on_message = lambda c, u, m: self.messages.put(m)
        self.raw.on_connect = lambda c, u, flags, code, properties: self.connacks.put((flags, code, properties))
        self.raw.on_disconnect = lambda c, u, flags, code, properties: self.disconnects.put((code, properties))
        self.raw.on_subscribe = lambda c, u, mid, codes, properties: self.subacks.put((mid, codes))
        self.raw.on_publish = lambda c, u, mid, code, properties: self.pubacks.put((mid, code))
        self.raw.on_log = lambda c, u, level, text: self.logged.append(text)
        self.lock = threading.Lock()

    def connect(self, *, keepalive: int = 60, properties: Properties | None = None, **options: Any) -> Any:
        """Connect and wait for CONNACK (or the end of the connection); the reason code, or None when closed."""
        if self.version == paho.MQTTv5:
            options.setdefault("clean_start", True)
            options["properties"] = properties
        self.raw.connect(self.host, self.port, keepalive, **options)
        self.raw.loop_start()
        deadline = LIMIT_S
        try:
            flags, code, self.connack_properties = self.connacks.get(timeout=deadline)
        except queue.Empty:
            return None
        self.session_present = flags.session_present
        return code

    def subscribe(self, topic: str, qos: int = 1, **options: Any) -> list[int]:
        """Subscribe and wait for SUBACK; its reason codes as numbers."""
        _, mid = self.raw.subscribe(topic, qos, **options)
        got, codes = self.subacks.get(timeout=LIMIT_S)
        assert mid == got
        return [code.value for code in codes]

    def publish(
        self, topic: str, payload: bytes | str = b"", qos: int = 1, retain: bool = False, **options: Any
    ) -> int:
        """Publish; at QoS 1 wait for PUBACK and give its reason code (0 in 3.1.1)."""
        info = self.raw.publish(topic, payload, qos, retain, **options)
        mid, code = self.pubacks.get(timeout=LIMIT_S)
        assert mid == info.mid
        return int(getattr(code, "value", 0))

    def message(self, limit_s: float = LIMIT_S) -> paho.MQTTMessage:
        return self.messages.get(timeout=limit_s)

    def disconnected(self, limit_s: float = LIMIT_S) -> Any:
        """Wait for the end of the connection; its reason code."""
        code, self.disconnect_properties = self.disconnects.get(timeout=limit_s)
        return code

    def silent_until(self, other: Client, topic: str) -> None:
        """Prove that nothing is on its way: a marker published by `other` on `topic` arrives first."""
        marker = uuid.uuid4().hex
        other.publish(topic, marker)
        assert self.message().payload.decode() == marker

    def close(self) -> None:
        self.raw.disconnect()
        self.raw.loop_stop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def v5(server: Server, device: Device, **options: Any) -> Client:
    return Client(server, device, version=paho.MQTTv5, **options)
