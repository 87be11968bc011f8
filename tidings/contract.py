"""The operator contract: what a step is given, what it may do, how it is registered.

    Shape     method                                     examples
    map       process(batch, io, now)                    filter, set, dedupe, consent; render
    keyed     on_item / on_time / horizon, per person    digest, limit
    branch    (structure; the engine walks it)           switch, fan_out
    end       process(batch, io, now)                    deliver (in a flow), send (in a lane)

An operator reads no clock, draws no randomness and opens no socket: time is ``now``, questions go
through ``io``. It never raises for a bad record: it hands it to the batch's ``dead`` port. What it
lets go it gives to ``drop``, with a reason; nothing vanishes.

One file per operator: a spec (its docstrings are the reference), the logic, and at the end
``OPERATOR = Operator(...)`` with an example that the tests run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict

from tidings.durations import format_duration
from tidings.expressions import Expression
from tidings.gathered import Gathered
from tidings.log.port import Record
from tidings.ports import Address, Io, Person, Profile
from tidings.problems import ValueProblem, suggestion
from tidings.records import Delivery, Kind, Origin, Signal
from tidings.sender import Content, Send


class Part(StrEnum):
    """Where a step stands: the compiler cuts a flow before its first keyed step."""

    INTAKE = "intake"  # raw events, before the cut
    KEYED = "keyed"  # per person, from the first keyed step to the last
    TAIL = "tail"  # what the keyed part let through, up to deliver
    LANE = "lane"  # deliveries of one channel and priority


class Shape(StrEnum):
    """What kind of method an operator has; the table above."""

    MAP = "map"
    KEYED = "keyed"
    BRANCH = "branch"
    END = "end"


class Spec(BaseModel):
    """The base of every operator's settings: unknown fields are refused, values never change.

    The text under a field is its reference documentation.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True
    )


# ── What flows ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Cap:
    """How many a person may get on a channel, across all flows.

    ``counts`` says what is counted: a category's name, ``marketing`` for all such categories, empty
    for everything. ``exempt`` categories pass and still count. ``within`` is in ms.
    """

    channel: str
    at_most: int
    within: int
    counts: str = ""
    exempt: frozenset[str] = frozenset()

    @cached_property
    def name(self) -> str:
        """What a count goes by: caps over the same channel, category and time share it."""
        return f"{self.channel}/{self.counts or 'all'}/{format_duration(self.within)}"


class Item(msgspec.Struct, gc=False):
    """One event for one person on its way through a flow; a digest is an item with many members.

    ``data`` is what expressions and templates see. ``origin`` stands for the first record of it in
    this flow's topic (in an intake: in the upstream's). ``time`` is the log time at which it came
    to be. ``record`` is the record in hand, for dead letters. ``profile`` and ``denied`` (channel →
    reason) are ``consent``'s findings for ``deliver``, ``caps`` are what it is to be counted
    against there, ``variant`` names the arms of experiments that it is in. ``way`` tells apart what
    a ``fan_out`` has made of one event: the numbers of the arms. ``whole`` tells that ``data`` is
    all of the event; otherwise it has the fields that the steps read, and ``record`` the event.
    ``gathered`` is what a digest knows of each of its members, where it tells them apart.
    ``channel``, ``round`` (from 0), ``wait``, ``reply_to`` and ``detour`` are set by ``escalate``:
    which round this is, and who hears of it (see ``records.Delivery``).
    """

    data: dict[str, Any]
    origin: Origin
    time: int
    recipient_id: str = ""
    event_id: str = ""
    tenant: str = "default"
    record: Record | None = None
    expires_at: int = 0
    way: str = ""
    whole: bool = True
    members: tuple[str, ...] = ()
    category: str = ""
    profile: Profile | None = None
    denied: Mapping[str, str] | None = None
    caps: tuple[Cap, ...] = ()
    variant: str = ""
    gathered: Gathered | None = None
    channel: str = ""
    round: int = 0
    wait: str = ""
    reply_to: str = ""
    detour: int = 0

    def covers(self) -> tuple[str, ...]:
        """The event ids that this item stands for."""
        return self.members or (self.event_id,)

    def person(self) -> Person:
        """Whom it is for."""
        return Person(self.tenant, self.recipient_id)

    def copy(self, arm: int = 0, arms: int = 1) -> Item:
        """An item of its own, for one of several ways: ``arms`` is how many there are.

        Its index is a number of its own too, and keeps the order: ``index × arms + arm``.
        """
        topic, partition, offset, index = msgspec.structs.astuple(self.origin)
        origin = Origin(topic, partition, offset, index * arms + arm)
        way = f"{self.way}{arm}." if arms > 1 else self.way
        return msgspec.structs.replace(self, data=dict(self.data), origin=origin, way=way)


