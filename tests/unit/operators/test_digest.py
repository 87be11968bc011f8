"""digest: which events are together, when they go, and what is told of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operators.one_person import START, Played, pass_time, play
from tests.unit.operators.support import HOUR, built, item
from tidings.contract import Part, Who
from tidings.operators.digest_window import State
from tidings.problems import ProblemsError, ValueProblem
from tidings.timetable import Timetable


def digest(fields: str) -> Any:
    return built(f"digest: {{{fields}}}", Part.KEYED)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def shown(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000, UTC).isoformat()


def test_with_a_leading_edge_the_first_goes_at_once_and_is_left_out_of_the_digest() -> None:
    step = digest("window: 10s, leading: true, actors: a")

    played = play(step, [(0, {"a": "x"}), (1, {"a": "y"}), (2, {"a": "z"})], 60_000)

    assert [(each.at, each.members) for each in played.passed] == [
        (0, ("e0",)),
        (10_000, ("e1", "e2")),
    ]
    assert [each.data["actors"] for each in played.passed] == [["x"], ["z", "y"]]
    assert played.items[1].origin.offset == 1
    assert played.state is None


def test_with_a_leading_edge_nothing_more_goes_if_nothing_follows() -> None:
    played = play(digest("window: 10s, leading: true"), [(0, {}), (10_000, {})], 60_000)

    assert [(each.at, each.members) for each in played.passed] == [(0, ("e0",)), (10_000, ("e1",))]


def test_a_window_with_too_few_gives_its_events_singly_in_their_order() -> None:
    step = digest("window: 10s, min_items: 3, actors: a, keep: last 1, fields: [n]")
    few = [(0, {"a": "x", "n": 1}), (1, {"a": "y", "n": 2})]

    played = play(step, few, 60_000)

    assert [(each.at, each.members) for each in played.passed] == [
        (10_000, ("e0",)),
        (10_000, ("e1",)),
    ]
    assert [
        (each.data["count"], each.data["actors"], each.data["items"]) for each in played.passed
    ] == [(1, ["x"], [{"n": 1}]), (1, ["y"], [{"n": 2}])]
    assert [each.origin.offset for each in played.items] == [0, 1]


def test_a_window_with_just_enough_is_a_digest() -> None:
    played = play(digest("window: 10s, min_items: 3"), [(n, {}) for n in range(3)], 60_000)

    assert [each.members for each in played.passed] == [("e0", "e1", "e2")]


@pytest.mark.parametrize(
    ("versions", "together"),
    [
        ([3, 3], False),
        ([3, 3, 2], True),  # by the version that closes it, it has enough
        ([1, 3], True),  # the first of them is not known singly
        ([3, 1, 3], True),  # the second is not
        ([2, 3], False),
    ],
)
def test_a_window_is_given_singly_where_the_version_that_closes_it_knows_all_of_it_so(
    versions: list[int], together: bool
) -> None:
    steps = [digest(f"window: 10s, min_items: {least}") for least in versions]
    state, out = None, Played()
    for number in range(2):
        state = steps[number].on_item(state, item({}, event_id=f"e{number}"), START, out)

    steps[-1].on_time(state, Who("default", "ana", "tidings.f", 0), START + 10_000, out)

    members = [each.members for each in out.items]
    assert members == ([("e0", "e1")] if together else [("e0",), ("e1",)])


def test_a_calendar_window_closes_at_its_time_on_the_persons_clock() -> None:
    step = digest("by: [zone], at: 0 9 * * *, zone: zone")
    events = [(0, {"zone": zone}) for zone in ("Europe/Madrid", "Pacific/Auckland", "nowhere")]

    played = play(step, events, 48 * HOUR)

    # It starts at noon, UTC: 14:00 in Madrid, midnight in Auckland.
    assert [(each.at // HOUR, each.data["zone"]) for each in played.passed] == [
        (9, "Pacific/Auckland"),
        (19, "Europe/Madrid"),
        (21, "nowhere"),
    ]


@pytest.mark.parametrize(
    ("cron", "zone", "at", "next_"),
    [
        # Skipped in spring: at the jump.
        ("30 2 * * *", "Europe/Madrid", "2026-03-29T00:00Z", "2026-03-29T01:00:00+00:00"),
        ("30 2 * * *", "America/New_York", "2026-03-08T05:00Z", "2026-03-08T07:00:00+00:00"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T14:00Z", "2026-10-03T15:30:00+00:00"),
        # Shown twice in autumn: the first, and not again in the hour that comes again.
        ("30 2 * * *", "Europe/Madrid", "2026-10-25T00:00Z", "2026-10-25T00:30:00+00:00"),
        ("30 2 * * *", "Europe/Madrid", "2026-10-25T01:10Z", "2026-10-26T01:30:00+00:00"),
        ("30 1 * * *", "America/New_York", "2026-11-01T06:10Z", "2026-11-02T06:30:00+00:00"),
        ("30 1 * * *", "America/New_York", "2026-11-01T05:00Z", "2026-11-01T05:30:00+00:00"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T14:00Z", "2026-04-04T14:45:00+00:00"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T15:10Z", "2026-04-05T15:15:00+00:00"),
        # At midnight: skipped in spring, and to come once more in autumn.
        ("0 0 * * *", "America/Santiago", "2026-09-06T03:00Z", "2026-09-06T04:00:00+00:00"),
        ("0 0 * * *", "America/Santiago", "2026-04-05T02:30Z", "2026-04-05T04:00:00+00:00"),
        # Strictly after.
        ("0 9 * * *", "Europe/Madrid", "2026-07-01T06:59:59.999Z", "2026-07-01T07:00:00+00:00"),
        ("0 9 * * *", "Europe/Madrid", "2026-07-01T07:00Z", "2026-07-02T07:00:00+00:00"),
    ],
)
def test_a_timetable_around_the_jumps_of_the_clock(
    cron: str, zone: str, at: str, next_: str
) -> None:
    assert shown(Timetable(cron).after(ms(at), zone)) == next_


@pytest.mark.parametrize("text", ["9:00", "0 9 * *", "0 25 * * *", "0 9 31 2 *", "0 0 9 * * *"])
def test_what_is_no_timetable_is_refused(text: str) -> None:
    with pytest.raises(ValueProblem) as raised:
        Timetable(text)

    assert raised.value.code == "bad-timetable"


def test_the_recipient_himself_is_left_out_also_where_he_is_a_number() -> None:
    played = play(
        digest("window: 1s, actors: a"),
        [(0, {"a": 42}), (0, {"a": 7})],
        2_000,
        fields={"recipient_id": "42"},
    )

    assert [(each.data["actors"], each.data["actor_count"]) for each in played.passed] == [([7], 1)]


@pytest.mark.parametrize(
    ("first", "second", "digests"), [(20_000, 30_000, 30_000), (20_000, 0, 0), (0, 20_000, 0)]
)
def test_a_digest_expires_when_the_last_of_its_events_does(
    first: int, second: int, digests: int
) -> None:
    step, state, out = digest("window: 10s"), None, play(digest("window: 1s"), [])
    for after in (first, second):
        lives = START + after if after else 0
        one = play(digest("window: 1s, leading: true"), [(0, {})], fields={"expires_at": lives})
        state = step.on_item(state, one.items[0], START, out)

    step.on_time(state, ("default", "ana", "tidings.f", 0), START + 10_000, out)

    assert [each.expires_at for each in out.items] == [START + digests if digests else 0]


def test_what_would_have_expired_when_its_window_closes_ends_at_once() -> None:
    played = play(digest("window: 10s"), [(0, {})], fields={"expires_at": START + 10_000})

    assert played.dropped == [(0, ("e0",), "expired", "digest", "")]
    assert played.state is None


@pytest.mark.parametrize(
    ("expires", "closes"),
    [
        (12_000, 11_999),
        (18_000, 17_999),  # just when it would have closed
        (18_001, 18_000),
    ],
)
def test_a_sliding_window_closes_before_the_first_of_its_events_expires(
    expires: int, closes: int
) -> None:
    step = digest("gap: 10s, max_wait: 1m")
    events: list[Any] = [(0, {}), (8_000, {})]

    played = play(step, events, 60_000, fields={"expires_at": START + expires})

    assert [(each.at, each.members) for each in played.passed] == [(closes, ("e0", "e1"))]


def test_an_event_that_would_not_live_to_the_end_of_a_sliding_window_ends_at_once() -> None:
    step = digest("gap: 10s, max_wait: 1m")
    events: list[Any] = [(n * 8_000, {}) for n in range(3)]

    played = play(step, events, 60_000, fields={"expires_at": START + 12_000})

    assert [each.members for each in played.passed] == [("e0", "e1")]
    assert [each.members for each in played.dropped] == [("e2",)]


def test_windows_at_rest_from_before_are_read() -> None:
    at_rest = bytes.fromhex(
        "81a2703198cd03e8cd1f400591a270310292a26530a2653182a161a3416e61a162a3426f629291a17891a179"
    )

    (window,) = msgspec.msgpack.decode(at_rest, type=State).values()

    assert (window.opened, window.deadline, window.members) == (1_000, 8_000, ["e0", "e1"])
    assert (window.expires, window.soonest, window.singles) == (0, 0, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("at: 0 9 * * *", "`at` and `zone` go together"),
        ("window: 1h, zone: zone", "`at` and `zone` go together"),
        ("window: 1h, at: 0 9 * * *, zone: zone", "either `window`, or `gap` and `max_wait`, or"),
        ("window: 1h, min_items: 9, max_items: 8", "`min_items` is more than `max_items`"),
        ("at: nine, zone: zone", "`nine` has not five fields"),
        ("window: 1h, no_zone: Atlantis", "there is no time zone `Atlantis`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: str, message: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        digest(fields)

    assert message in str(raised.value)


MODES = ("window: 100ms", "gap: 60ms, max_wait: 150ms", "at: '* * * * *', zone: \"'UTC'\"")


@given(
    mode=st.sampled_from(MODES),
    leading=st.booleans(),
    few=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 90), st.sampled_from("pq")), max_size=40),
    restarts=st.frozensets(st.integers(1, 40), max_size=6),
)
def test_nothing_is_lost_or_doubled_and_a_cut_changes_nothing(
    mode: str, leading: bool, few: int, steps: list[tuple[int, str]], restarts: frozenset[int]
) -> None:
    at, events = 0, []
    for after, photo in steps:
        at += after
        events.append((at, {"photo": photo, "a": photo}))
    fields = f"by: [photo], {mode}, leading: {str(leading).lower()}, min_items: {few}, actors: a"
    step = digest(f"{fields}, max_items: 5")

    whole = play(step, events, at + 120_000)
    cut = play(step, events, at + 120_000, restarts)

    members = [name for each in whole.passed for name in each.members]
    assert sorted(members) == sorted(f"e{n}" for n in range(len(events)))
    assert whole.state is None
    assert all(each.data["count"] == len(each.members) for each in whole.passed)
    assert all(len(each.members) in (1, *range(few, 6)) for each in whole.passed)
    assert cut.items == whole.items


USUAL = st.fixed_dictionaries(
    {},
    optional={
        "photo": st.sampled_from(["p", "q", 7, None]),
        "a": st.sampled_from(["x", "y", "ana", 42, None]),
        "n": st.integers(0, 9),
    },
)


@given(
    keep=st.sampled_from(["first 2", "last 1", "last 3", "last 0"]),
    more=st.sampled_from(["", ", fields: [n]", ", max_items: 4"]),
    events=st.lists(st.tuples(st.integers(0, 60), USUAL, st.sampled_from([0, 0, 0, 80, 900]))),
)
def test_the_straight_path_of_usual_events_gives_what_the_general_one_does(
    keep: str, more: str, events: list[tuple[int, dict[str, Any], int]]
) -> None:
    step = digest(f"by: [photo], window: 100ms, actors: a, keep: {keep}{more}")
    straight, general, at = Played(), Played(), 0
    assert step.on_item != step.on_any_item
    for number, (after, data, lives) in enumerate(events):
        at += after
        for out, on_item in ((straight, step.on_item), (general, step.on_any_item)):
            pass_time(step, out, START + at)
            out.now = START + at
            about = {"event_id": f"e{number}", "time": out.now, "recipient_id": "ana"}
            one = item(dict(data), number, **about, expires_at=lives and out.now + lives)
            out.state = on_item(out.state, one, out.now, out)

    assert straight.state == general.state
    for out in (straight, general):
        pass_time(step, out, START + at + 1_000)
    assert vars(straight) == vars(general)


@given(
    scores=st.lists(st.integers(-3, 3) | st.integers() | st.floats(-9, 9), max_size=12),
    most=st.integers(0, 4),
    restarts=st.frozensets(st.integers(1, 12), max_size=4),
)
def test_the_top_ones_are_kept_and_all_are_counted(
    scores: list[float], most: int, restarts: frozenset[int]
) -> None:
    step = digest(f"window: 1s, keep: top {most} by score, fields: [n]")
    events = [(0, {"score": score, "n": n}) for n, score in enumerate(scores)]

    played = play(step, events, 2_000, restarts)

    highest = sorted(range(len(scores)), key=lambda n: -float(scores[n]))[:most]
    assert [(each.data["count"], each.data["items"]) for each in played.passed] == (
        [(len(scores), [{"n": n} for n in highest])] if scores else []
    )


def test_an_event_whose_score_is_no_number_is_dead() -> None:
    played = play(digest("window: 1s, keep: top 1 by score"), [(0, {"score": "high"})])

    assert played.died == [("expression", "expected a number to rank it by, got 'high'")]
    assert played.state is None
