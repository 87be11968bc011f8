"""The driver decides what the engine decides: the same log through both, timers and markers too."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests import engine
from tests.engine import Tick, append, ground_of
from tidings.compile.dataflow import dataflow, run
from tidings.compile.units import intake, keyed
from tidings.driver import Driver
from tidings.log.port import Append, Log, Record
from tidings.log.sqlite import SqliteLog
from tidings.log.sqlite.producer import SqliteProducer
from tidings.plan import FlowPlan
from tidings.records import Outcome, decode_outcome
from tidings.runtime import member
from tidings.settings import StateSettings
from tidings.topics import EVENTS
from tidings.topics import settings as topics_of

NOW = 1_000_000
PARTITIONS = 2
SOURCE, ENTRIES, DELIVERIES = "social.events", "tidings.social", "deliveries.push.normal"
TOPICS = (SOURCE, ENTRIES, f"{ENTRIES}.state", DELIVERIES, EVENTS, "notif_dlq.flow")
INTAKE = ("social.filter", "social.dedupe")
QUIET = 8  # looks at units that had nothing to do, until the next thing happens
FLOW = """
flow: social
source: {topic: social.events, key: recipient_id}
steps:
  - filter: {keep: actor != recipient_id}
  - dedupe: {by: like, within: 1s}
  - fan_out:
      - name: photos
        steps:
          - digest: {by: [photo], window: 500ms, keep: last 2}
      - name: all
        when: photo == 'p'
        steps:
          - digest: {gap: 200ms, max_wait: 700ms, keep: first 1}
  - limit: {at_most: 2, within: 600ms}
  - digest: {window: 2s, keep: last 0}
  - deliver: {to: push, template: t, expires: 1h}
