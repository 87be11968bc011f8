"""hold: what is held, until when, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.unit.operators.holding import AUCKLAND, MADRID, QUIET, held, passed
from tests.unit.operators.one_person import START, play
from tests.unit.operators.support import HOUR, reads
from tidings.contract import Horizon
from tidings.problems import ProblemsError, ValueProblem
from tidings.records import Origin

# ── Quiet hours ───────────────────────────────────────────────────────────────────────────────


def test_in_the_open_hours_it_passes_at_once() -> None:
    played = play(held(QUIET), [(0, MADRID)])

    assert played.passed == [(0, ("e0",), MADRID)]
    assert played.state is None


def test_in_quiet_hours_it_waits_for_their_end_on_the_persons_own_clock() -> None:
    played = play(held(QUIET), [(0, AUCKLAND), (HOUR, MADRID)], until=8 * HOUR)

    assert played.passed == [(HOUR, ("e1",), MADRID), (8 * HOUR, ("e0",), AUCKLAND)]
    assert played.dropped == [
        (0, ("e0",), "deferred", "quiet_hours", "until 2026-07-01T20:00:00+00:00")
    ]


def test_what_was_held_goes_on_as_it_came_and_counts_as_new() -> None:
    event = {**AUCKLAND, "n": 2**70, "text": "¡hola! 📷", "list": [1.5, None, {"a": True}]}
    step = held(QUIET)

    played = play(step, [(HOUR, event)], 9 * HOUR, fields={"expires_at": START + 20 * HOUR})

    (one,) = played.items
    assert one.data == event
    assert one.time == START + 8 * HOUR
    assert one.expires_at == START + 20 * HOUR
    assert (one.origin, one.recipient_id) == (Origin("tidings.f", 0, 0), "ana")


def test_several_go_in_the_order_in_which_they_came() -> None:
    events = [(n * 60_000, AUCKLAND) for n in range(5)]

    assert [name for _, name in passed(QUIET, *events)] == ["e0", "e1", "e2", "e3", "e4"]


@pytest.mark.parametrize(
    ("event", "fields", "verdict"),
    [
        ({"type": "like"}, "then: drop", "dropped"),
        ({"type": "otp"}, "then: drop", "passed"),
        ({"type": "otp"}, "classes: {critical: defer}", "deferred"),
        ({"type": "otp"}, "classes: {security: defer, critical: pass}", "deferred"),
        ({"type": "sale"}, "classes: {marketing: drop}", "dropped"),
        ({"type": "sale"}, "classes: {promo: pass, marketing: drop}", "passed"),
        ({"type": "like"}, "classes: {marketing: drop}", "deferred"),
        ({"type": "like"}, "category: promo, classes: {marketing: drop}", "dropped"),
        ({"priority": "high"}, "priority: priority", "passed"),
        ({"priority": "critical"}, "priority: priority", "passed"),
        ({"priority": "low"}, "priority: priority, classes: {low: drop}", "dropped"),
        ({}, "priority: priority", "deferred"),
    ],
)
def test_the_class_decides_what_becomes_of_it(
    event: Mapping[str, str], fields: str, verdict: str
) -> None:
    played = play(held(f"{QUIET}, {fields}"), [(0, {**AUCKLAND, **event})], until=HOUR)

    seen = {"suppressed": "dropped", "deferred": "deferred"}
    words = [seen[each.kind] for each in played.dropped] + ["passed" for _ in played.passed]
    assert words == [verdict]


def test_what_is_downgraded_goes_at_once_and_says_so() -> None:
    step = held(f"{QUIET}, classes: {{social: downgrade}}")
    events = [(0, {**AUCKLAND, "type": "like"}), (0, MADRID), (0, AUCKLAND)]

    played = play(step, events, until=8 * HOUR)

    assert [(each.at, each.data["quiet_hours"]) for each in played.passed] == [
        (0, True),
        (0, False),
        (8 * HOUR, False),
    ]


@pytest.mark.parametrize("zone", [None, "", "Europe/Atlantis", 7, ["UTC"], "../../etc/passwd"])
@pytest.mark.parametrize(
    ("policy", "goes"),
    [("UTC", []), ("Pacific/Auckland", [8 * HOUR]), ("pass", [0]), ("drop", None)],
)
def test_a_zone_that_is_none_is_handled_as_it_is_said(
    zone: Any, policy: str, goes: list[int] | None
) -> None:
    step = held(f"quiet: 22:00-08:00, zone: zone, no_zone: {policy}")

    played = play(step, [(0, {"zone": zone})], until=9 * HOUR)

    if goes is None:
        assert [(each.kind, each.reason) for each in played.dropped] == [("suppressed", "no_zone")]
    else:
        assert [each.at for each in played.passed] == (goes or [0])  # at 12:00 UTC is no quiet


# ── Moments and delays ────────────────────────────────────────────────────────────────────────


def at(hours: float) -> str:
    return datetime.fromtimestamp(START / 1_000 + hours * 3_600, UTC).isoformat()


@pytest.mark.parametrize(
    ("fields", "event", "goes"),
    [
        ("delay: 10m", {}, 600_000),
        ("send_at: when", {"when": at(3)}, 3 * HOUR),
        ("send_at: when", {"when": START + 5}, 5),
        ("send_at: when", {"when": at(-3)}, 0),
        ("send_at: when", {"when": None}, 0),
        ("send_at: when", {}, 0),
        ("send_at: when, delay: 1h", {"when": at(0.5)}, HOUR),
        ("send_at: when, delay: 1h", {"when": at(2)}, 2 * HOUR),
        # the moment lies in quiet hours: in Madrid they last from 20:00 UTC to 06:00
        (f"send_at: when, {QUIET}", {"when": at(9), **MADRID}, 18 * HOUR),
        (f"send_at: when, {QUIET}", {"when": at(19), **MADRID}, 19 * HOUR),
        (f"delay: 9h, {QUIET}", MADRID, 18 * HOUR),
        # it comes in them and is to go after them
        (f"send_at: when, {QUIET}", {"when": at(9), **AUCKLAND}, 9 * HOUR),
        # critical ones pass quiet hours, and still wait for their moment
        (f"send_at: when, {QUIET}", {"when": at(9), "type": "otp", **MADRID}, 9 * HOUR),
    ],
)
def test_when_it_goes(fields: str, event: Mapping[str, Any], goes: int) -> None:
    assert passed(fields, (0, event)) == [(goes, "e0")]


def test_a_later_one_that_is_to_go_earlier_does() -> None:
    step = held("send_at: when")
    events = [(0, {"when": at(5)}), (1, {"when": at(2)}), (2, {"when": at(9)})]

    played = play(step, events, until=10 * HOUR)

    assert [each.members for each in played.passed] == [("e1",), ("e0",), ("e2",)]
    assert played.woken == [START + 5 * HOUR, START + 2 * HOUR]


@pytest.mark.parametrize("when", ["tomorrow", 17, "2026-07-01T12:00:00", True, [1]])
def test_what_is_no_moment_is_dead(when: Any) -> None:
    played = play(held("send_at: when"), [(0, {"when": when})])

    assert [reason for reason, _ in played.died] == ["expression"]


def test_a_moment_beyond_the_life_of_the_log_is_dead() -> None:
    played = play(held("send_at: when"), [(0, {"when": at(7 * 24)}), (0, {"when": at(170)})])

    assert played.died == [
        ("too_far", f"it is to go at {at(170)}, and the log is kept for 1w"),
    ]
    assert len(played.state) == 1


@pytest.mark.parametrize(("when", "why"), [(1.0, "delay"), (1.001, "send_at"), (0.5, "delay")])
def test_what_is_held_says_what_for(when: float, why: str) -> None:
    played = play(held("delay: 1h, send_at: when"), [(0, {"when": at(when)})])

    assert [(each.kind, each.reason) for each in played.dropped] == [("deferred", why)]


def test_what_would_be_too_old_by_then_is_expired_at_once() -> None:
    step = held(QUIET)

    kept = play(step, [(0, AUCKLAND)], 9 * HOUR, fields={"expires_at": START + 8 * HOUR + 1})
    late = play(step, [(0, AUCKLAND)], 9 * HOUR, fields={"expires_at": START + 8 * HOUR})

    assert [each.at for each in kept.passed] == [8 * HOUR]
    assert (late.passed, late.state) == ([], None)
    assert late.dropped == [
        (0, ("e0",), "expired", "quiet_hours", "it could go at 2026-07-01T20:00:00+00:00")
    ]


# ── Jitter, bounds, memory ────────────────────────────────────────────────────────────────────


def test_jitter_spreads_people_and_keeps_a_persons_own_together() -> None:
    step = held(f"{QUIET}, jitter: 30m")
    events = [(0, AUCKLAND), (HOUR, AUCKLAND)]

    times = []
    for person in range(200):
        played = play(step, events, 9 * HOUR, fields={"recipient_id": f"p{person}"})
        first, second = [each.at for each in played.passed]
        assert first == second
        times.append(first - 8 * HOUR)

    assert min(times) >= 0
    assert max(times) < 30 * 60_000
    assert len(set(times)) > 190


def test_jitter_puts_off_nothing_that_may_go_at_once() -> None:
    step = f"send_at: when, {QUIET}, jitter: 1h"

    assert passed(step, (0, MADRID)) == [(0, "e0")]
    assert passed(step, (0, {"when": at(0), **MADRID})) == [(0, "e0")]
    ((later, _),) = passed(step, (0, {"when": START + 1, **MADRID}))
    assert 1 < later <= HOUR


def test_jitter_does_not_push_anything_into_quiet_hours() -> None:
    step = held(f"send_at: when, {QUIET}, jitter: 1h")

    for person in range(50):
        event = {"when": at(7.5), **MADRID}  # half an hour before they begin
        played = play(step, [(0, event)], 24 * HOUR, fields={"recipient_id": f"p{person}"})
        (goes,) = [each.at for each in played.passed]
        assert goes < 8 * HOUR or 18 * HOUR <= goes < 19 * HOUR


def test_no_more_is_held_for_a_person_than_is_said() -> None:
    few = play(held(f"{QUIET}, max_held: 2"), [(n, AUCKLAND) for n in range(4)], 9 * HOUR)
    large = {**AUCKLAND, "text": "x" * 500}
    small = play(held(f"{QUIET}, max_bytes: 1024"), [(n, large) for n in range(3)], 9 * HOUR)

    for played in (few, small):
        over = [each for each in played.dropped if each.kind == "suppressed"]
        assert {(each.reason, each.detail) for each in over} == {
            ("too_many_held", f"{len(played.passed)} are held")
        }
    assert (len(few.passed), len(small.passed)) == (2, 1)


@pytest.mark.parametrize(
    ("text", "passes"),
    [("x" * 501, 2), ("x" * 502, 1), ("é" * 250 + "x", 2), ("é" * 251, 1), ("📷" * 126, 1)],
)
def test_the_bytes_that_are_held_are_those_of_the_events_as_json(text: str, passes: int) -> None:
    step = held("delay: 1h, max_bytes: 1024")  # {"text":"…"} is 11 bytes and the text

    played = play(step, [(n, {"text": text}) for n in range(3)], 2 * HOUR)

    assert len(played.passed) == passes


def test_it_is_woken_for_the_next_and_never_forgets() -> None:
    step = held(QUIET)

    state = play(step, [(0, AUCKLAND), (1, AUCKLAND)]).state

    assert step.horizon(state) == Horizon(act_at=START + 8 * HOUR, forget_at=0)


def test_a_person_with_one_notification_held_costs_little_more_than_it_has() -> None:
    state = play(held(QUIET), [(0, {**AUCKLAND, "photo": "p1"})]).state

    assert len(msgspec.msgpack.encode(state)) < 70


def test_it_reads_its_own_fields_and_for_the_class_the_type() -> None:
    assert reads(f"hold: {{{QUIET}, send_at: when}}") == frozenset({"zone", "when", "type"})
    assert reads(f"hold: {{{QUIET}, category: social}}") == frozenset({"zone"})
    assert reads("hold: {delay: 1h}") == frozenset()
    own = "hold: {own_quiet: hours, zone: zone, category: social}"
    assert reads(own) == frozenset({"zone", "hours"})


# ── Settings ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("jitter: 1h", "this holds nothing: give `quiet`, `send_at` or `delay`"),
        ("quiet: 22:00-08:00", "`quiet` needs a `zone`: whose clock are these hours on?"),
        ("own_quiet: hours", "`quiet` needs a `zone`: whose clock are these hours on?"),
        ("quiet: 22:00, zone: zone", "`22:00` are no hours of the day"),
        ("quiet: 8:00-8:00, zone: zone", "`8:00-8:00` begin and end at the same time"),
        ("delay: 1h, then: drop", "`then` says nothing without `quiet`"),
        ("delay: 1h, classes: {marketing: drop}", "`classes` says nothing without `quiet`"),
        (f"{QUIET}, no_zone: Mars", "there is no time zone `Mars`"),
        (f"{QUIET}, then: skip", "skip"),
        (
            "quiet: 01:00-23:30, zone: zone, jitter: 1h",
            "a `jitter` of 1h reaches into the next quiet hours",
        ),
        ("send_at: in 5 minutes", "in 5 minutes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: str, message: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        held(fields)

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("delay: 8d", "this may hold for 1w1d, and the log is kept for 1w"),
        (
            "own_quiet: h, zone: zone, delay: 7d",
            "this may hold for 1w1d, and the log is kept for 1w",
        ),
        (f"{QUIET}, delay: 6d1h", "this may hold for 1w1h, and the log is kept for 1w"),
        (f"{QUIET}, category: scoial", "there is no category `scoial` in the configuration"),
        (
            f"{QUIET}, classes: {{marketign: drop}}",
            "`marketign` is no category in the configuration, and no other class",
        ),
    ],
)
def test_what_the_installation_can_not_do_is_refused(fields: str, message: str) -> None:
    with pytest.raises(ValueProblem) as raised:
        held(fields)

    assert raised.value.message == message
    assert raised.value.hint
