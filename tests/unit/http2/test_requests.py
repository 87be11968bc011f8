"""Requests on a connection: what a strict server gets, and through which windows."""

from __future__ import annotations

import h2.events
import h2.settings
import pytest
from h2.settings import SettingCodes

from tests.peers.wire import Wire
from tests.unit.http2.answers import answered, frame_sizes
from tidings.http2 import Head, Limits, literal


def test_a_strict_server_gets_each_request_exactly() -> None:
    wire = Wire()
    head = Head(
        b"push.example",
        ((b"apns-topic", b"com.example.app"), (b"apns-priority", b"10")),
        ((b"authorization", b"bearer " + b"t" * 300),),
    )
    for number in range(3):
        fields = literal(b"apns-id", b"id-%d" % number)
        wire.send(wire.request(number, b"body %d" % number, head=head, path=b"/p", fields=fields))
    requests = [event for event in wire.events if isinstance(event, h2.events.RequestReceived)]
    assert [request.headers for request in requests] == [
        [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"push.example"),
            (b":path", b"/p"),
            (b"apns-topic", b"com.example.app"),
            (b"apns-priority", b"10"),
            (b"authorization", b"bearer " + b"t" * 300),
            (b"apns-id", b"id-%d" % number),
        ]
        for number in range(3)
    ]
    assert wire.bodies() == {1: b"body 0", 3: b"body 1", 5: b"body 2"}
    assert wire.ended() == {1, 3, 5}


def test_a_batch_is_one_write() -> None:
    wire = Wire()
    writes: list[bytes] = []
    wire.transport.write = writes.append  # type: ignore[method-assign, assignment]
    wire.connection.send([wire.request(number) for number in range(100)])
    assert len(writes) == 1


def test_an_empty_body_ends_the_stream_with_its_headers() -> None:
    wire = Wire()
    wire.send(wire.request("a", b""))
    assert wire.bodies() == {1: b""}
    assert wire.ended() == {1}


def test_a_long_path_and_a_long_field_arrive_whole() -> None:
    wire = Wire()
    fields = literal(b"x-long", b"v" * 1_000)
    wire.send(wire.request("a", path=b"/" + b"p" * 900, fields=fields))
    [request] = [event for event in wire.events if isinstance(event, h2.events.RequestReceived)]
    headers = dict(request.headers)
    assert (headers[b":path"], headers[b"x-long"]) == (b"/" + b"p" * 900, b"v" * 1_000)


def test_what_does_not_fit_in_a_header_block_is_given_back_and_costs_no_neighbour() -> None:
    wire = Wire()
    wire.send(wire.request("a"), wire.request("b", path=b"/" * 3_000), wire.request("c"))
    assert wire.owner.given_back == [("b", "unfit")]
    assert wire.ended() == {1, 3}


def test_a_head_that_no_server_could_take_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="exceed 8192 bytes"):
        Head(b"push.example", plain=((b"authorization", b"x" * 9_000),))
    with pytest.raises(ValueError, match=r"b'apns-topic' holds a control character"):
        Head(b"push.example", ((b"apns-topic", b"com.example\r\nx: y"),))


def test_a_body_is_cut_to_the_window_of_its_stream() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    wire.send(wire.request("a", b"0123456789abcdefghij!"))
    assert (wire.bodies(), wire.ended()) == ({1: b"0123456789"}, set())
    wire.server.increment_flow_control_window(10, 1)
    wire.exchange()
    assert (wire.bodies(), wire.ended()) == ({1: b"0123456789abcdefghij"}, set())
    wire.server.increment_flow_control_window(1, 1)
    wire.exchange()
    assert (wire.bodies(), wire.ended()) == ({1: b"0123456789abcdefghij!"}, {1})


def test_bodies_wait_for_the_window_of_the_connection_and_new_requests_with_them() -> None:
    wire = Wire()  # 65,535 bytes for all streams, and the server gives nothing back
    wire.send(*(wire.request(number, bytes(4_096)) for number in range(16)))
    assert sum(map(len, wire.bodies().values())) == 65_535
    assert len(wire.ended()) == 15
    assert wire.connection.free == 0
    wire.server.increment_flow_control_window(100_000)
    wire.exchange()
    assert len(wire.ended()) == 16
    assert wire.connection.free > 0


def test_a_window_may_be_taken_back_below_zero() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    wire.send(wire.request("a", b"0123456789abcdefghij"))
    wire.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 4})  # now at -6
    wire.exchange()
    wire.server.increment_flow_control_window(8, 1)
    wire.exchange()
    assert wire.bodies() == {1: b"0123456789ab"}
    wire.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
    wire.exchange()
    assert (wire.bodies(), wire.ended()) == ({1: b"0123456789abcdefghij"}, {1})


def test_a_body_larger_than_a_frame_is_cut() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 100_000})
    wire.send(wire.request("a", bytes(40_000)))
    assert wire.bodies() == {1: bytes(40_000)}
    assert frame_sizes(wire) == [16_384, 16_384, 7_232]


def test_a_larger_frame_is_used_where_the_server_takes_it() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 100_000})
    wire.server.update_settings({SettingCodes.MAX_FRAME_SIZE: 50_000})
    wire.exchange()
    wire.send(wire.request("a", bytes(40_000)))
    assert frame_sizes(wire) == [40_000]


def test_credit_for_bodies_is_given_back_so_that_many_do_not_freeze_the_connection() -> None:
    wire = Wire()
    body = b"x" * 4_000
    for number in range(2_000):  # 8 MB, twice the window that we open with
        wire.send(wire.request(number))
        wire.respond(2 * number + 1, 400, body)
    assert {answered(wire, number) for number in range(2_000)} == {(400, body)}


def test_credit_is_given_back_to_a_stream_too() -> None:
    wire = Wire(Limits(body=200_000))
    wire.send(wire.request("a"))
    wire.server.send_headers(1, [(b":status", b"400")])
    for _ in range(19):
        wire.server.send_data(1, bytes(8_000))  # raises where there is no credit
        wire.exchange()
    wire.server.send_data(1, b"", end_stream=True)
    wire.exchange()
    assert answered(wire, "a") == (400, bytes(152_000))


def test_nothing_is_kept_of_streams_that_ended() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    for number in range(50):
        wire.send(wire.request(number, bytes(20)))
        stream = 2 * number + 1
        match number % 4:
            case 0:
                wire.respond(stream, 200)
            case 1:
                wire.respond(stream, 400, b"error")
            case 2:
                wire.server.send_headers(stream, [(b":status", b"400")])
                wire.server.reset_stream(stream)
                wire.exchange()
            case 3:
                wire.server.send_headers(stream, [(b":status", b"400")])
                wire.exchange()
                wire.connection.tick(100.0 * number)
                wire.connection.tick(100.0 * number + 50)
                wire.exchange()
    connection = wire.connection
    assert wire.answers + len(wire.owner.given_back) == 50
    assert connection._streams == {}
    assert connection._inbound.partial == {}
    assert connection._outbound.waiting == {}
    assert connection._out == []
