"""Which mails go in one call: what a batch holds is merged as far as the provider lets it."""

from __future__ import annotations

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


def halves(mails: Sequence[Mail]) -> tuple[Sequence[Mail], Sequence[Mail]]:
    """A call that was refused as a whole, nothing of it sent, cut in two to find the culprit."""
    middle = len(mails) // 2
    return mails[:middle], mails[middle:]
