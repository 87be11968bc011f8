"""Letters of a lane that wait for the provider that was to blame for them.

A lane reads its channel's dead letters like a rung of its ladder: whoever holds a partition holds
what waits in it, and its position passes a letter when that is settled. A letter is taken up again
when its provider has taken a send since it was written, and has room; what came first goes first,
and no faster than it is sent. It is one more round of its delivery, under ids that are functions of
the letter, so that one that is read again after a kill, or was released by hand, is leased and
marked as one. Other letters, and those that have waited too long, are passed over: they stay for
people.

    in hand     the first of each provider, so many at most
    left        those behind them, open in the log; read on past them, for other providers' sake
    a lap       when few of a provider are in hand: back to the first that was left of it, until
                there are enough again; of the others nothing is taken up, for it has been

So a provider that never comes back holds up no other one's letters, and none is read more often
than once and once more for its provider's sake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import NamedTuple

import msgspec

from tidings.log.port import Append, Record
from tidings.records import PROVIDER_DOWN, Origin, Priority, encode
from tidings.runtime.letters import read_letter, released_delivery, stripped
from tidings.runtime.signals import AGAIN
from tidings.topics import MIB, RELEASED

_ROUNDS = 3  # a message that makes its provider fail comes back no more often than that
_MANY, _LARGE = 2_000, 4 * MIB  # letters, and bytes of them, that are in hand of one provider
_NEVER = 1 << 62


class Offered(StrEnum):
    """What becomes of a letter that was read."""

    HELD = "held"
    LEFT = "left"  # it stays open: it is under way, or a lap comes to it
    PASSED = "passed"  # it waits for none of our providers


class _Waiting(NamedTuple):
    record: Record  # with the delivery of its next round
    at: int


class _Queue:
    """Letters of one provider: those in hand, and from which offset on they are left (-1: none)."""

    __slots__ = ("bytes", "left", "letters", "oldest")

    def __init__(self) -> None:
        self.letters: deque[_Waiting] = deque()
        self.bytes = 0
        self.oldest = _NEVER  # when it was written (epoch ms)
        self.left = -1

    def fills(self, part: int = 1) -> bool:
        """Whether one ``part``-th of what it may hold is in hand."""
        return len(self.letters) * part >= _MANY or self.bytes * part >= _LARGE

    def add(self, letter: _Waiting) -> None:
        self.letters.append(letter)
        self.bytes += len(letter.record.value or b"")
        self.oldest = min(self.oldest, letter.at)

    def take(self, most: int, before: int = _NEVER) -> list[Record]:
        """Up to ``most`` of those written before then, what came first first."""
        taken: list[Record] = []
        kept: deque[_Waiting] = deque()
        while self.letters and len(taken) < most:
            letter = self.letters.popleft()
            if letter.at < before:
                taken.append(letter.record)
                self.bytes -= len(letter.record.value or b"")
            else:
                kept.append(letter)
        kept.extend(self.letters)
        self.letters = kept
        self.oldest = min((letter.at for letter in kept), default=_NEVER)
        return taken


class HeldLetters:
    """What is held of one partition of dead letters, as ``held.Held`` is of a rung's.

    ``providers`` are the lane's. ``proven`` tells when one last took a send (epoch ms). Letters
    wait for ``within`` ms.
    """

    __slots__ = ("_end", "_lap", "_next", "_proven", "_queues", "_within", "look_at")

    def __init__(
        self, within: int, providers: Collection[str], proven: Callable[[str], int]
    ) -> None:
        self.look_at = 0
        self._within = within
        self._proven = proven
        self._queues = {name: _Queue() for name in providers}
        self._next = 0  # the offset behind the last that was read
        self._end = 0  # behind all that were read
        self._lap = ""  # the provider that one is for

    def __len__(self) -> int:
        return sum(len(queue.letters) for queue in self._queues.values())

    @property
    def since(self) -> int:
        """When the first of them was written."""
        return min(queue.oldest for queue in self._queues.values())

    @property
    def awaits(self) -> bool:
        """All of them wait for a provider."""
        return len(self) > 0

    @property
    def on_lap(self) -> bool:
        """Whether what is read has been read before."""
        return self._lap != ""

    # ── Reading ───────────────────────────────────────────────────────────────────────────────

    def skip(self, offset: int) -> None:
        """What stands there is settled."""
        self._next = offset + 1
        self._end = max(self._end, self._next)

    def offer(self, record: Record, priority: Priority, now: int) -> Offered:
        """Hold a letter, if it waits for a provider of this lane and there is room."""
        dead, again = read_letter(record), record.offset < self._end
        self.skip(record.offset)
        if again and (dead is None or dead.provider != self._lap):
            return Offered.LEFT
        if dead is None or dead.cause != PROVIDER_DOWN or dead.at + self._within <= now:
            return Offered.PASSED
        queue, delivery = self._queues.get(dead.provider), released_delivery(record)
        if queue is None or delivery is None or delivery.priority != priority:
            return Offered.PASSED
        if delivery.round // AGAIN > _ROUNDS:
            return Offered.PASSED
        if dead.provider != self._lap:  # a lap takes up all that was read with its last
            if queue.left < 0 and queue.fills():
                queue.left = record.offset
            if queue.left >= 0:
                return Offered.LEFT
        following = Record(
            record.topic,
            record.partition,
            record.offset,
            record.time,
            record.key,
            encode(delivery),
            stripped(record.headers),
        )
        queue.add(_Waiting(following, dead.at))
        return Offered.HELD

    def turn(self) -> int | None:
        """Where to read on after a poll, or when less is in hand; None for where reading is."""
        lap = self._queues.get(self._lap)
        there = self._next
        if lap is not None and self._next >= self._end:
            self._lap, lap.left = "", -1
        elif lap is not None and lap.fills():
            self._lap, lap.left = "", self._next
            there = self._end
        if not self._lap:
            for name, queue in self._queues.items():
                if queue.left >= 0 and not queue.fills(2):
                    self._lap, there = name, queue.left
                    break
        if there == self._next:
            return None
        self._next = there
        return there

    # ── Letting go ────────────────────────────────────────────────────────────────────────────

    def due(self, now: int) -> bool:
        """Whether the first of them has waited too long."""
        return self.since + self._within <= now

    def take(self) -> Record:
        """The first of them."""
        queue = min(self._queues.values(), key=lambda queue: queue.oldest)
        return queue.take(1)[0]

    def release(self, openings: dict[str, int], most: int) -> list[Record]:
        """Up to ``most`` whose provider works again, as far as there is room; it takes that room
        from ``openings`` (provider → sends)."""
        released: list[Record] = []
        for name, queue in self._queues.items():
            room = min(openings.get(name, 0), most - len(released))
            proven = self._proven(name) if room > 0 and queue.letters else 0
            if proven <= queue.oldest:
                continue
            taken = queue.take(room, before=proven)
            released += taken
            openings[name] -= len(taken)
            if not openings[name]:
                del openings[name]
        return released

    def look(self, now: int) -> None:
        """Set when to look again."""
        self.look_at = max(self.since + self._within, now + 1)


def release_note(record: Record) -> Append:
    """What is written of a letter that was released: where it stands."""
    stands = Origin(record.topic, record.partition, record.offset)
    return Append(RELEASED, record.key, msgspec.json.encode(stands))
