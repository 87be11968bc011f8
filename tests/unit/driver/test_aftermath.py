"""A flow that waits hears in a backtest what was recorded of its deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import outcomes, plan_of, records
from tests.unit.driver.hearing import Hearing
from tidings.driver import Driver
from tidings.driver.aftermath import Aftermath
from tidings.driver.backtest import Comparison, backtest
from tidings.driver.callbacks import Callbacks
from tidings.driver.driver import build_lanes
from tidings.driver.given import Given, ReceiptSpec, ReplySpec
from tidings.driver.replay import SENT_AT_ONCE
from tidings.driver.replies import Replies
from tidings.driver.suite import ports
from tidings.driver.tally import Fate
from tidings.log.port import Log, Record
from tidings.plan import FlowPlan, LanePlan
from tidings.ports import Io
from tidings.problems import Problems
from tidings.records import Outcome, Stage
from tidings.settings import CategorySettings, Settings
from tidings.stores.clock import ManualClock

NOON = 1_782_907_200_000
SECOND, MINUTE = 1_000, 60_000
SETTINGS = Settings(
    categories={"security": CategorySettings()}, providers={"sandbox": {"kind": "sandbox"}}
)
UNTIL = "[{channel: push}, {channel: sms, after: 5m}, {channel: push, after: 10m}], until: opened"
FAILED = "[{channel: push}, {channel: sms}], on_failure: [failed]"
FLOW = """
flow: oncall
source: {topic: oncall.events, key: recipient_id}
steps:
  - escalate: {rounds: ROUNDS}
  - deliver: {template: note, category: security}
"""
WATCHED = """
flow: codes
source: {topic: oncall.events, key: recipient_id}
steps:
  - deliver: {to: sms, template: note, category: security, reply_to: oncall}
