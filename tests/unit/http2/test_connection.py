from __future__ import annotations

from typing import Any

import h2.events
import h2.settings
import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe import frame as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.wire import HEAD, Wire
from tidings.http2 import Failure, Fate, Head, Limits, Response, Result, literal

NO_STREAM = 2**31 - 1


def response(wire: Wire, token: Any) -> Response:
    result = wire.results[token]
    assert isinstance(result, Response)
    return result


def answered(wire: Wire, token: Any) -> tuple[int, bytes]:
    found = response(wire, token)
    return found.status, found.body


def frame_sizes(wire: Wire) -> list[int]:
    data = [event.data for event in wire.events if isinstance(event, h2.events.DataReceived)]
    return [len(piece or b"") for piece in data]


def broken(token: Any, result: Result) -> None:
    raise ZeroDivisionError


# ── requests ──────────────────────────────────────────────────────────────────────────────────


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


# ── answers ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("split", [0, 1, 7])
def test_answers_are_the_same_however_their_bytes_are_split(split: int) -> None:
    wire = Wire()
    wire.send(*(wire.request(number) for number in range(4)))
    wire.respond(1, 200, split=split)
    wire.respond(3, 410, b'{"reason":"Unregistered"}', [(b"apns-id", b"x")], split=split)
    wire.respond(7, 200, headers=[(b"apns-id", b"y")], split=split)
    wire.respond(5, 200, b"hello", split=split)
    assert [answered(wire, number) for number in range(4)] == [
        (200, b""),
        (410, b'{"reason":"Unregistered"}'),
        (200, b"hello"),
        (200, b""),
    ]
    assert response(wire, 1).header(b"apns-id") == b"x"
    assert wire.connection.under_way == 0


def test_an_answer_may_come_before_its_neighbours_and_in_several_frames() -> None:
    wire = Wire()
    wire.send(wire.request("a"), wire.request("b"))
    for stream in (1, 3):
        wire.server.send_headers(stream, [(b":status", b"400")])
    wire.server.send_data(3, b"second, ")
    wire.server.send_data(1, b"first")
    wire.server.send_data(3, b"in two parts")
    wire.server.send_data(1, b"", end_stream=True)
    wire.server.send_data(3, b"", end_stream=True)
    wire.exchange()
    assert answered(wire, "a") == (400, b"first")
    assert answered(wire, "b") == (400, b"second, in two parts")


def test_padding_is_not_part_of_a_body() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    wire.server.send_headers(1, [(b":status", b"400")])
    wire.server.send_data(1, b"body", end_stream=True, pad_length=200)
    wire.exchange()
    assert answered(wire, "a") == (400, b"body")


def test_an_interim_answer_is_not_the_answer() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    wire.server.send_headers(1, [(b":status", b"103"), (b"link", b"</x>")])
    wire.exchange()
    assert wire.results == {}
    wire.respond(1, 429)
    assert answered(wire, "a") == (429, b"")


def test_trailers_end_an_answer() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    wire.server.send_headers(1, [(b":status", b"200")])
    wire.server.send_data(1, b"body")
    wire.server.send_headers(1, [(b"grpc-status", b"0")], end_stream=True)
    wire.exchange()
    assert answered(wire, "a") == (200, b"body")


def test_a_header_block_may_come_in_many_frames_with_padding_and_priority() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    block = hpack.Encoder().encode([(":status", "410"), ("apns-id", "x" * 100)])
    first = hf.HeadersFrame(1, block[:3], pad_length=9, depends_on=0, stream_weight=15)
    first.flags |= {"PADDED", "PRIORITY", "END_STREAM"}
    last = hf.ContinuationFrame(1, block[5:], flags=["END_HEADERS"])
    frames = [first, hf.ContinuationFrame(1, block[3:5]), last]
    wire.give(b"".join(frame.serialize() for frame in frames), split=1)
    assert answered(wire, "a") == (410, b"")
    assert response(wire, "a").header(b"apns-id") == b"x" * 100


