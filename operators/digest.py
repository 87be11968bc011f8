"""digest: many events become one notification, "Alice and 49 others liked your photo".

A window belongs to one person and one value of the ``by`` fields. It opens at the first event and
closes when the *log's* time passes its deadline, so a replay closes it with the same members. What
comes later opens the next one. The count and the number of distinct actors are exact whatever is
kept of the events.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tidings.contract import Horizon, Item, Operator, Out, Part, Shape, Site, Spec, Who
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
    """Of a kept event, only these fields; all, if none are named. Fewer make state smaller."""

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


# A window's state, plain built-ins: by position, for it is read and written at every event.
OPENED, DEADLINE, FIRST, COUNT, MEMBERS, ACTORS, KEPT, BY = range(8)

Window = list[Any]
State = dict[str, Window]


class Digest:
    """The keyed step. Its state: group → window."""

    def __init__(self, spec: DigestSpec, site: Site) -> None:
        self._spec = spec
        self._path = site.path
        self._flow = site.scope
        self._by = tuple(field.of for field in spec.by)
        self._by_names = tuple(name_of(field) for field in spec.by)
        self._actor = spec.actors.of if spec.actors else None
        self._name = spec.names.of if spec.names else None
        self._fields = tuple((name_of(field), field.of) for field in spec.fields)
        self._first = spec.keep.which == "first"
        self._most = spec.keep.most
        self._length = spec.window or spec.gap or 0
        self._max_wait = spec.max_wait
        self._max_items = spec.max_items

    def on_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Put the event into its window, which it may open or fill."""
        data = item.data
        try:
            by = [get(data) for get in self._by]
            actor = None if self._actor is None else self._actor(data)
            name = actor if self._name is None else self._name(data)
            kept = {key: get(data) for key, get in self._fields} if self._fields else data
        except EvaluationError as error:
            out.dead(item, "expression", error)
            return state
        group = str(by[0]) if len(by) == 1 else "\x1f".join(map(str, by))
        if state is None:
            state = {}
        window = state.get(group)
        if window is None:
            deadline = now + self._length
            window = state[group] = [now, deadline, item.origin.offset, 0, [], {}, [], by]
            out.wake(deadline)
        elif self._max_wait is not None:
            window[DEADLINE] = min(now + self._length, window[OPENED] + self._max_wait)
        window[COUNT] += 1
        window[MEMBERS].append(item.event_id)
        if actor is not None and actor != item.recipient_id:
            actors = window[ACTORS]
            key = str(actor)
            actors.pop(key, None)  # newest last
            actors[key] = name
        events = window[KEPT]
        if len(events) < self._most:
            events.append(kept)
        elif not self._first and self._most:
            del events[0]
            events.append(kept)
        if window[COUNT] >= self._max_items:
            del state[group]
            origin = item.origin
            who = Who(item.tenant, item.recipient_id, origin.topic, origin.partition)
            out.down(self._close(window, group, who, now))
        return state or None

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """Close what is due, in the order of deadlines."""
        due = [(window[DEADLINE], group) for group, window in state.items()]
        for deadline, group in sorted(due):
            if deadline <= now:
                out.down(self._close(state.pop(group), group, who, deadline))
        return state or None

    def horizon(self, state: State) -> Horizon:
        """The next deadline; an open window is never forgotten."""
        return Horizon(min([window[DEADLINE] for window in state.values()]), 0)

    def _close(self, window: Window, group: str, who: Who, at: int) -> Item:
        actors, members = window[ACTORS], window[MEMBERS]
        newest = list(reversed(actors.values()))[:NAMED]
        kept = window[KEPT] if self._first else window[KEPT][::-1]
        data = dict(zip(self._by_names, window[BY], strict=True))
        data.update(
            count=window[COUNT],
            actors=newest,
            actor_count=len(actors),
            items=kept,
            opened_at=window[OPENED],
            closed_at=at,
        )
        tenant, recipient, topic, partition = who
        return Item(
            data=data,
            origin=Origin(topic, partition, window[FIRST]),
            time=at,
            recipient_id=recipient,
            event_id=digest_id(tenant, self._flow, self._path, recipient, group, members),
            tenant=tenant,
            members=tuple(members),
        )


def name_of(field: FieldPath) -> str:
    """What a field is called behind the digest: the last name of its path."""
    return str((field.path or (field.text,))[-1])


def _names(spec: DigestSpec) -> Iterable[str]:
    own = ("count", "actors", "actor_count", "items", "opened_at", "closed_at")
    return (*map(name_of, spec.by), *own)


OPERATOR = Operator(
    name="digest",
    spec=DigestSpec,
    shape=Shape.KEYED,
    parts=frozenset({Part.KEYED}),
    build=Digest,
    names=_names,
    replaces=True,
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
