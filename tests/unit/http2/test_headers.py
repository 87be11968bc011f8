from __future__ import annotations

import hpack
import pytest

from tidings.http2 import Head, literal
from tidings.http2.frames import ErrorCode, ProtocolError
from tidings.http2.headers import HeadDecoder, HeadEncoder, status_of

FIELDS = ((b"apns-topic", b"com.example.app"), (b"apns-priority", b"10"))


def whole(encoder: HeadEncoder, head: Head) -> bytes:
    before, after, _ = encoder.encode(head)
    return before + literal(b":path", b"/x") + after


def test_a_head_costs_a_byte_a_field_from_its_second_use_on() -> None:
    encoder, decoder, head = HeadEncoder(), hpack.Decoder(), Head(b"push.example", FIELDS)
    first, second, third = (whole(encoder, head) for _ in range(3))
    expected = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"push.example"),
        (b":path", b"/x"),
        *FIELDS,
    ]
    assert [decoder.decode(block, raw=True) for block in (first, second, third)] == [expected] * 3
    assert len(second) == len(third) == 3 + 4 + 2
    assert len(first) > 40


def test_heads_that_push_each_other_out_of_a_small_table_stay_right() -> None:
    encoder, decoder = HeadEncoder(), hpack.Decoder()
    encoder.resize(100)
    heads = [Head(b"push.example", ((b"x-%d" % n, b"v" * 30),)) for n in range(3)]
    for number in [0, 1, 2, 0, 0, 1, 2, 2, 2]:
        decoded = list(decoder.decode(whole(encoder, heads[number]), raw=True))
        assert decoded[-1] == (b"x-%d" % number, b"v" * 30)


def test_what_is_plain_enters_no_table() -> None:
    encoder, decoder = HeadEncoder(), hpack.Decoder()
    for number in range(3):
        head = Head(b"push.example", plain=((b"authorization", b"bearer %d" % number),))
        decoded = list(decoder.decode(whole(encoder, head), raw=True))
        assert decoded[-1] == (b"authorization", b"bearer %d" % number)
    assert list(decoder.header_table.dynamic_entries) == [(b":authority", b"push.example")]


def test_heads_in_great_number_are_not_all_kept() -> None:
    encoder = HeadEncoder()
    for number in range(2_000):
        head = Head(b"push.example", plain=((b"authorization", b"%d" % number),))
        encoder.encode(head)
        encoder.encode(head)
    assert len(encoder._kept) <= 256


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 2_000])
def test_a_literal_is_read_back_whatever_its_length(size: int) -> None:
    field = (b"x-field", b"v" * size)
    assert hpack.Decoder().decode(literal(*field), raw=True) == [field]


def test_a_block_stands_for_itself_once_the_server_has_given_up_its_table() -> None:
    decoder, server = HeadDecoder(), hpack.Encoder()
    fields = [(b":status", b"200"), (b"apns-id", b"x")]
    assert decoder.decode(server.encode(fields)) == tuple(fields)
    assert not decoder.stateless
    server.header_table_size = 0
    assert decoder.decode(server.encode(fields)) == tuple(fields)
    assert decoder.stateless


def test_headers_beyond_all_measure_end_the_connection() -> None:
    with pytest.raises(ProtocolError, match="headers too large") as caught:
        HeadDecoder().decode(hpack.Encoder().encode([("x", "y" * 20_000)]))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_block_that_makes_no_sense_ends_the_connection() -> None:
    with pytest.raises(ProtocolError, match="bad header block") as caught:
        HeadDecoder().decode(b"\xff\xff\xff")
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize("huffman", [True, False])
@pytest.mark.parametrize("sensitive", [True, False])
def test_a_status_is_read_however_it_is_encoded(huffman: bool, sensitive: bool) -> None:
    for status in range(100, 600):
        field = (b":status", b"%d" % status, sensitive)
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        encoder.encode([])
        assert status_of(encoder.encode([field, (b"x", b"y")], huffman=huffman)) == status


@pytest.mark.parametrize(
    "block", [b"", b"\x48", b"\x48\x03", b"\x48\x0320", b"\x48\x03abc", b"\x20\x88", b"\x82"]
)
def test_what_does_not_begin_with_a_status_has_none(block: bytes) -> None:
    assert status_of(block) == 0
