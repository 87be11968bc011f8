"""Addresses that a provider says are dead, on their way out of the people's profiles."""

from __future__ import annotations

from collections import deque

from tidings.ports import Address, People, Person, Unavailable

_AGAIN_MS = 1_000
_MOST = 10_000  # that wait; a forgotten one is named again by the next send to it


class Removals:
    """Removes addresses, later where People can't be asked now.

    A crash forgets those that wait: the next send to them is answered alike.
    """

    def __init__(self, people: People) -> None:
        self._people = people
        self._waiting: deque[tuple[Person, Address]] = deque(maxlen=_MOST)
        self._again_at = 0

    def add(self, person: Person, address: Address) -> None:
        """This one is dead."""
        self._waiting.append((person, address))

    def due(self, now: int) -> bool:
        """Whether there is something to remove now."""
        return bool(self._waiting) and now >= self._again_at

    def carry_out(self, now: int) -> None:
        """Remove what waits."""
        if now < self._again_at:
            return
        while self._waiting:
            person, address = self._waiting[0]
            try:
                self._people.remove_address(
                    person, address.kind, address.value, "provider_says_gone"
                )
            except Unavailable:
                self._again_at = now + _AGAIN_MS
                return
            self._waiting.popleft()
