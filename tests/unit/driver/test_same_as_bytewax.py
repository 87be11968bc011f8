"""The driver decides what the engine decides: the same log through both, with timers and markers,
and with news of deliveries among the events."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from tests import engine
from tests.engine import PHONE, Tick, append, ground_of
from tidings.compile.dataflow import dataflow, run
from tidings.compile.units import Ground, intake, keyed
from tidings.contract import Part
from tidings.driver import Driver
from tidings.driver.driver import BOTH
from tidings.log.port import Append, Log, Record
from tidings.log.sqlite import SqliteLog
from tidings.log.sqlite.producer import SqliteProducer
from tidings.plan import FlowPlan
from tidings.ports import Address, Profile
from tidings.records import Origin, Outcome, decode_delivery, decode_outcome
from tidings.runtime import member
from tidings.runtime.signals import reply
from tidings.settings import StateSettings
from tidings.stores.people_made import FunctionPeople
from tidings.topics import EVENTS
from tidings.topics import settings as topics_of

NOW = 1_000_000
PARTITIONS = 2
SOURCE, ENTRIES, DELIVERIES = "social.events", "tidings.social", "deliveries.push.normal"
SMS = "deliveries.sms.normal"
TOPICS = (SOURCE, ENTRIES, f"{ENTRIES}.state", DELIVERIES, SMS, EVENTS, "notif_dlq.flow")
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
ROUNDS = """
flow: social
source: {topic: social.events, key: recipient_id}
steps:
  - filter: {keep: actor != recipient_id}
  - dedupe: {by: like, within: 1s}
  - switch:
      cases:
        - name: alerts
          when: photo == 'p'
          steps:
            - escalate:
                rounds: [{channel: push}, {channel: sms, after: 300ms}, {channel: push, after: 1s}]
                until: opened
                accepted_within: 700ms
                by: photo
                cancel: type == 'undo'
        - name: questions
          when: like > 4
          steps:
            - escalate:
                rounds: [{channel: push}, {channel: sms, upon: type == 'call', within: 1500ms}]
                on_failure: [failed]
                by: photo
                again: ignore
      else:
        - digest: {by: [photo], window: 500ms, actors: like, counts: type, tell_apart: [like],
                   min_items: 2, keep: last 2, flush: type == 'call',
                   cancel: {when: type == 'undo', takes: type == 'like', match: [photo]}}
        - escalate:
            rounds: [{channel: push}, {channel: sms}, {channel: push, after: 200ms}]
            on_failure: [failed, unknown]
            fails_within: 2s
  - deliver: {template: t, expires: 1h}
