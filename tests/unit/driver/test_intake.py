"""An intake is replayed at the very instant of each record, however much it is fed at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import plan_of
from tidings.contract import Part
from tidings.driver import Driver
from tidings.driver.decided import AT_ONCE
from tidings.driver.driver import BOTH
from tidings.driver.given import Given
from tidings.driver.intake import Intake
from tidings.driver.ports import PatientLookups
from tidings.driver.suite import ports
from tidings.driver.tally import Tally
from tidings.log.port import Record
from tidings.operators import split
from tidings.plan import FlowPlan
from tidings.ports import Io, LookupFailed, Query, Row, Unavailable
from tidings.records import decode_entry
from tidings.settings import CategorySettings, Settings
from tidings.stores.clock import ManualClock
from tidings.topics import entries

NOON = 1_782_907_200_000
SETTINGS = Settings(categories={"calls": CategorySettings()})
GIVEN = {
    "people": {
        name: {"addresses": [{"kind": "device", "value": f"phone-{name}"}]}
        for name in ("ana", "bob")
    }
}
HEAD = "flow: calls\nsource: {topics: [calls.a, calls.b], key: to}\nsteps:\n"
CUT = """
  - filter: {keep: number > 0, reason: none}
  - dedupe: {by: number, within: 1s}
  - fan_out:
      - name: all
        steps: [{set: {all: true}}]
      - name: twos
        when: number > 1
        steps: [{dedupe: {by: number, within: 3s}}]
  - digest: {window: 30s, keep: last 0}
"""
SPLIT = """
  - split: {over: list, as: one}
  - dedupe: {by: one, within: 1s}
  - digest: {window: 30s, keep: last 0}
"""
HOP = """
  - dedupe: {by: number, within: 700ms}
  - consent: {category: calls}
  - cap: {channel: push, at_most: 2, within: 1s}
"""
END = "  - deliver: {to: push, template: t, category: calls}\n"
FLOWS = {"cut": CUT + END, "split": SPLIT + END, "hop": HOP + END}


class Event(NamedTuple):
    """An event of a topic, so many ms after the one before."""

    topic: str
    to: str
    number: int
    after: int = 0


EVENTS_OF = st.lists(
    st.builds(
        Event,
        st.sampled_from(["calls.a", "calls.b"]),
        st.sampled_from(["ana", "bob"]),
        st.integers(0, 3),
        st.sampled_from([0, 0, 1, 299, 699, 700, 999, 1_000, 1_001]),
    ),
    min_size=1,
    max_size=25,
)


@cache
def the_plan(name: str) -> FlowPlan:
    with TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), HEAD + FLOWS[name])
    assert isinstance(plan, FlowPlan)
    return plan


def recorded(events: Sequence[Event]) -> list[Record]:
    """Records in order of time, those of one instant by topic."""
    at, made, counts = NOON, list[Record](), {"calls.a": 0, "calls.b": 0}
    for number, event in enumerate(events):
        at += event.after
        value = {"event_id": f"e{number}", "list": [event.number, 7], **event._asdict()}
        place = counts[event.topic]
        counts[event.topic] += 1
        key, body = event.to.encode(), json.dumps(value).encode()
        made.append(Record(event.topic, 0, place, at, key, body))
    return sorted(made, key=lambda record: (record.time, record.topic))


def io(clock: ManualClock) -> Io:
    return ports(Given.model_validate(GIVEN), clock, None)  # type: ignore[arg-type]


def started(name: str) -> Intake:
    clock = ManualClock(NOON)
    return Intake(the_plan(name), SETTINGS, io(clock), clock)


def taken(intake: Intake, records: Sequence[Record], at_once: int) -> list[Record]:
    found: list[Record] = []
    for start in range(0, len(records), at_once):
        for chunk in intake.feed(records[start : start + at_once]):
            found += [each.record for each in chunk.read(None)]
    return found


@pytest.mark.parametrize("name", FLOWS)
@given(events=EVENTS_OF, at_once=st.integers(1, 30))
@settings(max_examples=25)
def test_it_makes_what_the_unit_makes_that_is_moved_instant_by_instant(
    name: str, events: list[Event], at_once: int
) -> None:
    clock, expected, intake = ManualClock(NOON), Tally(), started(name)
    parts = BOTH if name == "hop" else (Part.INTAKE,)
    driver = Driver(the_plan(name), SETTINGS, io(clock), clock, parts=parts)
    records = recorded(events)
    driver.feed(records)
    made = [*driver.records(entries("calls"))] if the_plan(name).keyed else []
    expected.take(driver)

    found = taken(intake, records, at_once)

    assert [(each.time, each.value) for each in found] == [(each.time, each.value) for each in made]
    tally = intake.tally
    assert (tally.delivered, tally.dropped, tally.dead, tally.fates) == (
        *(expected.delivered, expected.dropped),
        *(expected.dead, expected.fates),
    )


def test_what_was_seen_a_second_ago_is_new_at_that_instant_and_no_sooner() -> None:
    events = [Event("calls.a", "ana", 1), *(Event("calls.a", "ana", 1, gap) for gap in (999, 1))]
    intake = started("split")

    found = taken(intake, recorded(events), 10)

    assert [decode_entry(each.value or b"").event_id for each in found] == ["e0", "e0", "e2", "e2"]
    assert intake.tally.dropped == {("calls.dedupe", "duplicate"): 2}


def test_what_comes_by_two_topics_stands_in_the_order_of_its_times() -> None:
    events = [
        Event("calls.b", "ana", 2),
        Event("calls.a", "ana", 3, 1),
        Event("calls.b", "ana", 1, 1),
    ]

    found = taken(started("cut"), recorded(events), 10)

    told = [(each.time - NOON, decode_entry(each.value or b"").event_id) for each in found]
    assert told == [(0, "e0"), (0, "e0"), (1, "e1"), (1, "e1"), (2, "e2")]


def test_a_long_list_is_taken_in_little_by_little_and_in_order() -> None:
    many = split.AT_ONCE + AT_ONCE + 5
    value = {"event_id": "e1", "to": "ana", "list": [*range(many)]}
    last = {"event_id": "e2", "to": "ana", "list": ["last"]}
    records = [
        Record("calls.a", 0, at, NOON + at, b"ana", json.dumps(each).encode())
        for at, each in enumerate([value, last])
    ]

    chunks = [chunk.read(None) for chunk in started("split").feed(records)]

    assert [len(chunk) for chunk in chunks] == [split.AT_ONCE, AT_ONCE, 6]
    elements = [each.entry.event["one"] for chunk in chunks for each in chunk]
    assert elements == [*range(many), "last"]


class SlowLookups:
    """Rows that come at the third time of asking, or never."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self._error = error

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        self.asked += 1
        if self._error is not None:
            raise self._error
        if self.asked < 3:
            raise Unavailable("not answered yet")
        return [{"name": str(key)} for key in keys]


QUERY: Any = Query("crm", "select", "id", 50, 0)


def test_an_answer_that_takes_its_time_is_waited_for() -> None:
    slept: list[float] = []
    assert PatientLookups(SlowLookups(), slept.append).rows(QUERY, ["a"]) == [{"name": "a"}]
    assert slept == [0.01, 0.01]


@pytest.mark.parametrize("error", [Unavailable("down"), LookupFailed("gone")])
def test_an_answer_that_never_comes_is_not_waited_for_longer_than_a_flow_does(
    error: Exception,
) -> None:
    slept: list[float] = []
    with pytest.raises(type(error)):
        PatientLookups(SlowLookups(error), slept.append).rows(QUERY, ["a"])
    assert sum(slept) <= 0.07
