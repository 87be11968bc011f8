"""digest: many events become one notification, "Alice and 49 others liked your photo".

A window belongs to one person and one value of the ``by`` fields. It opens at the first event and
closes when the *log's* time passes its deadline, so a replay closes it with the same members. What
comes later opens the next one. The count and the number of distinct actors are exact whatever is
kept of the events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from tidings.contract import (
    Horizon,
    Item,
    Operator,
    Out,
    Part,
    Shape,
    Site,
    Spec,
    Who,
    reads_expressions,
)
from tidings.durations import Duration
from tidings.expressions import EvaluationError, FieldPath
from tidings.ids import digest_id
from tidings.problems import ValueProblem
from tidings.records import Origin

NAMED = 10  # newest actors that a template gets by name; their number is exact


def _keep(text: Any) -> Any:
    """``last 3`` → {"which": "last", "most": 3}."""
    words = str(text).split()
    if isinstance(text, dict):
        return text
    if len(words) != 2 or words[0] not in ("first", "last") or not words[1].isdigit():
        raise ValueProblem(
            "bad-value", f"expected `first N` or `last N`, got `{text}`", "such as keep: last 3"
        )
    return {"which": words[0], "most": int(words[1])}


class Keep(Spec):
    """Which events of a digest a template gets whole."""

    which: Literal["first", "last"] = "last"
    """The first ones, or the last ones."""

    most: int = Field(3, ge=0, le=100)
    """How many at the most."""


class DigestSpec(Spec):
    """Gathers events of one person into one notification.

    Give ``window`` for a fixed window, or ``gap`` and ``max_wait`` for one that stays open while
    events come: it closes at min(last + gap, first + max_wait).
    """

    by: tuple[FieldPath, ...] = ()
    """Events with equal values in these fields are gathered together."""

    window: Duration | None = None
    """How long a fixed window stays open, from its first event."""

    gap: Duration | None = None
    """A sliding window closes when so long nothing came."""

    max_wait: Duration | None = None
    """A sliding window closes at the latest so long after its first event."""

    actors: FieldPath | None = None
    """Who did it: distinct values are counted, the recipient himself is left out."""

    names: FieldPath | None = None
    """What an actor is called; without it, by the value of ``actors``."""

    keep: Annotated[Keep, BeforeValidator(_keep)] = Keep(which="last", most=3)
    """Which events a template gets as ``items``: ``last 3`` or ``first 3``."""

    fields: tuple[FieldPath, ...] = ()
    """Of a kept event, only these fields (null where it lacks one); all, if none are named. Fewer
    make state smaller."""

    max_items: int = Field(500, ge=1, le=10_000)
    """The window closes at once when so many have come."""

    @model_validator(mode="after")
    def _one_mode(self) -> DigestSpec:
        if (self.window is None) == (self.gap is None):
            raise ValueProblem(
                "bad-value",
                "a digest takes either `window`, or `gap` and `max_wait`",
                "for example: window: 30s",
            )
        if self.gap is not None and (self.max_wait is None or self.max_wait < self.gap):
            raise ValueProblem(
                "bad-value",
                "`gap` needs a `max_wait` that is at least as long",
                "a steady trickle of events would keep the window open for ever",
            )
        return self


class Window(msgspec.Struct, array_like=True, gc=False):
    """An open window. ``by`` and ``kept`` hold values of fields in the order of the spec."""

    opened: int
    deadline: int
    first: int  # the offset of its first event
    by: list[Any]
    count: int = 0
    members: list[str] = []
    actors: dict[str, Any] = {}
    kept: list[Any] = []


State = dict[str, Window]


class Digest:
    """The keyed step. Its state: group → window."""

    state = State

    def __init__(self, spec: DigestSpec, site: Site) -> None:
        self._path = site.path
        self._flow = site.scope
        self._by_names = tuple(name_of(field) for field in spec.by)
        self._field_names = tuple(name_of(field) for field in spec.fields)
        self._read, self._width = _reader(spec), len(spec.by)
        self._first = spec.keep.which == "first"
        self._most = spec.keep.most
        self._length = spec.window or spec.gap or 0
        self._max_wait = spec.max_wait
        self._max_items = spec.max_items

    def on_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Put the event into its window, which it may open or fill."""
        data = item.data
        try:
            values = self._read(data)
        except EvaluationError as error:
            out.dead(item, "expression", error)
            return state
        by, actor, name = values[: self._width], values[self._width], values[self._width + 1]
        kept = values[self._width + 2 :] if self._field_names else data
        group = _group(by)
        if state is None:
            state = {}
        window = state.get(group)
        if window is None:
            deadline = now + self._length
            window = state[group] = Window(now, deadline, item.origin.offset, list(by))
            out.wake(deadline)
        elif self._max_wait is not None:
            window.deadline = min(now + self._length, window.opened + self._max_wait)
        window.count += 1
        window.members.append(item.event_id)
        if actor is not None and actor != item.recipient_id:
            actors = window.actors
            key = actor if type(actor) is str else str(actor)
            if key in actors:
                del actors[key]  # newest last
            actors[key] = name
        if len(window.kept) < self._most:
            window.kept.append(kept)
        elif not self._first and self._most:
            del window.kept[0]
            window.kept.append(kept)
        if window.count >= self._max_items:
            del state[group]
            origin = item.origin
            who = Who(item.tenant, item.recipient_id, origin.topic, origin.partition)
            out.down(self._close(window, group, who, now))
        return state or None

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """Close what is due, in the order of deadlines."""
        due = sorted((w.deadline, group) for group, w in state.items() if w.deadline <= now)
        for deadline, group in due:
            out.down(self._close(state.pop(group), group, who, deadline))
        return state or None

    def horizon(self, state: State) -> Horizon:
        """The next deadline; an open window is never forgotten."""
        if len(state) == 1:
            for window in state.values():
                return Horizon(window.deadline, 0)
        return Horizon(min([window.deadline for window in state.values()]), 0)

    def _close(self, window: Window, group: str, who: Who, at: int) -> Item:
        kept = window.kept if self._first else window.kept[::-1]
        if self._field_names:
            kept = [dict(zip(self._field_names, values, strict=False)) for values in kept]
        # Not strict: a window may have been opened by a version that had other fields.
        data = dict(zip(self._by_names, window.by, strict=False))
        data.update(
            count=window.count,
            actors=list(islice(reversed(window.actors.values()), NAMED)),
            actor_count=len(window.actors),
            items=kept,
            opened_at=window.opened,
            closed_at=at,
        )
        tenant, recipient, topic, partition = who
        members = window.members
        return Item(
            data=data,
            origin=Origin(topic, partition, window.first),
            time=at,
            recipient_id=recipient,
            event_id=digest_id(tenant, self._flow, self._path, recipient, group, members),
            tenant=tenant,
            members=tuple(members),
        )