class Work(msgspec.Struct, kw_only=True, gc=False):
    """One delivery in a lane's hand. ``origin`` is where the delivery's record stands."""

    delivery: Delivery
    origin: Origin
    record: Record
    profile: Profile | None = None
    addresses: tuple[Address, ...] = ()
    content: Content | None = None
    sends: list[Send] = msgspec.field(default_factory=list)
    ticket: Any = None  # the lane's own bookkeeping

    def person(self) -> Person:
        """Whom it is for."""
        return Person(self.delivery.tenant, self.delivery.recipient_id)


T = TypeVar("T")


class Batch(Protocol[T]):
    """What came in together, and the ports. A map step rewrites ``items`` in place.

    In a flow ``drop`` writes a decision; in a lane it ends the delivery (or, for a channel that
    failed, hands it to the next one of its chain).
    """

    items: list[T]

    def drop(
        self, item: T, kind: Kind, reason: str, site: Site, detail: str = "", at: int = 0
    ) -> None:
        """Let an item go, with an outcome. ``at`` defaults to the batch's now."""
        ...

    def dead(self, item: T, reason: str, error: BaseException | str, site: Site) -> None:
        """Hand an item that can't go on to the dead letters, with its original bytes."""
        ...

    def deliver(self, item: T, delivery: Delivery, site: Site) -> None:
        """Write a delivery, and the decision that it is queued for what ``item`` covers."""
        ...

    def more(self, rest: Iterator[T], site: Site) -> None:
        """Items that the step gives later, too many to be held at once.

        The engine takes them a batch at a time, when those in ``items`` are through and before it
        pulls again; they go on behind this step, and the offset stays until all are confirmed.
        """
        ...


class Out(Protocol):
    """The ports of a keyed step, for the person in hand."""

    def down(self, item: Item) -> None: ...

    def drop(self, item: Item, kind: Kind, reason: str, detail: str = "") -> None: ...

    def dead(self, item: Item, reason: str, error: BaseException | str) -> None: ...

    def wake(self, at: int) -> None:
        """Have ``on_time`` called at log time ``at``. Needed when a deadline is set that is earlier
        than the state's others; for a later one ``horizon`` is asked at the earlier one's time."""
        ...


class Who(NamedTuple):
    """The person in hand, and the partition that is theirs."""

    tenant: str
    recipient_id: str
    topic: str
    partition: int


class Horizon(msgspec.Struct, frozen=True, gc=False):
    """When a keyed state has to be looked at, and when it can be forgotten.

    ``act_at``: log time of the next deadline, 0 for none. ``forget_at``: from then on the state is
    as good as none, 0 while it may not be dropped.
    """

    act_at: int
    forget_at: int


# ── What an operator implements ───────────────────────────────────────────────────────────────


class Map(Protocol[T]):
    """A step over batches: no memory, may ask ``io``, once per batch."""

    def process(self, batch: Batch[T], io: Io, now: int) -> None: ...


class Keyed(Protocol):
    """A step with a state per person, None for none.

    ``state`` is its type: what msgspec can write as plain data, built-ins or array-like structs. To
    change it is a migration. ``now`` is log time: of the record in hand, or the deadline itself.
    The state passed in may be changed in place; what is returned is kept.
    """

    state: Any

    def on_item(self, state: Any, item: Item, now: int, out: Out) -> Any: ...

    def on_time(self, state: Any, who: Who, now: int, out: Out) -> Any:
        """``now`` is the deadline that ``horizon`` named."""
        ...

    def horizon(self, state: Any) -> Horizon: ...


class Waiting(Keyed, Protocol):
    """A keyed step that waits for what becomes of its deliveries."""

    def on_signal(self, state: Any, signal: Signal, who: Who, now: int, out: Out) -> Any:
        """News of a delivery; ``state`` may be None. Of a signal that came before, and of one that
        is about nothing open, nothing may come."""
        ...


class Route(Protocol):
    """A branch: which of its arms an item goes down. ``several`` tells that it may be many."""

    several: bool

    def arms(self, item: Item) -> Sequence[int]:
        """The arms' numbers; with none the item goes on behind the branch.

        Raises EvaluationError when the item can't be judged.
        """
        ...


