"""deliver: the end of a flow: choose the channels and write the deliveries.

A delivery is small and not yet rendered. Its id is a function of the event, the person, this step
and the ways that led to it, so that a replay writes the same delivery again and its lane recognises
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from tidings.consent import evaluated
from tidings.contract import (
    Batch,
    Category,
    Item,
    Operator,
    Part,
    Shape,
    Site,
    reads_expressions,
)
from tidings.expressions import EvaluationError
from tidings.ids import newest_key, notification_id, wait_id
from tidings.operators.cap import CAPPED, Wanted, allowances, count
from tidings.operators.deliver_spec import DeliverSpec
from tidings.operators.deliver_wish import Wish, Wishes
from tidings.ports import Io, Person, Profile, Unavailable, profiles_of
from tidings.records import Allowance, Delivery, Kind, Priority
from tidings.topics import entries

UNREACHABLE = "unreachable"


class _Choice(msgspec.Struct, gc=False):
    """What becomes of an item: ``closed`` channels with the reason, ``open`` ones in order, and
    what was ``counted`` for each."""

    item: Item
    wish: Wish
    notif_id: str
    category: str
    expires_at: int
    closed: dict[str, str]
    open: list[str]
    counted: dict[str, tuple[str, ...]] = {}


class Deliver:
    """Chooses channels and writes deliveries."""

    def __init__(self, spec: DeliverSpec, site: Site) -> None:
        for channel in spec.first_of:
            site.check_channel(channel, "first_of", channel)
        for channel in spec.each_of:
            site.check_channel(channel, "each_of", channel)
        if spec.to:
            site.check_channel(spec.to, "to")
        if spec.category:
            site.check_category(spec.category, "category")
        self._site = site
        self._wishes = Wishes(spec, site)
        self._each = bool(spec.each_of)
        self._expires = spec.expires or 0
        self._category = spec.category
        self._reply_to = entries(spec.reply_to) if spec.reply_to else ""
        self._supersedes = spec.supersedes
        self._on_uncertain = spec.on_uncertain
        self._named = bool(spec.reply_to or spec.supersedes)
        self._priority = str(Priority.of(spec.priority or site.priority or "normal"))

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """End every item: with deliveries, or without and with a reason.

        Raises Unavailable, with nothing changed, where people can't be asked, nor caps for a
        priority below high.
        """
        strangers = [item.person() for item in batch.items if item.profile is None]
        profiles = profiles_of(io.people, strangers)
        counted: dict[int, _Choice] = {}
        if any(item.caps for item in batch.items):
            counted = self._counted(batch.items, profiles, io)
        for number, item in enumerate(batch.items):
            if item.profile is None:
                item.profile = profiles[item.person()]
            if self._named and not item.wait:
                item.wait, item.reply_to = wait_id(item.event_id, item.way), self._reply_to
            try:
                choice = counted.get(number) or self._choose(item, self._wishes.of(item.data))
            except (EvaluationError, ValueError) as error:
                batch.dead(item, "expression", error, self._site)
                continue
            self._deliver(item, choice, batch)
        batch.items = []

    def _counted(
        self, items: Sequence[Item], profiles: Mapping[Person, Profile | None], io: Io
    ) -> dict[int, _Choice]:
        """The choices for items with caps, by their number, counted."""
        choices: dict[int, _Choice] = {}
        for number, item in enumerate(items):
            if item.caps:
                if item.profile is None:
                    item.profile = profiles[item.person()]
                with suppress(EvaluationError, ValueError):  # found again where it is dead
                    choices[number] = self._choose(item, self._wishes.of(item.data))
        self._count(list(choices.values()), io)
        return choices

    def _choose(self, item: Item, wish: Wish) -> _Choice:
        expires_at = item.expires_at
        if self._expires:
            latest = item.time + self._expires
            expires_at = min(expires_at, latest) if expires_at else latest
        site = self._site
        step = f"{site.path}#{item.way}" if item.way else site.path
        notif_id = wish.notif_id or notification_id(
            item.tenant, site.scope, item.event_id, item.recipient_id, step
        )
        category = item.category or self._category or self._by_type(item)
        channels = (item.channel,) if item.channel else wish.channels
        closed: dict[str, str] = {}
        open_: list[str] = []
        if not 0 < expires_at <= item.time:
            closed = self._closed(item, channels)
            open_ = [channel for channel in channels if channel not in closed]
        return _Choice(item, wish, notif_id, category, expires_at, closed, open_)

    def _count(self, choices: Sequence[_Choice], io: Io) -> None:
        """Close the channels on which a person has had enough.

        Of `first_of` a channel is counted when those before it are closed, so that a round for each
        is the most that it takes, and one is the rule.
        """
        asked = [each for each in choices if each.open]
        while asked:
            wanted = [
                Wanted(each.item.person(), each.notif_id, self._allowances(each, channel))
                for each in asked
                for channel in (each.open if self._each else each.open[:1])
            ]
            try:
                answers = iter(count(wanted, io.caps, io.clock.now()))
            except Unavailable:
                if self._priority == Priority.HIGH:
                    return
                raise
            refused = []
            for each in asked:
                for channel in tuple(each.open if self._each else each.open[:1]):
                    passes, names = next(answers)
                    if passes:
                        each.counted[channel] = names
                    else:
                        each.open.remove(channel)
                        each.closed[channel] = names[0]
                        refused.append(each)
            asked = [] if self._each else [each for each in refused if each.open]

    def _deliver(self, item: Item, choice: _Choice, batch: Batch[Item]) -> None:
        wish, open_, site = choice.wish, choice.open, self._site
        if 0 < choice.expires_at <= item.time:
            batch.drop(item, Kind.EXPIRED, "expired", site)
            return
        if not open_:
            rules = choice.closed.values()
            if any(rule.startswith(CAPPED) for rule in rules):
                reason = CAPPED
            elif any(rule != UNREACHABLE for rule in rules):
                reason = "no_consent"
            else:
                reason = UNREACHABLE
            batch.drop(item, Kind.SUPPRESSED, reason, site, evaluated(choice.closed))
            return
        for channel in open_ if self._each else open_[:1]:
            # Python hands up to 15 named arguments over at a quarter of the price of one more.
            delivery = Delivery(
                notif_id=choice.notif_id,
                recipient_id=item.recipient_id,
                flow=site.scope,
                step=site.path,
                version=site.version,
                channel=channel,
                template=wish.template,
                category=choice.category,
                created_at=item.time,
                origin=item.origin,
                tenant=item.tenant,
                priority=self._priority,
                data=wish.data,
                chain=() if self._each else tuple(open_[1:]),
                expires_at=choice.expires_at,
            )
            delivery.collapse_key = wish.collapse_key
            delivery.campaign_id = wish.campaign_id
            delivery.variant = item.variant
            if self._on_uncertain:
                delivery.on_uncertain = self._on_uncertain
            if item.caps:
                delivery.caps = choice.counted.get(channel, ())
                delivery.allowances = self._ahead(choice, delivery.chain)
            if item.wait:
                delivery.round, delivery.detour = item.round, item.detour
                delivery.wait, delivery.reply_to = item.wait, item.reply_to
                if self._supersedes:
                    delivery.supersedes = newest_key(
                        item.tenant, item.recipient_id, self._supersedes
                    )
            batch.deliver(item, delivery, site)

    def _ahead(self, choice: _Choice, chain: Sequence[str]) -> dict[str, tuple[Allowance, ...]]:
        """What a lane is to count when it hands over, by channel."""
        found = {channel: self._allowances(choice, channel) for channel in chain}
        return {channel: caps for channel, caps in found.items() if caps}

    def _allowances(self, choice: _Choice, channel: str) -> tuple[Allowance, ...]:
        name = choice.category
        category = self._site.categories.get(name) or Category(name)
        return allowances(choice.item.caps, category, channel)

    def _closed(self, item: Item, channels: Sequence[str]) -> dict[str, str]:
        """The channels that don't qualify, each with the reason."""
        kinds = []
        if item.profile is not None:
            kinds = [address.kind for address in item.profile.addresses if address.verified]
        denied, kind_of_channel = item.denied, self._site.channels
        closed = {}
        for channel in channels:
            if kind_of_channel[channel] not in kinds:
                closed[channel] = UNREACHABLE
            elif denied and channel in denied:
                closed[channel] = denied[channel]
        return closed

    def _by_type(self, item: Item) -> str:
        return self._site.types.get(str(item.data.get("type", "")), "")


def _reads(spec: DeliverSpec) -> frozenset[str] | None:
    whole = spec.fields is None and spec.data is None
    return None if whole else reads_expressions(spec) | {"type"}


OPERATOR = Operator(
    name="deliver",
    spec=DeliverSpec,
    shape=Shape.END,
    parts=frozenset({Part.TAIL}),
    build=Deliver,
    asks=True,
    reads=_reads,
    example="""
step: {deliver: {first_of: [push, email], template: order_update, fields: [order]}}
people:
  ana: {addresses: [{kind: device, value: t1}, {kind: email, value: ana@example.com}]}
  bob: {addresses: [{kind: email, value: bob@example.com}]}
in:
  - {recipient_id: ana, order: o1}
  - {recipient_id: bob, order: o2}
  - {recipient_id: eve, order: o3}
out:
  - {recipient_id: ana, channel: push, chain: [email], template: order_update, data: {order: o1}}
  - {recipient_id: bob, channel: email, template: order_update, data: {order: o2}}
dropped:
  - {item: {recipient_id: eve, order: o3}, kind: suppressed, reason: unreachable}
""",
)
