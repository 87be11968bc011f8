"""consent behind a digest: what the person does not want falls out, and the rest is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operators.support import HOUR, NOW, Outbox, built, item, ports
from tidings.contract import Category, Item
from tidings.gathered import COUNTED, Column, Gathered
from tidings.ports import Profile

TYPES = {"like": "social", "comment": "social", "sale": "promo", "login": "security"}
CATEGORIES = {
    "social": Category("social"),
    "promo": Category("promo", marketing=True),
    "security": Category("security", critical=True),
}


class Event(NamedTuple):
    """One member of a digest."""

    id: str
    type: str
    actor: str | None
    expires_at: int = 0


def digest(events: Sequence[Event], items: int = 2, **fields: Any) -> Item:
    """A digest of ana's that tells these apart; the newest ``items`` of them are told whole."""
    types, actors = Column(), Column()
    for event in events:
        types.add(event.type)
        actors.add(event.actor)
    gathered = Gathered(
        columns={"type": types, "actor_id": actors},
        expires=[event.expires_at for event in events],
        items=list(range(len(events)))[::-1][:items],
        names={event.actor: event.actor.title() for event in events if event.actor},
        actors="actor_id",
        counts="type",
    )
    told = {"items": [{"id": events[place].id} for place in gathered.items], "photo_id": "p1"}
    return item(
        {"recipient_id": "ana", **gathered.told(), **told},
        event_id="d1",
        members=tuple(event.id for event in events),
        expires_at=gathered.expires_at(),
        gathered=gathered,
        **fields,
    )


def judged(one: Item, profile: Profile, step: str = "muted: [actor_id]") -> Outbox[Item]:
    outbox = Outbox([one])
    built(f"consent: {{{step}}}", types=TYPES, categories=CATEGORIES).process(
        outbox, ports({"ana": profile}), NOW
    )
    return outbox


THREE = [
    Event("e1", "like", "bob", NOW + HOUR),
    Event("e2", "comment", "eve", NOW + 3 * HOUR),
    Event("e3", "like", "eve", NOW + 2 * HOUR),
]


def test_without_a_choice_a_digest_passes_as_it_came() -> None:
    one = digest(THREE)
    before = dict(one.data)

    outbox = judged(one, Profile())

    assert outbox.items == [one]
    assert (one.data, one.event_id, one.members) == (before, "d1", ("e1", "e2", "e3"))
    assert before == {
        "recipient_id": "ana",
        "photo_id": "p1",
        "count": 3,
        "actors": ["Eve", "Bob"],
        "actor_count": 2,
        "counts": {"like": 2, "comment": 1},
        "items": [{"id": "e3"}, {"id": "e2"}],
    }


def test_events_of_a_type_opted_out_of_fall_out_and_the_rest_is_counted_anew() -> None:
    outbox = judged(digest(THREE), Profile(types={"comment": False}))

    (passed,) = outbox.items
    assert passed.data == {
        "recipient_id": "ana",
        "photo_id": "p1",
        "count": 2,
        "actors": ["Eve", "Bob"],
        "actor_count": 2,
        "counts": {"like": 2},
        "items": [{"id": "e3"}],
    }
    assert (passed.members, passed.event_id) == (("e1", "e3"), "d1")
    assert passed.expires_at == NOW + 2 * HOUR
    assert [(each.item.members, *each[1:]) for each in outbox.dropped] == [
        (("e2",), "suppressed", "no_consent", "push=user.type email=user.type sms=user.type")
    ]


def test_what_somebody_muted_did_is_not_counted() -> None:
    outbox = judged(digest(THREE), Profile(muted={"actor_id": frozenset({"eve"})}))

    (passed,) = outbox.items
    assert (passed.data["count"], passed.data["actors"], passed.data["items"]) == (1, ["Bob"], [])
    (fallen,) = outbox.dropped
    assert (fallen.item.members, fallen.detail) == (
        ("e2", "e3"),
        "push=user.muted email=user.muted sms=user.muted",
    )


def test_of_a_digest_of_which_nothing_remains_one_outcome_tells() -> None:
    one = digest(THREE)

    outbox = judged(one, Profile(types={"like": False, "comment": False}))

    assert outbox.items == []
    assert [each.item for each in outbox.dropped] == [one]


def test_what_falls_out_for_different_reasons_is_told_apart_under_ids_of_its_own() -> None:
    mutes = Profile(types={"comment": False}, muted={"actor_id": frozenset({"bob"})})

    first, again = judged(digest(THREE), mutes), judged(digest(THREE), mutes)

    told = {each.item.members: each.detail.split()[0] for each in first.dropped}
    assert told == {("e1",): "push=user.muted", ("e2",): "push=user.type"}
    ids = [each.item.event_id for each in first.dropped]
    assert ids == [each.item.event_id for each in again.dropped]
    assert len({*ids, "d1"}) == 3


