"""consent: which channels may this be sent on? The decision itself is `tidings.consent`.

Asked in a flow, where it still leads to another channel, and again in a lane, where hours may have
passed. In a flow it also asks the suppression list, for a channel whose every address is on it is
no channel.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidings.consent import NO_TENANT, decide, evaluated
from tidings.contract import Batch, Category, Item, Operator, Part, Shape, Site, Spec, Work
from tidings.ports import Io, Person, Profile, Question, profiles_of
from tidings.problems import ValueProblem, suggestion
from tidings.records import Kind


class ConsentSpec(Spec):
    """Asks what the person, the tenant and the law allow, for each channel.

    In a flow it leaves the allowed channels to `deliver`, and ends what no channel is left for as
    `suppressed`, reason `no_consent`, with the rule that closed each channel. In a lane it takes no
    fields and asks once more for the delivery's own channel; a no there leads to the next channel
    of `first_of`, if there is one.
    """

    category: str = ""
    """The category of message that this is, from `config/tidings.yaml`. Where it is not given, the
    event's `type` is looked up in the table there; a type that isn't in it goes to the dead
    letters."""

    opt_in: bool = False
    """Take silence for a no even where the category would take it for a yes. Meant for trials: a
    lane only knows the category's own rule."""


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

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Set ``profile``, ``category`` and ``denied``; drop what is denied everywhere."""
        site = self._site
        found = [(item, self._category or self._by_type(item)) for item in batch.items]
        persons = [item.person() for item in batch.items]
        profiles = profiles_of(io.people, persons)
        suppressed = self._suppressed(
            [
                (person, profile, category)
                for (_, category), person in zip(found, persons, strict=True)
                if category is not None and (profile := profiles[person]) is not None
            ],
            io,
            now,
        )

        kept: list[Item] = []
        for (item, category), person in zip(found, persons, strict=True):
            if category is None:
                batch.dead(item, "unknown_type", self._no_category(item), site)
                continue
            item.profile = profile = profiles[person]
            item.category = category.name
            item.denied = denied = {}
            tenant = site.tenants.get(item.tenant, NO_TENANT)
            type_ = str(item.data.get("type", ""))
            for channel in site.channels:
                decision = decide(
                    profile,
                    tenant,
                    category,
                    channel,
                    type_,
                    suppressed=(person, category.name, channel) in suppressed,
                    opt_in=self._opt_in,
                )
                if not decision.allowed:
                    denied[channel] = decision.rule
            if len(denied) < len(site.channels):
                kept.append(item)
            else:
                batch.drop(item, Kind.SUPPRESSED, "no_consent", site, evaluated(denied))
        batch.items = kept

    def _by_type(self, item: Item) -> Category | None:
        return self._site.categories.get(self._site.types.get(str(item.data.get("type", "")), ""))

    def _no_category(self, item: Item) -> str:
        return (
            f"the event's type {item.data.get('type')!r} has no category: add it to `types` in"
            " config/tidings.yaml, or give `consent` a category"
        )

    def _suppressed(
        self, asked: Iterable[tuple[Person, Profile, Category]], io: Io, now: int
    ) -> set[tuple[Person, str, str]]:
        """The channels, by person and category, on which no address is left to send to."""
        places: list[tuple[Person, str, str]] = []
        questions: list[Question] = []
        for person, profile, category in asked:
            for channel, kind in self._site.channels.items():
                for address in profile.addresses:
                    if address.kind == kind:
                        places.append((person, category.name, channel))
                        questions.append(
                            Question(person.tenant, channel, address.value, category.name)
                        )
        if not questions:
            return set()
        answers = io.suppressions.check(questions, now)
        free = {place for place, answer in zip(places, answers, strict=True) if answer is None}
        return set(places) - free


class ConsentWork:
    """In a lane: asks again for the delivery's own channel."""

    def __init__(self, spec: ConsentSpec, site: Site) -> None:
        if spec.model_fields_set:
            raise ValueProblem(
                "unknown-field",
                "`consent` takes no fields in a lane",
                "the delivery says which category it belongs to",
            )
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
            if decision.allowed:
                kept.append(work)
            else:
                batch.drop(work, Kind.SUPPRESSED, "no_consent", site, decision.rule)
        batch.items = kept


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
