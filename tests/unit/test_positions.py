from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.log.port import METADATA_LIMIT, Position
from tidings.log.positions import Settled, decode, encode


def taken(*offsets: int, start: int = 0) -> Settled:
    tracker = Settled(Position(start))
    for offset in offsets:
        assert tracker.took(offset)
    return tracker


def test_low_stays_at_the_lowest_open_record() -> None:
    tracker = taken(10, 11, 12, start=10)
    tracker.settle(11)
    assert tracker.low == 10
    tracker.settle(10)
    assert tracker.low == 12
    tracker.settle(12)
    assert tracker.low == 13


def test_low_of_nothing_taken_is_the_position() -> None:
    assert taken(start=7).low == 7


def test_span_and_open_count_what_lies_above_the_watermark() -> None:
    tracker = taken(0, 1, 2, 3, 4)
    for offset in (0, 2, 3):
        tracker.settle(offset)
    assert (tracker.low, tracker.span, tracker.open) == (1, 4, 2)


def test_settling_twice_changes_nothing() -> None:
    tracker = taken(0, 1, 2)
    tracker.settle(0)
    tracker.settle(0)
    assert (tracker.low, tracker.open) == (1, 2)


def test_settling_what_was_never_taken_is_an_error() -> None:
    with pytest.raises(IndexError):
        taken(0).settle(1)


def test_a_gap_counts_as_settled() -> None:
    tracker = taken(0, 5, 6)
    tracker.settle(0)
    assert tracker.low == 5
    assert tracker.is_settled(3)


def test_a_gap_wider_than_memory_costs_nothing() -> None:
    tracker = taken(0)
    tracker.settle(0)
    assert tracker.took(10**15)
    assert (tracker.low, tracker.span) == (10**15, 1)


def test_a_wide_gap_after_many_settled_records_keeps_the_offsets_right() -> None:
    tracker = taken(*range(10_000))
    for offset in range(10_000):
        tracker.settle(offset)
    assert tracker.took(20_000)
    assert (tracker.low, tracker.open) == (20_000, 1)


def test_restored_tracker_knows_what_was_settled() -> None:
    tracker = taken(0, 1, 2, 3, 4)
    for offset in (1, 3):
        tracker.settle(offset)
    again = Settled(tracker.position())
    assert [again.took(offset) for offset in range(6)] == [True, False, True, False, True, True]
    assert again.low == 0


def test_restored_tracker_does_not_count_unread_records_in_its_span() -> None:
    tracker = taken(*range(1000))
    for offset in range(1, 1000):
        tracker.settle(offset)
    again = Settled(tracker.position())
    assert (again.low, again.span, again.open) == (0, 0, 0)
    again.took(0)
    assert (again.span, again.open) == (1, 1)
    again.settle(0)
    assert (again.low, again.span) == (1000, 0)


def test_an_open_record_that_is_gone_after_a_restart_does_not_hold_the_watermark() -> None:
    tracker = taken(0, 1, 2)
    tracker.settle(1)
    again = Settled(tracker.position())
    assert not again.took(1)  # record 0 is no longer in the log
    assert again.low == 2


def test_reading_again_from_below_repeats_nothing_settled() -> None:
    tracker = taken(5, 6, 7, start=5)
    tracker.settle(5)
    tracker.settle(6)
    assert [tracker.took(offset) for offset in (4, 5, 6, 7)] == [False, False, False, True]


def test_nothing_settled_above_the_position_needs_no_metadata() -> None:
    assert taken(0, 1, 2).position() == Position(0, "")


def test_metadata_form_is_held() -> None:
    assert encode(b"0110") == "t1b3j"
    assert encode(b"0" + b"1" * 1000) == "t1r0q6$"
    assert decode("t1b3j") == b"011"
    assert decode("t1r0q6$") == b"0" + b"1" * 1000


@pytest.mark.parametrize("metadata", ["x", "t1b", "t1r ", "another tool's note", "t2r0q6$", "t1bé"])
def test_metadata_of_another_hand_says_nothing(
    metadata: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert decode(metadata) == b""
    assert "can't be read" in caplog.text


@given(st.lists(st.sampled_from([b"0", b"1"]), max_size=400).map(b"".join))
def test_what_is_encoded_is_decoded(flags: bytes) -> None:
    assert decode(encode(flags)) == flags[: flags.rfind(b"1") + 1]


@given(st.integers(0, 2**32), st.integers(1, 60_000), st.sampled_from([0.001, 0.02, 0.5, 0.99]))
def test_metadata_that_does_not_fit_covers_what_is_lowest(
    seed: int, size: int, share: float
) -> None:
    draw = random.Random(seed)
    flags = bytes(ord("1") if draw.random() < share else ord("0") for _ in range(size))
    metadata = encode(flags)
    assert len(metadata) <= METADATA_LIMIT
    restored = decode(metadata)
    assert flags.startswith(restored)
    assert len(restored) >= min(26_000, flags.rfind(b"1") + 1)


def test_a_window_of_10_000_always_fits() -> None:
    flags = b"01" * 5_000
    assert decode(encode(flags)) == flags


@given(
    start=st.integers(0, 10_000),
    gaps=st.lists(st.integers(1, 5), min_size=1, max_size=200),
    order=st.randoms(use_true_random=False),
    restart_at=st.integers(0, 200),
)
def test_any_order_of_settling_with_a_restart_agrees_with_a_set(
    start: int, gaps: list[int], order: random.Random, restart_at: int
) -> None:
    offsets = [start]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    tracker, settled = taken(*offsets, start=start), set[int]()

    def low() -> int:
        return min((o for o in offsets if o not in settled), default=offsets[-1] + 1)

    for count, offset in enumerate(order.sample(offsets, len(offsets))):
        if count == restart_at:
            tracker = Settled(tracker.position())
            read = [o for o in offsets if o >= tracker.low]
            assert [o for o in read if tracker.took(o)] == [o for o in read if o not in settled]
        tracker.settle(offset)
        settled.add(offset)
        assert tracker.low == low()
        assert all(tracker.is_settled(o) == (o in settled or o < tracker.low) for o in offsets)
    assert (tracker.low, tracker.open) == (offsets[-1] + 1, 0)