"""


class Event(NamedTuple):
    """An event, so many ms after the one before."""

    person: str
    photo: str
    like: int
    after: int


EVENTS_OF = st.lists(
    st.builds(
        Event,
        st.sampled_from(["ana", "bob", "eve", "zoe"]),
        st.sampled_from(["p", "q"]),
        st.integers(0, 8),
        st.sampled_from([0, 1, 99, 100, 200, 300, 499, 500, 600, 2000]) | st.integers(0, 700),
    ),
    min_size=1,
    max_size=30,
)


class EagerLog(SqliteLog):
    """What is appended is written by the next poll."""

    def producer(self, *, linger_ms: int = 2) -> SqliteProducer:
        return super().producer(linger_ms=0)


class Manager:
    """Lets the next thing happen when the units have come to rest; stops them at the end."""

    def __init__(self, log: Log, clock: Tick, events: Sequence[Event]) -> None:
        self._log = log
        self._clock = clock
        self._events = deque(enumerate(events))
        self._pauses = deque([50, 1_000] * 6)  # enough for all windows, marker by marker
        self._quiet = 0

    def stirred(self) -> None:
        self._quiet = 0

    def stopping(self) -> bool:
        self._quiet += 1
        if self._quiet < QUIET:
            return False
        self._quiet = 0
        if self._events:
            number, event = self._events.popleft()
            self._clock.advance(event.after)
            append(self._log, as_append(number, event))
        elif self._pauses:
            self._clock.advance(self._pauses.popleft())
        else:
            return True
        return False


def as_append(number: int, event: Event) -> Append:
    value = {
        "event_id": f"e{number}",
        "recipient_id": event.person,
        "actor": "zoe",
        "photo": event.photo,
        "like": event.like,
    }
    key = event.person.encode()
    return Append(SOURCE, key, json.dumps(value).encode())


@cache
def the_plan(without: str = "") -> FlowPlan:
    """The plan of the flow, without the steps that say this."""
    lines = [line for line in FLOW.splitlines() if not without or without not in line]
    with TemporaryDirectory() as folder:
        plan = engine.plan_of(Path(folder), "\n".join(lines))
    assert isinstance(plan, FlowPlan)
    return plan


class Run(NamedTuple):
    """What a run on Bytewax has left: entries with markers, all that came out, and the end."""

    entries: list[Record]
    out: list[bytes]
    outcomes: list[Outcome]
    end: int


def on_bytewax(events: Sequence[Event]) -> Run:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "IDLE_FOR", 0.0)
        clock = Tick(NOW)
        log = EagerLog(Path(folder) / "log", clock)
        ground = ground_of(Path(folder), log, clock, state={"buckets": 4})
        rows = topics_of(TOPICS)
        log.admin().create([replace(row, partitions=PARTITIONS) for row in rows])
        manager = Manager(log, clock, events)
        units = [intake(the_plan(), ground), keyed(the_plan(), ground)]
        run(dataflow("both", units, manager.stopping, manager.stirred))
        entries = list(engine.records(log, ENTRIES))
        return Run(entries, written(log), engine.outcomes(log), clock.now())


def written(log: Log) -> list[bytes]:
    """Everything that was decided behind the cut, as bytes."""
    told = [record.value or b"" for record in engine.records(log, EVENTS)]
    behind = [value for value in told if decode_outcome(value).step not in INTAKE]
    return sorted(behind + [record.value or b"" for record in engine.records(log, DELIVERIES)])


def driver(folder: str) -> Driver:
    clock = Tick(NOW)
    ground = ground_of(Path(folder), None, clock)  # type: ignore[arg-type]
    state = StateSettings(buckets=3)
    return Driver(the_plan(), ground.settings, ground.io, clock, partitions=PARTITIONS, state=state)


@given(events=EVENTS_OF)
@settings(max_examples=15)
def test_the_same_entries_and_markers_make_the_same_outcomes_to_the_byte(
    events: list[Event],
) -> None:
    real = on_bytewax(events)
    with TemporaryDirectory() as folder:
        virtual = driver(folder)
        for record in sorted(real.entries, key=lambda one: one.time):
            virtual.clock.set(record.time)
            virtual.write(ENTRIES, record.key, record.value, record.partition)
        virtual.settle()
        assert written(virtual.log) == real.out
    assert any(record.value is None for record in real.entries) or not real.out


@given(events=EVENTS_OF)
@settings(max_examples=15)
def test_the_same_events_are_decided_alike_at_the_same_times(events: list[Event]) -> None:
    real = on_bytewax(events)
    with TemporaryDirectory() as folder:
        virtual = driver(folder)
        at = NOW
        for number, event in enumerate(events):
            at += event.after
            virtual.advance(at)
            made = as_append(number, event)
            virtual.write(SOURCE, made.key, made.value)
        virtual.advance(real.end)
        assert sorted(map(decided, engine.outcomes(virtual.log))) == sorted(
            map(decided, real.outcomes)
        )


def decided(outcome: Outcome) -> tuple[object, ...]:
    """What an outcome says, but for where in the log that stands: markers take offsets."""
    return (
        outcome.at,
        outcome.recipient_id,
        outcome.kind,
        outcome.step,
        outcome.reason,
        outcome.members,
        outcome.notif_id,
    )


@given(events=EVENTS_OF, slack=st.sampled_from([0, 1, 100, 1_000]))
@settings(max_examples=40)
def test_what_is_replayed_together_is_decided_as_what_is_replayed_one_by_one(
    events: list[Event], slack: int
) -> None:
    # Claims live by the clock, which a slice moves at once: `dedupe` is as exact as the slack is.
    outcomes = []
    for width in (0, slack):
        with TemporaryDirectory() as folder:
            clock = Tick(NOW)
            ground = ground_of(Path(folder), None, clock)  # type: ignore[arg-type]
            replayed = Driver(the_plan("dedupe"), ground.settings, ground.io, clock, slack=width)
            at, records = NOW, []
            for number, event in enumerate(events):
                at += event.after
                made = as_append(number, event)
                records.append(Record(SOURCE, 0, number, at, made.key, made.value))
            replayed.feed(records)
            replayed.drain(at + 100_000)
            outcomes.append(sorted(map(decided, engine.outcomes(replayed.log))))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]