def test_a_server_that_keeps_its_table_is_decoded_all_the_same() -> None:
    wire = Wire()
    wire.send(*(wire.request(number) for number in range(3)))
    encoder = hpack.Encoder()  # never told of our table size of 0
    for number in range(3):
        block = encoder.encode([(":status", "410"), ("x-same", "each time")])
        frame = hf.HeadersFrame(2 * number + 1, block, flags=["END_HEADERS", "END_STREAM"])
        wire.give(frame.serialize())
    assert [response(wire, n).header(b"x-same") for n in range(3)] == [b"each time"] * 3


def test_of_a_server_that_keeps_its_table_no_block_is_passed_over() -> None:
    wire = Wire()
    wire.send(wire.request("a"), wire.request("b"))
    encoder = hpack.Encoder()
    for stream, status in ((1, "200"), (3, "410")):
        block = encoder.encode([(":status", status), ("x-same", "each time")])
        flags = ["END_HEADERS", "END_STREAM"]
        wire.give(hf.HeadersFrame(stream, block, flags=flags).serialize())
    assert response(wire, "b").header(b"x-same") == b"each time"


def stateless() -> Wire:
    """A wire whose server has confirmed that it keeps no table: its 200s are not decoded."""
    wire = Wire()
    wire.send(wire.request("first"))
    wire.respond(1)
    assert wire.connection._inbound.decoder.stateless
    wire.send(wire.request("a"), wire.request("b"))
    return wire


def test_a_200_in_the_middle_of_another_answer_is_not_taken_for_the_answer() -> None:
    wire = stateless()
    wire.give(hf.HeadersFrame(3, b"\x8c", flags=["END_HEADERS"]).serialize())
    wire.give(hf.HeadersFrame(3, b"\x88", flags=["END_HEADERS", "END_STREAM"]).serialize())
    assert wire.results["a"] == Failure(
        Fate.UNKNOWN, "malformed answer: headers in the middle of a body"
    )


def test_a_200_in_the_middle_of_a_header_block_ends_the_connection() -> None:
    wire = stateless()
    wire.give(hf.HeadersFrame(3, b"\x8c").serialize())
    wire.give(hf.HeadersFrame(5, b"\x88", flags=["END_HEADERS", "END_STREAM"]).serialize())
    assert wire.results["b"] == Failure(
        Fate.UNKNOWN, "the server broke the protocol: a header block was cut short"
    )


def test_an_answer_before_the_end_of_the_body_stops_the_body() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    wire.send(wire.request("a", b"x" * 30))
    wire.respond(1, 413)
    assert answered(wire, "a") == (413, b"")
    [reset] = [event for event in wire.events if isinstance(event, h2.events.StreamReset)]
    assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.CANCEL)


def test_a_body_that_is_too_large_is_cut_off() -> None:
    wire = Wire(Limits(body=1_000))
    wire.send(wire.request("a"))
    wire.server.send_headers(1, [(b":status", b"502")])
    wire.server.send_data(1, b"x" * 5_000)
    wire.exchange()
    assert answered(wire, "a") == (502, b"x" * 1_000)
    [reset] = [event for event in wire.events if isinstance(event, h2.events.StreamReset)]
    assert reset.error_code == ErrorCodes.CANCEL


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([hf.DataFrame(1, b"x", flags=["END_STREAM"])], id="a body without headers"),
        pytest.param(
            [hf.HeadersFrame(1, hpack.Encoder().encode([("x", "y")]), flags=["END_HEADERS"])],
            id="no status",
        ),
        pytest.param(
            [
                hf.HeadersFrame(
                    1, hpack.Encoder().encode([(":status", "2x0")]), flags=["END_HEADERS"]
                )
            ],
            id="a status that is no number",
        ),
        pytest.param(
            [
                hf.HeadersFrame(
                    1,
                    hpack.Encoder().encode([(":status", "103")]),
                    flags=["END_HEADERS", "END_STREAM"],
                )
            ],
            id="nothing after an interim answer",
        ),
    ],
)
def test_a_malformed_answer_costs_its_stream_alone(frames: list[hf.Frame]) -> None:
    wire = Wire()
    wire.send(wire.request("a"), wire.request("b"))
    wire.give(b"".join(frame.serialize() for frame in frames))
    result = wire.results["a"]
    assert isinstance(result, Failure)
    assert (result.fate, result.why.split(":")[0]) == (Fate.UNKNOWN, "malformed answer")
    wire.respond(3, 200)
    assert answered(wire, "b") == (200, b"")


