"""A lane on paper: its log, its providers and its clock in the test's hand.

    paper = Paper()
    lane = paper.lane(SPEC)              # a process of the lane
    paper.deliver("n1", "phone", "tablet")
    lane.turn()                          # one pull, all steps, one push
    lane.answer(0, Verdict.OK)           # the first send in flight
    lane.turn()
    paper.confirm()                      # the log confirms what was appended
    paper.ends()                         # {("n1", "push"): ["sent"]}

Nothing moves by itself: a record is read when a lane is turned, confirmed when the test says so,
a partition changes hands when it is moved, and time passes by ``paper.clock``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from tidings.contract import Batch, Part, Site, Work
from tidings.driver.ports import LocalCaps
from tidings.durations import format_duration
from tidings.ids import send_id
from tidings.log.port import Ack, Append, Listener, Log, Position, Record, Slot, Span
from tidings.log.positions import Settled
from tidings.operators.send import Sending, SendSpec
from tidings.ports import Address, Caps, Claims, Io, Person, Success, Unavailable
from tidings.records import (
    Delivery,
    Kind,
    Origin,
    Outcome,
    Priority,
    decode_delivery,
    encode,
    outcomes_of,
)
from tidings.runtime.lane.courier import Courier, Load
from tidings.runtime.lane.lane import Lane
from tidings.runtime.lane.settings import LaneSettings
from tidings.sender import Answer, Content, Send, Terms, Verdict
from tidings.stores.claims_local import LocalClaims
from tidings.stores.claims_sheltered import ShelteredClaims
from tidings.stores.clock import ManualClock
from tidings.topics import EVENTS

NOW = 1_782_907_200_000
TOPIC = "deliveries.push.normal"
SPEC = SendSpec(default="sandbox")


class HandCourier(Courier):
    """A courier whose sends are answered by the test."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__({}, clock)
        self.clock = clock
        self.in_flight: list[Send] = []
        self.until: dict[int, int] = {}
        self.closed = False

    def start(self) -> None:
        pass

    def hand_over(self, loads: Sequence[Load], until: int) -> None:
        assert not self.closed
        for load in loads:
            assert {send.provider for send in load.sends} == {load.provider}
            self.in_flight += load.sends
            self.until |= {id(send): until for send in load.sends}

    def answer(self, send: Send, answer: Answer) -> None:
        self.in_flight.remove(send)
        self.answered.append((send, answer, self.clock.now()))

    def close(self) -> None:
        self.closed = True


class FlakyClaims:
    """Claims that can be away."""

    def __init__(self, claims: Claims) -> None:
        self.claims = claims
        self.away = False
        self.rounds = 0

    def round(self, *arguments: Any) -> Any:
        self.rounds += 1
        if self.away:
            raise Unavailable("the server is away")
        return self.claims.round(*arguments)


class PaperPeople:
    """Everybody's addresses."""

    def __init__(self) -> None:
        self.addresses: dict[str, tuple[Address, ...]] = {}
        self.removed: list[tuple[str, str]] = []
        self.noted: list[list[Success]] = []
        self.lets_go: dict[str, str] = {}  # of a notification, what a step finds: consent, text
        self.away = False

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        if self.away:
            raise Unavailable("the database is away")
        self.removed.append((person.recipient_id, value))
        left = tuple(one for one in self.addresses[person.recipient_id] if one.value != value)
        self.addresses[person.recipient_id] = left
        return True

    def register(self, person: Person, address: Address, replaces: str = "") -> bool:
        if self.away:
            raise Unavailable("the database is away")
        held = self.addresses[person.recipient_id]
        self.addresses[person.recipient_id] = tuple(
            address if one.value == replaces else one for one in held
        )
        return True

    def note_successes(self, successes: Sequence[Success]) -> None:
        if self.away:
            raise Unavailable("the database is away")
        self.noted.append(list(successes))


