"""What the log tells of one step, and how much of it is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidings.content import content_root
from tidings.log.port import Headers, Record
from tidings.plan import FlowPlan, load
from tidings.problems import Problems
from tidings.running.tap import Rate, Tap


@pytest.fixture
def social() -> FlowPlan:
    problems = Problems()
    plan = load(content_root() / "flows/social.yaml", os.environ, problems)
    problems.raise_if_any()
    assert isinstance(plan, FlowPlan)
    return plan


def record(topic: str, value: bytes | None = b"{}", headers: Headers = ()) -> Record:
    return Record(topic, 0, 0, 0, None, value, headers)


def outcome(step: str) -> Record:
    return record("notif_events", b'{"step": "%b"}' % step.encode())


def test_the_first_keyed_step_sees_its_entries_but_no_markers(social: FlowPlan) -> None:
    tap = Tap(social, "social.digest")
    assert tap.topics == ["tidings.social", "notif_events", "notif_dlq.flow"]
    assert tap.sees(record("tidings.social")) == "in"
    assert tap.sees(record("tidings.social", None)) == ""
    assert Tap(social, "social.limit").topics == ["notif_events", "notif_dlq.flow"]


def test_what_is_decided_is_before_here_or_past(social: FlowPlan) -> None:
    tap = Tap(social, "social.limit")
    steps = ("social.dedupe", "social.limit", "social.deliver", "orders.deliver", "push.send")
    assert [tap.sees(outcome(step)) for step in steps] == ["", "here", "past", "", ""]


def test_a_dead_letter_is_seen_at_the_step_that_made_it(social: FlowPlan) -> None:
    letter = record("notif_dlq.flow", b"x", (("tidings-step", b"social.filter"),))
    assert Tap(social, "social.filter").sees(letter) == "here"
    assert Tap(social, "social.digest").sees(letter) == ""


def test_a_step_that_is_not_there_is_none(social: FlowPlan) -> None:
    with pytest.raises(LookupError):
        Tap(social, "social.digets")


def test_no_more_than_the_rate_is_shown_a_second() -> None:
    rate = Rate(2)
    assert [rate.allows(now) for now in (0.1, 0.2, 0.3, 0.9, 1.0)] == [
        *(True, True, False, False),
        True,
    ]
    assert rate.left_out == 2


def test_behind_a_step_in_an_arm_are_those_of_the_arm(tmp_path: Path) -> None:
    file = tmp_path / "news.yaml"
    file.write_text(
        "flow: news\n"
        "source: {topic: news.events, key: recipient_id, id: event_id}\n"
        "steps:\n"
        "  - switch:\n      cases:\n"
        "        - when: urgent\n"
        "          steps:\n"
        "            - {id: loud, filter: {keep: loud, reason: quiet}}\n"
        "            - {id: near, filter: {keep: near, reason: far}}\n"
        "        - when: late\n"
        "          steps:\n"
        "            - {id: short, filter: {keep: short, reason: long}}\n"
        "  - deliver: {to: push, template: notify, category: news}\n"
    )
    problems = Problems()
    plan = load(file, os.environ, problems)
    problems.raise_if_any()
    assert isinstance(plan, FlowPlan)
    of_arm, of_branch = Tap(plan, "news.switch.1.loud"), Tap(plan, "news.switch")
    inner = ("news.switch.1.near", "news.switch.2.short", "news.deliver")
    assert [of_arm.sees(outcome(step)) for step in inner] == ["past", "", ""]
    assert [of_branch.sees(outcome(step)) for step in inner] == ["past", "past", "past"]
