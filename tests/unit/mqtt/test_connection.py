"""The sans-IO engine: bytes and time in, events and bytes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handfast.core.mqtt import codec
from handfast.core.mqtt.connection import (
    Connection,
    ConnectionFailed,
    ConnectionLost,
    Event,
    FirstPacketNotConnect,
    Limits,
    clamp_keep_alive,
    frames,
)
from handfast.core.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from handfast.core.mqtt.properties import Properties, Property
from handfast.core.mqtt.reasons import Code

ACCEPTED = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}


def opened(version: int, limits: Limits | None = None, **connect: object) -> Connection:
    """An engine whose CONNECT was accepted; nothing is left to send or report."""
    engine = Connection(limits or Limits())
    engine.receive_data(codec.encode(version, Connect(version=version, client_id="c", **connect)), 0.0)  # type: ignore[arg-type]
    (event,) = engine.events_received()
    assert isinstance(event, Connect)
    engine.send(ConnAck())
    assert ACCEPTED[version] == engine.data_to_send()
    return engine


def feed(engine: Connection, *packets: Packet) -> list[Event]:
    engine.receive_data(b"".join(codec.encode(engine.version, packet) for packet in packets), 1.0)
    return engine.events_received()


def failure(events: list[Event]) -> int:
    """The Reason Code of the only event, which must be a failure."""
    (event,) = events
    assert isinstance(event, ConnectionFailed), event
    return event.violation.reason


@pytest.mark.parametrize("version", [4, 5])
def test_packets_come_out_as_they_went_in(version: int) -> None:
    engine = opened(version)
    packets: list[Packet] = [
        Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="a/+", qos=1),)),
        Publish(topic="a/b", payload=b"x"),
        Publish(topic="a/b", payload=b"y", qos=1, packet_id=9),
        PubAck(packet_id=3),
        Unsubscribe(packet_id=2, topic_filters=("a/+",)),
        Disconnect(),
    ]
    assert packets == feed(engine, *packets)
    assert True is engine.ended


def test_a_ping_is_answered_without_an_event() -> None:
    engine = opened(4)
    assert [] == feed(engine, PingReq())
    assert b"\xd0\x00" == engine.data_to_send()


@pytest.mark.parametrize("version", [4, 5])
@given(data=st.data())
def test_any_split_of_the_stream_gives_the_same_events(version: int, data: st.DataObject) -> None:
    stream = b"".join(
        codec.encode(version, packet)
        for packet in (
            Connect(version=version, client_id="split"),
            Publish(topic="t", payload=b"x" * 200),
            Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="f/#", qos=1),)),
            Publish(topic="t", payload=b"", qos=1, packet_id=5, dup=True),
            Disconnect(),
        )
    )
    whole = Connection()
    whole.receive_data(stream, 0.0)
    expected = whole.events_received()
    assert 5 == len(expected)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    pieces = Connection()
    events: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces.receive_data(stream[start:end], 0.0)
        events += pieces.events_received()
    assert expected == events


@given(chunks=st.lists(st.binary(max_size=40), max_size=8), connected=st.booleans(), version=st.sampled_from([4, 5]))
def test_arbitrary_bytes_never_raise(chunks: list[bytes], connected: bool, version: int) -> None:
    engine = opened(version) if connected else Connection()
    for chunk in chunks:
        engine.receive_data(chunk, 1.0)
    failures = [event for event in engine.events_received() if isinstance(event, ConnectionFailed)]
    assert len(failures) <= 1
    frames(engine.data_to_send())


@pytest.mark.parametrize("first", [b"\xc0", b"\x30", b"\x00", b"\xe0", b"G"])
def test_the_first_packet_must_be_connect_and_one_byte_tells(first: bytes) -> None:
    engine = Connection()
    engine.receive_data(first + b"\x00", 0.0)
    (event,) = engine.events_received()
    assert isinstance(event, ConnectionFailed)
    assert isinstance(event.violation, FirstPacketNotConnect)
    assert b"" == engine.data_to_send()


@pytest.mark.parametrize("version", [4, 5])
def test_a_second_connect_ends_the_connection(version: int) -> None:
    engine = opened(version)
    assert Code.PROTOCOL_ERROR == failure(feed(engine, Connect(version=version, client_id="again")))
    assert (b"\xe0\x01\x82" if version == 5 else b"") == engine.data_to_send()


@pytest.mark.parametrize(
    ("level", "answer"),
    [(3, b"\x20\x02\x00\x01"), (0, b"\x20\x02\x00\x01"), (6, b"\x20\x03\x00\x84\x00"), (200, b"\x20\x03\x00\x84\x00")],
)
def test_an_unknown_protocol_level_is_answered_in_the_nearest_form(level: int, answer: bytes) -> None:
    engine = Connection()
    engine.receive_data(b"\x10\x0d\x00\x04MQTT" + bytes((level,)) + b"\x02\x00\x3c\x00\x01a", 0.0)
    assert Code.UNSUPPORTED_PROTOCOL_VERSION == failure(engine.events_received())
    assert answer == engine.data_to_send()


@pytest.mark.parametrize("version", [4, 5])
def test_client_identifiers(version: int) -> None:
    def answer(client_id: str, clean: bool = True) -> int:
        engine = Connection()
        connect = Connect(version=version, client_id=client_id, clean_start=clean)
        engine.receive_data(codec.encode(version, connect), 0.0)
        (event,) = engine.events_received()
        return event.violation.reason if isinstance(event, ConnectionFailed) else 0

    assert 0 == answer("x" * 128)
    assert 0 == answer("+#*")
    assert 0 == answer("")
    assert Code.CLIENT_IDENTIFIER_NOT_VALID == answer("x" * 129)
    assert Code.CLIENT_IDENTIFIER_NOT_VALID == answer("é" * 65)
    assert Code.CLIENT_IDENTIFIER_NOT_VALID == answer("\x1b[2J")
    assert (Code.CLIENT_IDENTIFIER_NOT_VALID if version == 4 else 0) == answer("", clean=False)


def test_a_bad_client_identifier_is_answered_in_both_forms() -> None:
    for version, expected in ((4, b"\x20\x02\x00\x02"), (5, b"\x20\x03\x00\x85\x00")):
        engine = Connection()
        engine.receive_data(codec.encode(version, Connect(version=version, client_id="x" * 129)), 0.0)
        assert expected == engine.data_to_send()


@pytest.mark.parametrize(
    ("will", "reason"),
    [
        (Will(topic="w", payload=b"", qos=2), Code.QOS_NOT_SUPPORTED),
        (Will(topic="w/+", payload=b""), Code.TOPIC_NAME_INVALID),
        (Will(topic="", payload=b""), Code.TOPIC_NAME_INVALID),
        (Will(topic="a/b/c/d/e/f/g/h/i", payload=b""), Code.TOPIC_NAME_INVALID),
    ],
)
@pytest.mark.parametrize("version", [4, 5])
def test_a_will_that_could_not_be_published_refuses_the_connect(version: int, will: Will, reason: int) -> None:
    engine = Connection()
    engine.receive_data(codec.encode(version, Connect(version=version, client_id="c", will=will)), 0.0)
    assert reason == failure(engine.events_received())
    assert (bytes((0x20, 3, 0, reason, 0)) if version == 5 else b"") == engine.data_to_send()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({Property.AUTHENTICATION_METHOD: "x"}, Code.BAD_AUTHENTICATION_METHOD),
        ({Property.MAXIMUM_PACKET_SIZE: 511}, Code.UNSPECIFIED_ERROR),
    ],
)
def test_connect_properties_that_are_refused(values: dict[int, int | str | bytes], reason: int) -> None:
    engine = Connection()
    engine.receive_data(codec.encode(5, Connect(version=5, client_id="c", properties=Properties(values))), 0.0)
    assert reason == failure(engine.events_received())


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (Publish(topic="t", payload=b"", qos=2, packet_id=1), Code.QOS_NOT_SUPPORTED),
        (Publish(topic="t/+", payload=b""), Code.TOPIC_NAME_INVALID),
        (Publish(topic="", payload=b""), Code.TOPIC_NAME_INVALID),
        (Publish(topic="t\x1b[31m", payload=b""), Code.TOPIC_NAME_INVALID),
        (Publish(topic="x" * 257, payload=b""), Code.TOPIC_NAME_INVALID),
        (Publish(topic="t", payload=b"x" * 131_073), Code.PACKET_TOO_LARGE),
        (Publish(topic="t", payload=b"x" * 149_504), Code.PACKET_TOO_LARGE),
        (Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="t", qos=2),)), Code.QOS_NOT_SUPPORTED),
        (
            Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="t"),) * 9),
            Code.QUOTA_EXCEEDED,
        ),
        (Unsubscribe(packet_id=1, topic_filters=("t",) * 51), Code.QUOTA_EXCEEDED),
        (SubAck(packet_id=1, reasons=(0,)), Code.PROTOCOL_ERROR),
        (ConnAck(), Code.PROTOCOL_ERROR),
    ],
)
@pytest.mark.parametrize("version", [4, 5])
def test_packets_that_end_a_connection(version: int, packet: Packet, reason: int) -> None:
    engine = opened(version)
    assert reason == failure(feed(engine, packet))
    assert (bytes((0xE0, 1, reason)) if version == 5 else b"") == engine.data_to_send()
    assert [] == feed(engine, PingReq())


def test_the_largest_payload_passes() -> None:
    for version in (4, 5):
        payload = b"x" * 131_072
        assert [Publish(topic="t", payload=payload)] == feed(opened(version), Publish(topic="t", payload=payload))


def test_an_oversized_packet_is_refused_by_its_header() -> None:
    engine = opened(5)
    engine.receive_data(b"\x30\xff\xff\xff\x7f", 1.0)
    assert Code.PACKET_TOO_LARGE == failure(engine.events_received())


def test_an_oversized_connect_is_refused_by_its_header() -> None:
    engine = Connection()
    engine.receive_data(b"\x10\x80\x80\x80\x01", 1.0)
    assert Code.PACKET_TOO_LARGE == failure(engine.events_received())


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (Properties({Property.TOPIC_ALIAS: 0}), Code.TOPIC_ALIAS_INVALID),
        (Properties({Property.TOPIC_ALIAS: 9}), Code.TOPIC_ALIAS_INVALID),
        (Properties(subscription_identifiers=[1]), Code.PROTOCOL_ERROR),
        (Properties({Property.RESPONSE_TOPIC: "a/#"}), Code.PROTOCOL_ERROR),
        (Properties({Property.RESPONSE_TOPIC: ""}), Code.PROTOCOL_ERROR),
        (Properties({Property.CONTENT_TYPE: "x" * 257}), Code.QUOTA_EXCEEDED),
        (Properties({Property.CORRELATION_DATA: b"x" * 8193}), Code.QUOTA_EXCEEDED),
        (Properties(user=[("k", "v" * 8192)]), Code.QUOTA_EXCEEDED),
    ],
)
def test_publish_properties_that_end_a_connection(properties: Properties, reason: int) -> None:
    assert reason == failure(feed(opened(5), Publish(topic="t", payload=b"", properties=properties)))


def test_a_topic_alias_stands_for_its_topic_until_it_is_set_again() -> None:
    def aliased(topic: str) -> Publish:
        return Publish(topic=topic, payload=b"", properties=Properties({Property.TOPIC_ALIAS: 8}))

    events = feed(opened(5), aliased("one"), aliased(""), aliased("two"), aliased(""))
    assert ["one", "one", "two", "two"] == [event.topic for event in events if isinstance(event, Publish)]
    assert all(not event.properties for event in events if isinstance(event, Publish))


def test_an_alias_that_was_never_set_ends_the_connection() -> None:
    packet = Publish(topic="", payload=b"", properties=Properties({Property.TOPIC_ALIAS: 1}))
    assert Code.PROTOCOL_ERROR == failure(feed(opened(5), packet))


def test_an_illegal_topic_is_not_kept_as_an_alias() -> None:
    engine = opened(5)
    bad = Publish(topic="a/#", payload=b"", properties=Properties({Property.TOPIC_ALIAS: 1}))
    assert Code.TOPIC_NAME_INVALID == failure(feed(engine, bad))
    assert {} == engine.aliases


def test_subscription_identifiers_are_refused_by_name() -> None:
    packet = Subscribe(
        packet_id=1,
        subscriptions=(Subscription(topic_filter="t"),),
        properties=Properties(subscription_identifiers=[1]),
    )
    assert 0xA1 == failure(feed(opened(5), packet))


def test_no_local_on_a_shared_subscription_is_a_protocol_error() -> None:
    packet = Subscribe(packet_id=1, subscriptions=(Subscription(topic_filter="$share/g/t", no_local=True),))
    assert Code.PROTOCOL_ERROR == failure(feed(opened(5), packet))


def test_disconnect_cannot_raise_the_session_expiry() -> None:
    packet = Disconnect(properties=Properties({Property.SESSION_EXPIRY_INTERVAL: 1}))
    assert Code.PROTOCOL_ERROR == failure(feed(opened(5), packet))


def test_a_hundred_unacknowledged_messages_pass_and_one_more_does_not() -> None:
    engine = opened(5)
    messages = [Publish(topic="t", payload=b"", qos=1, packet_id=i) for i in range(1, 102)]
    assert messages[:100] == feed(engine, *messages[:100])
    engine.send(PubAck(packet_id=1))
    assert [messages[100]] == feed(engine, messages[100])
    engine.data_to_send()
    assert Code.RECEIVE_MAXIMUM_EXCEEDED == failure(feed(engine, Publish(topic="t", payload=b"", qos=1, packet_id=200)))


def test_the_old_version_has_no_receive_maximum() -> None:
    engine = opened(4)
    messages = [Publish(topic="t", payload=b"", qos=1, packet_id=i) for i in range(1, 202)]
    assert 201 == len(feed(engine, *messages))


@pytest.mark.parametrize(
    ("asked", "holds"), [(0, 1200), (1, 30), (29, 30), (30, 30), (900, 900), (1200, 1200), (65535, 1200)]
)
def test_keep_alive_is_clamped(asked: int, holds: int) -> None:
    assert holds == clamp_keep_alive(asked)


def test_silence_ends_the_connection_after_one_and_a_half_keep_alives() -> None:
    engine = opened(5, keep_alive=60)
    assert 90.0 == engine.deadline()
    feed(engine, PingReq())
    engine.data_to_send()
    assert 91.0 == engine.deadline()
    engine.expire(90.9)
    assert [] == engine.events_received()
    engine.expire(91.0)
    assert Code.KEEP_ALIVE_TIMEOUT == failure(engine.events_received())
    assert b"\xe0\x01\x8d" == engine.data_to_send()
    assert None is engine.deadline()


def test_a_connect_must_come_in_time() -> None:
    engine = Connection(Limits(connect_timeout_s=10.0), now=5.0)
    assert 15.0 == engine.deadline()


def test_a_lost_connection_is_an_event_once() -> None:
    engine = opened(4)
    engine.receive_eof()
    engine.receive_eof()
    assert [ConnectionLost()] == engine.events_received()


def test_a_reason_string_goes_along_unless_it_is_not_wanted() -> None:
    for wanted in (1, 0):
        engine = Connection()
        properties = Properties({Property.REQUEST_PROBLEM_INFORMATION: wanted})
        connect = Connect(version=5, client_id="c" * 129, properties=properties)
        engine.receive_data(codec.encode(5, connect), 0.0)
        (event,) = engine.events_received()
        assert isinstance(event, ConnectionFailed)
        answer = engine.fail(event.violation, "trace-1")
        assert wanted == (b"trace-1" in answer)