def test_a_muted_thread_that_all_share_takes_the_whole_digest() -> None:
    outbox = judged(
        digest(THREE), Profile(muted={"photo_id": frozenset({"p1"})}), "muted: [photo_id]"
    )

    assert (outbox.items, len(outbox.dropped)) == ([], 1)


def test_what_may_go_on_different_channels_or_is_of_another_category_goes_apart() -> None:
    events = [*THREE, Event("e4", "sale", None), Event("e5", "login", "bob")]
    choices = Profile(pairs={"social/push": False}, types={"like": True})

    outbox = judged(digest(events), choices)

    assert [(each.category, each.denied, each.members) for each in outbox.items] == [
        ("social", {"push": "user.pair"}, ("e1", "e2", "e3")),
        ("promo", {}, ("e4",)),
        ("security", {}, ("e5",)),
    ]
    assert len({each.event_id for each in outbox.items} | {"d1"}) == 4
    assert [each.data["counts"] for each in outbox.items] == [
        {"like": 2, "comment": 1},
        {"sale": 1},
        {"login": 1},
    ]


def test_each_of_two_parts_has_an_id_of_its_own_and_the_same_in_a_replay() -> None:
    choices = Profile(pairs={"social/push": False})
    events = [THREE[0], Event("e4", "sale", None)]

    first, again = judged(digest(events), choices), judged(digest(events), choices)

    ids = [each.event_id for each in first.items]
    assert [each.members for each in first.items] == [("e1",), ("e4",)]
    assert ids == [each.event_id for each in again.items]
    assert len({*ids, "d1"}) == 3


def test_events_of_an_unknown_type_are_dead_and_the_others_pass() -> None:
    outbox = judged(digest([*THREE, Event("e4", "gossip", "bob")]), Profile())

    assert [each.members for each in outbox.items] == [("e1", "e2", "e3")]
    (dead,) = outbox.died
    assert (dead.item.members, dead.reason) == (("e4",), "unknown_type")
    assert "'gossip' has no category" in dead.error


def test_beyond_fifty_values_the_further_ones_are_counted_together() -> None:
    column = Column()
    for number in range(60):
        column.add(f"t{number}")

    counts = Gathered({"type": column}, expires=[0] * 60, counts="type").told()["counts"]

    assert len(counts) == COUNTED + 1
    assert (counts["t49"], counts["other"], sum(counts.values())) == (1, 10, 60)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["like", "comment", "sale", "login"]),
        st.sampled_from(["bob", "eve", "sam", None]),
        st.sampled_from([0, NOW + HOUR, NOW + 2 * HOUR]),
    ),
    min_size=1,
    max_size=12,
).map(lambda rows: [Event(f"e{number}", *row) for number, row in enumerate(rows)])


@given(
    events=EVENTS,
    items=st.integers(0, 3),
    muted=st.frozensets(st.sampled_from(["bob", "eve", "sam"])),
    types=st.dictionaries(st.sampled_from(["like", "comment", "sale"]), st.booleans()),
    pairs=st.dictionaries(st.sampled_from(["social/push", "promo/email"]), st.booleans()),
    social=st.sampled_from([{}, {"social": False}]),
)
def test_every_event_is_in_one_digest_that_counts_it_or_ends_with_a_reason(
    events: list[Event],
    items: int,
    muted: frozenset[str],
    types: dict[str, bool],
    pairs: dict[str, bool],
    social: dict[str, bool],
) -> None:
    profile = Profile(muted={"actor_id": muted}, types=types, pairs=pairs, categories=social)
    known = {event.id: event for event in events}

    outbox = judged(digest(events, items), profile)

    ends = [*outbox.items, *(each.item for each in outbox.dropped)]
    assert sorted(name for each in ends for name in each.members) == sorted(known)
    assert all(known[name].type != "login" for each in outbox.dropped for name in each.item.members)
    for each in outbox.items:
        members = [known[name] for name in each.members]
        unwanted = [
            event
            for event in members
            if event.type != "login" and (event.actor in muted or types.get(event.type) is False)
        ]
        assert unwanted == []
        newest_first = list(dict.fromkeys(e.actor for e in reversed(members) if e.actor))
        by_type = {event.type: 0 for event in members}
        for event in members:
            by_type[event.type] += 1
        whole = (
            [event.id for event in reversed(events) if event in events[-items:]] if items else []
        )
        assert {key: each.data[key] for key in ("count", "actors", "actor_count", "counts")} == {
            "count": len(members),
            "actors": [name.title() for name in newest_first],
            "actor_count": len(newest_first),
            "counts": by_type,
        }
        assert [one["id"] for one in each.data["items"]] == [
            name for name in whole if name in each.members
        ]
        lives = [event.expires_at for event in members]
        assert each.expires_at == (0 if 0 in lives else max(lives))
        assert {TYPES[event.type] for event in members} == {each.category}
