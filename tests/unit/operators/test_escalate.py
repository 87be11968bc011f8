"""escalate: rounds, what each waits for, and what ends them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.operators.one_person import START, Played
from tests.unit.operators.support import built, item
from tidings.contract import Part, Who
from tidings.ids import wait_id
from tidings.problems import ProblemsError, ValueProblem
from tidings.records import Signal

MINUTE = 60_000
ALERT = "rounds: [{channel: push}, {channel: sms, after: 5m}, {channel: push, after: 10m}]"
UNTIL = f"escalate: {{{ALERT}, until: opened}}"
FAILING = (
    "escalate: {rounds: [{channel: push}, {channel: sms}, {channel: email, after: 1m}],"
    " on_failure: [failed, unknown], fails_within: 1h}"
)
WHO = Who("default", "ana", "tidings.f", 0)


class Escalation:
    """One person's escalations, played by the minute; each step sees its state as from the log."""

    def __init__(self, step: str) -> None:
        self.step = built(step, Part.KEYED)
        self.out = Played()
        self.number = 0

    def event(self, minute: float, id: str, expires: int = 0, **data: Any) -> None:
        self._pass_time(minute)
        self.number += 1
        one = item(
            data,
            self.number,
            event_id=id,
            time=self.out.now,
            recipient_id="ana",
            expires_at=START + expires * MINUTE if expires else 0,
        )
        self.out.state = self.step.on_item(self.out.state, one, self.out.now, self.out)
        self._rest()

    def hear(self, minute: float, kind: str, id: str = "e", round: int = 1) -> None:
        self._pass_time(minute)
        signal = Signal(wait_id(id, ""), kind, round - 1)
        state, now = self.out.state, self.out.now
        self.out.state = self.step.on_signal(state, signal, WHO, now, self.out)
        self._rest()

    def end(self) -> None:
        self._pass_time(100_000)
        assert self.out.state is None

    def rounds(self) -> list[tuple[float, str, int]]:
        """The rounds that went out: minute, channel, number."""
        return [((at.time - START) / MINUTE, at.channel, at.round + 1) for at in self.out.items]

    def ends(self) -> list[tuple[float, str, str]]:
        """What was let go: minute, event, reason."""
        return [(one.at / MINUTE, one.members[0], one.reason) for one in self.out.dropped]

    def _rest(self) -> None:
        if self.out.state is not None:
            at_rest = msgspec.msgpack.encode(self.out.state)
            self.out.state = msgspec.msgpack.decode(at_rest, type=self.step.state)

    def _pass_time(self, minute: float) -> None:
        now = START + int(minute * MINUTE)
        out, step = self.out, self.step
        while out.state is not None and 0 < (due := step.horizon(out.state).act_at) <= now:
            out.now = due
            out.state = step.on_time(out.state, WHO, due, out)
        out.now = now


def followed(step: str, *news: tuple[float, str, int]) -> Escalation:
    """One event at minute 0 and what is heard of it, to the end: minute, what, of which round."""
    alert = Escalation(step)
    alert.event(0, "e")
    for minute, kind, number in news:
        alert.hear(minute, kind, round=number)
    alert.end()
    return alert


# ── Until the person reacts ───────────────────────────────────────────────────────────────────


def test_a_round_has_its_time_from_when_a_provider_accepted_the_one_before() -> None:
    alert = followed(UNTIL, (2, "sent", 1), (8, "sent", 2))

    assert alert.rounds() == [(0, "push", 1), (7, "sms", 2), (18, "push", 3)]


def test_a_round_that_no_provider_accepts_is_followed_all_the_same() -> None:
    alert = followed(UNTIL.replace("until", "accepted_within: 3m, until"))

    assert alert.rounds() == [(0, "push", 1), (3, "sms", 2), (6, "push", 3)]


@pytest.mark.parametrize(
    ("kind", "goes_on"),
    [("opened", False), ("clicked", False), ("delivered", True), ("complained", True)],
)
def test_who_reacts_is_left_alone(kind: str, goes_on: bool) -> None:
    alert = followed(UNTIL, (1, "sent", 1), (2, kind, 1))

    assert len(alert.rounds()) == (3 if goes_on else 1)
    assert alert.ends() == ([] if goes_on else [(2, "e", "engaged")])


@pytest.mark.parametrize("kind", ["failed", "suppressed", "expired", "bounced"])
def test_a_round_that_failed_is_followed_at_once(kind: str) -> None:
    alert = followed(
        UNTIL,
        (1, kind, 1),
        (2, kind, 1),  # told twice
        (3, "sent", 2),
    )

    assert alert.rounds() == [(0, "push", 1), (1, "sms", 2), (13, "push", 3)]


