"""One round with Claims in a pull: leases, marks, what is done, what is given back.

While Claims can't be asked, no lease is to be had and nothing new is sent; what is in flight is
still told, and its marks are kept and said later. (A lane of high priority is given Claims that go
on by their own memory: a duplicate of a code is cheaper than silence.)

What a kill -9 does: a mark not yet made leaves a lease, and another process sends again (the one
repeat there is), at once where it can tell that the holder is gone, else when the lease has run
out; a mark made before the outcome was written is found by the
replay, which writes the outcome from it; a lease not yet given back only makes the replay wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import structlog

from tidings.holder import is_gone
from tidings.ports import Claims, Clock, End, Lease, Leased, Mark, Unavailable, Verdict
from tidings.runtime.lane.settings import LaneSettings

_LOG = structlog.get_logger(__name__)
_ASK_AGAIN_MS = 500  # asking a server that hangs takes its whole time-out
_BUSY = Verdict.BUSY  # a member of an enum costs 0.1 µs to name
_OWED = 100_000  # of each kind while Claims are away: more than can be in flight


class Leases:
    """The lane's side of Claims. ``gone`` tells whether a holder has surely ended."""

    def __init__(
        self,
        settings: LaneSettings,
        claims: Claims,
        clock: Clock,
        gone: Callable[[str], bool] = is_gone,
    ) -> None:
        self._settings = settings
        self._claims = claims
        self._clock = clock
        self._gone = gone
        self._marks: list[Mark] = []
        self._released: list[tuple[str, str]] = []
        self._away_until = 0  # 0 while Claims answer

    def mark(self, send_id: str, answer: str, turn: str = "") -> None:
        """It went out; said in the next round."""
        self._marks.append(Mark(send_id, self._settings.holder, answer, turn))

    def release(self, send_id: str) -> None:
        """It surely did not go out: any process may try it. Said in the next round."""
        self._released.append((send_id, self._settings.holder))

    def available(self, now: int) -> bool:
        """Whether Claims are to be asked now."""
        return now >= self._away_until

    def unsaid(self) -> bool:
        """Whether there is something that Claims should hear."""
        return bool(self._marks or self._released)

    def round(
        self, leases: Sequence[Lease], done: list[str], now: int, ends: Sequence[End] = ()
    ) -> list[Leased] | None:
        """Say everything, and ask for ``leases`` and ``ends``; clears ``done`` when it was heard.

        None where Claims could not be asked.
        """
        if not (leases or done or ends or self.unsaid()):
            return []
        try:
            answers = self._ask(leases, self._marks, done, self._released, now, ends)
            holders = {holder for verdict, holder, _ in answers if verdict is _BUSY}
            if orphaned := set(filter(self._gone, holders)):
                self._take_over(orphaned, leases, ends, answers, now)
        except Unavailable as error:
            if not self._away_until:
                _LOG.error("claims can't be asked", lane=self._settings.name, error=str(error))
            self._away_until = self._clock.now() + _ASK_AGAIN_MS
            del self._marks[:-_OWED], self._released[:-_OWED], done[:-_OWED]
            return None
        if self._away_until:
            owed = len(self._marks)
            _LOG.info("claims answer again", lane=self._settings.name, marks_owed=owed)
            self._away_until = 0
        self._marks, self._released = [], []
        done.clear()
        return answers

    def _take_over(
        self,
        orphaned: set[str],
        leases: Sequence[Lease],
        ends: Sequence[End],
        answers: list[Leased],
        now: int,
    ) -> None:
        """Give back in the name of those who are gone, and take what nobody else took meanwhile;
        end in their name what they had in flight."""
        places = [
            place
            for place, (verdict, holder, _) in enumerate(answers)
            if verdict is _BUSY and holder in orphaned
        ]
        count = len(leases)
        asked = [leases[place] for place in places if place < count]
        holders = [answers[place].answer for place in places]
        released = [(lease.send_id, gone) for lease, gone in zip(asked, holders, strict=False)]
        ended = [
            msgspec.structs.replace(ends[place - count], holder=gone)
            for place, gone in zip(places, holders, strict=True)
            if place >= count
        ]
        _LOG.info("taking over", lane=self._settings.name, sends=len(places), of=sorted(orphaned))
        taken = self._ask(asked, [], [], released, now, ended)
        for place, answer in zip(places, taken, strict=True):
            answers[place] = answer

    def _ask(
        self,
        leases: Sequence[Lease],
        marks: Sequence[Mark],
        done: Sequence[str],
        released: Sequence[tuple[str, str]],
        now: int,
        ends: Sequence[End],
    ) -> list[Leased]:
        settings = self._settings
        return self._claims.round(
            leases, marks, done, released, now, settings.lease_ms, settings.keep_ms, ends
        )
