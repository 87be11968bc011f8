from __future__ import annotations

import msgspec
import pytest

from tidings.log.port import Headers, Record
from tidings.records import DeadLetter, Origin
from tidings.runtime.letters import LARGEST, LONGEST, MOST_BESIDE, dead_letter
from tidings.topics import settings

RECORD = Record(
    topic="orders",
    partition=3,
    offset=17,
    time=1_000,
    key=b"alice",
    value=b'{"bad": \x00',
    headers=(("traceparent", b"00-1"), ("tidings-reason", b"an older one")),
)


def letter(**changes: str) -> DeadLetter:
    fields = {"reason": "undecodable", "error": "bad JSON", "step": "orders.source"} | changes
    return DeadLetter(flow="orders", origin=Origin("orders", 3, 17), at=2_000, **fields)


def test_a_letter_keeps_the_bytes_the_key_and_the_original_headers() -> None:
    written = dead_letter(RECORD, letter(), "flow")
    assert (written.topic, written.key, written.value) == (
        "notif_dlq.flow",
        b"alice",
        b'{"bad": \x00',
    )
    assert dict(written.headers) == {
        "traceparent": b"00-1",
        "tidings-reason": b"undecodable",
        "tidings-error": b"bad JSON",
        "tidings-step": b"orders.source",
        "tidings-flow": b"orders",
        "tidings-origin": b"orders:3:17",
        "tidings-at": b"2000",
    }


def test_a_letter_written_again_replaces_what_the_first_one_said() -> None:
    names = [name for name, _ in dead_letter(RECORD, letter(), "flow").headers]
    assert names.count("tidings-reason") == 1


def test_a_long_error_is_cut_at_a_whole_character() -> None:
    error = dict(dead_letter(RECORD, letter(error="ä" * LONGEST), "flow").headers)["tidings-error"]
    assert error.decode() == "ä" * (LONGEST // 2)


def test_what_has_no_utf8_is_escaped() -> None:
    error = dict(dead_letter(RECORD, letter(error="\ud800"), "flow").headers)["tidings-error"]
    assert error == b"\\ud800"


def test_a_value_larger_than_the_topic_takes_is_cut_and_says_so() -> None:
    huge = msgspec.structs.replace(RECORD, value=b"x" * (LARGEST + 1))
    written = dead_letter(huge, letter(), "flow")
    assert written.value == b"x" * LARGEST
    assert dict(written.headers)["tidings-cut"] == str(LARGEST + 1).encode()


@pytest.mark.parametrize(
    "headers",
    [
        (("trace", b"x" * (MOST_BESIDE + 1)),),
        tuple((f"{number:05}", b"x" * 95) for number in range(11_001)),
        (("ä" * 550_001, b""),),
    ],
)
def test_headers_larger_than_the_topic_takes_are_left_out_and_that_is_said(
    headers: Headers,
) -> None:
    huge = msgspec.structs.replace(RECORD, headers=headers)
    written = dict(dead_letter(huge, letter(), "flow").headers)
    assert int(written["tidings-cut-headers"]) > MOST_BESIDE
    assert not {name for name, _ in headers} & set(written)
    assert written["tidings-reason"] == b"undecodable"


def test_a_key_larger_than_the_topic_takes_is_left_out_and_that_is_said() -> None:
    huge = msgspec.structs.replace(RECORD, key=b"k" * (MOST_BESIDE + 1))
    written = dead_letter(huge, letter(), "flow")
    assert written.key is None
    assert dict(written.headers)["tidings-cut-key"] == str(MOST_BESIDE + 1).encode()


def test_the_largest_letter_fits_the_topic() -> None:
    huge = msgspec.structs.replace(
        RECORD,
        key=b"k" * MOST_BESIDE,
        value=b"x" * (LARGEST + 1),
        headers=(("h", b"x" * (MOST_BESIDE - 1)),),
    )
    words = dict.fromkeys(("reason", "error", "step", "trace", "cause", "provider"), "y" * 99_999)
    written = dead_letter(huge, letter(**words), "flow")
    [topic] = settings([written.topic])
    size = len(written.key or b"") + len(written.value or b"")
    size += sum(len(name) + len(content) for name, content in written.headers)
    assert size < topic.max_record_bytes
