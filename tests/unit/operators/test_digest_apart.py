"""digest: what is counted by its values, what closes a window at once, and what is taken back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.operators.one_person import START, Played, play
from tests.unit.operators.support import built, item
from tidings.contract import Part
from tidings.operators.digest_window import State
from tidings.problems import ProblemsError

UNLIKE = "{when: type == 'unlike', match: [actor, photo]}"


def digest(fields: str) -> Any:
    return built(f"digest: {{{fields}}}", Part.KEYED)


def like(actor: str, photo: str = "p1", type_: str = "like", **more: Any) -> dict[str, Any]:
    return {"type": type_, "actor": actor, "photo": photo, **more}


def told(played: Played) -> list[tuple[int, tuple[str, ...], dict[str, Any]]]:
    """When, which members, and the numbers of each digest."""
    shown = ("count", "actors", "actor_count", "counts")
    return [
        (each.at, each.members, {name: each.data[name] for name in shown if name in each.data})
        for each in played.passed
    ]


def test_events_are_counted_by_the_values_of_a_field() -> None:
    step = digest("by: [photo], window: 10s, counts: type")
    events = [like("x"), like("y", type_="comment"), like("z"), {"photo": "p1"}, like("w", type_=7)]  # type: ignore[arg-type]

    played = play(step, [(0, each) for each in events], 60_000)

    assert [each.data["counts"] for each in played.passed] == [{"like": 2, "comment": 1, "7": 1}]
    assert played.passed[0].data["count"] == 5


def test_an_urgent_event_closes_its_window_at_once_and_is_in_it() -> None:
    step = digest("by: [photo], window: 10s, flush: type == 'mention'")
    events = [
        (0, like("x")),
        (1_000, like("y", "p2")),
        (2_000, like("z", type_="mention")),
        (3_000, like("w")),
    ]

    played = play(step, events, 60_000)

    assert [(each.at, each.members) for each in played.passed] == [
        (2_000, ("e0", "e2")),
        (11_000, ("e1",)),
        (13_000, ("e3",)),
    ]


def test_an_urgent_event_alone_goes_at_once_and_opens_nothing() -> None:
    played = play(digest("window: 10s, flush: urgent"), [(5, {"urgent": True})])

    assert [(each.at, each.members) for each in played.passed] == [(5, ("e0",))]
    assert played.state is None


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(("expires", "passes"), [(1_001, True), (1_000, False)])
def test_an_urgent_event_needs_to_live_no_longer_than_now(
    opened: bool, expires: int, passes: bool
) -> None:
    step, out = digest("window: 10s, flush: urgent"), Played()
    state = step.on_item(None, item({"urgent": False}), START, out) if opened else None

    urgent = item({"urgent": True}, event_id="e2", expires_at=START + expires)
    out.now = START + 1_000
    state = step.on_item(state, urgent, out.now, out)

    gone = ("e1", "e2") if opened else ("e2",)
    assert [each.members for each in out.passed] == ([gone] if passes else [])
    assert out.dropped == ([] if passes else [(1_000, ("e2",), "expired", "digest", "")])
    assert (state is None) == (passes or not opened)


def test_an_unlike_takes_back_a_like_and_the_rest_is_counted_anew() -> None:
    what = "by: [type, photo], window: 10s, actors: actor, keep: last 2, fields: [n]"
    step = digest(f"{what}, cancel: {UNLIKE}")
    events = [
        (0, like("bob", n=0)),
        (1, like("eve", n=1)),
        (2, like("eve", "p2", n=2)),
        (3, like("eve", type_="unlike")),
        (4, like("sam", n=4)),
    ]

    played = play(step, events, 60_000)

    assert told(played) == [
        (10_000, ("e0", "e4"), {"count": 2, "actors": ["sam", "bob"], "actor_count": 2}),
        (10_002, ("e2",), {"count": 1, "actors": ["eve"], "actor_count": 1}),
    ]
    assert played.passed[0].data["items"] == [{"n": 4}, {"n": 0}]
    assert played.dropped == [
        (3, ("e1",), "cancelled", "cancelled", "by e3"),
        (3, ("e3",), "cancelled", "cancels", "took back 1"),
    ]


def test_where_the_best_is_taken_back_the_others_keep_their_ranks() -> None:
    step = digest(f"by: [photo], window: 10s, keep: top 2 by n, fields: [n], cancel: {UNLIKE}")
    events = [
        (0, like("bob", n=5)),
        (1, like("eve", n=1)),
        (2, like("bob", type_="unlike")),
        (3, like("sam", n=3)),
        (4, like("zoe", n=2)),
    ]

    played = play(step, events, 60_000)

    assert [each.data["items"] for each in played.passed] == [[{"n": 3}, {"n": 2}]]


def test_a_window_of_which_all_is_taken_back_is_over_and_tells_nothing() -> None:
    step = digest(f"by: [photo], window: 10s, cancel: {UNLIKE}")

    played = play(
        step, [(0, like("bob")), (1, like("bob", type_="unlike")), (5_000, like("bob"))], 60_000
    )

    assert [(each.at, each.members) for each in played.passed] == [(15_000, ("e2",))]


def test_a_window_that_had_enough_once_is_a_digest_whatever_is_taken_back() -> None:
    step = digest(f"by: [photo], window: 10s, min_items: 4, cancel: {UNLIKE}")
    events = [(0, like(actor)) for actor in ("bob", "eve", "sam", "pat")]
    events += [(1, like(actor, type_="unlike")) for actor in ("eve", "sam", "pat")]
    events += [(2, like("kim")), (2, like("lou")), (3, like("bob", type_="unlike"))]

    played = play(step, events, 60_000)

    assert [(each.at, each.members, each.data["count"]) for each in played.passed] == [
        (10_000, ("e7", "e8"), 2)
    ]


def test_of_too_few_one_that_is_taken_back_is_not_given_singly() -> None:
    step = digest(f"by: [photo], window: 10s, min_items: 3, cancel: {UNLIKE}")

    played = play(
        step, [(0, like("bob")), (0, like("eve")), (1, like("bob", type_="unlike"))], 60_000
    )

    assert [each.members for each in played.passed] == [("e1",)]


def test_a_leading_window_of_which_all_is_taken_back_still_waits_for_its_end() -> None:
    step = digest(f"by: [photo], window: 10s, leading: true, cancel: {UNLIKE}")
    events = [
        (0, like("bob")),
        (1, like("eve")),
        (2, like("eve", type_="unlike")),
        (3, like("sam")),
    ]

    played = play(step, events, 60_000)

    assert [(each.at, each.members) for each in played.passed] == [(0, ("e0",)), (10_000, ("e3",))]


def test_what_is_taken_back_no_longer_hurries_a_sliding_window_nor_keeps_a_digest_alive() -> None:
    step, out, state = digest(f"gap: 10s, max_wait: 1m, cancel: {UNLIKE}"), Played(), None
    rows = [
        (0, "bob", "like", 15_000),
        (1_000, "eve", "like", 40_000),
        (2_000, "kim", "like", 90_000),
        (3_000, "bob", "unlike", 0),
        (4_000, "kim", "unlike", 0),
        (9_000, "sam", "like", 30_000),
    ]
    for number, (after, actor, type_, lives) in enumerate(rows):
        data = {"actor": actor, "photo": "p", "type": type_}
        expires = START + lives if lives else 0
        one = item(data, number, event_id=f"e{number}", recipient_id="ana", expires_at=expires)
        state = step.on_item(state, one, START + after, out)
    end = step.horizon(state).act_at
    step.on_time(state, ("default", "ana", "tidings.f", 0), end, out)

    assert end == START + 19_000  # not 14,999, just before bob's like would have expired
    assert [(each.members, each.expires_at) for each in out.items] == [
        (("e1", "e5"), START + 40_000)  # not kim's 90,000
    ]


def test_a_bare_condition_takes_back_the_window_with_the_same_fields() -> None:
    step = digest("by: [photo], window: 10s, cancel: type == 'deleted'")
    events = [
        (0, like("bob")),
        (1, like("eve", "p2")),
        (2, like("sam")),
        (3, {"type": "deleted", "photo": "p1"}),
    ]

    played = play(step, events, 60_000)

    assert [each.members for each in played.passed] == [("e1",)]
    assert played.dropped == [
        (3, ("e0", "e2"), "cancelled", "cancelled", "by e3"),
        (3, ("e3",), "cancelled", "cancels", "took back 2"),
    ]


def test_several_rules_and_the_id_of_an_event() -> None:
    rules = (
        "{when: type == 'withdrawn', event: of, reason: withdrawn}, {when: type == 'left', "
        "match: [actor]}"
    )
    step = digest(f"by: [photo], window: 10s, cancel: [{rules}]")
    events = [
        (0, like("bob")),
        (1, like("eve")),
        (2, like("eve", "p2")),
        (3, like("sam", "p2")),
        (4, {"type": "withdrawn", "of": "e0"}),
        (5, {"type": "left", "actor": "eve"}),
        (6, {"type": "left"}),
        (7, {"type": "withdrawn", "of": None}),
    ]

    played = play(step, events, 60_000)

    assert [each.members for each in played.passed] == [("e3",)]
    assert [each[1:] for each in played.dropped] == [
        (("e0",), "cancelled", "withdrawn", "by e4"),
        (("e4",), "cancelled", "cancels", "took back 1"),
        (("e1",), "cancelled", "cancelled", "by e5"),
        (("e2",), "cancelled", "cancelled", "by e5"),
        (("e5",), "cancelled", "cancels", "took back 2"),
        (("e6",), "cancelled", "cancels", "took back 0"),
        (("e7",), "cancelled", "cancels", "took back 0"),
    ]


def test_of_what_matches_only_that_of_a_kind_may_be_taken_back() -> None:
    step = digest(
        "by: [photo], window: 10s, "
        "cancel: {when: type == 'unlike', takes: type == 'like', match: [actor, photo]}"
    )
    events = [(0, like("bob")), (1, like("bob", type_="comment")), (2, like("bob", type_="unlike"))]

    played = play(step, events, 60_000)

    assert [each.members for each in played.passed] == [("e1",)]
    assert played.dropped[0][1:] == (("e0",), "cancelled", "cancelled", "by e2")


@pytest.mark.parametrize("rule", ["match: [actor_id]", "event: of"])
def test_an_event_that_does_not_say_what_it_takes_back_takes_nothing(rule: str) -> None:
    step, out = digest(f"window: 10s, cancel: {{when: type == 'undo', {rule}}}"), Played()
    like, undo = item({"type": "like", "actor_id": "None"}, event_id="None"), item({"type": "undo"})

    state = step.on_item(step.on_item(None, like, START, out), undo, START, out)

    assert [(each.members, each.detail) for each in out.dropped] == [(("e1",), "took back 0")]
    assert [window.members for window in state.values()] == [["None"]]


def test_what_is_taken_back_twice_is_told_under_two_ids() -> None:
    step, out = digest(f"by: [photo], window: 10s, cancel: {UNLIKE}"), Recording()
    state = None
    for number, data in enumerate([like("bob"), like("bob", type_="unlike")] * 2):
        one = item(data, number, event_id=data["type"], recipient_id="ana")
        state = step.on_item(state, one, START, out)

    ids = [each.event_id for each in out.let_go if each.members == ("like",)]
    assert len(set(ids)) == 2


class Recording(Played):
    """Keeps the items that are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go: list[Any] = []

    def drop(self, let_go: Any, *told: Any) -> None:
        self.let_go.append(let_go)


