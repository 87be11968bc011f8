"""Answers on a connection, however they come."""

from __future__ import annotations

from typing import Any

import h2.events
import h2.settings
import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe import frame as hf

from tests.peers.wire import Wire
from tests.unit.http2.answers import answered, response
from tidings.http2 import Failure, Fate, Limits, Result


def broken(token: Any, result: Result) -> None:
    raise ZeroDivisionError


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
