"""One round with Claims in a pull: leases, marks, what is done, what is given back.

What Claims could not take is kept and said again. While they can't be asked, a lane of high
priority goes on by its own memory: a duplicate of an OTP is cheaper than silence. The others wait.

What a kill -9 does: a mark not yet made leaves a lease, and when that has run out another process
sends again (the one repeat there is); a mark made before the outcome was written is found by the
replay, which writes the outcome from it; a lease not yet given back only makes the replay wait.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tidings.ports import Claims, Clock, Lease, Leased, Mark, Unavailable
from tidings.records import Priority
from tidings.runtime.lane.settings import LaneSettings
from tidings.stores.claims_local import LocalClaims

_LOG = structlog.get_logger(__name__)
_ASK_AGAIN_MS = 500  # asking a server that hangs takes its whole time-out
_OWED = 100_000  # of each kind while Claims are away: some 20 MB


class Leases:
    """The lane's side of Claims."""

    def __init__(self, settings: LaneSettings, claims: Claims, clock: Clock) -> None:
        self._settings = settings
        self._claims = claims
        self._clock = clock
        self._goes_on = settings.priority is Priority.HIGH
        self._marks: list[Mark] = []
        self._released: list[tuple[str, str]] = []
        self._away_until = 0  # 0 while Claims answer
        self._alone: LocalClaims | None = None
        self._owed: list[Mark] = []  # marks made while Claims were away

    def mark(self, send_id: str, answer: str) -> None:
        """It went out; said in the next round."""
        self._marks.append(Mark(send_id, self._settings.holder, answer))

    def release(self, send_id: str) -> None:
        """It surely did not go out: any process may try it. Said in the next round."""
        self._released.append((send_id, self._settings.holder))

    def available(self, now: int) -> bool:
        """Whether leases are to be had."""
        return self._goes_on or now >= self._away_until

    def unsaid(self) -> bool:
        """Whether there is something that Claims should hear."""
        return bool(self._marks or self._released or self._owed)

    def round(self, leases: Sequence[Lease], done: list[str], now: int) -> list[Leased] | None:
        """Say everything, and ask for ``leases``; clears ``done`` when it was heard.

        None where Claims can't be asked and the lane is to wait.
        """
        if now < self._away_until:
            return self._by_ourselves(leases, now)
        if not (leases or done or self.unsaid()):
            return []
        settings = self._settings
        try:
            answers = self._claims.round(
                leases,
                self._owed + self._marks if self._owed else self._marks,
                done,
                self._released,
                now,
                settings.lease_ms,
                settings.keep_ms,
            )
        except Unavailable as error:
            if not self._away_until:
                _LOG.error("claims can't be asked", lane=settings.name, error=str(error))
            self._away_until = self._clock.now() + _ASK_AGAIN_MS
            del done[:-_OWED]
            return self._by_ourselves(leases, now)
        if self._away_until:
            _LOG.info("claims answer again", lane=settings.name, marks_owed=len(self._owed))
            self._away_until, self._alone = 0, None
        self._marks, self._owed, self._released = [], [], []
        done.clear()
        return answers

    def _by_ourselves(self, leases: Sequence[Lease], now: int) -> list[Leased] | None:
        settings = self._settings
        marks, self._marks = self._marks, []
        self._owed += marks
        del self._owed[:-_OWED], self._released[:-_OWED]
        if not self._goes_on:
            return None
        if self._alone is None:
            self._alone = LocalClaims(self._clock)
        return self._alone.round(
            leases, marks, (), self._released, now, settings.lease_ms, settings.keep_ms
        )
