"""What the operators' tests stand on: a batch that keeps what it is told, ports from plain values.

step = built("filter: {keep: actor_id != recipient_id}")
outbox = Outbox([item({"actor_id": "ana", "recipient_id": "ana"})])
step.process(outbox, ports(), NOW)
outbox.dropped   # [Dropped(item=…, kind='suppressed', reason='filtered', detail='')]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from tidings.contract import Category, Item, Operator, Part, Site, Work
from tidings.load import Map, bind, read
from tidings.log.port import Record
from tidings.ports import (
    Address,
    Io,
    Person,
    Profile,
    Question,
    Success,
    Suppression,
    Template,
    Unavailable,
)
from tidings.problems import Problems
from tidings.records import Delivery, Kind, Origin
from tidings.registry import operators
from tidings.stores.claims_local import LocalClaims
from tidings.stores.clock import ManualClock

NOW = 1_782_907_200_000
"""2026-07-01T12:00:00Z."""

HOUR = 3_600_000

CATEGORIES = {
    "social": Category("social"),
    "promo": Category("promo", marketing=True, opt_in=True),
    "security": Category("security", critical=True),
}

T = TypeVar("T")


class Dropped(NamedTuple):
    """What a step let go."""

    item: Any
    kind: str
    reason: str
    detail: str


class Dead(NamedTuple):
    """What a step could not handle."""

    item: Any
    reason: str
    error: str


class Outbox(Generic[T]):
    """A batch that keeps what it is told."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = list(items)
        self.dropped: list[Dropped] = []
        self.died: list[Dead] = []
        self.delivered: list[Delivery] = []
        self.rest: Iterator[T] = iter(())

    def drop(
        self, item: T, kind: Kind, reason: str, site: Site, detail: str = "", at: int = 0
    ) -> None:
        self.dropped.append(Dropped(item, str(kind), reason, detail))

    def dead(self, item: T, reason: str, error: BaseException | str, site: Site) -> None:
        self.died.append(Dead(item, reason, str(error)))

    def deliver(self, item: T, delivery: Delivery, site: Site) -> None:
        self.delivered.append(delivery)

    def more(self, rest: Iterator[T], site: Site) -> None:
        self.rest = rest


# ── The ports ─────────────────────────────────────────────────────────────────────────────────


class Folk:
    """People by recipient id; counts how often it was asked."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self.held = dict(profiles)
        self.asked: list[list[Person]] = []

    def profiles(self, people: Sequence[Person]) -> list[Profile | None]:
        self.asked.append(list(people))
        return [self.held.get(person.recipient_id) for person in people]

    def find(self, kind: str, values: Sequence[str]) -> list[tuple[Person, ...]]:
        raise AssertionError("no step asks whose an address is")

    def remove_address(self, person: Person, kind: str, value: str, reason: str) -> bool:
        return False

    def register(self, person: Person, address: Address, replaces: str = "") -> bool:
        return False

    def note_successes(self, successes: Sequence[Success]) -> None:
        """Nothing is kept."""


class List:
    """A suppression list, by address."""

    def __init__(self, entries: Sequence[Suppression]) -> None:
        self.held = {(entry.channel, entry.address): entry for entry in entries}
        self.asked: list[list[Question]] = []

    def check(self, questions: Sequence[Question], now: int) -> list[Suppression | None]:
        self.asked.append(list(questions))
        return [self.held.get((each.channel, each.address)) for each in questions]

    def add(self, tenant: str, suppression: Suppression) -> None:
        self.held[(suppression.channel, suppression.address)] = suppression


class Texts:
    """Templates by id, channel and locale; what has no text in a locale is in English."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self.held = {(each.id, each.channel, each.locale, each.variant): each for each in templates}

    def find(
        self, template_id: str, channel: str, locale: str, variant: str = ""
    ) -> Template | None:
        arms = (*variant.split(), "")
        keys = ((template_id, channel, each, arm) for each in (locale, "en") for arm in arms)
        return next((self.held[key] for key in keys if key in self.held), None)

    def texts(self, template_id: str, channel: str) -> Sequence[Template]:
        return [
            each for each in self.held.values() if (each.id, each.channel) == (template_id, channel)
        ]

    def ids(self) -> Sequence[str]:
        return sorted({template_id for template_id, *_ in self.held})


