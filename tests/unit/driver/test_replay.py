"""A replay decides what the flow on its units decides, one thing after the other; however many
records are fed at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import plan_of
from tests.unit.driver.hearing import Hearing
from tidings.compile.units import behind
from tidings.contract import Part
from tidings.driver import Driver
from tidings.driver.given import Given
from tidings.driver.intake import Entries
from tidings.driver.replay import SENT_AT_ONCE, Heard, News, Replay, Told
from tidings.driver.suite import ports
from tidings.driver.tally import Tally
from tidings.ids import wait_id
from tidings.log.port import Record
from tidings.plan import FlowPlan
from tidings.ports import Io
from tidings.records import Delivery, Signal
from tidings.settings import CategorySettings, Settings
from tidings.stores.clock import ManualClock
from tidings.topics import entries

NOON = 1_782_907_200_000
END = NOON + 3_600_000
SETTINGS = Settings(categories={"security": CategorySettings()})
PHONES = [{"kind": "device", "value": "token"}, {"kind": "phone", "value": "+34600000001"}]
GIVEN = {
    "people": {
        "ana": {"addresses": PHONES},
        "bob": {"addresses": PHONES[:1]},  # a text can't reach him
        "eve": {"addresses": PHONES, "channels": {"push": False}},
    }
}
HEAD = "flow: oncall\nsource: {topic: oncall.events, key: recipient_id}\nsteps:\n"
TAIL = "  - deliver: {template: note, category: security, expires: 1h}\n"
UNTIL = """
  - escalate:
      rounds: [{channel: push}, {channel: sms, after: 2s}, {channel: push, after: 0s}]
      until: opened
      accepted_within: 3s
      by: alert
      cancel: type == 'acknowledged'
  - consent: {category: security}
  - cap: {channel: push, at_most: 2, within: 4s}
"""
FAILS = """
  - digest: {by: [alert], window: 1s, keep: last 2}
  - escalate:
      rounds: [{channel: push}, {channel: sms, after: 500ms}, {channel: push}]
      on_failure: [failed, unknown, suppressed]
      fails_within: 5s
  - filter: {keep: 'alert != 4', reason: never}
"""
UPON = """
  - limit: {at_most: 3, within: 2s}
  - escalate:
      rounds: [{channel: push, after: 1s}, {channel: sms, upon: type == 'call', within: 3s}]
      by: alert
      again: ignore
  - consent: {category: security}
"""
WATCH = """
  - escalate:
      rounds: [{channel: sms, sent_by: codes}, {channel: push, after: 2s}]
      until: delivered
"""
DIGESTS = """
  - fan_out:
      - name: short
        steps:
          - digest: {by: [alert], window: 1s, keep: last 2}
      - name: long
        when: alert > 1
        steps:
          - digest: {gap: 500ms, max_wait: 2s, keep: first 1}
  - limit: {at_most: 2, within: 3s}
  - consent: {category: security}
  - cap: {channel: push, at_most: 1, within: 2s}
  - dedupe: {by: alert, within: 3s}
"""
FLOWS = {
    "until": UNTIL + TAIL,
    "fails": FAILS + TAIL,
    "upon": UPON + TAIL,
    "watch": WATCH + TAIL,
    "digests": DIGESTS + TAIL.replace("{", "{first_of: [push, sms], "),
}
GAPS = st.sampled_from([0, 0, 1, 499, 500, 501, 1_000, 2_000, 3_000, 4_000]) | st.integers(0, 2_500)
KINDS = ["sent", "failed", "unknown", "bounced", "delivered", "opened", "cancelled", "suppressed"]


class Event(NamedTuple):
    """An event, so many ms after the one before."""

    person: str
    alert: int
    type: str
    after: int


class Known(NamedTuple):
    """What became of a person's deliveries on a channel in a round, so many ms after each."""

    person: str
    channel: str
    round: int
    kind: str
    after: int


EVENTS_OF = st.lists(
    st.builds(
        Event,
        st.sampled_from(["ana", "bob", "eve"]),
        st.integers(1, 4),
        st.sampled_from(["alert", "alert", "call", "acknowledged"]),
        GAPS,
    ),
    min_size=1,
    max_size=25,
)
KNOWN = st.lists(
    st.builds(
        Known,
        st.sampled_from(["ana", "bob", "eve"]),
        st.sampled_from(["push", "sms"]),
        st.integers(0, 1),
        st.sampled_from(KINDS),
        GAPS,
    ),
    max_size=8,
)


@cache
def the_plan(name: str) -> FlowPlan:
    with TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), HEAD + FLOWS[name])
    assert isinstance(plan, FlowPlan)
    return plan


def recorded(events: Sequence[Event]) -> list[Record]:
    at, made = NOON, []
    for number, event in enumerate(events):
        at += event.after
        value = event._asdict() | {"event_id": f"e{number}", "recipient_id": event.person}
        key = event.person.encode()
        made.append(Record("oncall.events", 0, number, at, key, json.dumps(value).encode()))
    return made


