"""A flow's batch: what was pulled together, the ports of its steps, and what it will write.

Every port turns what it is given into log records at once, so that ``push`` has only to hand them
over. The ids of what is written are functions of the input: a replay writes the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tidings.contract import Item, Map, Site
from tidings.ids import outcome_id, person_key
from tidings.log.port import Append, Record, Slot
from tidings.ports import Io, Unavailable
from tidings.records import DeadLetter, Delivery, Kind, Outcome, encode
from tidings.records import Stage as OutcomeStage
from tidings.runtime.flight import Flight, Label
from tidings.runtime.letters import dead_letter
from tidings.runtime.unit import Stage
from tidings.topics import EVENTS, deliveries

FLOW = "flow"  # the dead letters of flows go to notif_dlq.flow


class FlowBatch:
    """The batch of an intake or a flow; implements ``contract.Batch``.

    ``now`` is log time in epoch ms. ``muted`` tells that all this is a replay whose outputs are
    confirmed: state moves, nothing is written.
    """

    __slots__ = ("appends", "flight", "held_at", "items", "labels", "muted", "now")

    def __init__(
        self,
        items: list[Item],
        now: int,
        flight: Flight,
        labels: Mapping[Slot, Label],
        muted: bool = False,
    ) -> None:
        self.items = items
        self.now = now
        self.flight = flight
        self.labels = labels
        self.muted = muted
        self.appends: list[Append] = []
        self.held_at = -1

    def drop(
        self, item: Item, kind: Kind, reason: str, site: Site, detail: str = "", at: int = 0
    ) -> None:
        """Let an item go: a decision, the last one that its events get."""
        self._decide(item, kind, site, at or self.now, reason=reason, detail=detail)

    def dead(self, item: Item, reason: str, error: BaseException | str, site: Site) -> None:
        """Hand an item that can't go on to the dead letters."""
        if self.muted:
            return
        record = item.record
        if record is None:  # a digest: it was never one record
            topic, partition, offset, _ = msgspec.structs.astuple(item.origin)
            key = person_key(item.tenant, item.recipient_id).encode()
            record = Record(topic, partition, offset, item.time, key, encode(item.data))
        letter = DeadLetter(
            reason=reason,
            error=str(error),
            step=site.path,
            flow=site.scope,
            origin=item.origin,
            at=self.now,
        )
        self.appends.append(dead_letter(record, letter, FLOW))

    def deliver(self, item: Item, delivery: Delivery, site: Site) -> None:
        """Write a delivery, and the decision that it is queued."""
        if self.muted:
            return
        key = person_key(delivery.tenant, delivery.recipient_id).encode()
        self.appends.append(
            Append(deliveries(delivery.channel, delivery.priority), key, encode(delivery))
        )
        self._decide(item, Kind.QUEUED, site, delivery.created_at, delivery=delivery)

    def _decide(
        self,
        item: Item,
        kind: Kind,
        site: Site,
        at: int,
        *,
        reason: str = "",
        detail: str = "",
        delivery: Delivery | None = None,
    ) -> None:
        if self.muted:
            return
        members = item.members or ((item.event_id,) if item.event_id else ())
        channel = delivery.channel if delivery else ""
        subject = delivery.notif_id + channel if delivery else f"{site.path}\x1f{item.origin}"
        outcome = Outcome(
            outcome_id=outcome_id(subject, kind, 0),
            at=at,
            stage=OutcomeStage.DECISION,
            kind=kind,
            recipient_id=item.recipient_id,
            tenant=item.tenant,
            flow=site.scope,
            step=site.path,
            version=site.version,
            reason=reason,
            detail=detail,
            members=members,
            category=item.category,
            origin=item.origin,
        )
        if delivery is not None:
            outcome.notif_id = delivery.notif_id
            outcome.channel = channel
            outcome.priority = delivery.priority
            outcome.category = delivery.category
            outcome.campaign_id = delivery.campaign_id
            outcome.template = delivery.template
        key = person_key(item.tenant, item.recipient_id).encode()
        self.appends.append(Append(EVENTS, key, encode(outcome)))


def stages(steps: Sequence[tuple[Site, Map[Item]]], io: Io, first: int = 0) -> list[Stage]:
    """The stages of ``steps``, in order; ``first`` numbers the first one.

    A step that can't be answered now leaves the batch ``held_at`` its own number: later stages pass
    it through, the unit keeps it and sends it round again, and it goes on where it stood. So an
    operator asks before it changes anything.
    """
    return [
        Stage(site.path, _stage(step, io, number))
        for number, (site, step) in enumerate(steps, first)
    ]


def _stage(step: Map[Item], io: Io, number: int) -> Callable[[FlowBatch], FlowBatch]:
    def run(batch: FlowBatch) -> FlowBatch:
        if batch.held_at >= 0:
            if batch.held_at != number:
                return batch
            batch.held_at = -1
        if batch.items:
            try:
                step.process(batch, io, batch.now)
            except Unavailable:
                batch.held_at = number
        return batch

    return run