"""
WATCH = "[{channel: sms, sent_by: codes}, {channel: push, after: 30s}], until: delivered"
LANE = """
lane: CHANNEL
steps: [addresses, suppress, render, send: {default: sandbox, on_uncertain: UNCERTAIN}]
"""
PHONES = [{"kind": "device", "value": "token"}, {"kind": "phone", "value": "+34600000001"}]
GIVEN = {
    "people": {"ana": {"addresses": PHONES}, "bob": {"addresses": PHONES}},
    "templates": {"note": {"push": {"title": "Hello", "body": "Ana"}, "sms": {"body": "Hello"}}},
}


class Event(NamedTuple):
    """An event, so many ms after noon."""

    at: int
    person: str
    known: str


ONE = (Event(0, "ana", "e1"),)


class Recorded(NamedTuple):
    """What a run has left: its events, its outcomes, and those of them that are decisions."""

    events: list[Record]
    outcomes: list[Record]
    decided: list[Outcome]


def flow(text: str, rounds: str = "") -> FlowPlan:
    with TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), text.replace("ROUNDS", rounds))
    assert isinstance(plan, FlowPlan)
    return plan


def lane(channel: str, uncertain: str) -> LanePlan:
    text = LANE.replace("CHANNEL", channel).replace("UNCERTAIN", uncertain)
    with TemporaryDirectory() as folder:
        plan = plan_of(Path(folder), text)
    assert isinstance(plan, LanePlan)
    return plan


LANES = {each: [lane("push", each), lane("sms", each)] for each in ("drop", "resend", "ask")}


def io(clock: ManualClock) -> Io:
    return ports(Given.model_validate(GIVEN), clock, None)  # type: ignore[arg-type]


def record(
    plan: FlowPlan,
    receipts: Sequence[dict[str, Any]] = (),
    replies: Sequence[dict[str, Any]] = (),
    events: Sequence[Event] = ONE,
    uncertain: str = "drop",
) -> Recorded:
    """Run a flow with lanes behind it, whose providers answer and call back, up to its end."""
    clock, problems = ManualClock(NOON), Problems()
    specs = [ReceiptSpec.model_validate(each) for each in receipts]
    answers = [ReplySpec.model_validate(each) for each in replies]
    script = Replies({"sandbox": answers}, NOON)
    driver = Driver(
        plan,
        SETTINGS,
        io(clock),
        clock,
        lanes=build_lanes(plan, LANES[uncertain], SETTINGS, problems),
        script=script,
        told=script.asked,
        callbacks=Callbacks(specs, NOON),
    )
    problems.raise_if_any()
    for at, person, known in events:
        driver.advance(NOON + at)
        value = {"event_id": known, "recipient_id": person}
        driver.write("oncall.events", person.encode(), json.dumps(value).encode())
    driver.drain(NOON + 86_400_000)
    return Recorded(
        list(records(driver.log, "oncall.events")),
        list(records(driver.log, "notif_events")),
        decisions(driver.log),
    )


def decisions(log: Log) -> list[Outcome]:
    """The decisions of a flow."""
    return [each for each in outcomes(log) if each.stage == Stage.DECISION]


def replay(recorded: Recorded, before: FlowPlan, after: FlowPlan) -> Comparison:
    told = recorded.outcomes
    return backtest(before, after, recorded.events, SETTINGS, io(ManualClock(NOON)), outcomes=told)


def fates(recorded: Recorded, after: FlowPlan) -> dict[str, Fate]:
    """How ana was told in a backtest of ``after``."""
    return replay(recorded, after, after).after.fates["default", "ana"]


def waited_for(found: Comparison) -> list[tuple[int, int]]:
    return [(tally.recorded, tally.assumed) for tally in (found.before, found.after)]


def test_an_escalation_that_somebody_ended_by_opening_ends_in_the_backtest_too() -> None:
    recorded = record(flow(FLOW, UNTIL), [{"after": "2m", "kind": "opened", "channel": "push"}])
    sooner = UNTIL.replace("5m", "1m")

    found = replay(recorded, flow(FLOW, UNTIL), flow(FLOW, sooner))

    # As recorded, the text would have come after five minutes: the push was opened after two.
    assert found.before.fates["default", "ana"] == {"e1": Fate(NOON, ("push",))}
    assert dict(found.before.dropped) == {("oncall.escalate", "engaged"): 1}
    # After one minute it goes out: that the push is opened a minute later ends it then.
    assert found.after.fates["default", "ana"] == {"e1": Fate(NOON, ("push", "sms"))}
    assert dict(found.after.dropped) == {("oncall.escalate", "engaged"): 1}
    assert waited_for(found) == [(1, 0), (1, 1)]


def test_a_version_that_begins_on_another_channel_hears_of_the_push_when_that_goes_out() -> None:
    recorded = record(flow(FLOW, UNTIL), [{"after": "2m", "kind": "opened", "channel": "push"}])
    text_first = "[{channel: sms}, {channel: push, after: 5m}, {channel: sms, after: 10m}]"

    found = replay(recorded, flow(FLOW, UNTIL), flow(FLOW, f"{text_first}, until: opened"))

    # Nobody knows what would have become of the text: it counts as sent, and the push follows.
    # That was opened two minutes after it went out, before the second text was due.
    assert found.after.fates["default", "ana"] == {"e1": Fate(NOON, ("sms", "push"))}
    assert dict(found.after.dropped) == {("oncall.escalate", "engaged"): 1}
    assert waited_for(found) == [(1, 0), (1, 1)]


def test_without_any_receipts_all_rounds_go_out_in_their_time() -> None:
    recorded = record(flow(FLOW, UNTIL))
    nothing = Recorded(recorded.events, [], [])
    all_rounds = Fate(NOON, ("push", "sms", "push"))

    assert fates(recorded, flow(FLOW, UNTIL)) == {"e1": all_rounds}
    assert fates(nothing, flow(FLOW, UNTIL)) == {"e1": all_rounds}
    assert waited_for(replay(recorded, flow(FLOW, UNTIL), flow(FLOW, UNTIL))) == [(2, 0)] * 2
    assert waited_for(replay(nothing, flow(FLOW, UNTIL), flow(FLOW, UNTIL))) == [(0, 2)] * 2


@pytest.mark.parametrize(
    ("receipts", "replies"),
    [
        ([], [{"channel": "push", "answer": "inv"}]),  # the provider says no
        ([{"channel": "push", "after": "1m", "kind": "failed"}], []),  # … later
        ([{"channel": "push", "after": "1m", "kind": "bounced"}], []),
    ],
)
def test_a_failure_that_was_recorded_is_followed_by_the_next_round(
    receipts: list[dict[str, Any]], replies: list[dict[str, Any]]
) -> None:
    recorded = record(flow(FLOW, FAILED), receipts, replies)
    assert fates(recorded, flow(FLOW, FAILED)) == {"e1": Fate(NOON, ("push", "sms"))}
    assert fates(recorded._replace(outcomes=[]), flow(FLOW, FAILED)) == {
        "e1": Fate(NOON, ("push",))
    }


def test_a_failure_after_which_the_same_was_tried_again_is_none() -> None:
    bounce = {"channel": "push", "after": "1m", "kind": "bounced", "again": "10m"}
    recorded = record(flow(FLOW, FAILED), [bounce])
    retried = [each for each in recorded.decided if each.kind == "deferred"]
    assert len(retried) == 1

    # The second try bounces too, and is the last: eleven minutes after the push went out the first
    # time the text follows, once.
    found = replay(recorded, flow(FLOW, FAILED), flow(FLOW, FAILED))

    assert found.before.fates["default", "ana"] == {"e1": Fate(NOON, ("push", "sms"))}
    assert found.before.delivered == {("push", "security"): 1, ("sms", "security"): 1}


def test_of_two_pushes_each_hears_its_own() -> None:
    twice = "[{channel: push}, {channel: push, after: 5m}, {channel: sms, after: 5m}]"
    until = flow(FLOW, f"{twice}, until: opened")
    recorded = record(until, [{"at": "6m", "kind": "opened", "channel": "push"}])
    assert fates(recorded, until) == {"e1": Fate(NOON, ("push", "push"))}

    # A receipt of the first one comes while the second is out: it was opened all the same.
    third = "[{channel: sms}, {channel: push, after: 1m}, {channel: push, after: 30s}]"
    found = fates(recorded, flow(FLOW, f"{third}, until: opened"))
    assert found == {"e1": Fate(NOON, ("sms", "push", "push"))}


def test_a_receipt_that_comes_late_is_of_the_push_that_was_sent_then() -> None:
    twice = "[{channel: push}, {channel: push, after: 5m}, {channel: sms, after: 20m}]"
    opened = {"channel": "push", "after": "7m", "kind": "opened"}
    recorded = record(flow(FLOW, f"{twice}, until: opened"), [opened])

    # The first push was opened while the second was out. Here it goes out alone, and is opened.
    once = "[{channel: sms}, {channel: push, after: 1m}, {channel: sms, after: 10m}]"
    found = fates(recorded, flow(FLOW, f"{once}, until: opened"))
    assert found == {"e1": Fate(NOON, ("sms", "push"))}


def test_what_another_flow_sends_is_heard_at_the_time_at_which_it_was_told() -> None:
    watch = flow(FLOW, WATCH)
    arrived = [{"after": "20s", "kind": "delivered"}]
    late = [{"after": "40s", "kind": "delivered"}]
    in_time, too_late = record(flow(WATCHED), arrived), record(flow(WATCHED), late)

    assert replay(in_time, watch, watch).after.fates == {}
    assert dict(replay(in_time, watch, watch).after.dropped) == {("oncall.escalate", "engaged"): 1}
    assert fates(too_late, watch) == {"e1": Fate(NOON + 30 * SECOND, ("push",))}


def test_that_another_flow_went_on_to_its_next_channel_is_no_news() -> None:
    watch = flow(FLOW, WATCH.replace("channel: push", "channel: sms"))
    other = flow(WATCHED.replace("to: sms", "first_of: [push, sms]"))
    arrived = [{"channel": "sms", "after": "20s", "kind": "delivered"}]
    recorded = record(other, arrived, [{"channel": "push", "answer": "drop"}])

    found = replay(recorded, watch, watch).after

    assert found.fates == {}
    assert dict(found.dropped) == {("oncall.escalate", "engaged"): 1}


EVENTS = st.lists(
    st.tuples(st.sampled_from([0, SECOND, 3 * MINUTE, 20 * MINUTE]), st.sampled_from("ab")),
    min_size=1,
    max_size=4,
)
RECEIPTS = st.lists(
    st.fixed_dictionaries(
        {
            "after": st.sampled_from(["0s", "1s", "4m", "5m", "9m", "12m"]),
            "kind": st.sampled_from(["delivered", "opened", "failed", "bounced"]),
            "channel": st.sampled_from(["push", "sms"]),
        },
        optional={"again": st.just("2m")},
    ),
    max_size=3,
)
REPLIES = st.lists(
    st.fixed_dictionaries(
        {
            "channel": st.sampled_from(["push", "sms"]),
            "answer": st.sampled_from(["ok", "retry", "drop", "amb", "timeout"]),
            "until": st.sampled_from(["1s", "4m", "30m"]),
            "latency": st.sampled_from(["0s", "3s"]),
        }
    ),
    max_size=2,
)


@given(
    rounds=st.sampled_from([UNTIL, FAILED]),
    gaps=EVENTS,
    receipts=RECEIPTS,
    replies=REPLIES,
    uncertain=st.sampled_from([*LANES]),
)
@settings(max_examples=40)
def test_a_flow_replayed_with_what_was_recorded_of_it_decides_what_it_decided(
    rounds: str,
    gaps: list[tuple[int, str]],
    receipts: list[dict[str, Any]],
    replies: list[dict[str, Any]],
    uncertain: str,
) -> None:
    at, events = 0, []
    for number, (gap, person) in enumerate(gaps):
        at += gap
        events.append(Event(at, {"a": "ana", "b": "bob"}[person], f"e{number}"))
    plan = flow(FLOW, rounds)
    recorded = record(plan, receipts, replies, events, uncertain)
    aftermath = Aftermath({"oncall"})
    aftermath.take(recorded.outcomes)
    clock = ManualClock(NOON)

    again = Driver(plan, SETTINGS, io(clock), clock)
    hearing = Hearing(again, plan.name, lambda each: aftermath.of(each) or SENT_AT_ONCE)
    hearing.feed(recorded.events)
    hearing.advance(clock.now() + 86_400_000)

    of_the_flow = [each for each in recorded.decided if each.step.startswith("oncall")]
    assert told(decisions(again.log)) == told(of_the_flow)


def told(decided: Iterable[Outcome]) -> list[tuple[object, ...]]:
    return sorted(
        (each.at, each.members, each.kind, each.reason, each.channel, each.round)
        for each in decided
    )
