"""Addresses that a provider says are dead, on their way out of the people's profiles; those that
have taken another's place, on their way in; and those that it says must not be sent to, on their
way to the suppression list."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from tidings.ports import Address, People, Person, Suppression, Suppressions, Unavailable
from tidings.sender import Send

_AGAIN_MS = 1_000
_MOST = 10_000  # that wait; a forgotten one is named again by the next send to it


class Removals:
    """Removes, replaces and suppresses addresses, later where that can't be done now.

    A crash forgets those that wait: the next send to them is answered alike.
    """

    def __init__(self, people: People, suppressions: Suppressions) -> None:
        self._people = people
        self._suppressions = suppressions
        self._waiting: deque[Callable[[], object]] = deque(maxlen=_MOST)
        self._again_at = 0

    def add(self, person: Person, address: Address) -> None:
        """This one is dead."""
        kind, value = address.kind, address.value
        self._waiting.append(
            partial(self._people.remove_address, person, kind, value, "provider_says_gone")
        )

    def replace(self, person: Person, address: Address, value: str, now: int) -> None:
        """This one's place has been taken by ``value``."""
        new = msgspec.structs.replace(address, value=value, registered_at=now, last_success_at=0)
        self._waiting.append(partial(self._people.register, person, new, address.value))

    def suppress(self, tenant: str, send: Send, reason: str) -> None:
        """This one is not to be sent to on this channel, says the send's provider."""
        suppression = Suppression(
            channel=send.channel, address=send.address.value, reason=reason, source=send.provider
        )
        self._waiting.append(partial(self._suppressions.add, tenant, suppression))

    def due(self, now: int) -> bool:
        """Whether there is something to remove now."""
        return bool(self._waiting) and now >= self._again_at

    def carry_out(self, now: int) -> None:
        """Do what waits."""
        if now < self._again_at:
            return
        while self._waiting:
            try:
                self._waiting[0]()
            except Unavailable:
                self._again_at = now + _AGAIN_MS
                return
            self._waiting.popleft()
