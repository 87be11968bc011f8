"""What the sample services say is a function of the seed, and makes the flows work."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import Any

from tidings.content import content_root
from tidings.demo.cast import Cast
from tidings.demo.events import Emitted, events
from tidings.plan import FlowPlan, load
from tidings.problems import Problems
from tidings.running.roster import shipped_files

PEOPLE = Cast(content_root() / "config" / "people" / "people.jsonl").ids


def first(seconds: float, seed: int = 1) -> list[Emitted]:
    return list(takewhile(lambda emitted: emitted.at < seconds, events(seed, PEOPLE)))


def test_a_seed_always_says_the_same_and_another_says_something_else() -> None:
    assert first(5) == first(5)
    assert first(5, seed=2) != first(5)


def test_events_come_in_order_of_time_and_at_a_lively_rate() -> None:
    times = [emitted.at for emitted in first(30)]
    assert times == sorted(times)
    assert 900 < len(times) < 1_600


def test_every_kind_is_among_the_first_seconds() -> None:
    counts = Counter(emitted.event["type"] for emitted in first(3))
    assert {"like", "comment", "order", "otp", "security", "promo"} <= counts.keys()


def test_ids_are_unique_and_every_event_is_for_somebody() -> None:
    said = first(30)
    assert len({emitted.id for emitted in said}) == len(said)
    assert all(set(emitted.recipients) <= set(PEOPLE) and emitted.recipients for emitted in said)


def test_each_event_is_what_its_flow_expects() -> None:
    """The id that it is listed by is the one that the flow sees, and its fields are all there."""
    plans: dict[str, FlowPlan] = {}
    for file in shipped_files(content_root() / "flows"):
        plan = load(file, {}, Problems())
        if isinstance(plan, FlowPlan):
            plans |= dict.fromkeys(plan.source.names(), plan)
    for emitted in first(13):
        source = plans[emitted.topic].source
        assert source.id is not None
        assert source.id.of(emitted.event) == emitted.id
        assert not set(emitted.event) - set(source.fields or emitted.event)


def test_one_person_gets_more_digests_than_the_limit_lets_through() -> None:
    keys: Counter[Any] = Counter()
    for window in range(0, 30, 5):
        inside = [each for each in first(30) if window <= each.at < window + 5]
        social = [each.event for each in inside if each.topic == "social.events"]
        keys.update({(e["recipient_id"], e["type"], e["photo_id"], window) for e in social})
    per_person = Counter(key[0] for key in keys)
    assert per_person[PEOPLE[0]] > 20
