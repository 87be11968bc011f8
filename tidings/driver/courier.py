"""Providers in virtual time: each send is answered at the instant it is made, as a script says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from tidings.runtime.lane.courier import Courier, Load
from tidings.sender import Answer, Send
from tidings.stores.clock import ManualClock

Script = Callable[[Send, int], Answer]
"""What a provider answers to a send at an instant (epoch ms)."""


class Sent(msgspec.Struct, frozen=True):
    """One send, and what it was answered. ``at`` in epoch ms."""

    at: int
    send: Send
    attempt: int
    answer: Answer


class InstantCourier(Courier):
    """A courier without a thread; ``sent`` is all that it carried."""

    def __init__(self, script: Script, clock: ManualClock) -> None:
        super().__init__({}, clock)
        self.sent: list[Sent] = []
        self._script = script
        self._now = clock.now

    def start(self) -> None:
        """Nothing is opened."""

    def hand_over(self, loads: Sequence[Load], until: int) -> None:
        """Have these answered now."""
        now = self._now()
        for load in loads:
            for send in load.sends:
                answer = self._script(send, now)
                self.sent.append(Sent(now, send, send.attempt, answer))
                self.answered.append((send, answer, now))

    def close(self) -> None:
        """Nothing is open."""
