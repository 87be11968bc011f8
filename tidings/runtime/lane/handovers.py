"""What a failed channel hands on to the next one, where caps count that: first count, then go on.

A round of the lane counts all of its hand-overs together: one round trip, and one more where a
person has had enough on a channel and the one behind it has to be asked. Until it is counted a
delivery is not settled: a kill reads it again, its channel fails again, and it finds itself counted
by its notification's id.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from tidings.operators.cap import Wanted, count
from tidings.ports import Io, Person, Unavailable
from tidings.records import Priority
from tidings.runtime.lane.last_words import Ending
from tidings.runtime.lane.settings import LaneSettings
from tidings.runtime.lane.settlement import Settlement
from tidings.runtime.lane.tracker import Tracker

_LOG = structlog.get_logger(__name__)
_ASK_AGAIN_MS = 500  # asking a server that hangs takes its whole time-out


class _Asked(NamedTuple):
    """A hand-over; ``closed`` says of each channel that is passed over why, as ``sms=cap:…``."""

    failed: Ending
    closed: list[str]


class HandOvers:
    """Finds for each failed delivery the next channel that has room.

    While caps can't be asked, normal and low priority wait, and high goes on uncounted.
    """

    def __init__(
        self, settings: LaneSettings, io: Io, tracker: Tracker, settlement: Settlement
    ) -> None:
        self._settings = settings
        self._io = io
        self._tracker = tracker
        self._settlement = settlement
        self._ask_at = 0  # 0 while caps answer

    def due(self, now: int) -> bool:
        """Whether something is to be counted now."""
        return bool(self._settlement.failed) and now >= self._ask_at

    def deadline(self) -> int:
        """When caps are asked again for what waits, 0 for nothing."""
        return self._ask_at if self._settlement.failed else 0

    def round(self) -> None:
        """Count what has failed, and hand it over."""
        now = self._io.clock.now()
        if not self.due(now):
            return
        failed, self._settlement.failed = self._settlement.failed, []
        asked = [_Asked(each, []) for each in failed]
        try:
            while asked:
                asked = self._counted(asked, now)
        except Unavailable as error:
            self._put_off(error, now)

    def forsake(self) -> None:
        """Leave what waits to whoever takes its partition over."""
        for each in self._settlement.failed:
            self._tracker.abandon(each.parcel)
        self._settlement.failed = []

    def _counted(self, asked: list[_Asked], now: int) -> list[_Asked]:
        """Hand over what has room; gives what has to ask for the channel behind."""
        wanted = []
        for failed, closed in asked:
            delivery = failed.parcel.delivery
            allowances = delivery.allowances.get(delivery.chain[len(closed)], ())
            person = Person(delivery.tenant, delivery.recipient_id)
            wanted.append(Wanted(person, delivery.notif_id, allowances))
        try:
            answers = count(wanted, self._io.caps, now)
        except Unavailable:
            self._settlement.failed += [failed for failed, _ in asked]
            if self._settings.priority is not Priority.HIGH:
                raise
            self._settlement.failed = []
            for failed, closed in asked:
                self._settlement.conclude(failed.to_next(tuple(closed)))
            return []
        self._ask_at = 0
        refused = []
        for each, (passes, names) in zip(asked, answers, strict=True):
            failed, closed = each
            chain = failed.parcel.delivery.chain
            if not passes:
                closed.append(f"{chain[len(closed)]}={names[0]}")
            if passes or len(closed) == len(chain):
                following = failed.to_next(tuple(closed), names if passes else ())
                self._settlement.conclude(following)
            else:
                refused.append(each)
        return refused

    def _put_off(self, error: Unavailable, now: int) -> None:
        if not self._ask_at:
            _LOG.error("hand-overs wait", lane=self._settings.name, error=str(error))
        self._ask_at = now + _ASK_AGAIN_MS
        failed, self._settlement.failed = self._settlement.failed, []
        for each in failed:
            if each.parcel.partition.alive:
                self._settlement.failed.append(each)
            else:  # its new owner will find that its channel fails, and ask
                self._tracker.abandon(each.parcel)
