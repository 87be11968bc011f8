"""A connection's own frames and its time: settings, pings, resets, goodbyes, silence."""

from __future__ import annotations

import h2.events
import h2.settings
import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe import frame as hf

from tests.peers.wire import HEAD, Wire
from tests.unit.http2.answers import NO_STREAM, answered
from tidings.http2 import Failure, Fate, Head, Limits


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