def test_a_round_of_which_nobody_knows_has_its_time_too() -> None:
    alert = followed(
        UNTIL,
        (1, "unknown", 1),
        (2, "sent", 1),  # it is accepted once
        (3, "sent", 1),
        (6.5, "failed", 2),
    )

    assert alert.rounds() == [(0, "push", 1), (6, "sms", 2), (6.5, "push", 3)]


def test_news_of_a_round_that_is_behind_ends_it_all_or_does_nothing() -> None:
    engaged, failed = Escalation(UNTIL), Escalation(UNTIL)
    for alert in (engaged, failed):
        alert.event(0, "e")
        alert.hear(0, "sent")
        alert.hear(5, "sent", round=2)
    engaged.hear(6, "clicked", round=1)
    failed.hear(6, "bounced", round=1)
    engaged.end()
    failed.end()

    assert engaged.rounds() == [(0, "push", 1), (5, "sms", 2)]
    assert engaged.ends() == [(6, "e", "engaged")]
    assert failed.rounds() == [(0, "push", 1), (5, "sms", 2), (15, "push", 3)]


def test_a_delivery_that_a_newer_one_superseded_ends_it() -> None:
    alert = followed(UNTIL, (1, "cancelled", 1))

    assert (alert.rounds(), alert.ends()) == ([(0, "push", 1)], [(1, "e", "superseded")])


def test_a_signal_about_nothing_that_is_open_does_nothing() -> None:
    alert = Escalation(UNTIL)
    alert.hear(0, "failed")
    alert.event(1, "e")
    alert.hear(2, "failed", id="another")
    alert.hear(2, "failed", round=2)
    alert.hear(3, "opened")
    alert.hear(4, "failed")
    alert.end()

    assert (alert.rounds(), alert.ends()) == ([(1, "push", 1)], [(3, "e", "engaged")])


def test_a_round_knows_how_often_its_channel_was_used_and_who_hears_of_it() -> None:
    alert = Escalation(UNTIL)
    alert.event(0, "e", text="fire")
    alert.end()

    known = wait_id("e", "")
    assert [(one.data, one.detour, one.wait, one.reply_to) for one in alert.out.items] == [
        ({"text": "fire", "round": 1}, 0, known, "tidings.f"),
        ({"text": "fire", "round": 2}, 0, known, "tidings.f"),
        ({"text": "fire", "round": 3}, 1, known, ""),  # nothing waits for the last one
    ]


def test_what_has_expired_gets_no_further_round() -> None:
    alert = Escalation(UNTIL)
    alert.event(0, "e", expires=5)
    alert.hear(0, "sent")
    alert.end()

    assert (alert.rounds(), alert.ends()) == ([(0, "push", 1)], [(5, "e", "expired")])


# ── On failure ────────────────────────────────────────────────────────────────────────────────


def test_the_next_round_goes_out_when_the_one_before_has_failed_and_only_then() -> None:
    alert = followed(FAILING, (1, "failed", 1), (1, "sent", 2), (30, "bounced", 2))

    assert alert.rounds() == [(0, "push", 1), (1, "sms", 2), (31, "email", 3)]


@pytest.mark.parametrize("kind", ["sent", "suppressed", "expired", "delivered", "opened"])
def test_what_is_no_failure_as_chosen_is_the_end_of_it(kind: str) -> None:
    alert = followed(FAILING, (1, kind, 1))

    assert (alert.rounds(), alert.ends()) == ([(0, "push", 1)], [])


def test_a_round_that_failed_twice_is_followed_as_long_after_the_first_time() -> None:
    alert = followed(FAILING, (0, "failed", 1), (1, "failed", 2), (1.5, "bounced", 2))

    assert alert.rounds() == [(0, "push", 1), (0, "sms", 2), (2, "email", 3)]


def test_a_failure_that_comes_too_late_is_none() -> None:
    alert = followed(FAILING, (60, "failed", 1))

    assert alert.rounds() == [(0, "push", 1)]


def test_what_was_unknown_and_has_arrived_has_not_failed() -> None:
    alert = followed(FAILING, (0, "failed", 1), (1, "unknown", 2), (1.5, "delivered", 2))

    assert alert.rounds() == [(0, "push", 1), (0, "sms", 2)]


@pytest.mark.parametrize(("minute", "follows"), [(30, True), (59.5, True), (60, False)])
def test_what_has_arrived_after_all_may_still_fail_as_long_as_any(
    minute: float, follows: bool
) -> None:
    alert = followed(
        FAILING,
        (0, "failed", 1),
        (1, "unknown", 2),
        (1.5, "sent", 2),
        (minute, "bounced", 2),
    )

    third = [(minute + 1, "email", 3)] if follows else []
    assert alert.rounds() == [(0, "push", 1), (0, "sms", 2), *third]


