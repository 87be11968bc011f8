"""A flow's batch: what was pulled together, the ports of its steps, and what it will write.

Every port turns what it is given into log records at once, so that ``push`` has only to hand them
over. The ids of what is written are functions of the input: a replay writes the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from tidings.contract import Item, Map, Route, Site
from tidings.expressions import EvaluationError
from tidings.ids import outcome_id, person_key
from tidings.log.port import Append, Record, Slot
from tidings.ports import Io, Unavailable
from tidings.records import DeadLetter, Delivery, Kind, Outcome, Signal, encode
from tidings.records import Stage as OutcomeStage
from tidings.runtime.flight import Flight, Label
from tidings.runtime.letters import LONGEST, dead_letter
from tidings.runtime.signals import signal_append
from tidings.runtime.unit import Stage
from tidings.topics import EVENTS, deliveries

FLOW = "flow"  # the dead letters of flows go to notif_dlq.flow
LARGEST_DELIVERY = 1_500_000  # bytes; the topic takes 2 MiB, and a lane adds what was answered
LARGEST_OUTCOME = 900_000  # bytes; the topic takes 1 MiB


class FlowBatch:
    """The batch of an intake or a flow; implements ``contract.Batch``.

    ``now`` is log time in epoch ms. ``muted`` tells that all this is a replay whose outputs are
    confirmed: state moves, nothing is written.
    """

    __slots__ = ("appends", "at", "flight", "held", "items", "labels", "muted", "now", "rest")

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
        self.at = 0  # the number of the stage that it stands at
        self.held = ""  # why that stage could not be answered
        self.rest: list[tuple[int, Iterator[Item]]] = []  # what begins behind which stage

    def drop(
        self, item: Item, kind: Kind, reason: str, site: Site, detail: str = "", at: int = 0
    ) -> None:
        """Let an item go: a decision, the last one that its events get."""
        self._decide(item, kind, site, at or item.time, reason=reason, detail=detail)
        if item.reply_to and not self.muted:
            self._say(item, signal_of(item, kind))

    def dead(self, item: Item, reason: str, error: BaseException | str, site: Site) -> None:
        """Hand an item that can't go on to the dead letters.

        A digest was never one record: its letter holds its data and the ids of its members.
        """
        if self.muted:
            return
        record = item.record
        if record is None:
            topic, partition, offset, _ = msgspec.structs.astuple(item.origin)
            key = person_key(item.tenant, item.recipient_id).encode()
            value = encode({"members": item.members, "data": item.data})
            record = Record(topic, partition, offset, item.time, key, value)
        letter = DeadLetter(
            reason=reason,
            error=str(error),
            step=site.path,
            flow=site.scope,
            origin=item.origin,
            at=item.time,
        )
        self._say(item, dead_letter(record, letter, FLOW))
        if item.reply_to:
            self._say(item, signal_of(item, Kind.FAILED))

    def deliver(self, item: Item, delivery: Delivery, site: Site) -> None:
        """Write a delivery, and the decision that it is queued; one that is too large is dead."""
        if self.muted:
            return
        value = encode(delivery)
        if len(value) > LARGEST_DELIVERY:
            self.dead(item, "too_large", f"the delivery has {len(value):,} bytes", site)
            return
        key = person_key(delivery.tenant, delivery.recipient_id).encode()
        topic = deliveries(delivery.channel, delivery.priority)
        self._say(item, Append(topic, key, value))
        self._decide(item, Kind.QUEUED, site, item.time, delivery=delivery)

    def more(self, rest: Iterator[Item], site: Site) -> None:
        """Items that the step in hand gives later."""
        self.rest.append((self.at + 1, rest))

    def follow(self, most: int) -> FlowBatch | None:
        """The next of what steps gave to ``more``, under the same flight; None when all is out."""
        while self.rest:
            at, rest = self.rest[-1]
            items = list(islice(rest, most))
            if items:
                batch = FlowBatch(items, self.now, self.flight, self.labels, self.muted)
                batch.at = at
                batch.rest = self.rest
                return batch
            self.rest.pop()
        return None

    def lose(self, homes: Collection[int]) -> None:
        """These partitions are not ours any more. What follows one that was, and is not told apart,
        goes out: the next owner makes the same."""

    def unsay(self, written: int) -> None:
        """Take back all but the first ``written`` appends."""
        del self.appends[written:]

    def _say(self, item: Item, append: Append) -> None:
        self.appends.append(append)

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
        if delivery is not None:
            subject = delivery.notif_id + channel
        else:  # two digests may have begun with one entry: theirs are told apart by their members
            subject = f"{site.path}\x1f{item.event_id if item.members else item.origin}"
        later = item.round  # the id of a first round is that of what has no rounds
        if later:
            subject = f"{subject}\x1f{later}"
        outcome = Outcome(
            outcome_id=outcome_id(subject, kind, 0),
            at=at,
            stage=OutcomeStage.DECISION,
            kind=kind,
            recipient_id=item.recipient_id,
            flow=site.scope,
            step=site.path,
            version=site.version,
            tenant=item.tenant,
            reason=reason,
            detail=detail,
            members=members,
            category=item.category,
            variant=item.variant,
            origin=item.origin,
        )
        if later:
            outcome.round = later
        if delivery is not None:
            outcome.notif_id = delivery.notif_id
            outcome.channel = channel
            outcome.priority = delivery.priority
            outcome.category = delivery.category
            outcome.campaign_id = delivery.campaign_id
            outcome.template = delivery.template
        key = person_key(item.tenant, item.recipient_id).encode()
        value = encode(outcome)
        if len(value) <= LARGEST_OUTCOME:
            self._say(item, Append(EVENTS, key, value))
        else:
            for part in _parts(outcome, subject):
                self._say(item, Append(EVENTS, key, encode(part)))


def signal_of(item: Item, kind: Kind) -> Append:
    """What becomes of a round of which no delivery was written, for the flow that waits for it."""
    signal = Signal(item.wait, kind, item.round)
    return signal_append(item.reply_to, item.tenant, item.recipient_id, item.origin, signal)


def _parts(outcome: Outcome, subject: str) -> Iterator[Outcome]:
    """An outcome that is too large for one record as several, each with some of its members."""
    detail = outcome.detail[:LONGEST]
    for number, members in enumerate(_shares(outcome.members)):
        known = outcome_id(subject, outcome.kind, number)
        yield msgspec.structs.replace(outcome, outcome_id=known, members=members, detail=detail)


def _shares(members: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Members in shares of at most half a record, at least one share."""
    share: list[str] = []
    size = 0
    for member in members:
        length = len(encode(member)) + 1
        if share and size + length > LARGEST_OUTCOME // 2:
            yield tuple(share)
            share, size = [], 0
        share.append(member)
        size += length
    yield tuple(share)