class Prepare:
    """One step in place of a lane's addresses and render."""

    def __init__(self, people: PaperPeople) -> None:
        self._people = people

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        if self._people.away:
            raise Unavailable("the database is away")
        kept = []
        for work in batch.items:
            work.addresses = self._people.addresses.get(work.delivery.recipient_id, ())
            found = self._people.lets_go.get(work.delivery.notif_id, "")
            if found == "text" or work.delivery.data.get("broken"):
                batch.dead(
                    work, "missing_variable", ValueError("`name` is missing"), site("render")
                )
            elif found == "consent" or work.delivery.data.get("suppressed"):
                batch.drop(work, Kind.SUPPRESSED, "hard_bounce", site("suppress"))
            elif not work.addresses:
                batch.drop(work, Kind.FAILED, "no_address", site("addresses"))
            else:
                work.content = Content(parts={"title": "Hello"}, locale="en")
                kept.append(work)
        batch.items = kept


class PaperConsumer:
    """A member of the one group; partitions come and go in its polls."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.next: dict[Slot, int] = {}
        self.paused: set[Slot] = set()
        self.pending: deque[Callable[[], None]] = deque()
        self.polls = 0
        self.sought: list[tuple[Slot, int]] = []

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self.topics = list(topics)
        self.listener = listener

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        assert limit > 0
        self.polls += 1
        while self.pending:
            self.pending.popleft()()
        found: list[Record] = []
        for slot, first in self.next.items():
            if slot not in self.paused:
                fresh = self.paper.records[slot][first : first + limit - len(found)]
                self.next[slot] = first + len(fresh)
                found += fresh
        return found

    def take(self, slots: Sequence[Slot]) -> None:
        positions = {slot: self.paper.committed.get(slot) for slot in slots}
        starts = self.listener.assigned(positions)
        for slot, position in positions.items():
            self.next[slot] = starts.get(slot, position.offset if position else 0)
            self.paused.discard(slot)

    def give_up(self, slots: Sequence[Slot], *, lost: bool = False) -> None:
        (self.listener.lost if lost else self.listener.revoked)(slots)
        for slot in slots:
            del self.next[slot]

    def assignment(self) -> frozenset[Slot]:
        return frozenset(self.next)

    def pause(self, slots: Sequence[Slot]) -> None:
        assert set(slots) <= set(self.next)
        self.paused.update(slots)

    def resume(self, slots: Sequence[Slot]) -> None:
        assert set(slots) <= set(self.next)
        self.paused.difference_update(slots)

    def seek(self, slot: Slot, offset: int) -> None:
        assert offset <= len(self.paper.records[slot])
        self.next[slot] = offset
        self.sought.append((slot, offset))

    def commit(self, positions: Mapping[Slot, Position], wait: bool = False) -> None:
        self.paper.commit(positions)

    def span(self, slot: Slot) -> Span:
        return Span(0, len(self.paper.records[slot]))

    def close(self) -> None:
        if self.next:
            self.give_up([*self.next])


class PaperProducer:
    """Appends that wait for ``Paper.confirm``."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.unconfirmed: deque[tuple[Append, Ack]] = deque()

    def append(self, records: Sequence[Append], ack: Ack) -> None:
        self.unconfirmed.extend((record, ack) for record in records)

    def poll(self) -> None:
        pass

    def flush(self, timeout: float) -> bool:
        self.confirm()
        return True

    def close(self) -> None:
        pass

    def confirm(self, count: int | None = None, error: object = None) -> None:
        """The oldest are confirmed, or refused."""
        for _ in range(len(self.unconfirmed) if count is None else count):
            record, ack = self.unconfirmed.popleft()
            if error is None:
                self.paper.write(record)
            ack(error, None)


