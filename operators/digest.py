"""digest: many events become one notification, "Alice and 49 others liked your photo".

A window belongs to one person and one value of the ``by`` fields. It opens at the first event and
closes when the *log's* time passes its deadline, so a replay closes it with the same members. What
comes later opens the next one. The count and the number of distinct actors are exact whatever is
kept of the events.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from tidings.contract import (
    Horizon,
    Item,
    Operator,
    Out,
    Part,
    Shape,
    Site,
    Who,
    reads_expressions,
)
from tidings.expressions import EvaluationError
from tidings.gathered import NAMED, Gathered
from tidings.ids import digest_id
from tidings.operators.digest_apart import Apart, tells_apart
from tidings.operators.digest_cancel import Cancels
from tidings.operators.digest_read import number, reader
from tidings.operators.digest_spec import DigestSpec, name_of
from tidings.operators.digest_usual import usual, usual_first
from tidings.operators.digest_window import Single, State, Window, group_of, keep
from tidings.quiet_hours import is_zone
from tidings.records import Kind, Origin


class Digest:
    """The keyed step. Its state: group → window."""

    state = State

    def __init__(self, spec: DigestSpec, site: Site) -> None:
        self._path = site.path
        self._flow = site.scope
        self._by_names = tuple(name_of(field) for field in spec.by)
        self._field_names = tuple(name_of(field) for field in spec.fields)
        self._read, self._width = reader(spec), len(spec.by)
        self._keep = spec.keep
        self._newest_first = spec.keep.which == "last"
        self._score = spec.keep.by.of if spec.keep.by is not None else None
        self._length = spec.window or spec.gap or 0
        self._max_wait = spec.max_wait
        self._max_items = spec.max_items
        self._min_items = spec.min_items
        self._leading = spec.leading
        self._flush = spec.flush.of if spec.flush is not None else None
        apart = Apart(spec)
        self._apart = apart if tells_apart(spec) else None
        self._cancels = Cancels(spec, site, apart) if spec.cancel else None
        self._looks = bool(self._flush or self._apart or self._cancels)
        self._keeps_places = self._score is not None or self._apart is not None
        self._timetable, self._no_zone = spec.at, spec.no_zone
        self._zone = spec.zone.or_null() if spec.zone is not None else None
        general = self.on_any_item
        self.on_item = usual_first(spec, self._read, general) if usual(spec) else general

    def on_any_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Put the event into its window, which it may open or fill."""
        data = item.data
        urgent, apart = False, None
        try:
            if self._looks:
                if self._cancels is not None and (rule := self._cancels.rule_of(data)) is not None:
                    return self._cancels.take(rule, state, item, out)
                urgent = self._flush is not None and self._flush(data)
                apart = self._apart.values(data) if self._apart is not None else None
            values = self._read(data)
            score = 0.0 if self._score is None else number(self._score(data))
        except (EvaluationError, ValueError, OverflowError) as error:
            out.dead(item, "expression", error)
            return state
        by, actor, name = values[: self._width], values[self._width], values[self._width + 1]
        kept = values[self._width + 2 :] if self._field_names else data
        # An actor may be a number in JSON, the recipient is the text of one.
        key = actor if actor is None or type(actor) is str else str(actor)
        if key == item.recipient_id:
            key = None
        group = group_of(by)
        window = state.get(group) if state is not None else None
        expires_at = item.expires_at
        if window is None:
            try:
                deadline = self._deadline(data, now)
            except EvaluationError as error:
                out.dead(item, "expression", error)
                return state
            offset = item.origin.offset
            window = Window(now, deadline, offset, list(by))
            window.soonest = 0 if self._leading else expires_at
            if self._leading:
                self._one(
                    Single(item.event_id, offset, key, name, kept, expires_at),
                    (window, group, _who(item), now),
                    self._apart.alone(apart, expires_at)
                    if apart is not None and self._apart
                    else None,
                    out,
                )
            elif 0 < expires_at <= (now if urgent else deadline):
                out.drop(item, Kind.EXPIRED, "digest")
                return state
            if state is None:
                state = {}
            state[group] = window
            out.wake(deadline)
            if self._leading:
                return state
        else:
            if urgent:
                alive = not 0 < expires_at <= now
            else:
                alive = not (expires_at or self._max_wait is not None) or self._stays(
                    window, expires_at, now
                )
            if not alive:
                out.drop(item, Kind.EXPIRED, "digest")
                return state
        if apart is not None and self._apart is not None:
            self._apart.add(window, apart, expires_at)
        if not window.count:
            window.first, window.expires = item.origin.offset, expires_at
        elif window.expires:
            window.expires = max(window.expires, expires_at) if expires_at else 0
        window.count += 1
        window.members.append(item.event_id)
        if key is not None:
            actors = window.actors
            if key in actors:
                del actors[key]  # newest last
            actors[key] = name
        if self._keeps_places:
            keep(window, kept, self._keep, score)
        elif len(window.kept) < self._keep.most:
            window.kept.append(kept)
        elif self._newest_first and self._keep.most:
            del window.kept[0]
            window.kept.append(kept)
        if self._min_items > 1:
            singles = window.singles or []
            if window.count < self._min_items and len(singles) == window.count - 1:
                single = Single(item.event_id, item.origin.offset, key, name, kept, expires_at)
                window.singles = [*singles, single]
            else:
                window.singles = None
        if urgent or window.count >= self._max_items:
            assert state is not None
            del state[group]
            self._close(window, group, _who(item), now, out)
        return state or None

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """Close what is due, in the order of deadlines."""
        if len(state) == 1:
            for group, window in state.items():
                self._close(window, group, who, window.deadline, out)
            return None
        due = sorted((w.deadline, group) for group, w in state.items() if w.deadline <= now)
        for deadline, group in due:
            self._close(state.pop(group), group, who, deadline, out)
        return state or None

    def horizon(self, state: State) -> Horizon:
        """The next deadline; an open window is never forgotten."""
        if len(state) == 1:
            for window in state.values():
                return Horizon(window.deadline, 0)
        return Horizon(min([window.deadline for window in state.values()]), 0)

    def _stays(self, window: Window, expires_at: int, now: int) -> bool:
        """Whether an event will be alive when the window closes, which it may put off."""
        deadline, soonest = window.deadline, window.soonest
        if self._max_wait is not None:
            deadline = min(now + self._length, window.opened + self._max_wait)
            if 0 < soonest <= deadline:
                deadline = soonest - 1
        if 0 < expires_at <= deadline:
            return False
        window.deadline = deadline
        if expires_at:
            window.soonest = min(soonest, expires_at) if soonest else expires_at
        return True

    def _deadline(self, data: dict[str, Any], now: int) -> int:
        """When a window closes that opens now. Raises EvaluationError for a zone that fails."""
        if self._timetable is None or self._zone is None:
            return now + self._length
        zone = self._zone(data)
        known = type(zone) is str and is_zone(zone)
        return self._timetable.after(now, zone if known else self._no_zone)

    def _close(self, window: Window, group: str, who: Who, at: int, out: Out) -> None:
        singles = window.singles
        # A window of a version without `min_items` does not have them all.
        if singles is not None and len(singles) == window.count < self._min_items:
            for place, single in enumerate(singles):
                known = None if self._apart is None else self._apart.known(window).only([place])
                self._one(single, (window, group, who, at), known, out)
        elif window.count:
            out.down(self._digest(window, group, who, at))

    def _one(
        self,
        single: Single,
        where: tuple[Window, str, Who, int],
        known: Gathered | None,
        out: Out,
    ) -> None:
        """Give an event of a window as a digest of its own."""
        window, group, who, at = where
        actor = single.actor
        alone = Window(
            opened=window.opened,
            deadline=at,
            first=single.offset,
            by=window.by,
            count=1,
            members=[single.event_id],
            actors={} if actor is None else {actor: single.name},
            kept=[single.kept] if self._keep.most else [],
            expires=single.expires_at,
            known=known,
        )
        if known is not None:
            known.items = [0] * len(alone.kept)
        out.down(self._digest(alone, group, who, at))

    def _digest(self, window: Window, group: str, who: Who, at: int) -> Item:
        kept = window.kept[::-1] if self._newest_first else window.kept
        if self._field_names:
            kept = [dict(zip(self._field_names, values, strict=False)) for values in kept]
        # Not strict: a window may have been opened by a version that had other fields.
        data = dict(zip(self._by_names, window.by, strict=False))
        data["count"] = window.count
        data["actors"] = list(islice(reversed(window.actors.values()), NAMED))
        data["actor_count"] = len(window.actors)
        data["items"] = kept
        data["opened_at"] = window.opened
        data["closed_at"] = at
        gathered = None
        if self._apart is not None:
            gathered = self._apart.told(window)
            if self._newest_first:
                gathered.items = gathered.items[::-1]
            data.update(gathered.told())
        tenant, recipient, topic, partition = who
        members = window.members
        return Item(
            data=data,
            origin=Origin(topic, partition, window.first),
            time=at,
            recipient_id=recipient,
            event_id=digest_id(tenant, self._flow, self._path, recipient, group, members),
            tenant=tenant,
            expires_at=window.expires,
            members=tuple(members),
            gathered=gathered,
        )


def _who(item: Item) -> Who:
    origin = item.origin
    return Who(item.tenant, item.recipient_id, origin.topic, origin.partition)


def _names(spec: DigestSpec) -> Iterable[str]:
    own = ("count", "actors", "actor_count", "items", "opened_at", "closed_at")
    return (*map(name_of, spec.by), *own, *(("counts",) if spec.counts is not None else ()))


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
