"""A process of a lane as a day breaks it: its place in the group, its courier, its death.

    member_of(process).give(slot, lambda: member_of(other))    # in their next polls
    die_in(process.turn, 120)                                  # before the 120th line

It dies before any line of the lane's own code; what it has done by then stays done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tests.unit.lane.paper import FlakyClaims, HandCourier, Paper, PaperConsumer, PaperLane
from tidings.log.port import Position, Slot
from tidings.ports import Mark
from tidings.runtime import lane as lane_package
from tidings.runtime.lane.courier import Load
from tidings.stores.claims_local import LocalClaims

CODE = str(Path(lane_package.__file__).parent)


class Killed(BaseException):
    """The process is gone."""


class WatchedClaims(FlakyClaims):
    """Claims that tell what they know as sent."""

    def __init__(self, claims: LocalClaims) -> None:
        super().__init__(claims)
        self.marked: set[str] = set()

    def round(self, leases: Any, marks: Sequence[Mark], *rest: Any) -> Any:
        answers = super().round(leases, marks, *rest)
        self.marked.update(mark.send_id for mark in marks)
        return answers


class PunctualCourier(HandCourier):
    """Sees that nothing leaves whose time is over."""

    def hand_over(self, loads: Sequence[Load], until: int) -> None:
        now = self.clock.now()
        for load in loads:
            for send in load.sends:
                assert load.asking or not 0 < send.expires_at <= now, f"{send.send_id} has expired"
        super().hand_over(loads, until)


class Member(PaperConsumer):
    """A member of the group whose commits count as long as the partition is its own."""

    def __init__(self, paper: Paper) -> None:
        super().__init__(paper)
        self.coming: set[Slot] = set()
        self.evicted = False
        self.comes: Callable[[Sequence[Slot]], None] = lambda slots: None

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        if not self.evicted:
            super().commit(positions, wait)

    def evict(self) -> None:
        """The group goes on without it."""
        self.evicted = True
        self.pending.clear()
        self.coming.clear()

    def give(self, slot: Slot, to: Callable[[], Member]) -> None:
        """Let go of a partition at the next poll, so that another gets it at its own."""

        def goes() -> None:
            if slot in self.next:
                self.give_up([slot])
                to().get([slot])

        self.pending.append(goes)

    def get(self, slots: Sequence[Slot]) -> None:
        """Take partitions over at the next poll."""
        self.coming.update(slots)

        def come() -> None:
            self.comes(slots)
            self.take(slots)
            self.coming.difference_update(slots)

        self.pending.append(come)


def member_of(process: PaperLane) -> Member:
    """Its place in the group."""
    assert isinstance(process.consumer, Member)
    return process.consumer


def die_in(turn: Callable[[], None], lines: int) -> None:
    """Take a turn, and die before the line after so many of the lane's own code."""
    left = lines

    def at_line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise Killed
        return at_line

    def at_call(frame: FrameType, event: str, argument: object) -> Any:
        return at_line if frame.f_code.co_filename.startswith(CODE) else None

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        turn()
    finally:
        sys.settrace(before)
