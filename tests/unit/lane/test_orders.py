"""Any order of answers, confirmations, rebalances, stops and deaths: nothing lost, little repeated.

What a provider answers is a function of the address and of the attempt, as is what a replay finds;
when it answers, and what happens in between, is hypothesis's.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.lane.paper import TOPIC, Paper, PaperLane, id_of
from tidings.log.port import Position, Slot
from tidings.log.positions import Settled
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.records import decode_delivery
from tidings.sender import Send, Verdict

SPEC = SendSpec(
    default="sandbox",
    in_flight=3,
    retry=Retry(in_place=(1_000,), ladder=(30_000,), release=0),
    # None opens: while one is, no retry is used up, and what never works is tried for ever.
    breaker=BreakerSpec(volume=10_000),
)
PARTITIONS = 2
PLACES = ("phone", "tablet", "watch")
SCRIPTS: dict[str, tuple[Verdict, ...]] = {  # what an address answers; the last one stays
    "fine": (Verdict.OK,),
    "later": (Verdict.RETRY, Verdict.OK),
    "much later": (Verdict.RETRY, Verdict.RETRY, Verdict.OK),
    "gone": (Verdict.INV,),
    "refused": (Verdict.DROP,),
    "silent": (Verdict.AMB,),
    "never": (Verdict.RETRY,),
}
KINDS = {"fine": "sent", "later": "sent", "much later": "sent", "silent": "unknown"}

scripts = st.lists(st.sampled_from(sorted(SCRIPTS)), min_size=1, max_size=3)
steps = st.lists(
    st.tuples(
        st.sampled_from(["turn", "turn", "answer", "answer", "confirm", "pass", "move"]),
        st.integers(0, 99),
    ),
    max_size=60,
)
ends = st.lists(st.sampled_from(["kill", "stop"]), max_size=3)


class World:
    """Some lanes, their deliveries, and what must hold."""

    def __init__(self, deliveries: list[list[str]]) -> None:
        self.paper = Paper(PARTITIONS)
        self.paper.on_commit = self.check_commit
        self.scripts: dict[str, tuple[Verdict, ...]] = {}
        self.expected: dict[str, str] = {}
        self.kills: dict[str, int] = {}
        for number, names in enumerate(deliveries):
            self.paper.deliver(f"n{number}", *PLACES[: len(names)])
            for place, name in zip(PLACES, names, strict=False):
                self.scripts[id_of(f"n{number}", place)] = SCRIPTS[name]
            kinds = {KINDS.get(name, "failed") for name in names}
            self.expected[f"n{number}"] = min(kinds, key=["sent", "unknown", "failed"].index)
        slots = self.paper.slots(SPEC)
        self.lanes = [self.start(slots[:1]), self.start(slots[1:])]

    def start(self, slots: list[Slot]) -> PaperLane:
        lane = self.paper.lane(SPEC, take=[])
        lane.consumer.take(slots)
        return lane

    def verdict(self, send: Send) -> Verdict:
        script = self.scripts[send.send_id]
        return script[min(send.attempt, len(script)) - 1]

    def answer(self, lane: PaperLane, which: int) -> None:
        if lane.in_flight:
            send = lane.in_flight[which % len(lane.in_flight)]
            verdict = self.verdict(send)
            lane.answer(send, verdict, accepted=verdict in (Verdict.OK, Verdict.AMB))

    def step(self, what: str, number: int) -> None:
        lane = self.lanes[number % 2]
        if what == "turn":
            lane.turn()
        elif what == "answer":
            self.answer(lane, number // 2)
        elif what == "confirm":
            lane.confirm(min(number // 2, len(lane.producer.unconfirmed)))
        elif what == "pass":
            # A provider answers within a lease's life, or the sender says that it did not.
            for one in self.lanes:
                one.turn()
                while one.in_flight:
                    self.answer(one, 0)
                    one.turn()
            self.paper.clock.advance(number * 400)
        elif what == "move":
            giver, taker = lane, self.lanes[1 - number % 2]
            if giver.consumer.next:
                slot = sorted(giver.consumer.next)[number // 2 % len(giver.consumer.next)]
                giver.consumer.give_up([slot], lost=number % 5 == 0)
                taker.consumer.take([slot])

    def end(self, how: str, which: int) -> None:
        """A lane ends, and a new process has its partitions."""
        lane = self.lanes[which]
        slots = [*lane.consumer.next]
        if how == "stop":
            lane.lane.stop()
            while not lane.lane.drained():
                while lane.in_flight:
                    self.answer(lane, 0)
                lane.turn()
                lane.confirm()
            lane.lane.close()
        else:
            for send in lane.in_flight:  # each of them may have been heard
                self.kills[send.send_id] = self.kills.get(send.send_id, 0) + 1
                if self.verdict(send) in (Verdict.OK, Verdict.AMB):
                    self.paper.accepted[send.send_id] += 1
            for send, *_ in lane.courier.answered:
                self.kills[send.send_id] = self.kills.get(send.send_id, 0) + 1
            lane.consumer.next.clear()
        self.lanes[which] = self.start(slots)

    def finish(self) -> None:
        """Everything that is still to happen happens."""
        quiet = 0
        while quiet < 8:
            before = (len(self.paper.outcomes()), sum(self.paper.accepted.values()))
            for lane in self.lanes:
                lane.turn(3)
                while lane.in_flight:
                    self.answer(lane, 0)
                lane.turn(2)
                lane.confirm()
            self.paper.clock.advance(16_000)
            after = (len(self.paper.outcomes()), sum(self.paper.accepted.values()))
            quiet = quiet + 1 if before == after else 0

    def check_commit(self, slot: Slot, position: Position) -> None:
        """What counts as settled has its last word in the log."""
        settled = Settled(position).is_settled
        handed_on = {
            one.notif_id
            for each in self.paper.slots(SPEC)[PARTITIONS:]
            for one in self.paper.deliveries(each.topic)
        }
        ended = {one.notif_id for one in self.paper.outcomes("end")}
        for record in self.paper.records[slot]:
            if settled(record.offset):
                notif_id = decode_delivery(record.value or b"").notif_id
                known = ended if slot.topic != TOPIC else ended | handed_on
                assert notif_id in known, f"{notif_id} is settled without a word"

    def check(self) -> None:
        assert {key[0]: kinds for key, kinds in self.paper.ends().items()} == {
            name: [kind] for name, kind in self.expected.items()
        }
        for known, times in self.paper.accepted.items():
            assert times <= 1 + self.kills.get(known, 0), "repeated without a crash"
        for slot in self.paper.slots(SPEC):
            end = len(self.paper.records[slot])
            committed = self.paper.committed.get(slot, Position(0))
            assert committed.offset == end, f"{slot} is settled to {committed} of {end}"
        assert not any(lane.lane._tracker.open for lane in self.lanes)


@settings(max_examples=150)
@given(st.lists(scripts, min_size=1, max_size=8), steps)
def test_without_a_crash_each_delivery_ends_once_and_nothing_is_sent_twice(
    deliveries: list[list[str]], order: list[tuple[str, int]]
) -> None:
    world = World(deliveries)
    for what, number in order:
        world.step(what, number)
    world.finish()
    assert not world.kills
    world.check()


@settings(max_examples=150)
@given(st.lists(scripts, min_size=1, max_size=8), st.lists(st.tuples(steps, ends), max_size=4))
def test_whenever_processes_die_or_stop_each_delivery_ends_once_and_repeats_are_bounded(
    deliveries: list[list[str]], order: list[tuple[list[tuple[str, int]], list[str]]]
) -> None:
    world = World(deliveries)
    for actions, endings in order:
        for what, number in actions:
            world.step(what, number)
        for number, how in enumerate(endings):
            world.end(how, number % 2)
    world.finish()
    world.check()