def test_a_callback_that_raises_costs_no_neighbour(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    request = wire.request("a")
    request.done = broken
    wire.send(request, wire.request("b"))
    wire.respond(1)
    wire.respond(3)
    assert answered(wire, "b") == (200, b"")
    assert "the callback of a request failed" in caplog.text


def test_a_callback_may_send() -> None:
    wire = Wire()
    again = wire.request("a")
    again.done = lambda token, result: wire.connection.send([wire.request("b")])
    wire.send(again)
    wire.respond(1)
    wire.respond(3)
    assert answered(wire, "b") == (200, b"")


# ── windows ───────────────────────────────────────────────────────────────────────────────────


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


# ── settings ──────────────────────────────────────────────────────────────────────────────────


def test_it_takes_no_requests_before_the_server_has_said_how_many() -> None:
    wire = Wire(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 7}, settled=False)
    assert (wire.connection.free, wire.owner.told) == (0, ["opened"])
    wire.exchange()
    assert (wire.connection.free, wire.owner.told) == (7, ["opened", "ready"])


def test_the_number_of_streams_follows_the_server_in_mid_flight() -> None:
    wire = Wire(Limits(streams=500), {SettingCodes.MAX_CONCURRENT_STREAMS: 1_000})
    wire.send(wire.request("a"), wire.request("b"))
    assert wire.connection.free == 498
    wire.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    wire.exchange()
    assert wire.connection.free == 0
    wire.respond(1)
    wire.respond(3)
    assert wire.connection.free == 1


def test_settings_that_say_nothing_of_streams_change_nothing_about_them() -> None:
    wire = Wire(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 7})
    wire.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 70_000})
    wire.exchange()
    assert wire.connection.free == 7


def test_a_probe_is_one_stream_until_the_credentials_are_accepted() -> None:
    wire = Wire(Limits(probe=True, streams=10))
    assert wire.connection.free == 1
    wire.send(wire.request("a"))
    assert wire.connection.free == 0
    wire.respond(1, 403, b'{"reason":"InvalidProviderToken"}')
    assert wire.connection.free == 1
    wire.send(wire.request("b"))
    wire.respond(3, 400, b'{"reason":"BadDeviceToken"}')
    assert wire.connection.free == 10


@pytest.mark.parametrize("size", [0, 60, 200, 4_096, 65_536])
def test_the_servers_header_table_may_change_in_mid_flight(size: int) -> None:
    wire = Wire()
    head = Head(b"push.example", tuple((b"x-%d" % n, b"v" * 20) for n in range(5)))
    for number, table in enumerate((4_096, size, size, 4_096)):
        wire.server.update_settings({SettingCodes.HEADER_TABLE_SIZE: table})
        wire.exchange()
        wire.send(
            wire.request((number, 1), head=head),
            wire.request((number, 2)),
            wire.request((number, 3), head=head),
        )
    requests = [event for event in wire.events if isinstance(event, h2.events.RequestReceived)]
    start = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"push.example")]
    long = [*start, (b":path", b"/x"), *head.indexed]
    short = [*start, (b":path", b"/x"), *HEAD.indexed]
    assert [request.headers for request in requests] == [long, short, long] * 4