Step = tuple[str, Callable[[FlowBatch, Io], None]]


def step_of(site: Site, step: Map[Item]) -> Step:
    """An operator as a named function of a batch."""

    def run(batch: FlowBatch, io: Io) -> None:
        step.process(batch, io, batch.now)

    return site.path, run


def branch_of(site: Site, route: Route, arms: Sequence[Sequence[Step]]) -> Step:
    """A branch with its arms as one step: what comes out of them goes on behind it.

    In the order in which it came in, for behind a cut an entry out of order counts as a repeat.
    Arms get copies: a batch that a port could not answer in the middle is asked again as it was.
    """
    count = len(arms) if route.several else 1

    def run(batch: FlowBatch, io: Io) -> None:
        items, written = batch.items, len(batch.appends)
        ways: list[list[Item]] = [[] for _ in arms]
        through: list[Item] = []
        for item in items:
            try:
                chosen = route.arms(item)
            except EvaluationError as error:
                batch.dead(item, "expression", error, site)
                continue
            if not chosen:
                through.append(item.copy(0, count))
            for arm in chosen:
                ways[arm].append(item.copy(arm if route.several else 0, count))
        try:
            for steps, way in zip(arms, ways, strict=True):
                batch.items = way
                for _, run_step in steps:
                    if batch.items:
                        run_step(batch, io)
                through += batch.items
        except Unavailable:
            batch.items = items
            batch.unsay(written)
            raise
        through.sort(key=_place)
        batch.items = through

    return site.path, run


def _place(item: Item) -> tuple[str, int, int, int]:
    origin = item.origin
    return origin.topic, origin.partition, origin.offset, origin.index


def stages(steps: Sequence[Step], io: Io) -> list[Stage]:
    """The stages of ``steps``, in order.

    A step that can't be answered now leaves the batch ``at`` its own number: later stages pass it
    through, the unit keeps it and sends it round again, and it goes on where it stood. So an
    operator asks before it changes anything. What a step has given to ``more`` begins behind it.
    """
    return [Stage(name, _stage(run, io, number)) for number, (name, run) in enumerate(steps)]


def _stage(
    run: Callable[[FlowBatch, Io], None], io: Io, number: int
) -> Callable[[FlowBatch], FlowBatch]:
    def stage(batch: FlowBatch) -> FlowBatch:
        if batch.held or number < batch.at:
            return batch
        batch.at = number
        if batch.items:
            try:
                run(batch, io)
            except Unavailable as error:
                batch.held = str(error) or "no answer"
        return batch

    return stage
