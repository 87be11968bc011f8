"""One process of one flow's keyed part on a paper log, turned by hand.

flow = OneFlow(tmp_path, STEPS)
flow.enter("ana", {"photo": "p"}, id="e1")
flow.settle()
flow.pass_time(1_000)
flow.outcomes()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests import engine
from tests.engine import PHONE, Tick, ground_of, plan_of, turn
from tests.paper_log import PaperConsumer, PaperLog, PaperProducer
from tidings.compile.units import Ground, keyed
from tidings.ids import person_key
from tidings.log.port import Append, Record, Slot
from tidings.plan import FlowPlan
from tidings.ports import Person, Profile, Unavailable
from tidings.records import Delivery, Entry, Origin, Outcome, decode_delivery, encode
from tidings.runtime.keyed import KeyedFlow
from tidings.runtime.task import Task
from tidings.stores.people_made import FunctionPeople

NOW = 1_000_000
ENTRIES, STATE, DELIVERIES = "tidings.social", "tidings.social.state", "deliveries.push.normal"
LETTERS = "notif_dlq.flow"
SLOT = Slot(ENTRIES, 0)
SOURCE = "{topic: social.events, key: recipient_id}"
DIGEST = """
  - digest: {by: [photo], window: 1s, keep: last 0}
  - deliver: {to: push, template: t}
"""


class FlakyPeople(FunctionPeople):
    """Everybody has a phone, when the database answers; counts how often it was asked.

    ``profile`` can be set anew: people change.
    """

    def __init__(self, profile: Callable[[Person], Profile] = lambda person: PHONE) -> None:
        super().__init__(lambda person: self.profile(person))
        self.profile = profile
        self.away = False
        self.asked = 0

    def profiles(self, people: Any) -> list[Profile | None]:
        self.asked += 1
        if self.away:
            raise Unavailable("the database is away")
        return super().profiles(people)


class Wall:
    """The clock on the wall of a process: the log's, or wrong by ``skew`` (ms)."""

    def __init__(self, clock: Tick) -> None:
        self._clock = clock
        self.skew = 0

    def now(self) -> int:
        return self._clock.now() + self.skew


class OneFlow:
    """The keyed part of ``social`` with these steps, on one partition unless told otherwise."""

    unit: KeyedFlow
    consumer: PaperConsumer
    producer: PaperProducer

    def __init__(
        self,
        folder: Path,
        steps: str = DIGEST,
        partitions: int = 1,
        source: str = SOURCE,
        plan: FlowPlan | None = None,
        **state: Any,
    ) -> None:
        self.folder = folder
        self.source = source
        self.clock = Tick(NOW)
        self.wall = Wall(self.clock)
        self.people = FlakyPeople()
        topics = {ENTRIES: partitions, STATE: partitions, DELIVERIES: 1}
        self.log = PaperLog(self.clock, {**topics, "notif_events": 1, LETTERS: 1})
        self.group = self.log.group("tidings.social")
        ground = ground_of(folder, self.log, self.wall, state={"buckets": 2, **state})
        self._ground = Ground(
            self.log, ground.io._replace(people=self.people), ground.settings, "holder"
        )
        self._number = self._starts = 0
        self.plan = plan or self._plan_of(steps)
        self.start()

    # ── The process ───────────────────────────────────────────────────────────────────────────

    def start(self, steps: str = "") -> None:
        """A process, of other steps if they are given; it has all partitions."""
        if steps:
            self.plan = self._plan_of(steps)
        self._starts += 1
        ground = replace(self._ground, holder=f"process-{self._starts}")
        self.unit = keyed(self.plan, ground)
        self.unit.start()
        self.consumer = self.unit._consumer  # type: ignore[assignment]
        self.producer = self.unit._producer  # type: ignore[assignment]
        self.group.share(dict.fromkeys(self.consumer.slots(), self.consumer))
        self.producer.poll()

    def _plan_of(self, steps: str) -> FlowPlan:
        plan = plan_of(self.folder, f"flow: social\nsource: {self.source}\nsteps:{steps}")
        assert isinstance(plan, FlowPlan)
        return plan

    def kill(self) -> None:
        """Kill -9: what was not confirmed never got there."""
        self.group.evict(self.consumer)
        self.producer.die()

    def stop(self) -> None:
        """SIGTERM."""
        self.unit.stop()
        self.unit.close()

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            turn(self.unit)

    def settle(self, turns: int = 3) -> None:
        """Turn until nothing has been left to do for so many turns, and it is confirmed."""
        quiet = 0
        while quiet < turns:
            quiet = 0 if turn(self.unit) else quiet + 1

    def wait(self, ms: int = 300) -> None:
        """A little time passes: by default enough for a commit."""
        self.clock.advance(ms)
        self.settle()

    def pass_time(self, ms: int) -> None:
        """Time passes, for a quiet partition too: that takes a second more."""
        self.wait(ms)
        self.wait(1_000)

    def task(self, partition: int = 0) -> Task:
        return self.unit._tasks[Slot(ENTRIES, partition)]

    # ── The log ───────────────────────────────────────────────────────────────────────────────

    def enter(self, person: str, event: Mapping[str, Any], id: str = "", **fields: Any) -> Record:
        """An entry for a person."""
        number, self._number = self._number, self._number + 1
        entry = Entry(
            recipient_id=person,
            event_id=id or f"e{number}",
            origin=fields.pop("origin", Origin("social.events", 0, number)),
            event=dict(event),
            **fields,
        )
        key = person_key(entry.tenant, person).encode()
        return self.log.write(Append(ENTRIES, key, encode(entry)))

    def raw(self, key: bytes | None, value: bytes | None) -> Record:
        """A record as it is."""
        return self.log.write(Append(ENTRIES, key, value, (), 0))

    def committed(self, partition: int = 0) -> int:
        position = self.group.positions.get(Slot(ENTRIES, partition))
        return position.offset if position is not None else 0

    def outcomes(self) -> list[Outcome]:
        return engine.outcomes(self.log)

    def members(self) -> list[tuple[str, ...]]:
        """What each outcome covers."""
        return [one.members for one in self.outcomes()]

    def deliveries(self) -> list[Delivery]:
        return [decode_delivery(one.value or b"") for one in engine.records(self.log, DELIVERIES)]

    def letters(self) -> list[Record]:
        return list(engine.records(self.log, LETTERS))

    def reasons(self) -> list[str]:
        """Why letters are dead."""
        return [dict(one.headers)["tidings-reason"].decode() for one in self.letters()]