@pytest.mark.parametrize(
    "fields", ["cancel: type == 'x'", "flush: type == 'x'", "cancel: {when: kind, match: [a]}"]
)
def test_a_condition_that_can_not_be_worked_out_is_a_dead_letter(fields: str) -> None:
    played = play(digest(f"window: 1s, {fields}"), [(0, {})], 2_000)

    assert [reason for reason, _ in played.died] == ["expression"]
    assert (played.passed, played.state) == ([], None)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("match: [b], event: c", "either `match` or `event`, got both"),
        ("takes: b == 1", "there is no `match`"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: str, message: str) -> None:
    with pytest.raises(ProblemsError, match=message):
        digest(f"window: 1s, cancel: {{when: a == 1, {rule}}}")


# ── State ─────────────────────────────────────────────────────────────────────────────────────


def test_a_window_of_a_version_that_told_nothing_apart_goes_on_with_its_numbers_exact() -> None:
    plain = "by: [photo], window: 10s, actors: actor, keep: last 2, fields: [n]"
    events = [(0, like("bob", n=0)), (1, like("eve", n=1)), (2, like("bob", n=2))]
    before = play(digest(plain), events)

    step = digest(f"{plain}, tell_apart: [type], counts: type, cancel: {UNLIKE}")
    before.now = START + 3
    after = [like("sam", n=3), like("sam", type_="unlike"), like("kim", n=5)]
    state = before.state
    for number, data in enumerate(after, 3):
        one = item(data, number, event_id=f"e{number}", recipient_id="ana")
        state = step.on_item(state, one, START + number, before)
    step.on_time(state, ("default", "ana", "tidings.f", 0), START + 10_000, before)

    ((_, members, numbers),) = told(before)
    assert members == ("e0", "e1", "e2", "e5")
    assert numbers == {
        "count": 4,
        "actors": ["kim", "bob", "eve"],
        "actor_count": 3,
        "counts": {"like": 1},  # of the others the type is not known
    }
    assert before.passed[0].data["items"] == [{"n": 5}, {"n": 2}]
    assert before.dropped[0][1:] == (("e3",), "cancelled", "cancelled", "by e4")


