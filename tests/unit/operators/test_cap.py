"""cap and deliver: what is counted, on which channel, and what becomes of what has no room."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.counting_caps import CountingCaps
from tests.unit.operators.support import (
    HOUR,
    NOW,
    Down,
    Outbox,
    built,
    item,
    mailbox,
    mobile,
    phone,
    ports,
)
from tidings.contract import Category, Item
from tidings.ports import Io, Profile, Unavailable
from tidings.problems import ProblemsError, ValueProblem
from tidings.records import Allowance
from tidings.stores.clock import ManualClock

CATEGORIES = {
    "social": Category("social"),
    "promo": Category("promo", marketing=True),
    "orders": Category("orders", transactional=True),
    "security": Category("security", critical=True),
}
PEOPLE = {
    "ana": Profile(addresses=(phone(), mailbox(), mobile())),
    "bob": Profile(addresses=(phone(),)),
}
TWO_PUSH = "cap: {channel: push, at_most: 2, within: 1h}"
FIRST = "deliver: {first_of: [push, email], template: t, category: social}"


class Tail:
    """The tail of a flow: these caps, and a deliver behind them."""

    def __init__(self, *steps: str, **site: Any) -> None:
        self.caps = CountingCaps()
        self.clock = ManualClock(NOW)
        *says, deliver = steps
        self.says = [built(each, categories=CATEGORIES, **site) for each in says]
        self.deliver = built(deliver, categories=CATEGORIES, **site)

    def io(self) -> Io:
        return ports(PEOPLE, caps=self.caps, clock=self.clock)

    def run(self, *items: Item) -> Outbox[Item]:
        outbox = Outbox(items)
        for step in (*self.says, self.deliver):
            step.process(outbox, self.io(), NOW)
        return outbox

    def channels(self, *items: Item) -> list[str]:
        return [each.channel for each in self.run(*items).delivered]


def event(id: str, recipient: str = "ana", **fields: Any) -> Item:
    return item({"recipient_id": recipient}, event_id=id, **fields)


def test_what_has_no_room_on_a_channel_goes_on_the_next_one() -> None:
    tail = Tail(TWO_PUSH, FIRST)

    outbox = tail.run(*(event(f"e{n}") for n in range(4)))

    assert [(each.channel, each.chain, each.caps) for each in outbox.delivered] == [
        ("push", ("email",), ("push/all/1h",)),
        ("push", ("email",), ("push/all/1h",)),
        ("email", (), ()),
        ("email", (), ()),
    ]


def test_the_delivery_says_what_the_channels_behind_it_are_to_be_counted_against() -> None:
    first = "deliver: {first_of: [push, email, sms], template: t, category: promo}"
    tail = Tail("cap: {exempt: [promo]}", first)

    (delivery,) = tail.run(event("e1")).delivered

    assert delivery.caps == ("push/all/1h",)
    assert delivery.allowances == {
        "email": (Allowance("email/marketing/1d", 1, 24 * HOUR, exempt=True),),
        "sms": (Allowance("sms/all/1d", 5, 24 * HOUR, exempt=True),),
    }


def test_what_no_cap_is_about_is_not_on_the_delivery() -> None:
    (delivery,) = Tail(TWO_PUSH, FIRST).run(event("e1")).delivered

    assert (delivery.chain, delivery.allowances) == (("email",), {})


def test_what_has_no_room_anywhere_ends_suppressed() -> None:
    tail = Tail(TWO_PUSH, FIRST)

    outbox = tail.run(*(event(f"e{n}", "bob") for n in range(3)))

    assert len(outbox.delivered) == 2
    (dropped,) = outbox.dropped
    assert (dropped.kind, dropped.reason) == ("suppressed", "cap")
    assert dropped.detail == "email=unreachable push=cap:push/all/1h"


def test_each_person_is_counted_alone_and_tenants_apart() -> None:
    tail = Tail("cap: {channel: push, at_most: 1, within: 1h}", FIRST)

    channels = tail.channels(event("e1"), event("e2", "bob"), event("e3", tenant="acme"))

    assert channels == ["push", "push", "push"]


def test_the_window_rolls_by_the_clock_on_the_wall() -> None:
    tail = Tail(TWO_PUSH, FIRST)
    old = NOW - 9 * HOUR  # by the log's time they are hours apart; the person gets them now
    assert tail.channels(event("e1", time=old), event("e2"), event("e3")) == [
        "push",
        "push",
        "email",
    ]

    tail.clock.advance(HOUR - 1)
    assert tail.channels(event("e4")) == ["email"]
    tail.clock.advance(1)
    assert tail.channels(event("e5")) == ["push"]


def test_a_replay_finds_itself_counted() -> None:
    tail = Tail(TWO_PUSH, FIRST)
    events = [event("e1"), event("e2"), event("e3")]

    assert tail.channels(*events) == tail.channels(*events) == ["push", "push", "email"]


def test_a_batch_is_one_round_trip_while_there_is_room() -> None:
    tail = Tail("cap: {}", "deliver: {each_of: [push, email, sms], template: t, category: promo}")

    tail.run(event("e1"), event("e2", "bob"))

    (asked,) = tail.caps.calls
    assert [(each.key, each.at_most, each.within_ms) for each in asked] == [
        ("ana\x1fpush/all/1h", 3, HOUR),
        ("ana\x1femail/marketing/1d", 1, 24 * HOUR),
        ("ana\x1fsms/all/1d", 5, 24 * HOUR),
        ("bob\x1fpush/all/1h", 3, HOUR),
    ]


def test_what_no_cap_is_about_is_not_asked() -> None:
    tail = Tail("cap: {channel: email, at_most: 1, within: 1d, counts: marketing}", FIRST)

    assert tail.channels(event("e1")) == ["push"]
    assert tail.caps.calls == []


@pytest.mark.parametrize(
    ("category", "exempt", "passes"),
    [
        ("social", "", 2),
        ("promo", "", 2),
        ("orders", "", 3),
        ("security", "", 3),
        ("social", ", exempt: [social]", 3),
    ],
)
def test_exempt_ones_pass_and_still_count(category: str, exempt: str, passes: int) -> None:
    cap = f"cap: {{channel: push, at_most: 2, within: 1h{exempt}}}"
    tail = Tail(cap, f"deliver: {{to: push, template: t, category: {category}}}")

    assert len(tail.channels(*(event(f"e{n}") for n in range(3)))) == passes
    others = Tail(TWO_PUSH, FIRST)
    others.caps = tail.caps
    assert others.channels(event("later")) == ["email"]


@pytest.mark.parametrize(
    ("counts", "category", "counted"),
    [("marketing", "promo", True), ("marketing", "social", False), ("social", "social", True)],
)
def test_what_is_counted_goes_by_the_category(counts: str, category: str, counted: bool) -> None:
    cap = f"cap: {{channel: push, at_most: 1, within: 1h, counts: {counts}}}"
    tail = Tail(cap, f"deliver: {{to: push, template: t, category: {category}}}")

    (delivery,) = tail.run(event("e1")).delivered

    assert delivery.caps == ((f"push/{counts}/1h",) if counted else ())


def test_of_two_caps_over_one_count_the_smaller_holds() -> None:
    three = "cap: {channel: push, at_most: 3, within: 60m}"
    tail = Tail(three, TWO_PUSH, FIRST)

    assert tail.channels(*(event(f"e{n}") for n in range(3))) == ["push", "push", "email"]


def test_flows_share_a_count_and_hold_to_their_own_number() -> None:
    two, five = Tail(TWO_PUSH, FIRST), Tail("cap: {channel: push, at_most: 5, within: 1h}", FIRST)
    five.caps = two.caps

    assert two.channels(event("e1"), event("e2"), event("e3")) == ["push", "push", "email"]
    assert five.channels(*(event(f"f{n}") for n in range(4))) == ["push"] * 3 + ["email"]


def test_what_one_cap_refuses_takes_no_room_in_another() -> None:
    day = "cap: {channel: push, at_most: 4, within: 1d}"
    tail = Tail(TWO_PUSH, day, FIRST)
    assert tail.channels(*(event(f"e{n}") for n in range(9))) == ["push"] * 2 + ["email"] * 7

    tail.clock.advance(HOUR)

    assert tail.channels(*(event(f"f{n}") for n in range(3))) == ["push"] * 2 + ["email"]
    assert len(tail.caps.calls) == 2  # nothing has to be asked again


def test_what_was_sent_is_not_uncounted_by_a_replay_that_finds_no_room() -> None:
    tail = Tail(TWO_PUSH, "cap: {channel: push, at_most: 3, within: 1d}", FIRST)
    assert tail.channels(event("e1")) == ["push"]
    tail.clock.advance(3 * HOUR)  # the count of the hour has forgotten it
    assert tail.channels(event("e2"), event("e3")) == ["push", "push"]

    assert tail.channels(event("e1")) == ["email"]

    tail.clock.advance(HOUR)
    assert tail.channels(event("e4")) == ["email"]  # of the day three are gone


def test_without_the_counts_normal_and_low_wait_with_nothing_changed() -> None:
    for priority in ("normal", "low"):
        tail = Tail(TWO_PUSH, FIRST, priority=priority)
        tail.caps.away = True
        late, fresh = event("e1", expires_at=NOW), event("e2")
        outbox = Outbox([late, fresh])
        tail.says[0].process(outbox, tail.io(), NOW)

        with pytest.raises(Unavailable):
            tail.deliver.process(outbox, tail.io(), NOW)

        assert (outbox.items, outbox.dropped, outbox.delivered) == ([late, fresh], [], [])


def test_without_the_counts_high_passes_uncounted() -> None:
    tail = Tail(TWO_PUSH, FIRST, priority="high")
    tail.caps.away = True

    (delivery,) = tail.run(event("e1")).delivered

    assert (delivery.channel, delivery.caps) == ("push", ())


def test_where_there_is_no_cap_nothing_is_asked() -> None:
    outbox = Outbox([event("e1")])

    built(FIRST, categories=CATEGORIES).process(outbox, ports(PEOPLE, caps=Down()), NOW)

    assert [each.channel for each in outbox.delivered] == ["push"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{channel: push}", "a cap needs `at_most` and `within` as well"),
        ("{at_most: 3, within: 1h}", "a cap needs `channel` as well"),
        ("{counts: marketing}", "a cap needs `channel`, `at_most` and `within` as well"),
        ("{channel: push, at_most: 0, within: 1h}", "must be at least 1"),
        ("{channel: push, at_most: 1, within: 40d}", "must be at most 31d, got 5w5d"),
    ],
)
def test_a_cap_that_makes_no_sense_is_refused(fields: str, message: str) -> None:
    with pytest.raises(ProblemsError) as raised:
        built(f"cap: {fields}")

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{channel: puhs, at_most: 1, within: 1h}", "there is no channel `puhs`"),
        ("{exempt: [ordres]}", "there is no category `ordres` in the configuration"),
        (
            "{channel: push, at_most: 1, within: 1h, counts: ordres}",
            "there is no category `ordres` in the configuration",
        ),
    ],
)
def test_a_name_that_is_unknown_is_refused_with_the_likely_word(fields: str, message: str) -> None:
    with pytest.raises(ValueProblem) as raised:
        built(f"cap: {fields}", categories=CATEGORIES)

    assert raised.value.message == message
    assert str(raised.value.hint).startswith("did you mean")
