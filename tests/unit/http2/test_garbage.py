"""Whatever a server sends: each request gets one answer, and nothing raises."""

from __future__ import annotations

import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe import frame as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.wire import Wire
from tests.unit.http2.answers import answered
from tidings.http2 import Failure, Fate

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
