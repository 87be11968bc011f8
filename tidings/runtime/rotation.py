"""The rotation: which buckets are saved when, within a budget of bytes a second.

More of it shortens a replay, less of it the log. What a blast has left to be replayed is saved at
several times the rate, as soon as there is time for it. A save takes as long as half a batch, and
nothing is read meanwhile: after a long batch it is put off, and it is cut short.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidings.runtime.task import Task

SAVE_AT_LEAST = 65_536  # bytes that a small bucket counts as: what one more record costs
SAVE_MORE = 4  # times the budget, while there is time for it and too much to replay
DEBT = 50_000  # entries that a restart would replay: 0.7 s, and too much
SAVE_BURST_MS = 50.0  # budget that may be saved up
SAVE_AT_ONCE = 131_072  # bytes between two batches, some 4 ms; a bucket may be larger
PUT_OFF = 3  # long batches in a row


class Rotation:
    """Saves changed buckets, task by task in turn, at ``rate`` bytes a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._turn = 0
        self._spent_until = 0.0  # wall ms up to which the budget is used up
        self._put_off = 0

    def save(self, tasks: Sequence[Task], wall: float, busy: bool, long: bool = False) -> None:
        """Save what the budget allows at ``wall`` ms; ``busy`` units have no time for more.

        ``long`` tells that the batch behind us has kept us from reading for a while.
        """
        if self._spent_until > wall:
            return
        if long and self._put_off < PUT_OFF:
            self._put_off += 1
            return
        self._put_off = 0
        more = not busy and sum(task.debt() for task in tasks) > DEBT
        times = SAVE_MORE if more else 1
        self._spent_until = max(self._spent_until, wall - SAVE_BURST_MS / times)
        idle = saved = 0
        while idle < len(tasks) and self._spent_until <= wall and saved < SAVE_AT_ONCE:
            self._turn += 1
            size = tasks[self._turn % len(tasks)].save_next()
            idle = 0 if size else idle + 1
            saved += size
            if size:
                self._spent_until += 1_000.0 * max(size, SAVE_AT_LEAST) / (self._rate * times)