Reader = Callable[[dict[str, Any]], tuple[Any, ...]]


def _reader(spec: DigestSpec) -> Reader:
    """One function for the values of ``by``, the actor, his name, and ``fields``, in this order.

    It raises EvaluationError where one is missing. Plain names, the usual case, are read by one
    ``itemgetter``: a fifth of the time.
    """
    actor = (spec.actors, spec.names or spec.actors)
    getters = [None if field is None else field.of for field in (*spec.by, *actor)]
    getters += [field.or_null() for field in spec.fields]  # one that is missing is null

    def slowly(data: dict[str, Any]) -> tuple[Any, ...]:
        return tuple([None if get is None else get(data) for get in getters])

    paths = [field.path for field in (*spec.by, *actor, *spec.fields) if field is not None]
    if len(paths) != len(getters) or any(path is None or len(path) != 1 for path in paths):
        return slowly
    at_once = itemgetter(*(path[0] for path in paths if path))

    def quickly(data: dict[str, Any]) -> tuple[Any, ...]:
        try:
            values: tuple[Any, ...] = at_once(data)
        except KeyError:
            return slowly(data)
        return values

    return quickly


def _group(by: tuple[Any, ...]) -> str:
    """The values of the ``by`` fields as one key."""
    try:
        return "\x1f".join(by)
    except TypeError:
        return "\x1f".join(map(str, by))


def name_of(field: FieldPath) -> str:
    """What a field is called behind the digest: the last name of its path."""
    return str((field.path or (field.text,))[-1])


def _names(spec: DigestSpec) -> Iterable[str]:
    own = ("count", "actors", "actor_count", "items", "opened_at", "closed_at")
    return (*map(name_of, spec.by), *own)


def _reads(spec: DigestSpec) -> frozenset[str] | None:
    whole = spec.keep.most > 0 and not spec.fields
    return None if whole else reads_expressions(spec)


OPERATOR = Operator(
    name="digest",
    spec=DigestSpec,
    shape=Shape.KEYED,
    parts=frozenset({Part.KEYED}),
    build=Digest,
    names=_names,
    replaces=True,
    reads=_reads,
    example="""
step: {digest: {by: [photo_id], window: 30s, actors: actor, keep: last 1, fields: [text]}}
in:
  - {at: 0s, id: e1, data: {photo_id: p1, actor: Alice, text: wow}}
  - {at: 10s, id: e2, data: {photo_id: p1, actor: Bob, text: nice}}
  - {at: 20s, id: e3, data: {photo_id: p2, actor: Bob, text: hm}}
out:
  - at: 30s
    members: [e1, e2]
    data: {photo_id: p1, count: 2, actors: [Bob, Alice], actor_count: 2, items: [{text: nice}]}
  - at: 50s
    members: [e3]
    data: {photo_id: p2, count: 1, actors: [Bob], actor_count: 1, items: [{text: hm}]}
""",
)
