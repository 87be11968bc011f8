"""split: one event for many becomes many events, and never all of them at once."""

from __future__ import annotations

import tracemalloc
from itertools import chain
from typing import Any

import pytest

from tests.unit.operators.support import NOW, Outbox, built, item, phone, ports
from tidings.contract import Part
from tidings.log.port import Record
from tidings.ports import Profile
from tidings.problems import ProblemsError
from tidings.records import Origin


def test_each_element_becomes_an_event_with_the_other_fields() -> None:
    step = built("split: {over: followers, as: recipient_id}", Part.INTAKE)
    outbox = Outbox([item({"post": "p1", "followers": ["ana", "bob"]}, offset=7)])

    step.process(outbox, ports(), NOW)

    assert [(each.data, each.origin, each.event_id) for each in outbox.items] == [
        ({"post": "p1", "recipient_id": "ana"}, Origin("events", 0, 7, 0), "e1"),
        ({"post": "p1", "recipient_id": "bob"}, Origin("events", 0, 7, 1), "e1"),
    ]
    assert list(outbox.rest) == []


def test_all_that_is_known_of_an_event_is_known_of_its_elements() -> None:
    step = built("split: {over: followers, as: recipient_id}", Part.INTAKE)
    record = Record("events", 0, 7, NOW, None, b"{}")
    known = {"tenant": "acme", "record": record, "expires_at": NOW + 1, "time": NOW - 1}
    event = item({"followers": ["ana"]}, 7, way="1.", whole=False, **known)
    outbox = Outbox([event])

    step.process(outbox, ports(), NOW)

    expected = item({}, 7, way="1.", whole=True, **known)  # the record is no longer all of it
    expected.data = {"recipient_id": "ana"}
    assert outbox.items == [expected]


def test_elements_of_the_ways_of_a_fan_out_become_notifications_of_their_own() -> None:
    split = built("split: {over: followers, as: recipient_id}", Part.INTAKE)
    deliver = built("deliver: {to: push, template: t, category: social}")
    event = item({"followers": ["ana"], "recipient_id": "ana"})
    outbox = Outbox([event.copy(0, 2), event.copy(1, 2)])

    split.process(outbox, ports(), NOW)
    deliver.process(outbox, ports({"ana": Profile(addresses=(phone(),))}), NOW)

    assert len({each.notif_id for each in outbox.delivered}) == 2


def test_a_list_inside_a_map_is_taken_out_of_it_and_the_map_stays() -> None:
    step = built("split: {over: post.followers, as: who}", Part.INTAKE)
    data = {"post": {"id": "p1", "followers": ["ana"]}}
    outbox = Outbox([item(data)])

    step.process(outbox, ports(), NOW)

    assert [each.data for each in outbox.items] == [{"post": {"id": "p1"}, "who": "ana"}]
    assert data == {"post": {"id": "p1", "followers": ["ana"]}}


def test_an_empty_list_is_nobody() -> None:
    step = built("split: followers", Part.INTAKE)
    outbox = Outbox([item({"followers": []}), item({"followers": None})])

    step.process(outbox, ports(), NOW)

    assert (outbox.items, outbox.died) == ([], [])


def test_a_list_of_just_as_many_as_are_taken_is_split() -> None:
    step = built("split: {over: followers, at_most: 3}", Part.INTAKE)
    outbox = Outbox([item({"followers": ["a", "b", "c"]})])

    step.process(outbox, ports(), NOW)

    assert [each.data["recipient_id"] for each in outbox.items] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({}, "the event has no field followers"),
        ({"followers": "ana"}, "followers is a text, not a list"),
        ({"followers": ["a", "b", "c", "d"]}, "followers has 4 elements, at most 3 are taken"),
    ],
)
def test_what_can_not_be_split_goes_to_the_dead_letters_whole(data: Any, error: str) -> None:
    step = built("split: {over: followers, at_most: 3}", Part.INTAKE)
    outbox = Outbox([item(data)])

    step.process(outbox, ports(), NOW)

    assert outbox.items == []
    assert [(dead.reason, dead.error) for dead in outbox.died] == [("split", error)]


def test_a_second_split_gives_every_element_an_index_of_its_own_in_order() -> None:
    outer = built("split: {over: groups, as: members}", Part.INTAKE)
    inner = built("split: {over: members, as: recipient_id}", Part.INTAKE)
    outbox = Outbox([item({"groups": [["a", "b"], ["c"]]})])

    outer.process(outbox, ports(), NOW)
    inner.process(outbox, ports(), NOW)

    assert [each.data["recipient_id"] for each in outbox.items] == ["a", "b", "c"]
    indexes = [each.origin.index for each in outbox.items]
    assert indexes == sorted(set(indexes))


def test_a_long_list_is_given_in_order_a_few_at_a_time() -> None:
    step = built("split: followers", Part.INTAKE)
    followers = [f"u{number}" for number in range(300_000)]
    outbox = Outbox([item({"post": "p1", "followers": followers}), item({"followers": ["last"]})])

    tracemalloc.start()
    step.process(outbox, ports(), NOW)
    given = chain(outbox.items, outbox.rest)
    wrong = [
        who for who, each in zip(followers, given, strict=False) if each.data["recipient_id"] != who
    ]
    after = [each.data for each in given]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert wrong == []
    assert after == [{"recipient_id": "last"}]
    assert peak < 10_000_000  # all of them at once take some 200 MB


def test_an_index_is_no_list_to_split_over() -> None:
    with pytest.raises(ProblemsError, match="an index can't be split over"):
        built("split: {over: 'groups[0]'}", Part.INTAKE)
