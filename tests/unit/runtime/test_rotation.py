"""The rotation: how much is saved between two batches."""

from __future__ import annotations

from typing import Any, cast

from tidings.runtime.rotation import Rotation

BUCKET = 70_000  # bytes


class Partition:
    """A task all of whose buckets have changed, and are large."""

    def __init__(self) -> None:
        self.saved = 0

    def debt(self) -> int:
        return 0

    def save_next(self) -> int:
        self.saved += 1
        return BUCKET


def saved_after(batches: list[bool]) -> list[int]:
    """How many buckets are saved after each batch, 100 ms apart, by a budget that is no limit;
    True is a long batch."""
    partition, rotation = Partition(), Rotation(1_000_000_000)
    counts = []
    for number, long in enumerate(batches):
        rotation.save([cast(Any, partition)], 100.0 * (number + 1), busy=False, long=long)
        counts.append(partition.saved)
        partition.saved = 0
    return counts


def test_between_two_batches_no_more_is_saved_than_keeps_it_from_reading_for_a_moment() -> None:
    assert saved_after([False, False]) == [2, 2]  # 140,000 bytes, and not the 50 MB of the budget


def test_after_a_long_batch_a_save_is_put_off_but_not_for_ever() -> None:
    assert saved_after([True, True, True, True, True]) == [0, 0, 0, 2, 0]
    assert saved_after([True, True, False, True]) == [0, 0, 2, 0]
