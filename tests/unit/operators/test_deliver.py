"""deliver: which channels are chosen, what the delivery says, and that a replay says it again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.operators.support import (
    HOUR,
    NOW,
    Outbox,
    built,
    item,
    mailbox,
    mobile,
    phone,
    ports,
    reads,
)
from tidings.contract import Item
from tidings.ports import Profile
from tidings.problems import ProblemsError, ValueProblem
from tidings.records import Delivery, Origin

FULL = Profile(addresses=(phone(), mailbox(), mobile()))
MAIL_ONLY = Profile(addresses=(mailbox(),))


def delivered(step: str, *items: Item, **site: Any) -> Outbox[Item]:
    outbox = Outbox(items)
    people = {"ana": FULL, "bob": MAIL_ONLY}
    built(step, **site).process(outbox, ports(people), NOW)
    assert outbox.items == []  # deliver is an end
    return outbox


def ana(**data: Any) -> Item:
    return item({"recipient_id": "ana", **data})


def test_the_delivery_tells_all_that_its_lane_needs() -> None:
    event = item(
        {"recipient_id": "ana", "type": "order_paid", "order": "o1"},
        offset=7,
        event_id="e7",
        tenant="acme",
        category="social",
    )

    outbox = delivered(
        "deliver: {first_of: [push, email], template: order_update, expires: 6h,"
        " priority: critical}",
        event,
    )

    assert outbox.delivered == [
        Delivery(
            notif_id="c88d3c87c0f4a88944f4d30dc7d85f1a",
            recipient_id="ana",
            flow="f",
            step="f.deliver",
            version="v1",
            channel="push",
            template="order_update",
            category="social",
            created_at=NOW,
            origin=Origin("events", 0, 7),
            tenant="acme",
            priority="high",
            data={"recipient_id": "ana", "type": "order_paid", "order": "o1"},
            chain=("email",),
            expires_at=NOW + 6 * HOUR,
        )
    ]


@pytest.mark.parametrize(
    ("step", "recipient", "denied", "channels"),
    [
        ("first_of: [push, email, sms]", "ana", {}, [("push", ("email", "sms"))]),
        ("first_of: [push, email, sms]", "ana", {"push": "x"}, [("email", ("sms",))]),
        ("first_of: [push, email, sms]", "ana", {"email": "x"}, [("push", ("sms",))]),
        ("first_of: [push, email, sms]", "bob", {}, [("email", ())]),
        ("each_of: [push, email, sms]", "ana", {}, [("push", ()), ("email", ()), ("sms", ())]),
        ("each_of: [push, email, sms]", "ana", {"email": "x"}, [("push", ()), ("sms", ())]),
        ("each_of: [push, email, sms]", "bob", {}, [("email", ())]),
        ("to: sms", "ana", {}, [("sms", ())]),
    ],
)
def test_channels_that_reach_the_person_and_are_allowed_qualify(
    step: str, recipient: str, denied: dict[str, str], channels: list[tuple[str, tuple[str, ...]]]
) -> None:
    event = item({"recipient_id": recipient}, denied=denied)

    outbox = delivered(f"deliver: {{{step}, template: t}}", event)

    assert [(each.channel, each.chain) for each in outbox.delivered] == channels
    assert outbox.dropped == []


@pytest.mark.parametrize(
    ("recipient", "denied", "reason", "detail"),
    [
        ("eve", {}, "unreachable", "push=unreachable sms=unreachable"),
        ("bob", {}, "unreachable", "push=unreachable sms=unreachable"),
        (
            "ana",
            {"push": "user.channel", "sms": "opt_in"},
            "no_consent",
            "push=user.channel sms=opt_in",
        ),
    ],
)
def test_what_no_channel_qualifies_for_ends_with_the_reason(
    recipient: str, denied: dict[str, str], reason: str, detail: str
) -> None:
    event = item({"recipient_id": recipient}, denied=denied)

    outbox = delivered("deliver: {first_of: [push, sms], template: t}", event)

    assert outbox.delivered == []
    assert outbox.dropped == [(event, "suppressed", reason, detail)]


def test_an_address_that_is_not_verified_reaches_nobody() -> None:
    outbox = Outbox([ana()])
    stale = Profile(addresses=(phone(verified=False),))

    built("deliver: {to: push, template: t}").process(outbox, ports({"ana": stale}), NOW)

    assert [each.reason for each in outbox.dropped] == ["unreachable"]


def test_a_replay_makes_the_same_id_and_another_event_or_person_another() -> None:
    step = "deliver: {to: email, template: t}"
    runs = [
        item({"recipient_id": "ana"}, event_id="e1"),
        item({"recipient_id": "ana"}, event_id="e1"),
        item({"recipient_id": "ana"}, event_id="e2"),
        item({"recipient_id": "bob"}, event_id="e1"),
    ]

    first, replay, other_event, other_person = [
        each.notif_id for each in delivered(step, *runs).delivered
    ]

    assert first == replay
    assert len({first, other_event, other_person}) == 3


@pytest.mark.parametrize(
    ("expires_at", "expected"), [(0, NOW + 6 * HOUR), (NOW + HOUR, NOW + HOUR)]
)
def test_expires_brings_an_earlier_moment_forward_only(expires_at: int, expected: int) -> None:
    event = item({"recipient_id": "ana"}, expires_at=expires_at)

    outbox = delivered("deliver: {to: push, template: t, expires: 6h}", event)

    assert outbox.delivered[0].expires_at == expected


def test_what_came_into_the_log_past_its_moment_is_not_delivered_whatever_it_is_batched_with() -> (
    None
):
    late = item({"recipient_id": "ana"}, expires_at=NOW - HOUR)
    old = item({"recipient_id": "ana"}, time=NOW - 6 * HOUR)  # its lane knows how late it is

    outbox = delivered("deliver: {to: push, template: t, expires: 6h}", late, old)

    assert [each.expires_at for each in outbox.delivered] == [NOW]
    assert outbox.dropped == [(late, "expired", "expired", "")]


def test_what_a_fan_out_made_of_one_event_are_notifications_of_their_own() -> None:
    event = item({"recipient_id": "ana"})
    copies = [event, event.copy(0, 2), event.copy(1, 2), event.copy(1, 2).copy(0, 2)]

    delivered_ = delivered("deliver: {to: push, template: t}", *copies, event.copy(1, 2))

    *different, replayed = [each.notif_id for each in delivered_.delivered]
    assert len(set(different)) == 4
    assert replayed == different[2]


NOTIFY = (
    "deliver: {first_of: [push, email, sms], channels: channels, template: notify,"
    " template_id: template_id, notif_id: notif_id, campaign_id: campaign_id,"
    " collapse_key: collapse_key, data: data}"
)


def test_a_ready_notification_may_say_everything_itself() -> None:
    event = ana(
        type="news",
        channels=["sms", "email"],
        template_id="summer",
        notif_id="their-id",
        campaign_id="c1",
        collapse_key="k1",
        data={"sale": "30 %"},
    )

    (delivery,) = delivered(NOTIFY, event).delivered

    assert (delivery.channel, delivery.chain) == ("sms", ("email",))
    assert (delivery.template, delivery.notif_id) == ("summer", "their-id")
    assert (delivery.campaign_id, delivery.collapse_key) == ("c1", "k1")
    assert delivery.data == {"type": "news", "sale": "30 %"}


def test_what_a_ready_notification_leaves_out_is_the_steps() -> None:
    (delivery,) = delivered(NOTIFY, ana(channels=[], template_id="", data={})).delivered

    assert (delivery.channel, delivery.chain) == ("push", ("email", "sms"))
    assert (delivery.template, delivery.campaign_id, delivery.collapse_key) == ("notify", "", "")
    assert len(delivery.notif_id) == 32
    (bare,) = delivered(NOTIFY, ana()).delivered
    assert (bare.channel, bare.template, bare.data) == ("push", "notify", {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": ["pigeon"]},
        {"channels": "push"},
        {"channels": [1]},
        {"template_id": {"a": 1}},
        {"notif_id": True},
        {"notif_id": "n" * 1_025},
        {"data": "text"},
    ],
)
def test_a_wish_that_makes_no_sense_goes_to_the_dead_letters(wrong: dict[str, Any]) -> None:
    outbox = delivered(NOTIFY, ana(**{"data": {}, **wrong}))

    assert outbox.delivered == []
    assert [each.reason for each in outbox.died] == ["expression"]
    assert next(iter(wrong)) in outbox.died[0].error or "template" in outbox.died[0].error


def test_fields_makes_the_delivery_small_and_keeps_the_type() -> None:
    event = ana(type="like", photo={"id": "p1", "blob": "x" * 1000}, note="n")

    outbox = delivered("deliver: {to: push, template: t, fields: [photo.id, note, none]}", event)

    assert outbox.delivered[0].data == {"type": "like", "id": "p1", "note": "n"}


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        ("deliver: {to: push, template: t}", None),
        ("deliver: {to: push, template: t, fields: [a.b, c]}", {"type", "a", "c"}),
        ("deliver: {to: push, template: t, data: d, notif_id: n}", {"type", "d", "n"}),
    ],
)
def test_it_tells_which_fields_it_reads(step: str, fields: set[str] | None) -> None:
    assert reads(step) == fields


def test_the_category_is_consents_else_the_steps_else_by_type() -> None:
    types = {"news": "promo"}
    asked = item({"recipient_id": "ana", "type": "news"}, category="security")

    def category(step: str, event: Item) -> str:
        return (
            delivered(f"deliver: {{to: push, template: t{step}}}", event, types=types)
            .delivered[0]
            .category
        )

    assert category(", category: social", asked) == "security"
    assert category(", category: social", ana(type="news")) == "social"
    assert category("", ana(type="news")) == "promo"
    assert category("", ana(type="odd")) == ""


@pytest.mark.parametrize(
    ("step", "site", "priority"),
    [("", "", "normal"), ("", "low", "low"), (", priority: standard", "low", "normal")],
)
def test_the_priority_is_the_steps_else_the_processs(step: str, site: str, priority: str) -> None:
    outbox = delivered(f"deliver: {{to: push, template: t{step}}}", ana(), priority=site)

    assert outbox.delivered[0].priority == priority


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("deliver: {to: push, first_of: [sms], template: t}", "got `first_of` and `to`"),
        ("deliver: {to: push}", "needs `template`"),
        ("deliver: {to: push, template: t, fields: [a], data: b}", "got both"),
        ("deliver: {to: push, template: t, priority: nornal}", "did you mean `normal`"),
    ],
)
def test_a_step_that_makes_no_sense_is_a_problem(step: str, message: str) -> None:
    with pytest.raises(ProblemsError, match=message):
        built(step)


def test_an_unknown_channel_is_a_problem_with_the_likely_word() -> None:
    with pytest.raises(ValueProblem, match="no channel `puhs`") as caught:
        built("deliver: {first_of: [puhs], template: t}")
    assert caught.value.hint == "did you mean `push`?"
