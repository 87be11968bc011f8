"""What becomes of a send, and then of its delivery: when the last of its sends has ended.

all have answered               the delivery's end
some are to be tried later      the ladder, with what the others have answered
some are another process's      nothing: it will do all of it again
"""

from __future__ import annotations

from tidings.records import DOUBT, Kind
from tidings.runtime.lane.answers import Stored
from tidings.runtime.lane.settlement import Settlement
from tidings.runtime.lane.tracker import Parcel, Tracker
from tidings.sender import Send

_FAILED = Kind.FAILED  # unless an address has answered better


class Endings:
    """Closes sends and, with the last one, their parcel."""

    def __init__(self, tracker: Tracker, settlement: Settlement) -> None:
        self._tracker = tracker
        self._settlement = settlement

    def took(self, send: Send, answer: Stored) -> None:
        """An address has taken it."""
        parcel: Parcel = send.ticket
        others = parcel.open > 1 or parcel.later or parcel.delivery.answers or parcel.abandoned
        if not others:  # as of nearly all; an order of several answers would not repeat itself
            parcel.open = 0
            self._settlement.sent(parcel, send.send_id, answer)
            return
        self._settlement.attempt(parcel, send.send_id, answer)
        self.close(send, answer.verdict, answer.at)

    def close(self, send: Send, word: str, at: int) -> None:
        """An address has given its last answer; ``word`` is a verdict, ``expired`` or
        ``cancelled``."""
        parcel: Parcel = send.ticket
        if send.attempt > parcel.tried:
            parcel.tried = send.attempt
        parcel.open -= 1
        parcel.delivery.answers[send.send_id] = word
        if not parcel.open:
            self.finish(parcel, at)

    def fail(self, send: Send, word: str, reason: str, detail: str, at: int) -> None:
        """An address has come to an end that is no yes."""
        parcel: Parcel = send.ticket
        parcel.news = True
        if parcel.reasons is None:
            parcel.reasons = {}
        parcel.reasons[word] = reason, detail
        self.close(send, word, at)

    def park(
        self, send: Send, at: int, rung: int, tried: int, *, awaits: str | None = None
    ) -> None:
        """An address is to be tried from the ladder, when the delivery's others have ended.

        ``awaits`` is the provider for whose sake alone it waits.
        """
        parcel: Parcel = send.ticket
        if awaits is None:
            parcel.awaits = None
        elif parcel.awaits is not None:
            parcel.awaits |= {awaits}
        parcel.later = max(parcel.later or (0, 0), (at, rung))
        parcel.tried = max(parcel.tried, tried)
        parcel.spared = max(parcel.spared, send.spared)
        if send.asking:
            parcel.delivery.answers[send.send_id] = DOUBT
        elif send.doubt is not None:
            parcel.delivery.answers.pop(send.send_id, None)
        parcel.open -= 1
        if not parcel.open:
            self.finish(parcel, at)

    def forsake(self, send: Send) -> None:
        """An orphan that is not under way is left to its new owner."""
        parcel: Parcel = send.ticket
        parcel.abandoned = True
        parcel.open -= 1
        if not parcel.open:
            self._tracker.finish(parcel)

    def finish(self, parcel: Parcel, at: int) -> None:
        """No send of it is open any more."""
        if parcel.abandoned:
            self._tracker.finish(parcel)
        elif parcel.later is not None:
            if parcel.partition.alive:
                self._settlement.later(parcel, *parcel.later)
            else:
                self._tracker.abandon(parcel)
        elif parcel.news:
            self._settlement.end(parcel, _FAILED, at)
        else:  # everything had been said and confirmed before
            self._tracker.finish(parcel)