# ── pings, resets, goodbyes ───────────────────────────────────────────────────────────────────


def test_a_ping_is_answered() -> None:
    wire = Wire()
    wire.server.ping(b"12345678")
    events = wire.exchange()
    assert [
        event.ping_data for event in events if isinstance(event, h2.events.PingAckReceived)
    ] == [b"12345678"]


def test_a_server_that_pings_and_does_not_read_gets_no_heap_of_answers() -> None:
    wire = Wire()
    wire.connection.pause_writing()
    wire.give(hf.PingFrame(0, b"12345678").serialize() * 1_000)
    assert wire.transport.take() == b""


def test_a_network_that_takes_no_more_gets_no_more_requests() -> None:
    wire = Wire()
    wire.connection.pause_writing()
    assert wire.connection.free == 0
    told = wire.owner.room
    wire.connection.resume_writing()
    assert wire.connection.free > 0
    assert wire.owner.room == told + 1


def test_a_stream_refused_is_given_back_and_one_reset_otherwise_is_unknown() -> None:
    wire = Wire()
    wire.send(wire.request("a"), wire.request("b"))
    wire.server.reset_stream(1, ErrorCodes.REFUSED_STREAM)
    wire.server.reset_stream(3, ErrorCodes.INTERNAL_ERROR)
    wire.exchange()
    assert wire.owner.given_back == [("a", "RST_STREAM REFUSED_STREAM")]
    assert wire.results == {"b": Failure(Fate.UNKNOWN, "RST_STREAM INTERNAL_ERROR")}


def test_a_reset_after_the_answer_changes_nothing() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    wire.respond(1)
    wire.give(hf.RstStreamFrame(1, 0).serialize())
    assert answered(wire, "a") == (200, b"")
    assert not wire.connection.over


def test_a_stream_reset_in_the_middle_of_its_request_is_given_back() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    wire.send(wire.request("a", bytes(20)))
    wire.server.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
    wire.exchange()
    assert wire.owner.given_back == [("a", "RST_STREAM INTERNAL_ERROR")]


def test_goaway_gives_back_what_is_above_and_waits_for_what_is_below() -> None:
    wire = Wire()
    wire.send(*(wire.request(number) for number in range(4)))
    goaway = hf.GoAwayFrame(0, 3, 0, b'{"reason":"Shutdown"}').serialize()
    wire.give(goaway)
    why = 'GOAWAY NO_ERROR: {"reason":"Shutdown"}'
    assert wire.owner.given_back == [(2, why), (3, why)]
    assert (wire.connection.free, wire.connection.over) == (0, False)
    assert wire.owner.told == ["opened", "ready", "leaving"]
    wire.respond(1)
    wire.respond(3, 410)
    assert (answered(wire, 0), answered(wire, 1)) == ((200, b""), (410, b""))
    assert wire.owner.told[-1] == f"ended: {why}"
    assert wire.transport.closing


def test_goaway_in_two_steps_as_a_graceful_server_does_it() -> None:
    wire = Wire()
    wire.send(wire.request("a"), wire.request("b"))
    wire.give(hf.GoAwayFrame(0, NO_STREAM, 0).serialize())
    assert wire.owner.given_back == []
    wire.give(hf.GoAwayFrame(0, 1, 0).serialize())
    assert wire.owner.given_back == [("b", "GOAWAY NO_ERROR")]


def test_a_connection_lost_leaves_what_was_written_unknown() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    wire.connection.connection_lost(ConnectionResetError("reset by peer"))
    assert wire.results == {"a": Failure(Fate.UNKNOWN, "connection lost (reset by peer)")}
    assert wire.owner.told[-2:] == ["ended: connection lost (reset by peer)", "closed"]


