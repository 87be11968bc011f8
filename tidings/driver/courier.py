"""Providers in virtual time: each send is answered as a script says, after its latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from tidings.runtime.lane.courier import Courier, Load
from tidings.sender import Answer, Send
from tidings.stores.clock import ManualClock


class Reply(NamedTuple):
    """What a provider does with a send: its answer, after ``latency`` (ms); ``taken`` tells whether
    the message goes out, whatever is answered."""

    answer: Answer
    latency: int
    taken: bool


Script = Callable[[Send, int], Reply]
"""What a provider does with a send that comes at an instant (epoch ms)."""

Told = Callable[[Send, int], Answer]
"""What a provider says when it is asked, at an instant, whether it has a send."""

Taken = Callable[[Send, int], None]
"""Told of a send that a provider took, and when it was answered (epoch ms)."""


class Sent(msgspec.Struct, frozen=True):
    """One send, and what it was answered. ``at`` (epoch ms) is when it was made."""

    at: int
    send: Send
    provider: str
    attempt: int
    answer: Answer


class ScriptedCourier(Courier):
    """A lane's courier without a thread. What it carries goes to ``sent``."""

    def __init__(
        self,
        script: Script,
        clock: ManualClock,
        sent: list[Sent],
        told: Told,
        taken: Taken = lambda send, at: None,
    ) -> None:
        super().__init__({}, clock)
        self.asked = 0  # questions so far
        self._sent = sent
        self._script = script
        self._told = told
        self._taken = taken
        self._now = clock.now
        self._unanswered: list[
            tuple[int, int, Send, Answer]
        ] = []  # a heap, by the time of the answer

    def start(self) -> None:
        """Nothing is opened."""

    def hand_over(self, loads: Sequence[Load], until: int) -> None:
        """Have these answered, each in its time."""
        now = self._now()
        for load in loads:
            if load.asking:
                self.asked += len(load.sends)
                self.answered.extend((send, self._told(send, now), now) for send in load.sends)
                continue
            for send in load.sends:
                answer, latency, taken = self._script(send, now)
                self._sent.append(Sent(now, send, send.provider, send.attempt, answer))
                if taken:
                    self._taken(send, now + latency)
                if latency:
                    heappush(self._unanswered, (now + latency, len(self._sent), send, answer))
                else:
                    self.answered.append((send, answer, now))

    def check(self) -> None:
        """Hand out the answers whose time has come."""
        now = self._now()
        while self._unanswered and self._unanswered[0][0] <= now:
            at, _, send, answer = heappop(self._unanswered)
            self.answered.append((send, answer, at))

    def deadline(self) -> int:
        """When the next answer is due (epoch ms), 0 for none."""
        return self._unanswered[0][0] if self._unanswered else 0

    def close(self) -> None:
        """Nothing is open."""