def entered(plan: FlowPlan, events: Sequence[Event]) -> list[Record]:
    """The entries that the flow's intake makes of events."""
    clock = ManualClock(NOON)
    intake = Driver(plan, SETTINGS, io(clock), clock, parts=(Part.INTAKE,))
    intake.feed(recorded(events))
    return [*intake.records(entries(plan.name))]


def io(clock: ManualClock) -> Io:
    return ports(Given.model_validate(GIVEN), clock, None)  # type: ignore[arg-type]


def told_of(known: Sequence[Known]) -> Told:
    """What is heard of a delivery: what is known, else that it was sent at once."""

    def told(delivery: Delivery) -> Sequence[News]:
        place = delivery.recipient_id, delivery.channel, delivery.round
        news = [News(each.kind, each.after) for each in known if each[:3] == place]
        return news or SENT_AT_ONCE

    return told


def heard_by(known: Sequence[Known]) -> list[Heard]:
    """What another flow's rounds of the first events led to, some of it before they were sent."""
    return [
        Heard(
            NOON + each.after - 500,
            "default",
            each.person,
            Signal(wait_id(f"e{number}", ""), each.kind),
        )
        for number, each in enumerate(known)
    ]


def by_units(
    plan: FlowPlan,
    taken: Sequence[Record],
    known: Sequence[Known],
    heard: Sequence[Heard] = (),
) -> Tally:
    """What the flow decides on its units, one thing after the other."""
    clock, tally = ManualClock(NOON), Tally()
    driver = Driver(plan, SETTINGS, io(clock), clock, parts=(Part.KEYED,))
    hearing = Hearing(driver, plan.name, told_of(known), heard)
    hearing.feed(taken)
    hearing.advance(END)
    tally.take(driver)
    return tally


def replayed(
    plan: FlowPlan,
    taken: Sequence[Record],
    known: Sequence[Known],
    at_once: int,
    heard: Sequence[Heard] = (),
) -> Tally:
    """What it decides in a replay of so many entries at once."""
    clock, tally = ManualClock(NOON), Tally()
    steps, told = behind(plan, SETTINGS), told_of(known)
    replay = Replay(plan.name, steps, io(clock), clock, tally, told, heard)
    for start in range(0, len(taken), at_once):
        replay.feed(Entries(taken[start : start + at_once]).read(steps.reads))
    replay.advance(END)
    return tally


def decided(tally: Tally) -> tuple[object, ...]:
    return tally.delivered, tally.dropped, tally.dead, tally.fates


@pytest.mark.parametrize("name", FLOWS)
@given(events=EVENTS_OF, known=KNOWN, at_once=st.integers(1, 30))
@settings(max_examples=15)
def test_a_replay_decides_as_the_units_do_however_much_it_is_fed_at_once(
    name: str, events: list[Event], known: list[Known], at_once: int
) -> None:
    plan = the_plan(name)
    taken = entered(plan, events)

    heard = heard_by(known)

    found = replayed(plan, taken, known, at_once, heard)

    assert decided(found) == decided(by_units(plan, taken, known, heard))
    assert found.delivered or found.dropped or found.dead or name == "watch"


OPENED = Known("ana", "push", 0, "opened", 3_000)  # when the push is no longer waited for


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize(
    ("events", "known", "delivered", "dropped"),
    [
        # A deadline comes before what is heard at its instant: the text goes out, and is the last.
        ([Event("ana", 1, "alert", 0)], OPENED, ["push", "sms"], ["engaged"]),
        # What is heard comes before the event of its instant: there is nothing left to be ended.
        (
            [Event("ana", 1, "alert", 0), Event("ana", 1, "acknowledged", 2_000)],
            OPENED._replace(after=2_000),
            ["push"],
            ["engaged", "cancels"],
        ),
        # What an event leads to comes behind the other events of its instant.
        (
            [Event("ana", 1, "alert", 0), Event("ana", 1, "acknowledged", 0)],
            OPENED._replace(after=0),
            ["push"],
            ["cancels", "cancelled"],
        ),
    ],
)
def test_what_falls_on_one_instant_has_an_order(
    events: list[Event], known: Known, delivered: list[str], dropped: list[str], at_once: int
) -> None:
    plan = the_plan("until")
    taken = entered(plan, events)

    found = replayed(plan, taken, [known], at_once)

    assert found.delivered == {(channel, "security"): 1 for channel in delivered}
    assert found.dropped == {("oncall.escalate", reason): 1 for reason in dropped}
    assert decided(found) == decided(by_units(plan, taken, [known]))


@pytest.mark.parametrize("most", [0, 1, 2])
def test_people_who_are_not_kept_decoded_are_decided_as_those_who_are(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    events = [
        Event(person, alert, kind, 700)
        for alert in (1, 2, 3)
        for person in ("ana", "bob", "eve")
        for kind in ("alert", "call")
    ]
    for name in FLOWS:
        plan = the_plan(name)
        taken = entered(plan, events)
        kept = replayed(plan, taken, [], 10)
        with monkeypatch.context() as few:
            few.setattr("tidings.driver.replay.HOT", most)
            assert decided(replayed(plan, taken, [], 10)) == decided(kept)
