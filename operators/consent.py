"""consent: which channels may this be sent on? The decision itself is `tidings.consent`.

Asked in a flow, where it still leads to another channel, and again in a lane, where hours may have
passed. In a flow it also asks the suppression list, for a channel whose every address is on it is
no channel.
"""

from __future__ import annotations

from tidings.consent import NO_TENANT, Decision, decide
from tidings.contract import Batch, Category, Operator, Part, Shape, Site, Work
from tidings.operators.consent_items import ConsentItems
from tidings.operators.consent_shares import is_muted
from tidings.operators.consent_spec import ConsentSpec
from tidings.ports import Io, profiles_of
from tidings.problems import ValueProblem
from tidings.records import Kind


class ConsentWork:
    """In a lane: asks again for the delivery's own channel."""

    def __init__(self, spec: ConsentSpec, site: Site) -> None:
        if spec.muted:
            raise ValueProblem(
                "unknown-field",
                "`consent` takes no `muted` in a lane",
                "it asks for all fields of a profile's `muted` there",
                loc=("muted", "[key]"),
            )
        if spec.category:
            raise ValueProblem(
                "unknown-field",
                "`consent` takes no category in a lane",
                "the delivery says which category it belongs to",
                loc=("category", "[key]"),
            )
        self._opt_in = spec.opt_in
        self._site = site

    def process(self, batch: Batch[Work], io: Io, now: int) -> None:
        """Set each work's ``profile`` and drop what is not allowed any more."""
        site = self._site
        strangers = [work.person() for work in batch.items if work.profile is None]
        profiles = profiles_of(io.people, strangers)
        kept: list[Work] = []
        for work in batch.items:
            delivery = work.delivery
            if work.profile is None:  # else `addresses` has just asked
                work.profile = profiles[work.person()]
            category = site.categories.get(delivery.category) or Category(delivery.category)
            decision = decide(
                work.profile,
                site.tenants.get(delivery.tenant, NO_TENANT),
                category,
                delivery.channel,
                str(delivery.data.get("type", "")),
                muted=_is_muted(work),
            )
            if decision.allowed and self._opt_in and not category.critical:
                decision = _opted_in(decision, work)
            if decision.allowed:
                kept.append(work)
            else:
                batch.drop(work, Kind.SUPPRESSED, "no_consent", site, decision.rule)
        batch.items = kept


def _is_muted(work: Work) -> bool:
    profile = work.profile
    if profile is None or not profile.muted:
        return False
    return is_muted(work.delivery.data, profile.muted, profile.muted)


def _opted_in(decision: Decision, work: Work) -> Decision:
    """``decision``, a yes, where it is the person's own; else a no."""
    own = decision.rule.startswith("user.")
    if not own and work.profile is not None:
        own = work.profile.channels.get(work.delivery.channel) is True
    return decision if own else Decision(False, "opt_in")


def build(spec: ConsentSpec, site: Site) -> ConsentItems | ConsentWork:
    """The one for this part. Raises ValueProblem for an unknown category, or fields in a lane."""
    return ConsentWork(spec, site) if site.part is Part.LANE else ConsentItems(spec, site)


OPERATOR = Operator(
    name="consent",
    spec=ConsentSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.TAIL, Part.LANE}),
    build=build,
    shorthand="category",
    asks=True,
    reads=lambda spec: frozenset({"type", *spec.muted}),
    example="""
step: {consent: {category: promo}}
categories:
  promo: {marketing: true, opt_in: true}
people:
  ana: {categories: {promo: true}, channels: {sms: false}}
  bob: {}
in:
  - {recipient_id: ana}
  - {recipient_id: bob}
out:
  - {recipient_id: ana}
dropped:
  - {item: {recipient_id: bob}, kind: suppressed, reason: no_consent}
""",
)