# ── Where a step stands, and how it is registered ─────────────────────────────────────────────


@dataclass(frozen=True)
class Category:
    """A kind of message that people consent to. ``critical`` ones (codes, payment, security) skip
    category and marketing opt-outs; ``marketing`` ones need a yes where ``opt_in`` says so."""

    name: str
    critical: bool = False
    marketing: bool = False
    opt_in: bool = False
    mandatory: bool = False
    transactional: bool = False


@dataclass(frozen=True)
class Tenant:
    """What a tenant says about consent, for all its people.

    ``off`` is the kill switch: channels, categories, ``category/channel``, or ``*`` for everything.
    ``mandatory`` names critical categories that even a switched-off channel must carry. The rest
    are its defaults, in the form of a profile's choices, zone and quiet hours.
    """

    off: frozenset[str] = frozenset()
    mandatory: frozenset[str] = frozenset()
    channels: Mapping[str, bool] = field(default_factory=dict)
    categories: Mapping[str, bool] = field(default_factory=dict)
    pairs: Mapping[str, bool] = field(default_factory=dict)
    types: Mapping[str, bool] = field(default_factory=dict)
    zone: str = ""
    quiet: str = ""


@dataclass(frozen=True)
class Site:
    """Where a step stands and what is fixed when it is built.

    ``path`` is the step's id (``social.digest``), ``scope`` the flow's or lane's name, ``version``
    a hash of its YAML. ``channels`` maps a channel to the kind of address it needs, ``types`` a
    type of event to its category, ``connections`` the name of each to ``sql`` or ``http``.
    ``priority`` is that of the process, where it serves only one. ``fetches`` tells that the
    settings say where an app fetches what is too large for a push, and ``keep_ms`` for how long it
    is kept where the message has no end.
    """

    path: str
    scope: str
    part: Part
    version: str = ""
    channel: str = ""
    priority: str = ""
    categories: Mapping[str, Category] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(
        default_factory=lambda: {"push": "device", "email": "email", "sms": "phone"}
    )
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    connections: Mapping[str, str] = field(default_factory=dict)
    fetches: bool = False
    keep_ms: int = 7 * 86_400_000
    settings: Any = None

    def check_category(self, name: str, *loc: str) -> None:
        """Raises ValueProblem, at ``loc``, for a category that the configuration does not know."""
        if name not in self.categories:
            message = f"there is no category `{name}` in the configuration"
            hint = suggestion(name, self.categories)
            raise ValueProblem("unknown-category", message, hint, loc=loc)

    def check_channel(self, name: str, *loc: str) -> None:
        """Raises ValueProblem, at ``loc``, for a channel that there is not."""
        if name not in self.channels:
            message = f"there is no channel `{name}`"
            hint = suggestion(name, self.channels)
            raise ValueProblem("unknown-channel", message, hint, loc=loc)


S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Operator(Generic[S]):
    """The registration of one operator.

    ``shorthand`` is the field that a bare text stands for (``filter: a != b``). ``asks`` tells that
    it asks the outside world and so may not stand before a keyed step (what is written down before
    the cut may). ``names`` gives the fields that later steps see on top of the event's, for
    name-checking; ``replaces`` that they take the place of the event's. ``reads`` gives the fields
    of the event that the step looks at, None (or no ``reads``) for all; ``changes`` tells that it
    makes other data of them: what nobody reads is not decoded. ``timeless`` tells of a map or a
    branch that it does not matter when it is asked: a backtest asks it about many instants at once.
    ``example`` is YAML with ``step``, ``in`` and ``out``; the tests run it.
    """

    name: str
    spec: type[S]
    shape: Shape
    parts: frozenset[Part]
    build: Callable[[S, Site], Any]
    example: str
    shorthand: str = ""
    asks: bool = False
    names: Callable[[S], Iterable[str]] | None = None
    replaces: bool = False
    reads: Callable[[S], frozenset[str] | None] | None = None
    changes: bool = False
    timeless: bool = False


def expressions_in(value: Any) -> Iterator[Expression]:
    """Every expression in a spec, in lists and maps inside it too."""
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, Spec):
        for name in type(value).model_fields:
            yield from expressions_in(getattr(value, name))
        yield from expressions_in(value.__pydantic_extra__ or {})
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from expressions_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from expressions_in(each)


def reads_expressions(spec: Spec) -> frozenset[str]:
    """``reads`` of a step that looks at the event through its expressions alone."""
    return frozenset(name for one in expressions_in(spec) for name in one.names)
