"""The consent decision, rule by rule: what decides, and what does not get to speak."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.consent import decide
from tidings.contract import Category, Tenant
from tidings.ports import Profile

SOCIAL = Category("social")
PROMO = Category("promo", marketing=True, opt_in=True)
NEWS = Category("news", marketing=True)
CODES = Category("codes", critical=True)
RECALL = Category("recall", critical=True, mandatory=True)

NO_PUSH = {"channels": {"push": False}}


@pytest.mark.parametrize(
    ("person", "category", "rule"),
    [
        # Nobody has said anything.
        ({}, SOCIAL, "yes default"),
        ({}, NEWS, "yes default"),
        ({}, PROMO, "no opt_in"),
        # One choice of the person.
        ({"channels": {"push": False}}, SOCIAL, "no user.channel"),
        ({"channels": {"email": False}}, SOCIAL, "yes default"),
        ({"channels": {"push": True}}, SOCIAL, "yes user.channel"),
        ({"categories": {"social": False}}, SOCIAL, "no user.category"),
        ({"categories": {"promo": True}}, PROMO, "yes user.category"),
        ({"pairs": {"social/push": False}}, SOCIAL, "no user.pair"),
        ({"pairs": {"social/email": False}}, SOCIAL, "yes default"),
        ({"pairs": {"promo/push": True}}, PROMO, "yes user.pair"),
        ({"types": {"like": False}}, SOCIAL, "no user.type"),
        ({"types": {"comment": False}}, SOCIAL, "yes default"),
        ({"categories": {"marketing": False}}, NEWS, "no user.marketing"),
        ({"categories": {"marketing": False}}, SOCIAL, "yes default"),
        ({"categories": {"marketing": True}}, PROMO, "yes user.marketing"),
        # Within a dimension the specific beats the general.
        ({"categories": {"social": False}, "types": {"like": True}}, SOCIAL, "yes user.type"),
        ({"categories": {"social": True}, "types": {"like": False}}, SOCIAL, "no user.type"),
        (
            {"categories": {"social": False}, "pairs": {"social/push": True}},
            SOCIAL,
            "yes user.pair",
        ),
        ({"categories": {"marketing": False, "news": True}}, NEWS, "yes user.category"),
        ({"categories": {"marketing": True, "news": False}}, NEWS, "no user.category"),
        # A no wins between type and pair, and between what and where.
        ({"types": {"like": True}, "pairs": {"social/push": False}}, SOCIAL, "no user.pair"),
        ({"types": {"like": False}, "pairs": {"social/push": True}}, SOCIAL, "no user.type"),
        ({"categories": {"social": True}, **NO_PUSH}, SOCIAL, "no user.channel"),
        ({"pairs": {"social/push": True}, **NO_PUSH}, SOCIAL, "no user.channel"),
        (
            {"categories": {"social": False}, "channels": {"push": True}},
            SOCIAL,
            "no user.category",
        ),
        # A yes to the channel is no yes to what comes over it.
        ({"channels": {"push": True}}, PROMO, "no opt_in"),
    ],
)
def test_the_persons_own_choice(person: dict[str, Any], category: Category, rule: str) -> None:
    assert said(Profile(**person), Tenant(), category) == rule


@pytest.mark.parametrize(
    ("tenant", "person", "category", "rule"),
    [
        ({"categories": {"social": False}}, {}, SOCIAL, "no tenant.category"),
        ({"categories": {"promo": True}}, {}, PROMO, "yes tenant.category"),
        ({"channels": {"push": False}}, {}, SOCIAL, "no tenant.channel"),
        ({"types": {"like": False}}, {}, SOCIAL, "no tenant.type"),
        ({"pairs": {"social/push": False}}, {}, SOCIAL, "no tenant.pair"),
        # A default never turns round a choice about the same thing …
        (
            {"categories": {"social": False}},
            {"categories": {"social": True}},
            SOCIAL,
            "yes user.category",
        ),
        ({"types": {"like": True}}, {"categories": {"social": False}}, SOCIAL, "no user.category"),
        ({"channels": {"push": False}}, {"channels": {"push": True}}, SOCIAL, "yes user.channel"),
        # … and speaks where the choice was about something else.
        (
            {"categories": {"social": False}},
            {"channels": {"push": True}},
            SOCIAL,
            "no tenant.category",
        ),
    ],
)
def test_the_tenants_default_speaks_where_the_person_has_not(
    tenant: dict[str, Any], person: dict[str, Any], category: Category, rule: str
) -> None:
    assert said(Profile(**person), Tenant(**tenant), category) == rule


@pytest.mark.parametrize("off", ["*", "push", "social", "social/push"])
def test_the_tenants_kill_switch_outranks_the_persons_yes(off: str) -> None:
    yes = Profile(channels={"push": True}, categories={"social": True}, types={"like": True})

    assert said(yes, Tenant(off=frozenset({off})), SOCIAL) == "no tenant.off"
    assert said(yes, Tenant(off=frozenset({"email", "promo"})), SOCIAL) == "yes user.type"


def test_the_tenants_kill_switch_stops_critical_messages_too() -> None:
    assert said(Profile(), Tenant(off=frozenset({"codes"})), CODES) == "no tenant.off"
    assert said(Profile(), Tenant(off=frozenset({"*"})), RECALL) == "no tenant.off"


@pytest.mark.parametrize(
    ("person", "tenant", "category", "rule"),
    [
        ({}, {}, CODES, "yes critical"),
        ({"categories": {"codes": False}}, {}, CODES, "yes critical"),
        ({"categories": {"marketing": False}}, {}, CODES, "yes critical"),
        ({"types": {"like": False}, "pairs": {"codes/push": False}}, {}, CODES, "yes critical"),
        ({}, {"categories": {"codes": False}, "channels": {"push": False}}, CODES, "yes critical"),
        (NO_PUSH, {}, CODES, "no user.channel"),
        (NO_PUSH, {}, RECALL, "yes mandatory"),
        (NO_PUSH, {"mandatory": frozenset({"codes"})}, CODES, "yes mandatory"),
        # Nobody makes an ordinary category mandatory.
        (NO_PUSH, {"mandatory": frozenset({"social"})}, SOCIAL, "no user.channel"),
    ],
)
def test_a_critical_category_heeds_only_a_channel_that_is_off_altogether(
    person: dict[str, Any], tenant: dict[str, Any], category: Category, rule: str
) -> None:
    assert said(Profile(**person), Tenant(**tenant), category) == rule


@pytest.mark.parametrize("category", [SOCIAL, PROMO, CODES, RECALL])
def test_nothing_bypasses_erasure_and_suppression(category: Category) -> None:
    wanted = {"promo": True, "social": True}
    erased = Profile(erased=True, categories=wanted)

    assert said(erased, Tenant(), category) == "no erased"
    assert said(Profile(categories=wanted), Tenant(), category, suppressed=True) == "no suppressed"


def test_a_flow_may_take_silence_for_a_no() -> None:
    assert said(Profile(), Tenant(), SOCIAL, opt_in=True) == "no opt_in"
    yes = Profile(categories={"social": True})
    assert said(yes, Tenant(), SOCIAL, opt_in=True) == "yes user.category"


def test_a_person_nobody_knows_has_chosen_nothing() -> None:
    assert said(None, Tenant(), SOCIAL) == "yes default"
    assert said(None, Tenant(), PROMO) == "no opt_in"


def said(profile: Profile | None, tenant: Tenant, category: Category, **more: Any) -> str:
    """The decision on a like by push, in words."""
    decision = decide(profile, tenant, category, "push", "like", **more)
    return f"{'yes' if decision.allowed else 'no'} {decision.rule}"