def test_a_connection_lost_gives_back_what_was_not_wholly_written() -> None:
    wire = Wire(settings={SettingCodes.INITIAL_WINDOW_SIZE: 10})
    wire.send(wire.request("a", bytes(20)), wire.request("b", bytes(10)))
    wire.connection.connection_lost(None)
    why = "the server closed the connection"
    assert wire.owner.given_back == [("a", why)]
    assert wire.results == {"b": Failure(Fate.UNKNOWN, why)}


def test_what_a_callback_sends_before_the_connection_breaks_is_given_back() -> None:
    wire = Wire()
    again = wire.request("a")
    again.done = lambda token, result: wire.connection.send([wire.request("b")])
    wire.send(again)
    block = hpack.Encoder().encode([(":status", "200")])
    frame = hf.HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]).serialize()
    wire.give(frame + hf.PushPromiseFrame(1, 2, block, flags=["END_HEADERS"]).serialize())
    [(token, why)] = wire.owner.given_back
    assert (token, why.split(":")[0]) == ("b", "the server broke the protocol")


def test_when_stream_numbers_are_used_up_the_connection_leaves() -> None:
    wire = Wire()
    wire.connection._next = NO_STREAM - 2
    assert wire.connection.free == 2
    wire.connection.send([wire.request("a"), wire.request("b")])
    assert wire.connection.free == 0
    assert wire.owner.told == ["opened", "ready", "leaving"]
    block = hpack.Encoder().encode([(":status", "200")])
    for stream in (NO_STREAM - 2, NO_STREAM):
        wire.give(hf.HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize())
    assert sorted(wire.results) == ["a", "b"]
    assert wire.transport.closing


def test_a_connection_at_rest_takes_nothing_for_a_while() -> None:
    wire = Wire()
    wire.connection.tick(100.0)
    wire.connection.rest(60.0)
    assert wire.connection.free == 0
    wire.connection.tick(159.0)
    assert wire.connection.free == 0
    wire.connection.tick(160.0)
    assert wire.connection.free > 0


# ── time ──────────────────────────────────────────────────────────────────────────────────────


def test_a_late_answer_is_given_up_and_harms_nothing_when_it_comes() -> None:
    wire = Wire(Limits(timeout=10.0))
    wire.send(wire.request("a"))
    wire.connection.tick(0.0)
    wire.send(wire.request("b"))
    wire.connection.tick(9.9)
    assert wire.results == {}
    wire.connection.tick(10.0)
    assert wire.results == {"a": Failure(Fate.UNKNOWN, "no answer within 10 s")}
    stale = hpack.Encoder().encode([(":status", "200")])
    wire.give(hf.HeadersFrame(1, stale, flags=["END_HEADERS"]).serialize())
    wire.give(hf.DataFrame(1, b"late", flags=["END_STREAM"]).serialize())
    events = wire.exchange()
    assert [event.stream_id for event in events if isinstance(event, h2.events.StreamReset)] == [1]
    wire.respond(3)
    assert answered(wire, "b") == (200, b"")


def test_silence_is_asked_for_a_sign_of_life_and_then_taken_for_death() -> None:
    wire = Wire(Limits(timeout=100.0))
    wire.connection.tick(0.0)
    wire.send(wire.request("a"))
    wire.connection.tick(1.0)  # the settings were heard
    wire.connection.tick(51.0)
    [ping] = [hf.Frame.parse_frame_header(memoryview(wire.transport.take()[:9]))[0]]
    assert isinstance(ping, hf.PingFrame)
    wire.connection.tick(100.0)
    assert not wire.connection.over
    wire.connection.tick(101.0)
    assert wire.transport.aborted
    assert isinstance(wire.results["a"], Failure)


def test_a_server_that_never_sends_its_settings_is_dropped() -> None:
    wire = Wire(Limits(connect_timeout=5.0), settled=False)
    wire.connection.tick(5.0)
    assert not wire.connection.over
    wire.connection.tick(5.1)
    assert wire.owner.told == ["opened", "ended: no SETTINGS within 5 s"]


# ── garbage ───────────────────────────────────────────────────────────────────────────────────

