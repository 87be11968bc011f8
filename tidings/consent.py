"""Consent: may this be sent to this person on this channel? One pure decision, asked twice.

A flow asks when it chooses channels, a lane asks again when it sends. In this order, the first that
speaks decides:

    1  erased; on the suppression list (STOP, complaint, hard bounce)   never bypassed
    2  the tenant's kill switch
    3  a critical category (codes, payment, security): yes, whatever was opted out of, unless the
       person switched the channel off altogether and nobody made the category mandatory
    4  what the person has muted (somebody, a thread): no
    5  the person's own choice       ┐ each for two questions: *what* (the subject)
    6  the tenant's default          │ and *where* (the channel); a no to either is a no
    7  the flow's default            ┘

*What* goes from specific to general: the type of event and the pair of category and channel speak
first (a no of either is a no), then the category, then ``marketing`` as a whole for its categories.
*Where* is the channel as such. The two are looked up apart: a yes to push is no yes to promotions,
and a default never turns round what somebody chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from tidings.contract import Category, Tenant
from tidings.ports import Profile

MARKETING = "marketing"  # the category that stands for all marketing ones
EVERYTHING = "*"

NO_ONE = Profile()
NO_TENANT = Tenant()


class Decision(NamedTuple):
    """Whether it may be sent, and the rule that said so (``user.channel``, ``opt_in``, …)."""

    allowed: bool
    rule: str


class Choices(Protocol):
    """What a profile and a tenant have in common: yes or no by channel, category, pair and type."""

    @property
    def channels(self) -> Mapping[str, bool]: ...
    @property
    def categories(self) -> Mapping[str, bool]: ...
    @property
    def pairs(self) -> Mapping[str, bool]: ...
    @property
    def types(self) -> Mapping[str, bool]: ...


def is_silent(profile: Profile | None, tenant: Tenant) -> bool:
    """Whether neither has chosen anything, as is the rule: the category alone decides then."""
    return tenant is NO_TENANT and (
        profile is None
        or not (
            profile.erased
            or profile.channels
            or profile.categories
            or profile.pairs
            or profile.types
        )
    )


def decide(
    profile: Profile | None,
    tenant: Tenant,
    category: Category,
    channel: str,
    type: str = "",
    *,
    suppressed: bool = False,
    muted: bool = False,
    opt_in: bool = False,
) -> Decision:
    """Decide for one person, channel, category and type of event.

    ``suppressed`` says that no address on this channel may be used, ``muted`` that it is of
    something that the person has muted. ``opt_in`` makes silence a no where the category would take
    it for a yes. A person nobody knows has chosen nothing.

    >>> promo = Category("promo", marketing=True, opt_in=True)
    >>> decide(Profile(categories={"promo": True}), Tenant(), promo, "email")
    Decision(allowed=True, rule='user.category')
    """
    person = profile or NO_ONE
    if person.erased:
        return _ERASED
    if suppressed:
        return _SUPPRESSED
    if tenant.off and not tenant.off.isdisjoint(
        (EVERYTHING, channel, category.name, f"{category.name}/{channel}")
    ):
        return _TENANT_OFF
    if category.critical:
        if person.channels.get(channel) is not False:
            return _CRITICAL
        mandatory = category.mandatory or category.name in tenant.mandatory
        return _MANDATORY if mandatory else _CHANNEL_OFF
    if muted:
        return _MUTED

    if tenant is NO_TENANT and not (
        person.channels or person.categories or person.pairs or person.types
    ):  # nearly everybody has chosen nothing
        return _OPT_IN if category.opt_in or opt_in else _DEFAULT
    where = _where(person, channel, "user") or _where(tenant, channel, "tenant")
    if where is not None and not where.allowed:
        return where
    what = _what(person, category, channel, type, "user")
    what = what or _what(tenant, category, channel, type, "tenant")
    if what is not None:
        return what
    if category.opt_in or opt_in:
        return _OPT_IN
    return where or _DEFAULT


def evaluated(found: Mapping[str, str]) -> str:
    """What was found for each channel, as an outcome's detail: ``push=user.channel sms=opt_in``."""
    return " ".join(f"{channel}={rule}" for channel, rule in found.items())


def _where(choices: Choices, channel: str, whose: str) -> Decision | None:
    said = choices.channels.get(channel)
    return None if said is None else Decision(said, f"{whose}.channel")


def _what(
    choices: Choices, category: Category, channel: str, type: str, whose: str
) -> Decision | None:
    by_type = choices.types.get(type)
    by_pair = choices.pairs.get(f"{category.name}/{channel}") if choices.pairs else None
    if by_type is not None and (by_type is False or by_pair is not False):
        return Decision(by_type, f"{whose}.type")
    if by_pair is not None:
        return Decision(by_pair, f"{whose}.pair")
    by_category = choices.categories.get(category.name)
    if by_category is not None:
        return Decision(by_category, f"{whose}.category")
    if category.marketing and (as_whole := choices.categories.get(MARKETING)) is not None:
        return Decision(as_whole, f"{whose}.marketing")
    return None


_ERASED = Decision(False, "erased")
_SUPPRESSED = Decision(False, "suppressed")
_TENANT_OFF = Decision(False, "tenant.off")
_CRITICAL = Decision(True, "critical")
_MANDATORY = Decision(True, "mandatory")
_CHANNEL_OFF = Decision(False, "user.channel")
_MUTED = Decision(False, "user.muted")
_OPT_IN = Decision(False, "opt_in")
_DEFAULT = Decision(True, "default")
