"""Letters of a lane that wait for the provider that was to blame for them.

A lane reads its channel's dead letters like a rung of its ladder: whoever holds a partition holds
what waits in it, and its position passes a letter when that is settled. A letter is taken up again
when its provider has taken a send since it was written, and has room; what came first goes first,
and no faster than it is sent. It is one more round of its delivery, under ids that are functions of
the letter, so that one that is read again after a kill, or was released by hand, is leased and
marked as one. Other letters, and those that have waited too long, are passed over: they stay for
people.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tidings.log.port import Append, Record
from tidings.records import PROVIDER_DOWN, Origin, Priority, encode
from tidings.runtime.letters import read_letter, released_delivery, stripped
from tidings.runtime.signals import AGAIN
from tidings.topics import RELEASED

_ROUNDS = 3  # a message that makes its provider fail comes back no more often than that


class _Waiting(NamedTuple):
    record: Record  # with the delivery of its next round
    provider: str
    at: int


class HeldLetters:
    """What is held of one partition of dead letters, as ``held.Held`` is of a rung's.

    ``proven`` tells when a provider last took a send (epoch ms). Letters wait for ``within`` ms.
    """

    __slots__ = ("_letters", "_proven", "_within", "look_at")

    def __init__(self, within: int, proven: Callable[[str], int]) -> None:
        self.look_at = 0
        self._within = within
        self._proven = proven
        self._letters: deque[_Waiting] = deque()

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def since(self) -> int:
        """When the first of them was written."""
        return self._letters[0].at

    @property
    def awaits(self) -> bool:
        """All of them wait for a provider."""
        return bool(self._letters)

    def offer(self, record: Record, priority: Priority, now: int) -> bool:
        """Hold a letter, if it waits for a provider of this lane; tells whether it does."""
        dead = read_letter(record)
        if dead is None or dead.cause != PROVIDER_DOWN or dead.at + self._within <= now:
            return False
        delivery = released_delivery(record)
        if delivery is None or delivery.priority != priority or delivery.round // AGAIN > _ROUNDS:
            return False
        again = Record(
            record.topic,
            record.partition,
            record.offset,
            record.time,
            record.key,
            encode(delivery),
            stripped(record.headers),
        )
        self._letters.append(_Waiting(again, dead.provider, dead.at))
        return True

    def due(self, now: int) -> bool:
        """Whether the first of them has waited too long."""
        return bool(self._letters) and self._letters[0].at + self._within <= now

    def take(self) -> Record:
        """The first of them."""
        return self._letters.popleft().record

    def release(self, openings: dict[str, int], most: int) -> list[Record]:
        """Up to ``most`` whose provider works again, as far as there is room; it takes that room
        from ``openings`` (provider → sends)."""
        released: list[Record] = []
        kept: deque[_Waiting] = deque()
        for letter in self._letters:
            name = letter.provider
            if len(released) < most and openings.get(name) and self._proven(name) > letter.at:
                released.append(letter.record)
                openings[name] -= 1
                if not openings[name]:
                    del openings[name]
            else:
                kept.append(letter)
        self._letters = kept
        return released

    def look(self, now: int) -> None:
        """Set when to look again."""
        self.look_at = max(self._letters[0].at + self._within, now + 1)


def release_note(record: Record) -> Append:
    """What is written of a letter that was released: where it stands."""
    stands = Origin(record.topic, record.partition, record.offset)
    return Append(RELEASED, record.key, msgspec.json.encode(stands))