"""
FLOWS = pytest.mark.parametrize("flow", [FLOW, ROUNDS], ids=["digests", "rounds"])
REACHED = Profile(addresses=(*PHONE.addresses, Address(kind="phone", value="+34600000000")))


class Event(NamedTuple):
    """An event, so many ms after what was before."""

    person: str
    photo: str
    like: int
    after: int
    type: str = "like"


class News(NamedTuple):
    """What becomes of one of the deliveries that are waited for: the ``back``-th from the last."""

    back: int
    kind: str
    after: int


AFTER = st.sampled_from([0, 1, 99, 100, 200, 300, 499, 500, 600, 2000]) | st.integers(0, 700)
EVENT = st.builds(
    Event,
    st.sampled_from(["ana", "bob", "eve", "zoe"]),
    st.sampled_from(["p", "q"]),
    st.integers(0, 8),
    AFTER,
    st.sampled_from(["like", "like", "like", "call", "undo"]),
)
NEWS = st.builds(
    News,
    st.integers(0, 3),
    st.sampled_from(["sent", "sent", "failed", "unknown", "delivered", "opened", "cancelled"]),
    AFTER,
)
EVENTS_OF = st.lists(EVENT, min_size=1, max_size=30)
ROWS = st.lists(EVENT | NEWS, min_size=1, max_size=30)
Rows = Sequence[Event | News]


class EagerLog(SqliteLog):
    """What is appended is written by the next poll."""

    def producer(self, *, linger_ms: int = 2) -> SqliteProducer:
        return super().producer(linger_ms=0)


class Manager:
    """Lets the next thing happen when the units have come to rest; stops them at the end."""

    def __init__(self, log: Log, clock: Tick, rows: Rows) -> None:
        self._log = log
        self._clock = clock
        self._rows = deque(enumerate(rows))
        self.appended: list[list[Append]] = []  # for each row
        self._pauses = deque([50, 1_000] * 6)  # enough for all windows, marker by marker
        self._quiet = 0

    def stirred(self) -> None:
        self._quiet = 0

    def stopping(self) -> bool:
        self._quiet += 1
        if self._quiet < QUIET:
            return False
        self._quiet = 0
        if self._rows:
            number, row = self._rows.popleft()
            self._clock.advance(row.after)
            made = [as_append(number, row)] if isinstance(row, Event) else told(self._log, row)
            self.appended.append(made)
            append(self._log, *made)
        elif self._pauses:
            self._clock.advance(self._pauses.popleft())
        else:
            return True
        return False


def told(log: Log, news: News) -> list[Append]:
    """The news as a lane writes it; none where nothing that was delivered is waited for."""
    waited = [
        (delivery, Origin(topic, record.partition, record.offset))
        for topic in (DELIVERIES, SMS)
        for record in engine.records(log, topic)
        if (delivery := decode_delivery(record.value or b"")).reply_to
    ]
    waited.sort(key=lambda one: (one[0].created_at, astuple(one[1])))  # of one instant: by place
    return [reply(delivery, news.kind, at) for delivery, at in waited[-1 - news.back :][:1]]


def as_append(number: int, event: Event) -> Append:
    value = {
        "event_id": f"e{number}",
        "recipient_id": event.person,
        "actor": "zoe",
        "photo": event.photo,
        "like": event.like,
        "type": event.type,
    }
    key = event.person.encode()
    return Append(SOURCE, key, json.dumps(value).encode())


@cache
def the_plan(flow: str, without: str = "") -> FlowPlan:
    """The plan of a flow, without the steps that say this."""
    lines = [line for line in flow.splitlines() if not without or without not in line]
    with TemporaryDirectory() as folder:
        plan = engine.plan_of(Path(folder), "\n".join(lines))
    assert isinstance(plan, FlowPlan)
    return plan


class Run(NamedTuple):
    """What a run on Bytewax has left: what each row came to, entries with markers, all that came
    out, and the end."""

    appended: list[list[Append]]
    entries: list[Record]
    out: list[bytes]
    outcomes: list[Outcome]
    end: int


def ground(folder: Path, log: Any, clock: Tick, **changes: Any) -> Ground:
    """A ground on which everybody has a phone that takes push and SMS."""
    plain = ground_of(folder, log, clock, **changes)
    io = plain.io._replace(people=FunctionPeople(lambda person: REACHED))
    return Ground(log, io, plain.settings)


def on_bytewax(flow: str, rows: Rows) -> Run:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "IDLE_FOR", 0.0)
        clock = Tick(NOW)
        log = EagerLog(Path(folder) / "log", clock)
        here, plan = ground(Path(folder), log, clock, state={"buckets": 4}), the_plan(flow)
        log.admin().create([replace(one, partitions=PARTITIONS) for one in topics_of(TOPICS)])
        manager = Manager(log, clock, rows)
        units = [intake(plan, here), keyed(plan, here)]
        run(dataflow("both", units, manager.stopping, manager.stirred))
        entries = list(engine.records(log, ENTRIES))
        return Run(manager.appended, entries, written(log), engine.outcomes(log), clock.now())


def written(log: Log) -> list[bytes]:
    """Everything that was decided behind the cut, as bytes."""
    told = [record.value or b"" for record in engine.records(log, EVENTS)]
    behind = [value for value in told if decode_outcome(value).step not in INTAKE]
    topics = [name for name in (DELIVERIES, SMS) if name in log.admin().topics()]
    delivered = [record.value or b"" for name in topics for record in engine.records(log, name)]
    return sorted(behind + delivered)


def driver(flow: str, folder: str, partitions: int = PARTITIONS, **how: Any) -> Driver:
    clock, state = Tick(NOW), StateSettings(buckets=3)
    here, plan = ground(Path(folder), None, clock), the_plan(flow)
    return Driver(plan, here.settings, here.io, clock, partitions=partitions, state=state, **how)


@FLOWS
@given(rows=ROWS)
@settings(max_examples=15)
def test_the_same_entries_and_markers_make_the_same_outcomes_to_the_byte(
    flow: str, rows: Rows
) -> None:
    real = on_bytewax(flow, rows)
    with TemporaryDirectory() as folder:
        virtual = driver(flow, folder)
        for record in sorted(real.entries, key=lambda one: one.time):
            virtual.clock.set(record.time)
            virtual.write(ENTRIES, record.key, record.value, record.partition)
        virtual.settle()
        assert written(virtual.log) == real.out
    if flow == FLOW:
        assert any(record.value is None for record in real.entries) or not real.out


@FLOWS
@given(rows=ROWS)
@settings(max_examples=15)
def test_the_same_events_and_news_are_decided_alike_at_the_same_times(
    flow: str, rows: Rows
) -> None:
    real = on_bytewax(flow, rows)
    with TemporaryDirectory() as folder:
        virtual = driver(flow, folder)
        at = NOW
        for row, appended in zip(rows, real.appended, strict=True):
            at += row.after
            virtual.advance(at)
            for made in appended:
                virtual.write(made.topic, made.key, made.value)
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
        outcome.channel,
        outcome.round,
        outcome.notif_id if outcome.kind == "queued" else "",  # what is let go has no other id
    )


@given(events=EVENTS_OF)
@settings(max_examples=20)
def test_an_intake_and_behind_it_a_keyed_part_alone_decide_as_the_whole_flow(
    events: list[Event],
) -> None:
    at, records = NOW, []
    for number, event in enumerate(events):
        at += event.after
        made = as_append(number, event)
        records.append(Record(SOURCE, 0, number, at, made.key, made.value))
    with TemporaryDirectory() as folder:
        whole, before, behind = (
            driver(FLOW, folder, partitions=1, parts=parts)
            for parts in (BOTH, (Part.INTAKE,), (Part.KEYED,))
        )
        whole.feed(records)
        before.feed(records)
        behind.feed(before.records(ENTRIES))
        for each in (whole, behind):
            each.drain(at + 100_000)
        told = engine.outcomes(before.log) + engine.outcomes(behind.log)
        assert sorted(map(decided, told)) == sorted(map(decided, engine.outcomes(whole.log)))
        assert {outcome.step for outcome in engine.outcomes(before.log)} <= set(INTAKE)