OPEN = b"".join(
    frame.serialize() for frame in (hf.SettingsFrame(0), hf.SettingsFrame(0, flags=["ACK"]))
)
BLOCK = hpack.Encoder().encode([(":status", "200")])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorCodes.FRAME_SIZE_ERROR),
        (hf.PingFrame(0, bytes(8)).serialize(), ErrorCodes.PROTOCOL_ERROR),
        (OPEN + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + hf.DataFrame(99, b"x").serialize(), ErrorCodes.PROTOCOL_ERROR),
        (OPEN + hf.HeadersFrame(2, BLOCK, flags=["END_HEADERS"]).serialize(), 1),
        (OPEN + hf.HeadersFrame(1, b"\xff\xff", flags=["END_HEADERS"]).serialize(), 9),
        (OPEN + hf.HeadersFrame(1, BLOCK).serialize() + hf.PingFrame(0, bytes(8)).serialize(), 1),
        (OPEN + hf.ContinuationFrame(1, BLOCK).serialize(), 1),
        (
            OPEN
            + hf.HeadersFrame(1, BLOCK).serialize()
            + hf.ContinuationFrame(1, bytes(16_000)).serialize() * 2,
            ErrorCodes.ENHANCE_YOUR_CALM,
        ),
        (
            OPEN
            + hf.HeadersFrame(
                1,
                hpack.Encoder().encode([("x" * 1_000, "y" * 1_000)] * 9, huffman=False)[:16_000],
                flags=["END_HEADERS"],
            ).serialize(),
            ErrorCodes.ENHANCE_YOUR_CALM,
        ),
        (OPEN + hf.PushPromiseFrame(1, 2, BLOCK, flags=["END_HEADERS"]).serialize(), 1),
        (OPEN + hf.WindowUpdateFrame(0, 2**31 - 1).serialize(), ErrorCodes.FLOW_CONTROL_ERROR),
        (OPEN + bytes.fromhex("000004080000000000") + bytes(4), ErrorCodes.PROTOCOL_ERROR),
        (OPEN + bytes.fromhex("000003080000000000") + bytes(3), ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + bytes.fromhex("000005040000000000") + bytes(5), ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + bytes.fromhex("000006040100000000") + bytes(6), ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + bytes.fromhex("000006040000000001") + bytes(6), ErrorCodes.PROTOCOL_ERROR),
        (OPEN + hf.SettingsFrame(0, {2: 1}).serialize(), ErrorCodes.PROTOCOL_ERROR),
        (OPEN + hf.SettingsFrame(0, {4: 2**31}).serialize(), ErrorCodes.FLOW_CONTROL_ERROR),
        (OPEN + hf.SettingsFrame(0, {5: 100}).serialize(), ErrorCodes.PROTOCOL_ERROR),
        (OPEN + bytes.fromhex("000007060000000000") + bytes(7), ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + bytes.fromhex("000007070000000000") + bytes(7), ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + bytes.fromhex("000003030000000001") + bytes(3), ErrorCodes.FRAME_SIZE_ERROR),
        (OPEN + bytes.fromhex("000002000800000001") + b"\x05x", ErrorCodes.PROTOCOL_ERROR),
        (OPEN + bytes.fromhex("000003012400000001") + bytes(3), ErrorCodes.FRAME_SIZE_ERROR),
    ],
)
def test_a_server_that_breaks_the_protocol_loses_the_connection(data: bytes, code: int) -> None:
    wire = Wire(settled=False)
    wire.connection.send([wire.request("a")])
    wire.transport.take()
    wire.give(data)
    goaway, _ = hf.Frame.parse_frame_header(memoryview(wire.transport.written[-17:-8]))
    goaway.parse_body(memoryview(wire.transport.written[-8:]))
    assert isinstance(goaway, hf.GoAwayFrame)
    assert goaway.error_code == code
    assert wire.transport.closing
    [result] = wire.results.values()
    assert isinstance(result, Failure)
    assert result.fate is Fate.UNKNOWN


