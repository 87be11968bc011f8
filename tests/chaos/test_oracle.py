"""The oracle itself: small topics whose digests are plain to see, and a flow that nobody kills."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests import engine
from tests.chaos import scene
from tests.chaos.audit import audit_flow
from tests.chaos.oracle import Decision, expected
from tests.chaos.upstream import Events
from tests.unit.runtime.one_flow import OneFlow
from tidings.log.port import Record
from tidings.plan import FlowPlan


def entry(
    offset: int, time: int, event_id: str, photo: str = "p", source: int | None = None, **more: str
) -> Record:
    event = {"event_id": event_id, "type": "like", "photo_id": photo, "actor_id": "eve"} | more
    event = {"about": event["type"]} | event
    body = {
        "recipient_id": "ana",
        "event_id": event_id,
        "origin": ["social.events", 0, offset if source is None else source, 0],
        "event": event,
    }
    return Record("tidings.social", 0, offset, time, b"ana", json.dumps(body).encode())


def marker(offset: int, time: int) -> Record:
    return Record("tidings.social", 0, offset, time, None, None)


def digest(*members: str, at: int) -> Decision:
    return Decision("ana", members, at, "queued")


def said(topic: list[Record]) -> set[Decision]:
    """What the oracle says of the topic, but for the texts."""
    return {decision._replace(text="") for decision in expected(topic).decisions}


def test_a_window_takes_what_comes_before_its_deadline_and_closes_at_it() -> None:
    end = scene.LIKES
    topic = [entry(0, 0, "e0"), entry(1, end - 1, "e1"), entry(2, end, "e2"), marker(3, 2 * end)]

    assert said(topic) == {digest("e0", "e1", at=end), digest("e2", at=2 * end)}


def test_the_time_of_a_partition_never_goes_back() -> None:
    topic = [entry(0, 500, "e0"), entry(1, 100, "e1", photo="q"), marker(2, 500 + scene.LIKES)]

    assert {decision.at for decision in expected(topic).decisions} == {500 + scene.LIKES}


def test_a_sliding_window_moves_with_each_event_up_to_its_longest() -> None:
    step = scene.COMMENTS_GAP - 100
    times = range(0, scene.COMMENTS_WAIT + 1, step)
    topic = [entry(n, time, f"e{n}", type="comment") for n, time in enumerate(times)]
    [decision] = said([*topic, marker(99, 9_999)])

    assert decision == digest(*(f"e{n}" for n in range(len(topic))), at=scene.COMMENTS_WAIT)


def test_a_full_window_closes_at_once() -> None:
    topic = [entry(n, n, f"e{n}") for n in range(scene.MAX_ITEMS)]
    [decision] = expected(topic).decisions

    assert decision.at == scene.MAX_ITEMS - 1


def test_an_entry_whose_source_was_seen_counts_for_nothing() -> None:
    topic = [entry(0, 0, "e0"), entry(1, 5, "e0", source=0), marker(2, 5_000)]

    assert said(topic) == {digest("e0", at=scene.LIKES)}


def test_the_limit_is_asked_at_the_deadline() -> None:
    photos = [f"p{n}" for n in range(scene.AT_MOST + 1)]
    topic = [entry(n, n, f"e{n}", photo) for n, photo in enumerate(photos)]
    decisions = sorted(expected([*topic, marker(99, 9_999)]).decisions, key=lambda d: d.at)

    assert [decision.passed for decision in decisions] == [True] * scene.AT_MOST + [False]


def test_a_window_that_is_not_due_is_open() -> None:
    truth = expected([entry(0, 0, "e0"), marker(1, scene.LIKES - 1)])

    assert (truth.decisions, truth.open) == (set(), {"e0"})


def test_a_call_closes_its_window_at_once_and_each_type_is_counted() -> None:
    topic = [entry(0, 0, "e0"), entry(1, 5, "e1", type="call", about="like"), marker(2, 9_999)]
    [decision] = expected(topic).decisions

    assert (decision.members, decision.at) == (("e0", "e1"), 5)
    assert '[["call", 1], ["like", 1]]' in decision.text


def test_an_undo_takes_back_what_its_window_has_of_the_actor() -> None:
    undo = entry(2, 9, "e2", type="undo", about="like")
    topic = [entry(0, 0, "e0"), entry(1, 5, "e1", actor_id="sam"), undo, marker(3, 9_999)]

    assert said(topic) == {
        digest("e1", at=scene.LIKES),
        Decision("ana", ("e0",), 9, "cancelled"),
        Decision("ana", ("e2",), 9, "cancelled"),
    }


def test_the_scenes_flow_decides_what_the_oracle_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene, "LETTERS", scene.LETTERS[:1])
    plan = engine.plan_of(tmp_path, scene.FLOW.replace("  - consent: {category: social}\n", ""))
    assert isinstance(plan, FlowPlan)
    flow, random = OneFlow(tmp_path, plan=plan), Random(3)
    events = Events(random, scene.recipients(25))
    written = {}
    for number in range(2_000):
        event = events.make(number)
        if event["event_id"] not in events.own:
            written[event["event_id"]] = event["recipient_id"]
            flow.enter(event["recipient_id"], event, id=event["event_id"])
        flow.clock.advance(random.choice((0, 1, 20, 60)))
        if random.random() < 0.3:
            flow.turn()
    flow.pass_time(scene.WITHIN)

    found, truth = audit_flow(flow.log, cast(Any, SimpleNamespace(written=written, own=set())))

    assert found.faults() == {}
    kinds = Counter(decision.kind for decision in truth.decisions)
    assert min(kinds[kind] for kind in ("queued", "suppressed", "cancelled")) > 50
    assert sum('"call"' in decision.text for decision in truth.decisions) > 10
