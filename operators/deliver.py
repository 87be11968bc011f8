"""deliver: the end of a flow: choose the channels and write the deliveries.

A delivery is small and not yet rendered. Its id is a function of the event, the person, this step
and the ways that led to it, so that a replay writes the same delivery again and its lane recognises
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from tidings.consent import evaluated
from tidings.contract import (
    Batch,
    Category,
    Item,
    Operator,
    Part,
    Shape,
    Site,
    Spec,
    reads_expressions,
)
from tidings.durations import PositiveDuration
from tidings.expressions import EvaluationError, Expression, FieldPath
from tidings.expressions.operations import kind_of
from tidings.ids import newest_key, notification_id, wait_id
from tidings.operators.cap import CAPPED, Wanted, allowances, count
from tidings.ports import Io, Person, Profile, Unavailable, profiles_of
from tidings.problems import ValueProblem, listed, suggestion
from tidings.records import Allowance, Delivery, Kind, Priority
from tidings.topics import entries

UNREACHABLE = "unreachable"
PRIORITIES = ("high", "normal", "low", "critical", "standard")
ONE_WAY = "first_of: [push, email] tries push, then e-mail; each_of: sends both"
LONGEST = 1_024  # characters of an id that an event brings along: each is in every outcome


class DeliverSpec(Spec):
    """Hands a notification over to the lanes of its channels.

    Exactly one of `first_of`, `each_of` and `to` says where; behind an `escalate` none of them,
    for there the round in hand does. A channel qualifies where the person
    has an address for it, `consent`, if it stands before, did not deny it, and a `cap` before has
    room. What no channel qualifies for ends as `suppressed`: `cap` where one had no room,
    `no_consent` where the person could have been reached, else `unreachable`.
    """

    first_of: tuple[str, ...] = ()
    """The first of these channels that qualifies. The next one that does is taken when the delivery
    fails: no address is left, the provider refuses for good, every retry is used up."""

    each_of: tuple[str, ...] = ()
    """All of these channels that qualify, at once."""

    to: str = ""
    """This one channel."""

    channels: Expression | None = None
    """A field or expression for the channels of this one notification, a list of names; it takes
    the place of those above where it gives any."""

    template: str
    """The template's name, a folder in `config/templates`."""

    template_id: Expression | None = None
    """A field or expression for the template of this one notification; where it gives nothing,
    `template` is taken."""

    priority: str = ""
    """`high`, `normal` or `low` (`critical` and `standard` are other names of the first two); by
    default that of the process, or `normal`."""

    expires: PositiveDuration | None = None
    """How long it may be sent, from when the event (of a digest: its close) came into the log. It
    can only bring an earlier `expire` forward."""

    category: str = ""
    """The category, for where no `consent` stands before; by default by the event's `type`."""

    collapse_key: Expression | None = None
    """A field or expression for the key by which a phone lets a newer notification take an older
    one's place. For coarse chatter, never for what has to be acted on."""

    notif_id: Expression | None = None
    """A field or expression for the producer's own id of the notification; where it gives nothing,
    the id is made from the event, the recipient and this step, and the ways that a `fan_out` above
    has sent it down."""

    campaign_id: Expression | None = None
    """A field or expression for the campaign that the outcomes are counted under."""

    fields: tuple[FieldPath, ...] | None = None
    """The fields of the event that templates see, those that it has; by default all. The
    `type` always goes along, for consent is asked about it again."""

    data: Expression | None = None
    """A field or expression that gives what templates see, a map, in place of `fields`."""

    reply_to: str = Field("", pattern=r"^[a-z][a-z0-9_-]{0,40}$|^$")
    """The flow that is to hear what becomes of the delivery: one that reads the same events, and
    whose `escalate` waits for this round (`sent_by`)."""

    supersedes: str = ""
    """A name such as `code`: of what a person is sent under it, a newer one takes the place of the
    older. A lane asks before each attempt; what is older ends as `cancelled`, `superseded`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("first_of", "each_of", "to") if getattr(self, name)]
        if len(given) > 1:
            raise ValueProblem(
                "one-of",
                "`deliver` takes exactly one of `first_of`, `each_of` and `to`, got "
                + " and ".join(f"`{name}`" for name in given),
                ONE_WAY,
            )
        if self.fields is not None and self.data is not None:
            raise ValueProblem(
                "one-of",
                "`deliver` takes either `fields` or `data`, got both",
                loc=("data", "[key]"),
            )
        return self

    def channels_named(self) -> tuple[str, ...]:
        """The channels that it names; behind an `escalate` none."""
        return self.first_of or self.each_of or ((self.to,) if self.to else ())

    @field_validator("priority")
    @classmethod
    def _known_priority(cls, name: str) -> str:
        if name and name not in PRIORITIES:
            hint = suggestion(name, PRIORITIES)
            raise ValueProblem("bad-value", f"there is no priority `{name}`", hint)
        return name


class _Wish(msgspec.Struct, gc=False):
    """What the event itself says about its delivery."""

    channels: Sequence[str]
    template: str
    data: dict[str, Any]
    collapse_key: str = ""
    notif_id: str = ""
    campaign_id: str = ""


class _Choice(msgspec.Struct, gc=False):
    """What becomes of an item: ``closed`` channels with the reason, ``open`` ones in order, and
    what was ``counted`` for each."""

    item: Item
    wish: _Wish
    notif_id: str
    category: str
    expires_at: int
    closed: dict[str, str]
    open: list[str]
    counted: dict[str, tuple[str, ...]] = {}


class _Wishes:
    """Reads an event's wish by the expressions of the spec."""

    def __init__(self, spec: DeliverSpec, site: Site) -> None:
        self._channels = spec.channels_named()
        self._known = site.channels
        self._template = spec.template
        self._fields = spec.fields
        self._data_of = spec.data.or_null() if spec.data is not None else None
        self._channels_of = spec.channels.or_null() if spec.channels is not None else None
        texts = {
            "template": spec.template_id,
            "collapse_key": spec.collapse_key,
            "notif_id": spec.notif_id,
            "campaign_id": spec.campaign_id,
        }
        self._texts = [(name, given.or_null()) for name, given in texts.items() if given]

    def of(self, event: dict[str, Any]) -> _Wish:
        """Raises EvaluationError or ValueError for an expression that gives nothing fit."""
        wish = _Wish(self._channels, self._template, self._data(event))
        if self._channels_of is not None and (named := self._channels_of(event)):
            wish.channels = self._checked(named)
        for name, text_of in self._texts:
            if text := _text(text_of(event), name):
                setattr(wish, name, text)
        return wish

    def _checked(self, named: Any) -> Sequence[str]:
        if not isinstance(named, list):
            raise ValueError(f"`channels` must give a list of channels, got {kind_of(named)}")
        for name in named:
            if not isinstance(name, str) or name not in self._known:
                raise ValueError(f"`channels` may hold {listed(self._known)}, and nothing else")
        return list(dict.fromkeys(named))

    def _data(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._fields is not None:
            data = {}
            for field in self._fields:
                with suppress(EvaluationError):
                    data[str((field.path or (field.text,))[-1])] = field.of(event)
        elif self._data_of is not None:
            data = self._data_of(event)
            if data is None:
                data = {}
            if not isinstance(data, dict):
                raise ValueError(f"`data` must give a map, got {kind_of(data)}")
        else:
            return event
        return {"type": event["type"], **data} if "type" in event else data


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
        self._wishes = _Wishes(spec, site)
        self._each = bool(spec.each_of)
        self._expires = spec.expires or 0
        self._category = spec.category
        self._reply_to = entries(spec.reply_to) if spec.reply_to else ""
        self._supersedes = spec.supersedes
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

    def _choose(self, item: Item, wish: _Wish) -> _Choice:
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


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        if len(text := str(value)) > LONGEST:
            raise ValueError(f"`{name}` may have {LONGEST} characters, this one has {len(text)}")
        return text
    raise ValueError(f"`{name}` must give a text or a whole number, got {kind_of(value)}")


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