class Down:
    """A port that can't answer."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*arguments: Any) -> Any:
            raise Unavailable("it is down")

        return refuse


def ports(
    people: Mapping[str, Profile] | None = None,
    suppressions: Sequence[Suppression] = (),
    templates: Sequence[Template] = (),
    **others: Any,
) -> Io:
    """Ports that answer from plain values; ``others`` replaces whole ports."""
    clock = ManualClock(NOW)
    given = {
        "people": Folk(people or {}),
        "suppressions": List(suppressions),
        "templates": Texts(templates),
        "claims": LocalClaims(clock),
        "caps": Down(),
        "clock": clock,
    }
    return Io(**{**given, **others})


# ── Steps, items and works ────────────────────────────────────────────────────────────────────


def built(step: str, part: Part = Part.TAIL, **site: Any) -> Any:
    """The step of a line of YAML, as a flow called ``f`` has it. Raises ProblemsError."""
    operator, spec, path = specified(step)
    where = {"path": path, "scope": "f", "categories": CATEGORIES, "version": "v1", **site}
    return operator.build(spec, Site(part=part, **where))


def reads(step: str) -> frozenset[str] | None:
    """The fields of the event that a step says it looks at; None for all."""
    operator, spec, _ = specified(step)
    return operator.reads(spec) if operator.reads is not None else None


def specified(step: str) -> tuple[Operator[Any], Any, str]:
    """The operator, the settings and the path of a line of YAML. Raises ProblemsError."""
    problems = Problems()
    node = read(step, "step.yaml", {}, problems)
    problems.raise_if_any()
    assert isinstance(node, Map)
    (entry,) = node.entries.values()
    operator = operators()[entry.name]
    path = f"f.{entry.name}"
    spec = bind(entry.value, operator.spec, path, problems, shorthand=operator.shorthand or None)
    problems.raise_if_any()
    return operator, spec, path


def item(data: Mapping[str, Any], offset: int = 0, **fields: Any) -> Item:
    """An item whose record stands at ``offset``; its id is ``event_id``, or ``e1``."""
    given = {
        "origin": Origin("events", 0, offset),
        "time": NOW,
        "recipient_id": str(data.get("recipient_id", "")),
        "event_id": str(data.get("event_id", "e1")),
    }
    return Item(data=dict(data), **{**given, **fields})


def work(recipient_id: str = "ana", **fields: Any) -> Work:
    """A push delivery of ``social_digest`` in a lane's hand."""
    given: dict[str, Any] = {
        "notif_id": "n1",
        "flow": "f",
        "step": "f.deliver",
        "version": "v1",
        "channel": "push",
        "template": "social_digest",
        "category": "social",
        "created_at": NOW,
        "origin": Origin("tidings.f", 0, 0),
    }
    delivery = Delivery(recipient_id=recipient_id, **{**given, **fields})
    topic = f"deliveries.{delivery.channel}.normal"
    record = Record(topic, 0, 0, NOW, recipient_id.encode(), msgspec.json.encode(delivery))
    return Work(delivery=delivery, origin=Origin(topic, 0, 0), record=record)


def phone(value: str = "tok-1", **fields: Any) -> Address:
    """A device."""
    return Address(kind="device", value=value, **{"platform": "ios", **fields})


def mailbox(value: str = "ana@example.com") -> Address:
    """An e-mail address."""
    return Address(kind="email", value=value)


def mobile(value: str = "+34600000001") -> Address:
    """A phone number."""
    return Address(kind="phone", value=value)
