"""A lane's day, whatever happens in it: two processes, two providers, people that change.

    turmoil = Turmoil([Order(("phone",), chain=True), …])
    turmoil.take(Step("kill", 0, 120))      # process 0 dies before the 120th line of its next turn
    turmoil.finish()

A provider keeps what it has accepted, and says so when it is asked. When a process dies, what it
has handed to a provider may be accepted all the same, and of what it has appended each partition
keeps what came first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from tests.unit.counting_caps import CountingCaps
from tests.unit.lane.paper import HandCourier, Paper, PaperLane
from tests.unit.lane.perils import (
    Killed,
    Member,
    PunctualCourier,
    WatchedClaims,
    die_in,
    member_of,
)
from tidings.driver.ports import LocalCaps
from tidings.ids import cap_key
from tidings.log.port import Position, Slot
from tidings.log.positions import Settled
from tidings.operators.send import BreakerSpec, Retry, SendSpec
from tidings.ports import Address, Count
from tidings.records import Allowance, decode_delivery
from tidings.runtime.lane.courier import LATE
from tidings.sender import Send, Terms, Verdict
from tidings.stores.claims_local import LocalClaims

PROVIDERS = ("main", "spare")
SPEC = SendSpec(
    default=PROVIDERS,
    in_flight=3,
    retry=Retry(in_place=(1_000,), ladder=(30_000, 300_000), repeat_last=False),
    breaker=BreakerSpec(volume=4, window=20_000, pause=2_000, longest=8_000, probes=1),
)
TERMS = dict.fromkeys(PROVIDERS, Terms(settles_ms=5_000))
PARTITIONS = 2
ONE_A_MINUTE = Allowance("email/all/1m", 1, 60_000)
PLACES = ("phone", "tablet", "watch")
NEWS = "tidings.alerts"
PATIENCE_MS = 10_000  # of a sender: less than a lease's life
LASTING = (400, 2_000, 16_000, 31_000, 301_000, 3_600_000, 90_000_000)  # ms, at the end of the day

_OK, _RETRY, _AMB = Verdict.OK, Verdict.RETRY, Verdict.AMB
# What a provider does with a send: its answer, and whether it has it.
ANSWERS: tuple[tuple[Verdict, bool, Mapping[str, Any]], ...] = (
    (_OK, True, {}),
    (_OK, True, {}),
    (_RETRY, False, {"code": "503"}),
    (_RETRY, False, {"code": "429", "limited": True, "retry_after_ms": 3_000}),
    (_AMB, True, {"code": "NoAnswer"}),
    (_AMB, False, {"code": "NoAnswer"}),
    (Verdict.INV, False, {"code": "Unregistered"}),
    (Verdict.DROP, False, {"code": "BadMessage"}),
    (Verdict.CFG, False, {"code": "Forbidden"}),
)
MOODS = ("as told", "down", "refuses us", "well")
_DOWN, _REFUSES = ANSWERS[2], ANSWERS[8]


class Order(NamedTuple):
    """A delivery to come: to these devices; with a channel behind it, which has room or not; for a
    flow that waits; with a life (ms, 0 without end)."""

    places: tuple[str, ...]
    chain: bool = False
    full: bool = False
    waits: bool = False
    life: int = 0
    on_uncertain: str = ""

    @property
    def hangs(self) -> bool:
        """Whether something hangs on how it ends."""
        return self.chain or self.waits


class Step(NamedTuple):
    """One thing that happens: to which of several, and how."""

    what: str
    which: int = 0
    how: int = 0


class Turmoil(Paper):
    """The day. ``excused`` counts for each send how often something broke between the provider's
    yes and the mark; ``given`` are the answers that were given to it."""

    def __init__(self, orders: Sequence[Order]) -> None:
        super().__init__(PARTITIONS)
        self.claims = self.watched = WatchedClaims(LocalClaims(self.clock))
        self.caps = self.counts = CountingCaps()
        self.orders = {f"n{number}": order for number, order in enumerate(orders)}
        self.to_come = iter(self.orders)
        self.moods = dict.fromkeys(PROVIDERS, MOODS[0])
        self.kept: set[tuple[str, str]] = set()  # provider, send id
        self.given: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.notif_of: dict[str, str] = {}
        self.excused: Counter[str] = Counter()
        self.unsure: set[str] = set()  # sends that may have gone out, not marked when it broke
        self.changed: set[str] = set()  # notifications whose people have changed
        self.several = {name for name, order in self.orders.items() if len(order.places) > 1}
        self.calm = True  # no process was killed, stopped or frozen, no partition moved
        self.frozen: list[PaperLane] = []
        self.leaving: list[PaperLane] = []
        self.on_commit = self._check_commit
        slots = self.slots(SPEC)
        self.ways = {slot.topic for slot in slots} - {"notif_dlq.push"}
        self.processes = [self.join(slots[::2]), self.join(slots[1::2])]
        for _ in range(3):
            self.arrive()

    # ── Processes ─────────────────────────────────────────────────────────────────────────────

    def consumer(self, group: str, **options: Any) -> Member:
        self.made_consumer = Member(self)
        return self.made_consumer

    def courier(self) -> HandCourier:
        return PunctualCourier(self.clock)

    def join(self, slots: Sequence[Slot]) -> PaperLane:
        process = self.lane(SPEC, take=[], terms=TERMS)
        member_of(process).comes = lambda slots: self.back(process, slots)
        member_of(process).get(slots)
        return process

    def orphaned(self) -> list[Slot]:
        """The partitions that nobody has or is about to get."""
        taken: set[Slot] = set()
        for process in self.processes:
            taken |= set(process.consumer.next) | member_of(process).coming
        return [slot for slot in self.slots(SPEC) if slot not in taken]

    def replace(self, which: int) -> PaperLane:
        """Put a new process in the place of one, which has its partitions."""
        gone = self.processes.pop(which)
        self.processes.insert(which, self.join(self.orphaned()))
        return gone

    def excuse(self, *processes: PaperLane) -> None:
        """What was accepted and is not marked, or may be by these, may go out once more."""
        for send, count in self.accepted.items():
            self.excused[send] += count > 0 and not self.marked(send)
        for send, answers in self.given.items():
            if answers["amb"] and not self.marked(send):
                self.unsure.add(send)
        for process in processes:
            answered = [send for send, *_ in process.courier.answered]
            self.excused.update(send.send_id for send in (*process.in_flight, *answered))

    def marked(self, send: str) -> bool:
        """Whether Claims know something of it."""
        return any(claim.split("~")[0] == send for claim in self.watched.marked)

    def back(self, process: PaperLane, slots: Sequence[Slot]) -> None:
        """It has partitions again of which it has sends in flight yet: it does not wait for
        itself."""
        for send in process.in_flight:
            record = send.ticket.record
            if Slot(record.topic, record.partition) in slots:
                self.unsure.add(send.send_id)

    def die(self, which: int, lines: int, seed: int) -> None:
        """Kill -9 before a line of its next turn, or behind that."""
        process, random = self.processes[which], Random(seed)
        with suppress(Killed):
            die_in(process.turn, lines)
        for send in process.in_flight:
            if not send.asking and random.random() < 0.5:
                self._kept(send)
        self.excuse(process)
        cut: dict[Slot, bool] = {}
        for append, _ in process.producer.unconfirmed:
            slot = self.slot_of(append)
            cut[slot] = cut.get(slot, False) or random.random() < 0.3
            if not cut[slot]:
                self.write(append)
        self.replace(which)
        self.calm = False

    def leave(self, which: int) -> None:
        """SIGTERM: it finishes what is under way."""
        process = self.replace(which)
        process.lane.stop()
        self.leaving.append(process)
        self.calm = False

    def freeze(self, which: int) -> None:
        """SIGSTOP, until the group has given up on it."""
        process = self.processes[which]
        member_of(process).evict()
        self.excuse(process)
        self.frozen.append(self.replace(which))
        self.calm = False

    def wake(self) -> None:
        """SIGCONT: it goes on as if nothing had been, and learns of it in its next poll; then it
        leaves."""
        if not self.frozen:
            return
        process = self.frozen.pop()
        slots = [*process.consumer.next]
        process.consumer.pending.append(lambda: process.consumer.give_up(slots, lost=True))
        process.turn(2)
        self.answer_all(process)
        process.turn(20)
        process.lane.stop()
        self.leaving.append(process)

    # ── What happens ──────────────────────────────────────────────────────────────────────────

    def take(self, step: Step) -> None:
        """One thing happens."""
        what, which, how = step
        place = which % len(self.processes)
        process = self.processes[place]
        match what:
            case "arrive":
                self.arrive()
            case "turn":
                process.turn(how % 3 + 1)
            case "answer" if process.in_flight:
                send = process.in_flight[how // len(ANSWERS) % len(process.in_flight)]
                self.answer(process, send, how % len(ANSWERS))
            case "late" if process.in_flight:
                process.courier.answer(process.in_flight[0], LATE)
            case "serve":
                process.turn()
                self.answer_all(process, how % len(ANSWERS))
                process.turn()
            case "mood":
                self.moods[PROVIDERS[which % 2]] = MOODS[how % len(MOODS)]
            case "confirm":
                process.confirm(min(how, len(process.producer.unconfirmed)))
            case "pass":
                self.passes(min(40 << which * 3, 400_000) + how)
            case "move":
                self.move(process, 1 - place, how)
            case "kill":
                self.die(place, how, how)
            case "leave":
                self.leave(place)
            case "freeze":
                self.freeze(place)
            case "wake":
                self.wake()
            case "away":
                self.toggle(("claims", "people", "caps")[which % 3])
            case "person":
                self.change(f"n{which % len(self.orders)}", how)

    def arrive(self) -> None:
        """The next delivery is written, if there is one."""
        notif_id = next(self.to_come, "")
        if not notif_id:
            return
        order = self.orders[notif_id]
        fields: dict[str, Any] = {"on_uncertain": order.on_uncertain}
        if order.life:
            fields["expires_at"] = self.clock.now() + order.life
        if order.chain:
            fields |= {"chain": ("email",), "allowances": {"email": (ONE_A_MINUTE,)}}
        if order.waits:
            fields |= {"reply_to": NEWS, "wait": notif_id}
        if order.full:
            key = cap_key("default", f"person-of-{notif_id}", ONE_A_MINUTE.name)
            LocalCaps.count(self.counts, [Count(key, "earlier", 1, 60_000)], self.clock.now())
        self.deliver(notif_id, *order.places, created_at=self.clock.now(), **fields)

    def answer(self, process: PaperLane, send: Send, how: int) -> None:
        """The provider does with a send what it is in the mood for, or says what it has."""
        mood = self.moods[send.provider]
        told = {"down": _DOWN, "refuses us": _REFUSES, "well": ANSWERS[0]}
        verdict, taken, more = told.get(mood, ANSWERS[how])
        if send.asking and verdict in (_OK, Verdict.INV):
            there = (send.provider, send.send_id) in self.kept
            verdict, more = (_OK, {}) if there else (_RETRY, {"code": "NotThere"})
        elif send.asking and not more.get("limited") and verdict is not Verdict.CFG:
            verdict = _AMB if verdict is _RETRY else verdict
        elif taken:
            self._kept(send)
        self.notif_of[send.send_id] = _notif(send)
        self.given[send.send_id][verdict + ("" if not more.get("limited") else " limited")] += 1
        process.answer(send, verdict, accepted=False, **more)

    def answer_all(self, process: PaperLane, how: int = 0) -> None:
        """It answers whatever this process has asked of it."""
        for send in [*process.in_flight]:
            self.answer(process, send, how)

    def passes(self, ms: int) -> None:
        """Time passes; a sender says so when its provider takes too long."""
        at = self.clock.now() + ms
        for process in self.live():
            while any(send.now + PATIENCE_MS <= at for send in process.in_flight):
                self.answer_all(process, 4 + ms % 2)
                process.turn()
        self.clock.advance(ms)
        for process in [*self.leaving]:
            process.turn()
            process.confirm()
            if process.lane.drained():
                process.lane.close()
                self.leaving.remove(process)

    def move(self, giver: PaperLane, place: int, which: int) -> None:
        """A partition goes from one process to the one in this place."""
        if giver.consumer.next:
            slots = sorted(giver.consumer.next)
            slot = slots[which % len(slots)]
            member_of(giver).give(slot, lambda: member_of(self.processes[place]))
            self.calm = False

    def toggle(self, port: str) -> None:
        """A port goes away, or is back."""
        if port == "claims":
            self.claims.away = not self.claims.away
            self.excuse(*self.live())
        elif port == "people":
            self.people.away = not self.people.away
        else:
            self.counts.away = not self.counts.away

    def change(self, notif_id: str, how: int) -> None:
        """Somebody's life goes on."""
        person, lets_go = f"person-of-{notif_id}", self.people.lets_go
        self.changed.add(notif_id)
        places = self.orders[notif_id].places
        match how % 5:
            case 0:
                self.people.addresses[person] = ()
            case 1:
                kept = places[how // 5 % 3 :]
                self.people.addresses[person] = tuple(_device(place) for place in kept)
            case 2:
                self.several.add(notif_id)
                self.people.addresses[person] = tuple(_device(place) for place in PLACES)
            case 3:
                lets_go[notif_id] = ("consent", "text")[how // 5 % 2]
            case _:
                lets_go.pop(notif_id, None)
                self.people.addresses[person] = tuple(_device(place) for place in places)

    def live(self) -> list[PaperLane]:
        """The processes that run."""
        return [*self.processes, *self.leaving]

    # ── The end of the day ────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Everything works again, and everything that is still to happen happens."""
        self.claims.away = self.people.away = self.counts.away = False
        self.moods = dict.fromkeys(PROVIDERS, "well")
        while self.frozen:
            self.wake()
        for _ in self.orders:
            self.arrive()
        for ms in LASTING:
            self.passes(ms)
            self.settle()

    def _check_commit(self, slot: Slot, position: Position) -> None:
        """What counts as settled has its last word in the log, or goes on from there."""
        if slot.topic not in self.ways:
            return
        settled = Settled(position).is_settled
        ended = {(one.notif_id, one.round) for one in self.outcomes("end")}
        stands = defaultdict(list)
        for way in self.ways:
            for each in self.of(way):
                delivery = decode_delivery(each.value or b"")
                stands[delivery.notif_id, delivery.round].append((way, each.offset))
        for record in self.records[slot]:
            if settled(record.offset):
                delivery = decode_delivery(record.value or b"")
                name = delivery.notif_id, delivery.round
                elsewhere = [one for one in stands[name] if one != (slot.topic, record.offset)]
                assert name in ended or elsewhere, f"{name} is settled without a word"

    def settle(self) -> None:
        """Turn until nobody has said anything for a while."""
        quiet = 0
        while quiet < 3:
            before = sum(map(len, self.records.values()))
            for process in self.live():
                process.turn(2)
                self.answer_all(process)
                process.turn(2)
                process.confirm()
            self.passes(260)  # and they commit
            quiet = quiet + 1 if before == sum(map(len, self.records.values())) else 0

    def _kept(self, send: Send) -> None:
        self.kept.add((send.provider, send.send_id))
        self.accepted[send.send_id] += 1


def _notif(send: Send) -> str:
    assert send.delivery is not None
    return send.delivery.notif_id


def _device(place: str) -> Address:
    return Address(kind="device", value=place)