def test_frames_that_nobody_knows_and_priorities_are_ignored() -> None:
    wire = Wire()
    wire.send(wire.request("a"))
    wire.give(hf.PriorityFrame(1, 0, 15).serialize() + bytes.fromhex("000003ff0000000001") + b"abc")
    wire.respond(1)
    assert answered(wire, "a") == (200, b"")


def test_bytes_after_the_end_are_ignored() -> None:
    wire = Wire()
    wire.connection.abort("for the test")
    buffer = wire.connection.get_buffer(-1)
    buffer[:17] = bytes(17)
    wire.connection.buffer_updated(17)
    assert wire.owner.told == ["opened", "ready", "ended: for the test"]


FRAMES = st.one_of(
    st.builds(
        lambda kind, flags, stream, payload: (
            len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream + payload
        ),
        st.integers(0, 11),
        st.integers(0, 255),
        st.one_of(
            st.integers(0, 12).map(lambda stream: stream.to_bytes(4, "big")),
            st.binary(min_size=4, max_size=4),
        ),
        st.one_of(st.binary(max_size=60), st.sampled_from([bytes(4), bytes(6), bytes(8)])),
    ),
    st.sampled_from(
        [
            hf.HeadersFrame(1, BLOCK, flags=["END_HEADERS", "END_STREAM"]).serialize(),
            hf.HeadersFrame(3, BLOCK, flags=["END_HEADERS"]).serialize(),
            hf.HeadersFrame(5, BLOCK[:1]).serialize(),
            hf.ContinuationFrame(5, BLOCK[1:], flags=["END_HEADERS"]).serialize(),
            hf.DataFrame(3, b"body", flags=["END_STREAM"]).serialize(),
            hf.WindowUpdateFrame(0, 1_000).serialize(),
            hf.RstStreamFrame(7, 8).serialize(),
            hf.SettingsFrame(0, {4: 0, 3: 1}).serialize(),
            hf.GoAwayFrame(0, 5, 0).serialize(),
        ]
    ),
    st.binary(max_size=40),
)


@settings(max_examples=400, deadline=None)
@given(
    frames=st.lists(FRAMES, max_size=12),
    split=st.integers(1, 64),
    limits=st.sampled_from([{}, {SettingCodes.INITIAL_WINDOW_SIZE: 10}]),
)
def test_whatever_the_server_writes_nothing_raises_and_each_request_has_one_answer(
    frames: list[bytes], split: int, limits: dict[SettingCodes, int]
) -> None:
    wire = Wire(settings=limits)
    wire.connection.send([wire.request(number, bytes(30)) for number in range(5)])
    wire.give(b"".join(frames), split=split)
    for now in (1.0, 20.0, 40.0):
        wire.connection.tick(now)
    wire.connection.connection_lost(None)
    assert sorted([*wire.results, *(token for token, _ in wire.owner.given_back)]) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert sum(told.startswith("ended") for told in wire.owner.told) == 1


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_good_stream_with_flipped_bytes_is_survived(data: st.DataObject) -> None:
    wire = Wire()
    wire.connection.send([wire.request(number) for number in range(6)])
    wire.server.receive_data(wire.transport.take())
    for number, status in enumerate((b"200", b"410", b"200", b"503", b"200")):
        wire.server.send_headers(2 * number + 1, [(b":status", status), (b"apns-id", b"x" * 36)])
        wire.server.send_data(2 * number + 1, b'{"reason":"x"}', end_stream=True)
    wire.server.close_connection(last_stream_id=9)
    stream = bytearray(wire.server.data_to_send())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
    wire.give(bytes(stream), split=data.draw(st.integers(1, 50)))
    wire.connection.connection_lost(None)
    assert sorted([*wire.results, *(token for token, _ in wire.owner.given_back)]) == list(range(6))
