"""consent: which channels may this be sent on? The decision itself is `tidings.consent`.

Asked in a flow, where it still leads to another channel, and again in a lane, where hours may have
passed. In a flow it also asks the suppression list, for a channel whose every address is on it is
no channel.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tidings.consent import NO_TENANT, Decision, decide, evaluated
from tidings.contract import Batch, Category, Item, Operator, Part, Shape, Site, Spec, Work
from tidings.ports import Io, Person, Profile, Question, profiles_of
from tidings.problems import ValueProblem, suggestion
from tidings.records import Kind

NOTHING: frozenset[str] = frozenset()


class ConsentSpec(Spec):
    """Asks what the person, the tenant and the law allow, for each channel.

    In a flow it leaves the allowed channels to `deliver`, and ends what no channel is left for as
    `suppressed`, reason `no_consent`, with the rule that closed each channel. In a lane it asks
    once more for the delivery's own channel; a no there leads to the next channel of `first_of`,
    if there is one.
    """

    category: str = ""
    """The category of message that this is, from `config/tidings.yaml`. Where it is not given, the
    event's `type` is looked up in the table there; a type that isn't in it goes to the dead
    letters."""

    opt_in: bool = False
    """Take silence for a no even where the category would take it for a yes. In a lane it is the
    channel's rule: the person has said yes to the channel, or to what is sent; a tenant's default
    is nobody's yes. Critical categories pass."""


class ConsentItems:
    """In a flow: finds out which channels are denied, and why."""

    def __init__(self, spec: ConsentSpec, site: Site) -> None:
        if spec.category and spec.category not in site.categories:
            raise ValueProblem(
                "unknown-category",
                f"there is no category `{spec.category}` in the configuration",
                suggestion(spec.category, site.categories),
            )
        self._category = site.categories.get(spec.category)
        self._opt_in = spec.opt_in
        self._site = site
        self._channels_of: dict[str, list[str]] = {}
        for channel, kind in site.channels.items():
            self._channels_of.setdefault(kind, []).append(channel)

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Set ``profile``, ``category`` and ``denied``; drop what is denied everywhere."""
        site, items = self._site, batch.items
        categories = [self._category or self._by_type(item) for item in items]
        persons = [item.person() for item in items]
        known = profiles_of(io.people, persons)
        profiles = [known[person] for person in persons]
        suppressed = self._suppressed(persons, profiles, categories, io, now)

        kept: list[Item] = []
        for number, item in enumerate(items):
            category = categories[number]
            if category is None:
                batch.dead(item, "unknown_type", self._no_category(item), site)
                continue
            item.profile = profiles[number]
            item.category = category.name
            item.denied = denied = self._denied(item, category, suppressed.get(number, NOTHING))
            if len(denied) < len(site.channels):
                kept.append(item)
            else:
                batch.drop(item, Kind.SUPPRESSED, "no_consent", site, evaluated(denied))
        batch.items = kept

    def _denied(
        self, item: Item, category: Category, suppressed: Collection[str]
    ) -> dict[str, str]:
        """The channels that are closed, each with the rule that closed it."""
        tenant = self._site.tenants.get(item.tenant, NO_TENANT)
        type_ = str(item.data.get("type", ""))
        denied = {}
        for channel in self._site.channels:
            decision = decide(
                item.profile,
                tenant,
                category,
                channel,
                type_,
                suppressed=channel in suppressed,
                opt_in=self._opt_in,
            )
            if not decision.allowed:
                denied[channel] = decision.rule
        return denied

    def _by_type(self, item: Item) -> Category | None:
        return self._site.categories.get(self._site.types.get(str(item.data.get("type", "")), ""))

    def _no_category(self, item: Item) -> str:
        return (
            f"the event's type {item.data.get('type')!r} has no category: add it to `types` in"
            " config/tidings.yaml, or give `consent` a category"
        )

    def _suppressed(
        self,
        persons: Sequence[Person],
        profiles: Sequence[Profile | None],
        categories: Sequence[Category | None],
        io: Io,
        now: int,
    ) -> dict[int, set[str]]:
        """By the item's number, the channels on which no address is left to send to."""
        places: list[tuple[int, str]] = []
        questions: list[Question] = []
        for number, profile in enumerate(profiles):
            category = categories[number]
            if category is None or profile is None:
                continue
            for address in profile.addresses:
                for channel in self._channels_of.get(address.kind, ()):
                    places.append((number, channel))
                    questions.append(
                        Question(persons[number].tenant, channel, address.value, category.name)
                    )
        answers = io.suppressions.check(questions, now) if questions else []
        closed: dict[int, set[str]] = {}
        if any(answers):
            free = {place for place, answer in zip(places, answers, strict=True) if answer is None}
            for number, channel in set(places) - free:
                closed.setdefault(number, set()).add(channel)
        return closed


class ConsentWork:
    """In a lane: asks again for the delivery's own channel."""

    def __init__(self, spec: ConsentSpec, site: Site) -> None:
        if spec.category:
            raise ValueProblem(
                "unknown-field",
                "`consent` takes no category in a lane",
                "the delivery says which category it belongs to",
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
            )
            if decision.allowed and self._opt_in and not category.critical:
                decision = _opted_in(decision, work)
            if decision.allowed:
                kept.append(work)
            else:
                batch.drop(work, Kind.SUPPRESSED, "no_consent", site, decision.rule)
        batch.items = kept


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
    reads=lambda spec: frozenset({"type"}),
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