class PaperLane:
    """A process of the lane."""

    def __init__(self, paper: Paper, lane: Lane, courier: HandCourier) -> None:
        self.paper = paper
        self.lane = lane
        self.courier = courier
        self.consumer = paper.made_consumer
        self.producer = paper.made_producer

    def turn(self, times: int = 1, *, pass_ms: int = 10) -> None:
        """Pull, steps, push; a little time passes before each."""
        for _ in range(times):
            self.paper.clock.advance(pass_ms)
            batch = self.lane.pull()
            if batch is None:
                continue
            for stage in self.lane.stages:
                batch = stage.run(batch)
            self.lane.push(batch)

    @property
    def in_flight(self) -> list[Send]:
        return self.courier.in_flight

    def answer(self, place: int | Send, verdict: Verdict, **more: Any) -> Send:
        """Answer a send in flight, by its place or itself."""
        send = self.in_flight[place] if isinstance(place, int) else place
        accepted = more.pop("accepted", verdict is Verdict.OK)
        if accepted:
            self.paper.accepted[send.send_id] += 1
        self.courier.answer(send, Answer(verdict=verdict, **more))
        return send

    def answer_all(self, verdict: Verdict = Verdict.OK, **more: Any) -> None:
        while self.in_flight:
            self.answer(0, verdict, **more)

    def serve(self, verdict: Verdict = Verdict.OK, **more: Any) -> None:
        """Send what is there, have it all answered alike, and take the answers in."""
        self.turn()
        self.answer_all(verdict, **more)
        self.turn()

    def confirm(self, count: int | None = None, error: object = None) -> None:
        self.producer.confirm(count, error)


