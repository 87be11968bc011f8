"""A batch of which is counted what is decided; nothing of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tidings.contract import Item, Site
from tidings.driver.tally import Tally
from tidings.records import Delivery, Kind, Signal, encode
from tidings.runtime.batch import LARGEST_DELIVERY, FlowBatch
from tidings.runtime.flight import Flight

AT_ONCE = 1_000  # of what comes, or is given, little by little


class Decided(FlowBatch):
    """The batches of a flow, one after the other, whose ports count into ``tally``.

    ``awaited`` are the deliveries that the flow of ``topic`` waits for, ``heard`` what it is told
    at once of rounds that don't become one: of the person in hand.
    """

    __slots__ = ("awaited", "heard", "tally", "topic")

    def __init__(self, tally: Tally, topic: str) -> None:
        super().__init__([], 0, Flight(), {})
        self.awaited: list[Delivery] = []
        self.heard: list[Signal] = []
        self.tally = tally
        self.topic = topic

    def begin(self, items: Sequence[Item], now: int) -> None:
        """The next batch."""
        self.items, self.now, self.at = [*items], now, 0

    def drop(
        self, item: Item, kind: Kind, reason: str, site: Site, detail: str = "", at: int = 0
    ) -> None:
        """Count what is let go."""
        self.tally.dropped[site.path, reason] += 1
        self._hear(item, kind)

    def dead(self, item: Item, reason: str, error: BaseException | str, site: Site) -> None:
        """Count a dead letter."""
        self.tally.dead += 1
        self._hear(item, Kind.FAILED)

    def deliver(self, item: Item, delivery: Delivery, site: Site) -> None:
        """Count a delivery, unless it is too large."""
        size = len(encode(delivery))
        if size > LARGEST_DELIVERY:
            self.dead(item, "too_large", f"the delivery has {size:,} bytes", site)
            return
        person = delivery.tenant, delivery.recipient_id
        channel, category = delivery.channel, delivery.category
        self.tally.deliver(person, item.covers(), channel, category, delivery.created_at)
        if delivery.reply_to == self.topic:
            self.awaited.append(delivery)

    def follow(self, most: int) -> Decided | None:
        """The next of what steps gave to ``more``, None when all is out."""
        while self.rest:
            at, rest = self.rest[-1]
            self.items, self.at = list(islice(rest, most)), at
            if self.items:
                return self
            self.rest.pop()
        return None

    def _hear(self, item: Item, kind: Kind) -> None:
        if item.reply_to == self.topic:
            self.heard.append(Signal(item.wait, kind.value, item.round))
