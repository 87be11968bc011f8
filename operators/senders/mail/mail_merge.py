"""Which mails go in one call: what is at hand is merged as far as the provider lets it.

A lane hands over some hundreds at once at the most, and a few where little comes: a mail waits a
moment for others. A kill forgets those that wait; their leases end, and they are sent then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence

from tidings.operators.senders.mail.mail import Mail

Key = Callable[[Mail], Hashable]


def merged(mails: Iterable[Mail], key: Key, *, most: int, largest: int) -> list[list[Mail]]:
    """Mails of one ``key`` together, in order: ``most`` of them, and about ``largest`` bytes.

    No address is twice in a call: providers refuse that, or leave one out.
    """
    calls: list[list[Mail]] = []
    open_calls: dict[Hashable, tuple[list[Mail], set[str]]] = {}
    sizes: dict[Hashable, int] = {}
    for mail in mails:
        group = key(mail)
        size = mail.size
        found = open_calls.get(group)
        if (
            found is None
            or len(found[0]) >= most
            or sizes[group] + size > largest
            or mail.to in found[1]
        ):
            found = open_calls[group] = ([], set())
            sizes[group] = 0
            calls.append(found[0])
        found[0].append(mail)
        found[1].add(mail.to)
        sizes[group] += size
    return calls


class Gatherer:
    """Mails that wait for others: until there are ``most``, or for ``linger`` seconds.

    ``go`` takes them then, in the order of their coming. With ``most`` 1, or without ``linger``,
    none waits.
    """

    def __init__(self, go: Callable[[list[Mail]], None], *, most: int, linger: float) -> None:
        self._go = go
        self._most = most
        self._linger = linger if most > 1 else 0.0
        self._mails: list[Mail] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, mails: Sequence[Mail]) -> None:
        """These want to go."""
        self._mails += mails
        if len(self._mails) >= self._most or not self._linger:
            self.flush()
        elif self._mails and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._linger, self.flush)

    def flush(self) -> None:
        """Nobody waits any longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        mails, self._mails = self._mails, []
        if mails:
            self._go(mails)


def halves(mails: Sequence[Mail]) -> tuple[Sequence[Mail], Sequence[Mail]]:
    """A call that was refused as a whole, nothing of it sent, cut in two to find the culprit."""
    middle = len(mails) // 2
    return mails[:middle], mails[middle:]
