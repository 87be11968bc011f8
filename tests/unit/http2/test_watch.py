from __future__ import annotations

from tidings.http2.limits import Limits
from tidings.http2.watch import Life, Watch


def test_streams_are_late_by_the_first_tick_after_their_time_and_never_early() -> None:
    watch = Watch(Limits(timeout=10.0), 0.0)
    assert watch.late(0.0, 1) == 0
    # Streams 1 to 9 are opened between 0 and 1 s, none after that.
    assert watch.late(1.0, 11) == 0
    assert watch.late(5.0, 11) == 0
    assert watch.late(10.9, 11) == 1
    assert watch.late(11.0, 11) == 11


def test_an_idle_connection_is_asked_after_its_keep_alive() -> None:
    watch = Watch(Limits(timeout=10.0, keep_alive=60.0), 0.0)
    assert watch.life(59.9, busy=False) is Life.WELL
    assert watch.life(60.0, busy=False) is Life.ASK
    assert watch.life(64.9, busy=False) is Life.WELL
    assert watch.life(65.0, busy=False) is Life.DEAD


def test_a_busy_connection_is_asked_after_half_of_the_time_out() -> None:
    watch = Watch(Limits(timeout=10.0, keep_alive=60.0), 0.0)
    assert watch.life(4.9, busy=True) is Life.WELL
    assert watch.life(5.0, busy=True) is Life.ASK
    watch.heard = True
    assert watch.life(9.0, busy=True) is Life.WELL
    assert watch.life(13.9, busy=True) is Life.WELL
    assert watch.life(14.0, busy=True) is Life.ASK