def test_what_arrives_when_it_can_fail_no_more_is_over() -> None:
    alert = Escalation(FAILING.replace("after: 1m", "after: 2h"))
    alert.event(0, "e")
    alert.hear(0, "failed")
    alert.hear(1, "unknown", round=2)
    alert.hear(90, "sent", round=2)
    assert alert.out.state is None

    alert.hear(91, "bounced", round=2)
    alert.end()
    assert alert.rounds() == [(0, "push", 1), (0, "sms", 2)]


def test_a_state_that_does_not_say_when_its_round_went_out_counts_from_the_arrival() -> None:
    alert = Escalation(FAILING)
    alert.event(0, "e")
    alert.hear(0, "failed")
    alert.hear(1, "unknown", round=2)
    written_before = [wait[:-1] for wait in msgspec.to_builtins(alert.out.state).values()]
    alert.out.state = msgspec.convert({"e\x1f": written_before[0]}, alert.step.state)
    alert.hear(1.5, "sent", round=2)
    alert.hear(61, "bounced", round=2)
    alert.end()

    assert alert.rounds() == [(0, "push", 1), (0, "sms", 2), (62, "email", 3)]


# ── By an event ───────────────────────────────────────────────────────────────────────────────

ACKNOWLEDGED = f"escalate: {{{ALERT}, until: opened, by: alert, cancel: type == 'ack'}}"


def test_an_event_cancels_what_is_open_under_the_same_by() -> None:
    alert = Escalation(ACKNOWLEDGED)
    alert.event(0, "e1", alert="a1", type="alert")
    alert.event(0, "e2", alert="a2", type="alert")
    alert.event(1, "e3", alert="a1", type="ack")
    alert.event(2, "e4", alert="a3", type="ack")
    alert.end()

    assert [one.event_id for one in alert.out.items] == ["e1", "e2", "e2", "e2"]
    assert alert.ends() == [(1, "e3", "cancels"), (1, "e1", "cancelled"), (2, "e4", "cancels")]


def test_a_newer_event_takes_the_place_of_the_older() -> None:
    alert = Escalation(ACKNOWLEDGED)
    alert.event(0, "e1", alert="a1", type="alert")
    alert.hear(0, "sent", id="e1")
    alert.event(4, "e2", alert="a1", type="alert")
    alert.hear(4, "sent", id="e2")
    alert.end()

    assert alert.rounds() == [(0, "push", 1), (4, "push", 1), (9, "sms", 2), (14, "push", 3)]
    assert alert.ends() == [(4, "e1", "superseded")]


def test_or_is_let_go_while_the_older_is_open() -> None:
    alert = Escalation(ACKNOWLEDGED.replace("by:", "again: ignore, by:"))
    alert.event(0, "e1", alert="a1", type="alert")
    alert.hear(0, "sent", id="e1")
    alert.event(4, "e2", alert="a1", type="alert")
    alert.event(5, "e3", alert="a1", type="ack")
    alert.event(6, "e4", alert="a1", type="alert")

    assert alert.rounds() == [(0, "push", 1), (5, "sms", 2), (6, "push", 1)]
    assert alert.ends() == [(4, "e2", "open"), (5, "e3", "cancels"), (5, "e1", "cancelled")]


def test_a_reminder_goes_out_where_what_it_reminds_of_has_not_come() -> None:
    cart = Escalation(
        "escalate: {rounds: [{channel: push, after: 60m}], by: cart, cancel: type == 'paid'}"
    )
    cart.event(0, "e1", cart=1, type="filled")
    cart.event(0, "e2", cart=2, type="filled")
    cart.event(59, "e3", cart=1, type="paid")
    cart.end()

    assert [(one.event_id, one.data["cart"]) for one in cart.out.items] == [("e2", 2)]
    assert cart.rounds() == [(60, "push", 1)]


def test_a_round_waits_for_its_event() -> None:
    parcel = Escalation(
        "escalate: {rounds: [{channel: push}, {channel: sms, upon: type == 'at_door', within: 2h}],"
        " by: parcel}"
    )
    parcel.event(0, "e1", parcel=1, type="shipped")
    parcel.event(0, "e2", parcel=2, type="shipped")
    parcel.hear(1, "failed", id="e1")
    parcel.event(90, "e3", parcel=1, type="at_door")
    parcel.end()

    assert [(one.event_id, one.round + 1) for one in parcel.out.items] == [
        ("e1", 1),
        ("e2", 1),
        ("e1", 2),
    ]
    assert parcel.ends() == [(90, "e3", "awaited"), (120, "e2", "no_event")]


