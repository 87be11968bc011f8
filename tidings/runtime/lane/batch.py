"""A lane's batch: deliveries that were read together, and the ports of its steps."""

from __future__ import annotations

from collections.abc import Iterator

from tidings.contract import Site, Work
from tidings.records import Delivery, Kind
from tidings.runtime.lane.settlement import Settlement


class LaneBatch:
    """Implements ``contract.Batch``; ``now`` is wall time in epoch ms.

    It may be empty: it goes through the steps all the same, so that ``send`` takes the answers.
    """

    __slots__ = ("_settlement", "items", "now")

    def __init__(self, items: list[Work], now: int, settlement: Settlement) -> None:
        self.items = items
        self.now = now
        self._settlement = settlement

    def drop(
        self, item: Work, kind: Kind, reason: str, site: Site, detail: str = "", at: int = 0
    ) -> None:
        """End a delivery; one that failed on this channel goes to the next of its chain."""
        item.ticket.content = item.content
        self._settlement.end(
            item.ticket, kind, at or self.now, reason=reason, detail=detail, step=site.path
        )

    def dead(self, item: Work, reason: str, error: BaseException | str, site: Site) -> None:
        """Hand a delivery to the dead letters; it has failed on this channel."""
        item.ticket.content = item.content
        self._settlement.dead(item.ticket, reason, error, self.now, site.path)

    def deliver(self, item: Work, delivery: Delivery, site: Site) -> None:
        """Not a lane's: raises TypeError."""
        raise TypeError(f"{site.path}: deliveries are written by flows; a lane's step sends them")

    def more(self, rest: Iterator[Work], site: Site) -> None:
        """Not a lane's: raises TypeError."""
        raise TypeError(f"{site.path}: a lane's step makes no further deliveries")
