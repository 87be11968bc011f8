"""dedupe: the first passes, its replay passes again, a second one does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.unit.operators.support import NOW, Down, Outbox, built, item, ports
from tidings.contract import Part
from tidings.ports import Unavailable
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock


class Counting(LocalClaims):
    """Claims that keep what they were asked, and with which life."""

    def __init__(self) -> None:
        super().__init__(ManualClock(NOW))
        self.calls: list[tuple[int, int]] = []
        self.down = False

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        if self.down:
            raise Unavailable("valkey is down")
        self.calls.append((len(claims), ttl_ms))
        return super().first(claims, ttl_ms, forgotten)


def passed(step: Any, claims: Any, *items: Any) -> list[Any]:
    outbox = Outbox(items)
    step.process(outbox, ports(claims=claims), NOW)
    return outbox.items


def test_a_duplicate_is_dropped_and_told_which_came_first() -> None:
    step = built("dedupe: {by: event_id}", Part.INTAKE)
    first, again, other = (
        item({"event_id": "e1"}, offset=1),
        item({"event_id": "e1"}, offset=2),
        item({"event_id": "e2"}, offset=3),
    )
    outbox = Outbox([first, again, other])

    step.process(outbox, ports(), NOW)

    assert outbox.items == [first, other]
    assert outbox.dropped == [(again, "suppressed", "duplicate", "the first was events:0:1")]


def test_the_replay_of_a_record_passes_again() -> None:
    step, claims = built("dedupe: {}", Part.INTAKE), Counting()
    record = item({"event_id": "e1"}, offset=1)

    assert passed(step, claims, record) == [record]
    assert passed(step, claims, record) == [record]


def test_a_batch_asks_once() -> None:
    step, claims = built("dedupe: {within: 1h}", Part.INTAKE), Counting()

    passed(step, claims, *(item({"event_id": f"e{n}"}, offset=n) for n in range(1000)))

    assert claims.calls == [(1000, 3_600_000)]


def test_the_same_event_for_two_recipients_is_two() -> None:
    step = built("dedupe: {}", Part.INTAKE)
    for_ana = item({"event_id": "e1", "recipient_id": "ana"}, offset=1)
    for_bob = item({"event_id": "e1", "recipient_id": "bob"}, offset=2)

    assert passed(step, Counting(), for_ana, for_bob) == [for_ana, for_bob]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"order": "o1", "status": "paid"}, {"order": "o1", "status": "sent"}, False),
        ({"order": "o1", "status": "paid"}, {"order": "o1", "status": "paid"}, True),
        ({"order": 1, "status": "x"}, {"order": "1", "status": "x"}, False),
        ({"order": "o1"}, {"order": "o1"}, True),
        ({}, {}, False),  # nothing is known about either
        ({"order": "", "status": None}, {"order": "", "status": None}, False),
    ],
)
def test_what_by_names_makes_two_events_the_same(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    step = built("dedupe: [order, status]", Part.INTAKE)
    items = [item(one, offset=1), item(other, offset=2)]

    assert passed(step, Counting(), *items) == (items[:1] if same else items)


def test_an_expression_that_fails_goes_to_the_dead_letters_and_claims_nothing() -> None:
    step, claims = built("dedupe: {by: order + 1}", Part.INTAKE), Counting()
    outbox = Outbox([item({"order": "o1"})])

    step.process(outbox, ports(claims=claims), NOW)

    assert outbox.items == []
    assert [dead.reason for dead in outbox.died] == ["expression"]
    assert claims.calls == []


@pytest.mark.parametrize("priority", ["", "normal", "low"])
def test_without_claims_normal_and_low_wait_with_nothing_changed(priority: str) -> None:
    step = built("dedupe: {by: order + 1}", Part.INTAKE, priority=priority)
    items = [item({"order": 1}), item({"order": "broken"})]
    outbox = Outbox(items)

    with pytest.raises(Unavailable):
        step.process(outbox, ports(claims=Down()), NOW)

    assert (outbox.items, outbox.dropped, outbox.died) == (items, [], [])


def test_without_claims_high_goes_on_by_what_it_has_seen_itself() -> None:
    step, claims = built("dedupe: {}", Part.INTAKE, priority="high"), Counting()
    before = item({"event_id": "before"}, offset=1)
    assert passed(step, claims, before) == [before]

    claims.down = True
    new, new_again = item({"event_id": "new"}, offset=2), item({"event_id": "new"}, offset=3)
    before_again = item({"event_id": "before"}, offset=4)

    assert passed(step, claims, before_again, before, new, new_again) == [before, new]