def test_an_event_that_cannot_be_judged_is_dead_and_ends_nothing() -> None:
    alert = Escalation(ACKNOWLEDGED)
    alert.event(0, "e1", alert="a1", type="alert")
    alert.event(1, "e2", type="ack")
    alert.end()

    assert [reason for reason, _ in alert.out.died] == ["expression"]
    assert len(alert.rounds()) == 3


def test_of_too_many_the_oldest_is_given_up() -> None:
    alert = Escalation(UNTIL.replace("until", "max_open: 2, until"))
    for number in range(3):
        alert.event(number, f"e{number}")

    assert alert.ends() == [(2, "e0", "too_many_open")]


def test_of_too_large_ones_too_and_the_newest_is_never_refused() -> None:
    alert = Escalation(UNTIL.replace("until", "max_bytes: 1024, until"))
    alert.event(0, "small")
    alert.event(1, "large", text="x" * 1_020)
    alert.event(2, "larger", text="x" * 2_000)

    assert alert.ends() == [(1, "small", "too_many_open"), (2, "large", "too_many_open")]
    assert len(alert.rounds()) == 3


@pytest.mark.parametrize(
    ("text", "open_"),
    [("x" * 501, 2), ("x" * 502, 1), ("é" * 250 + "x", 2), ("é" * 251, 1)],
)
def test_how_much_is_open_is_counted_in_bytes_of_json(text: str, open_: int) -> None:
    alert = Escalation(UNTIL.replace("until", "max_bytes: 1024, until"))
    for number in range(2):
        alert.event(0, f"e{number}", text=text)  # {"text":"…"} is 11 bytes and the text

    assert len(alert.out.state) == open_


# ── A first round that another flow sends ─────────────────────────────────────────────────────

WATCH = (
    "escalate: {rounds: [{channel: sms, sent_by: otp}, {channel: sms, after: 1m}],"
    " until: delivered, accepted_within: 2m, by: who}"
)


def test_a_round_that_another_flow_has_sent_is_waited_for() -> None:
    watch = Escalation(WATCH)
    watch.event(0, "e", who=1)
    watch.hear(0.5, "sent")
    watch.end()

    assert watch.rounds() == [(1.5, "sms", 2)]
    assert watch.out.items[0].detour == 1


@pytest.mark.parametrize(
    ("news", "rounds"),
    [
        (["sent"], [(2, "sms", 2)]),
        (["failed", "failed"], [(1, "sms", 2)]),
        (["sent", "delivered"], []),
        (["delivered", "opened"], []),  # the first has ended it, the second is about nothing
        (["sent", "sent"], [(2, "sms", 2)]),
    ],
)
def test_news_that_comes_before_its_event_is_kept_for_it(news: list[str], rounds: Any) -> None:
    watch = Escalation(WATCH)
    for kind in news:
        watch.hear(0, kind)
    watch.event(1, "e", who=1)
    watch.end()

    assert watch.rounds() == rounds
    assert watch.ends() == ([] if rounds else [(1, "e", "engaged")])


def test_news_that_is_told_twice_is_kept_once() -> None:
    watch = Escalation(WATCH)
    for _ in range(3):
        watch.hear(0, "sent")

    assert [wait.news for wait in watch.out.state.values()] == [("sent",)]


def test_news_of_a_round_of_its_own_waits_for_no_event() -> None:
    watch = Escalation(WATCH.replace("], until", ", {channel: email, after: 1m}], until"))
    watch.event(0, "e", who=1)
    watch.hear(0, "failed")
    watch.hear(1, "failed", round=2)  # the last one goes out
    watch.hear(2, "bounced", round=2)

    assert watch.rounds() == [(0, "sms", 2), (1, "email", 3)]
    assert watch.out.state is None


def test_news_whose_event_never_comes_is_forgotten() -> None:
    watch = Escalation(WATCH)
    watch.hear(0, "sent")
    watch.event(15, "e", who=1)
    watch.end()

    assert watch.rounds() == [(17, "sms", 2)]  # as if nobody had accepted it


# ── What makes no sense ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("rounds: [{channel: push, upon: a == 1}]", "`upon` and `within` go together"),
        ("rounds: [{channel: push, after: 1m, sent_by: otp}]", "`after` and `sent_by`"),
        ("rounds: [{channel: push, sent_by: otp}]", "the only one here"),
        (
            "rounds: [{channel: push}, {channel: sms, sent_by: o}], on_failure: failed",
            "only the first round",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_problems(settings: str, message: str) -> None:
    with pytest.raises(ProblemsError, match=message):
        built(f"escalate: {{{settings}}}", Part.KEYED)


def test_an_unknown_channel_is_a_problem_with_the_likely_word() -> None:
    with pytest.raises(ValueProblem, match="no channel `pusch`"):
        built("escalate: {rounds: [{channel: pusch}]}", Part.KEYED)
