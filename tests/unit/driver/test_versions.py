"""Versions of a flow read one log: those with the same intake have it in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine import ground_of, plan_of
from tidings.driver.aftermath import Aftermath
from tidings.driver.tally import Fate, Tally
from tidings.driver.version import Versions
from tidings.log.port import Record
from tidings.plan import FlowPlan
from tidings.ports import Io
from tidings.settings import Settings
from tidings.stores.clock import ManualClock

NOON = 1_782_907_200_000
SHOP = """
flow: shop
source: {topic: shop.events, key: recipient_id}
steps:
  - filter: {keep: total > 0, reason: nothing}
  - dedupe: {by: order, within: 1m}
  - digest: {window: 30s, keep: last 0}
  - deliver: {to: push, template: order}
"""
EVENTS = [  # seconds after noon, whose, id, order, total
    (0, "ana", "a1", 1, 10),
    (1, "ana", "a2", 1, 10),  # the same order once more
    (2, "bob", "b1", 2, 0),  # for nothing
    (40, "ana", "a3", 3, 10),
]
KNOWN = {
    ("shop.filter", "nothing"): 1,
    ("shop.dedupe", "duplicate"): 1,
}


def records() -> list[Record]:
    made = []
    for number, (at, person, known, order, total) in enumerate(EVENTS):
        value = {"event_id": known, "recipient_id": person, "order": order, "total": total}
        key = person.encode()
        time = NOON + at * 1_000
        made.append(Record("shop.events", 0, number, time, key, json.dumps(value).encode()))
    return made


def plan(folder: Path, old: str = "", new: str = "") -> FlowPlan:
    found = plan_of(folder, SHOP.replace(old, new) if old else SHOP)
    assert isinstance(found, FlowPlan)
    return found


def started(folder: Path, *plans: FlowPlan) -> Versions:
    ground = ground_of(folder, None, ManualClock(NOON))  # type: ignore[arg-type]
    io: Io = ground.io
    settings: Settings = ground.settings
    return Versions(plans, settings, io, NOON, Aftermath([]))


def tallies(folder: Path, *plans: FlowPlan) -> list[Tally]:
    versions = started(folder, *plans)
    versions.feed(records())
    return versions.end()


def test_two_versions_with_one_intake_each_tell_all_that_they_would_alone(tmp_path: Path) -> None:
    short, long = plan(tmp_path), plan(tmp_path, "30s", "1m")
    assert len(started(tmp_path, short, long).intakes) == 1

    one, other = tallies(tmp_path, short, long)

    assert (dict(one.dropped), dict(other.dropped)) == (KNOWN, KNOWN)
    push = ("push",)
    assert one.fates["default", "ana"] == {
        "a1": Fate(NOON + 30_000, push),
        "a3": Fate(NOON + 70_000, push),
    }
    assert other.fates["default", "ana"] == {
        "a1": Fate(NOON + 60_000, push),
        "a3": Fate(NOON + 60_000, push),
    }
    alone = [*tallies(tmp_path, short), *tallies(tmp_path, long)]
    assert [each.fates for each in (one, other)] == [each.fates for each in alone]
    assert [each.dropped for each in (one, other)] == [each.dropped for each in alone]


@pytest.mark.parametrize(
    ("old", "new", "shared"),
    [
        ("keep: last 0", "keep: last 1", 1),
        ("template: order", "template: other", 1),
        ("total > 0", "total > 5", 2),
        ("within: 1m", "within: 2m", 2),
        ("shop.events, key: recipient_id", "shop.events, key: order", 2),
        ("flow: shop", "flow: store", 2),
        ("  - digest: {window: 30s, keep: last 0}\n", "", 2),
    ],
)
def test_an_intake_is_shared_where_nothing_before_the_cut_differs(
    tmp_path: Path, old: str, new: str, shared: int
) -> None:
    versions = started(tmp_path, plan(tmp_path), plan(tmp_path, old, new))
    assert len(versions.intakes) == shared


def test_a_flow_that_keeps_no_state_is_compared_as_well(tmp_path: Path) -> None:
    at_once = plan(tmp_path, "  - digest: {window: 30s, keep: last 0}\n", "")

    (one, other) = tallies(tmp_path, plan(tmp_path), at_once)

    assert [each.dropped for each in (one, other)] == [KNOWN, KNOWN]
    assert (one.delivered.total(), other.delivered.total()) == (2, 2)
    assert other.fates["default", "ana"]["a1"] == Fate(NOON, ("push",))
