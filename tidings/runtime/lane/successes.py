"""When devices last took a message, on its way to the people's profiles.

Once a day for a device, gathered for some seconds and told in one go, when a round is over. A crash
or a stop forgets what has gathered: the device's next message is told in its place.
"""

from __future__ import annotations

from itertools import islice

from tidings.ports import Address, People, Person, Success, Unavailable

_GATHER_MS = 5_000
_MOST_AT_ONCE = 500  # 6 µs each: a round is not to wait for more
_MOST = 100_000  # that wait; who is not among them is told of by the next message
_DEVICE = "device"

Key = tuple[str, str, str]  # tenant, recipient, value


class Successes:
    """Those of a lane that are not told yet."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._waiting: dict[Key, int] = {}
        self._due_at = 0

    def add(self, tenant: str, recipient_id: str, address: Address, at: int) -> None:
        """A provider took a message for this address, of which none is known within a day."""
        if address.kind == _DEVICE and len(self._waiting) < _MOST:
            if not self._waiting:
                self._due_at = max(self._due_at, at + _GATHER_MS)
            self._waiting.setdefault((tenant, recipient_id, address.value), at)

    def due(self, now: int) -> bool:
        """Whether there is something to tell now."""
        return bool(self._waiting) and now >= self._due_at

    def tell(self, now: int) -> None:
        """Tell what has gathered, or the first of it."""
        if not self.due(now):
            return
        told = [
            Success(Person(tenant, recipient_id), _DEVICE, value, at)
            for (tenant, recipient_id, value), at in islice(self._waiting.items(), _MOST_AT_ONCE)
        ]
        try:
            self._people.note_successes(told)
        except Unavailable:
            self._due_at = now + _GATHER_MS
            return
        for (tenant, recipient_id), _, value, _ in told:
            del self._waiting[tenant, recipient_id, value]