def test_a_window_goes_on_in_a_version_that_tells_nothing_apart_and_back() -> None:
    plain = "by: [photo], window: 10s, actors: actor, keep: last 2, fields: [n]"
    apart = digest(f"{plain}, tell_apart: [type]")
    state, out = None, Played()
    for number, step in enumerate([apart, apart, digest(plain), apart]):
        data = like(f"actor{number % 3}", n=number)
        one = item(data, number, event_id=f"e{number}", recipient_id="ana")
        state = step.on_item(state, one, START + number, out)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)

    apart.on_time(state, ("default", "ana", "tidings.f", 0), START + 10_000, out)

    ((_, members, numbers),) = told(out)
    assert members == ("e0", "e1", "e2", "e3")
    assert numbers == {"count": 4, "actors": ["actor0", "actor2", "actor1"], "actor_count": 3}
    gathered = out.items[0].gathered
    assert gathered is not None
    assert gathered.columns["type"].texts() == ["like", "like", None, "like"]
    assert [each["n"] for each in out.passed[0].data["items"]] == [3, 2]


def test_what_is_known_of_a_member_costs_some_bytes_of_state_however_long_its_texts() -> None:
    def size(fields: str) -> int:
        step = digest(f"window: 1h, keep: last 0{fields}")
        events = [(0, {"type": "t" * 500 + str(n % 2), "of": "x" * 500}) for n in range(400)]
        return len(msgspec.msgpack.encode(play(step, events).state))

    plain = size("")

    assert size(", tell_apart: [type, of]") - plain < 400 * 3 + 1_600


def test_a_window_does_not_grow_by_what_is_taken_back() -> None:
    step = digest(f"by: [photo], window: 1h, actors: actor, cancel: {UNLIKE}")
    events = [(0, like("bob"))]
    for number in range(300):
        events += [(0, like(f"actor-{number}")), (0, like(f"actor-{number}", type_="unlike"))]

    played = play(step, events)

    assert len(msgspec.msgpack.encode(played.state)) < 200


def test_what_is_held_still_tells_its_members_apart() -> None:
    step = digest("by: [photo], window: 1s, tell_apart: [type]")
    digested = play(step, [(0, like("bob")), (1, like("eve", type_="comment"))], 1_000).items[0]
    hold, out = built("hold: {delay: 1h}", Part.KEYED), Played()

    state = hold.on_item(None, digested, START, out)
    at_rest = msgspec.msgpack.encode(state)
    state = msgspec.msgpack.decode(at_rest, type=hold.state)
    hold.on_time(state, ("default", "ana", "tidings.f", 0), START + 3_600_000, out)

    (released,) = out.items
    assert released.gathered == digested.gathered
    assert released.gathered is not None
    assert released.gathered.columns["type"].texts() == ["like", "comment"]
