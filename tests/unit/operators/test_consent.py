"""consent: asked by a flow for all channels at once, and by a lane again for its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.operators.support import (
    CATEGORIES,
    NOW,
    Folk,
    List,
    Outbox,
    built,
    item,
    mailbox,
    mobile,
    phone,
    ports,
    reads,
    work,
)
from tidings.contract import Part, Tenant
from tidings.ports import Profile, Suppression
from tidings.problems import ValueProblem

ANA = Profile(addresses=(phone(), mailbox("ana@example.com"), mobile()))


def test_a_flow_learns_the_profile_the_category_and_the_denied_channels() -> None:
    step = built("consent: {category: social}")
    ana = Profile(channels={"sms": False}, addresses=ANA.addresses)
    outbox = Outbox([item({"recipient_id": "ana"})])

    step.process(outbox, ports(people={"ana": ana}), NOW)

    (passed,) = outbox.items
    assert passed.profile is ana
    assert passed.category == "social"
    assert passed.denied == {"sms": "user.channel"}


def test_a_flow_ends_what_no_channel_is_left_for_and_says_what_closed_each() -> None:
    step = built("consent: {category: promo}")
    outbox = Outbox([item({"recipient_id": "ana"})])

    step.process(outbox, ports(people={"ana": Profile(channels={"push": False})}), NOW)

    assert outbox.items == []
    assert [each[1:] for each in outbox.dropped] == [
        ("suppressed", "no_consent", "push=user.channel email=opt_in sms=opt_in")
    ]


def test_a_batch_asks_once_and_once_for_each_person() -> None:
    step = built("consent: {category: social}")
    people, listed = Folk({"ana": ANA}), List([])
    outbox = Outbox([item({"recipient_id": who}) for who in ("ana", "bob", "ana")])

    step.process(outbox, ports()._replace(people=people, suppressions=listed), NOW)

    assert [[each.recipient_id for each in asked] for asked in people.asked] == [["ana", "bob"]]
    assert len(listed.asked) == 1


def test_a_channel_whose_every_address_is_suppressed_is_denied() -> None:
    step = built("consent: {category: social}")
    two = Profile(addresses=(phone("t1"), phone("t2"), mailbox("ana@example.com")))
    complained = Suppression(channel="email", address="ana@example.com", reason="complaint")
    one_dead = Suppression(channel="push", address="t1", reason="gone")
    outbox = Outbox([item({"recipient_id": "ana"})])

    step.process(outbox, ports({"ana": two}, [complained, one_dead]), NOW)

    assert outbox.items[0].denied == {"email": "suppressed"}


def test_what_is_suppressed_for_one_is_so_for_nobody_else() -> None:
    people = {who: Profile(addresses=(phone(who),)) for who in ("ana", "bob", "eve")}
    gone = Suppression(channel="push", address="bob", reason="gone")
    outbox = Outbox([item({"recipient_id": who}) for who in people])

    built("consent: {category: social}").process(outbox, ports(people, [gone]), NOW)

    assert [each.denied for each in outbox.items] == [{}, {"push": "suppressed"}, {}]


def test_the_category_is_looked_up_by_the_events_type() -> None:
    step = built("consent: {}", types={"sale": "promo", "login": "security"})
    sale, login = item({"type": "sale"}), item({"type": "login"})
    odd, none = item({"type": "odd"}), item({})
    outbox = Outbox([sale, login, odd, none])

    step.process(outbox, ports(), NOW)

    assert outbox.items == [login]
    assert login.category == "security"
    assert [each.item for each in outbox.dropped] == [sale]
    assert [(each.item, each.reason) for each in outbox.died] == [
        (odd, "unknown_type"),
        (none, "unknown_type"),
    ]
    assert "'odd' has no category" in outbox.died[0].error


def test_each_tenants_own_rules_hold_for_its_people() -> None:
    step = built("consent: social", tenants={"acme": Tenant(off=frozenset({"*"}))})
    ours, theirs = item({"recipient_id": "ana"}), item({"recipient_id": "ana"}, tenant="acme")
    outbox = Outbox([ours, theirs])

    step.process(outbox, ports(people={"ana": ANA}), NOW)

    assert outbox.items == [ours]


def test_an_unknown_category_is_a_problem_with_the_likely_word() -> None:
    with pytest.raises(ValueProblem, match="no category `socail`") as caught:
        built("consent: {category: socail}")
    assert caught.value.hint == "did you mean `social`?"


def test_a_lane_asks_again_for_its_own_channel() -> None:
    step = built("consent: {}", Part.LANE, channel="push")
    people = {"ana": ANA, "bob": Profile(channels={"push": False}, addresses=ANA.addresses)}
    to_ana, to_bob = work("ana"), work("bob")
    outbox = Outbox([to_ana, to_bob])

    step.process(outbox, ports(people), NOW)

    assert outbox.items == [to_ana]
    assert to_ana.profile is people["ana"]
    assert outbox.dropped == [(to_bob, "suppressed", "no_consent", "user.channel")]


@pytest.mark.parametrize(("category", "passes"), [("social", False), ("security", True)])
def test_a_lane_knows_what_is_critical(category: str, passes: bool) -> None:
    step = built("consent: {}", Part.LANE, categories=CATEGORIES)
    profile = Profile(categories={"social": False, "security": False})
    outbox = Outbox([work("ana", category=category)])

    step.process(outbox, ports({"ana": profile}), NOW)

    assert len(outbox.items) == int(passes)


def test_a_lane_heeds_the_type_of_the_event() -> None:
    step = built("consent: {}", Part.LANE)
    profile = Profile(types={"like": False})
    like, comment = work("ana", data={"type": "like"}), work("ana", data={"type": "comment"})
    outbox = Outbox([like, comment])

    step.process(outbox, ports({"ana": profile}), NOW)

    assert outbox.items == [comment]


@pytest.mark.parametrize(
    ("profile", "category", "passes"),
    [
        (Profile(), "social", False),
        (Profile(channels={"sms": True}), "social", True),
        (Profile(categories={"social": True}), "social", True),
        (Profile(pairs={"social/sms": True}), "social", True),
        (Profile(channels={"push": True}), "social", False),
        (Profile(channels={"sms": True}, categories={"social": False}), "social", False),
        (Profile(), "security", True),
    ],
)
def test_a_lane_that_needs_a_yes_takes_no_silence_for_one(
    profile: Profile, category: str, passes: bool
) -> None:
    step = built("consent: {opt_in: true}", Part.LANE, channel="sms", categories=CATEGORIES)
    outbox = Outbox([work("ana", category=category, channel="sms")])

    step.process(outbox, ports({"ana": profile}), NOW)

    assert len(outbox.items) == int(passes)


def test_a_tenants_default_is_nobodys_yes() -> None:
    tenants = {"default": Tenant(channels={"sms": True})}
    step = built("consent: {opt_in: true}", Part.LANE, channel="sms", tenants=tenants)
    asked = work("ana", category="social", channel="sms")
    outbox = Outbox([asked])

    step.process(outbox, ports({"ana": Profile()}), NOW)

    assert outbox.dropped == [(asked, "suppressed", "no_consent", "opt_in")]


@pytest.mark.parametrize("fields", ["category: social", "muted: [actor_id]"])
def test_in_a_lane_it_takes_no_category_and_no_fields(fields: str) -> None:
    with pytest.raises(ValueProblem, match=f"no `?{fields.split(':')[0]}`? in a lane"):
        built(f"consent: {{{fields}}}", Part.LANE)


MUTES_BOB = Profile(addresses=ANA.addresses, muted={"actor_id": frozenset({"bob", "7"})})


@pytest.mark.parametrize(
    ("category", "actor", "passes"),
    [
        ("social", "bob", False),
        ("social", 7, False),
        ("social", "eve", True),
        ("social", None, True),
        ("security", "bob", True),
    ],
)
def test_what_the_person_has_muted_is_a_no_but_in_critical_categories(
    category: str, actor: Any, passes: bool
) -> None:
    step = built(f"consent: {{category: {category}, muted: [actor_id]}}")
    outbox = Outbox([item({"recipient_id": "ana", "actor_id": actor})])

    step.process(outbox, ports({"ana": MUTES_BOB}), NOW)

    assert len(outbox.items) == int(passes)
    assert [each.detail for each in outbox.dropped] == (
        [] if passes else ["push=user.muted email=user.muted sms=user.muted"]
    )


def test_what_is_muted_is_asked_by_the_fields_that_the_flow_names() -> None:
    step = built("consent: {category: social, muted: [photo_id]}")
    outbox = Outbox([item({"recipient_id": "ana", "actor_id": "bob"})])

    step.process(outbox, ports({"ana": MUTES_BOB}), NOW)

    assert len(outbox.items) == 1
    assert reads("consent: {category: social, muted: [photo_id]}") == frozenset(
        {"type", "photo_id"}
    )


def test_a_lane_heeds_what_is_muted_by_any_field() -> None:
    step = built("consent: {}", Part.LANE, categories=CATEGORIES)
    by_bob, by_eve = work("ana", data={"actor_id": "bob"}), work("ana", data={"actor_id": "eve"})
    outbox = Outbox([by_bob, by_eve])

    step.process(outbox, ports({"ana": MUTES_BOB}), NOW)

    assert outbox.items == [by_eve]
    assert outbox.dropped == [(by_bob, "suppressed", "no_consent", "user.muted")]
