"""The clocks."""

from __future__ import annotations

import time

from tidings.stores.clock import ManualClock, SystemClock


def test_the_system_clock_tells_epoch_ms() -> None:
    before = time.time_ns()
    now = SystemClock().now()
    after = time.time_ns()
    assert before // 1_000_000 <= now <= after // 1_000_000


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(1_000)
    assert (clock.now(), clock.now()) == (1_000, 1_000)
    assert clock.advance(500) == clock.now() == 1_500
    clock.set(200)
    assert clock.now() == 200