class Paper:
    """The log, the claims, the people and the clock of some lanes."""

    def __init__(self, partitions: int = 1, priority: Priority = Priority.NORMAL) -> None:
        self.clock = ManualClock(NOW)
        self.claims = FlakyClaims(LocalClaims(self.clock))
        self.caps: Caps = LocalCaps()
        self.people = PaperPeople()
        self.priority = priority
        self.topic = f"deliveries.push.{priority}"
        self.partitions = partitions
        self.records: defaultdict[Slot, list[Record]] = defaultdict(list)
        self.committed: dict[Slot, Position] = {}
        self.accepted: defaultdict[str, int] = defaultdict(int)
        self.lanes: list[PaperLane] = []
        self.on_commit: Callable[[Slot, Position], None] = lambda slot, position: None

    # ── Lanes ─────────────────────────────────────────────────────────────────────────────────

    def lane(
        self,
        spec: SendSpec = SPEC,
        *,
        take: Sequence[Slot] | None = None,
        terms: Mapping[str, Terms] | None = None,
        **settings: Any,
    ) -> PaperLane:
        """A started process; it is given all partitions unless ``take`` says which."""
        courier = self.courier()
        claims = cast(Claims, self.claims)
        if self.priority is Priority.HIGH:
            claims = ShelteredClaims(claims, LocalClaims(self.clock), self.clock)
        io = Io(
            people=cast(Any, self.people),
            suppressions=cast(Any, None),
            templates=cast(Any, None),
            claims=claims,
            caps=self.caps,
            clock=self.clock,
        )
        lane = Lane(
            LaneSettings("push", "push", self.priority, f"process-{len(self.lanes)}", **settings),
            cast(Log, self),
            io,
            [(site("prepare"), Prepare(self.people))],
            (site("send"), Sending(spec, site("send"))),
            courier,
            terms or {},
        )
        lane.start()
        made = PaperLane(self, lane, courier)
        self.lanes.append(made)
        slots = self.slots(spec) if take is None else take
        made.consumer.pending.append(lambda: made.consumer.take(slots))
        return made

    def slots(self, spec: SendSpec = SPEC) -> list[Slot]:
        """The partitions of the lane's topic, the one of each rung, and that of its letters."""
        rungs = [f"{self.topic}.retry.{format_duration(delay)}" for delay in spec.retry.ladder]
        own = [Slot(self.topic, number) for number in range(self.partitions)]
        letters = [Slot("notif_dlq.push", 0)] if spec.retry.release else []
        return own + [Slot(rung, 0) for rung in rungs] + letters

    def courier(self) -> HandCourier:
        return HandCourier(self.clock)

    def consumer(self, group: str, **options: Any) -> PaperConsumer:
        self.made_consumer = PaperConsumer(self)
        return self.made_consumer

    def producer(self, **options: Any) -> PaperProducer:
        self.made_producer = PaperProducer(self)
        return self.made_producer

    def admin(self) -> Any:
        return SimpleNamespace(topics=self._topics, close=lambda: None)

    def _topics(self) -> dict[str, Any]:
        topics = defaultdict(lambda: SimpleNamespace(partitions=1))
        topics[self.topic] = SimpleNamespace(partitions=self.partitions)
        return topics

    # ── The log ───────────────────────────────────────────────────────────────────────────────

    def write(self, append: Append) -> Record:
        slot = self.slot_of(append)
        records = self.records[slot]
        record = Record(
            slot.topic,
            slot.partition,
            len(records),
            self.clock.now(),
            append.key,
            append.value,
            append.headers,
        )
        records.append(record)
        return record

    def slot_of(self, append: Append) -> Slot:
        """The partition of a record."""
        partitions = self.partitions if append.topic == self.topic else 1
        return Slot(append.topic, sum(append.key or b"") % partitions)

    def deliver(self, notif_id: str, *addresses: str | Address, **fields: Any) -> Delivery:
        """Write a delivery for a person of its own, with these addresses."""
        person = f"person-of-{notif_id}"
        self.people.addresses[person] = tuple(
            one if isinstance(one, Address) else Address(kind="device", value=one)
            for one in addresses
        )
        delivery = a_delivery(notif_id, priority=str(self.priority), **fields)
        self.write(Append(self.topic, person.encode(), encode(delivery)))
        return delivery

    def commit(self, positions: Mapping[Slot, Position]) -> None:
        for slot, position in positions.items():
            self.on_commit(slot, position)
            self.committed[slot] = position

    def confirm(self) -> None:
        """The log confirms everything."""
        for lane in self.lanes:
            lane.confirm()

    # ── What came of it ───────────────────────────────────────────────────────────────────────

    def of(self, topic: str) -> list[Record]:
        """All records of a topic."""
        return [
            record
            for slot, records in self.records.items()
            if slot.topic == topic
            for record in records
        ]

    def outcomes(self, stage: str = "") -> list[Outcome]:
        found = [one for record in self.of(EVENTS) for one in outcomes_of(record.value or b"")]
        return [one for one in found if stage in ("", one.stage)]

    def ends(self) -> dict[tuple[str, str], list[str]]:
        """The ends of each delivery, by notification and channel; one written again counts once."""
        found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for one in self.outcomes("end"):
            found[one.notif_id, one.channel][one.outcome_id] = one.kind
        return {key: list(kinds.values()) for key, kinds in found.items()}

    def deliveries(self, topic: str) -> list[Delivery]:
        return [decode_delivery(record.value or b"") for record in self.of(topic)]

    def settled(self, slot: Slot | None = None) -> Callable[[int], bool]:
        """Whether an offset counts as settled for whoever takes the partition over now."""
        position = self.committed.get(slot or Slot(self.topic, 0), Position(0))
        return Settled(position).is_settled


def site(step: str) -> Site:
    return Site(path=f"push.{step}", scope="push", part=Part.LANE, channel="push")


def a_delivery(notif_id: str, **fields: Any) -> Delivery:
    given: dict[str, Any] = {
        "notif_id": notif_id,
        "recipient_id": f"person-of-{notif_id}",
        "flow": "social",
        "step": "social.deliver",
        "version": "v1",
        "channel": "push",
        "template": "social_digest",
        "category": "social",
        "created_at": NOW,
        "origin": Origin("tidings.social", 0, 7),
    }
    return Delivery(**given | fields)


def id_of(notif_id: str, address: str) -> str:
    """The send id of a notification to an address on push."""
    return send_id(notif_id, "push", address, 0)
