"""hold: not now. Quiet hours in the person's zone, a moment to be sent at, a delay.

When something goes is worked out once, when it comes, and written down with it: a replay, another
process or another day gives the same moment. What is held is state, bounded for each person
(`docs/decisions/0008-what-is-held-is-state.md` says why), and leaves at its moment by the log's
clock.

    comes ──► `send_at`, `delay`, `jitter` ──► quiet then? ──► pass, defer, drop or downgrade
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from tidings.contract import (
    Category,
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
from tidings.durations import format_duration
from tidings.expressions import EvaluationError
from tidings.gathered import Gathered
from tidings.ids import unit
from tidings.operators.expire import moment_of
from tidings.operators.hold_spec import HoldSpec, Verdict
from tidings.problems import ValueProblem, suggestion
from tidings.quiet_hours import DAY, NEVER, QuietHours, is_zone, readable
from tidings.records import Kind, Origin, Priority
from tidings.topics import entries, settings

DOWNGRADED = "quiet_hours"  # the field that says so
BY_NATURE: Mapping[str, Verdict] = {"critical": "pass", "high": "pass"}


class Held(msgspec.Struct, array_like=True, gc=False):
    """Something held: ``release`` is its moment, ``body`` its event as JSON."""

    release: int
    body: str
    event_id: str
    offset: int
    index: int = 0
    expires_at: int = 0
    members: tuple[str, ...] = ()
    way: str = ""
    gathered: Gathered | None = None


State = list[Held]
_release = attrgetter("release")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class _Moment(NamedTuple):
    """When something goes; ``why`` it is held, and ``verdict`` where that is in quiet hours."""

    at: int
    why: str = ""
    verdict: Verdict = "pass"


class Hold:
    """The keyed step. Its state: what is held, in the order in which it goes."""

    state = State

    def __init__(self, spec: HoldSpec, site: Site) -> None:
        self._spec = spec
        self._path = site.path
        self._longest = settings([entries(site.scope)])[0].retention_ms
        self._send_at = spec.send_at.or_null() if spec.send_at is not None else None
        self._own_quiet = spec.own_quiet.or_null() if spec.own_quiet is not None else None
        self._zone = spec.zone.or_null() if spec.zone is not None else None
        self._priority = spec.priority.or_null() if spec.priority is not None else None
        self._verdicts = {**BY_NATURE, **spec.classes}
        self._marks = spec.downgrades()
        self._categories, self._types = site.categories, site.types
        self._check(spec, site)

    def _check(self, spec: HoldSpec, site: Site) -> None:
        kept = format_duration(self._longest)
        longest = spec.delay + spec.jitter + (DAY if spec.quiets() else 0)
        if longest > self._longest:
            raise ValueProblem(
                "out-of-range",
                f"this may hold for {format_duration(longest)}, and the log is kept for {kept}",
                "hold for a shorter time, or let the upstream send the event later",
                loc=("delay",),
            )
        if spec.category:
            site.check_category(spec.category, "category")
        known = [*site.categories, "critical", "marketing", *map(str, Priority)]
        for name in spec.classes:
            if name not in known:
                message = f"`{name}` is no category in the configuration, and no other class"
                hint, loc = suggestion(name, known), ("classes", name, "[key]")
                raise ValueProblem("unknown-category", message, hint, loc=loc)

    def on_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Pass the item on, let it go, or hold it."""
        try:
            moment = self._moment(item, now)
        except (EvaluationError, ValueError) as error:
            out.dead(item, "expression", error)
            return state
        at, why, verdict = moment
        if verdict == "drop":
            out.drop(item, Kind.SUPPRESSED, why)
            return state
        if self._marks:
            item.data = {**item.data, DOWNGRADED: verdict == "downgrade"}
        if at <= now:
            out.down(item)
            return state
        if at > now + self._longest:
            kept = format_duration(self._longest)
            out.dead(
                item, "too_far", f"it is to go at {_shown(at)}, and the log is kept for {kept}"
            )
            return state
        if 0 < item.expires_at <= at:
            out.drop(item, Kind.EXPIRED, why, f"it could go at {_shown(at)}")
            return state
        body = msgspec.json.encode(item.data)
        if state is None:
            state = []
        used = sum([len(each.body.encode()) for each in state])
        if len(state) >= self._spec.max_held or used + len(body) > self._spec.max_bytes:
            out.drop(item, Kind.SUPPRESSED, "too_many_held", f"{len(state)} are held")
            return state or None
        origin = item.origin
        held = Held(
            release=at,
            body=body.decode(),
            event_id=item.event_id,
            offset=origin.offset,
            index=origin.index,
            expires_at=item.expires_at,
            members=item.members,
            way=item.way,
            gathered=item.gathered,
        )
        insort(state, held, key=_release)
        if state[0] is held:
            out.wake(at)
        out.drop(item, Kind.DEFERRED, why, f"until {_shown(at)}")
        return state

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """Let go on what is due, in the order in which it came."""
        tenant, recipient, topic, partition = who
        while state and state[0].release <= now:
            held = state.pop(0)
            out.down(
                Item(
                    data=_decode(held.body),
                    origin=Origin(topic, partition, held.offset, held.index),
                    time=held.release,
                    recipient_id=recipient,
                    event_id=held.event_id,
                    tenant=tenant,
                    expires_at=held.expires_at,
                    members=held.members,
                    way=held.way,
                    gathered=held.gathered,
                )
            )
        return state or None

    def horizon(self, state: State) -> Horizon:
        """The next one's moment; what is held is never forgotten."""
        return Horizon(state[0].release, 0)

    # ── When ──────────────────────────────────────────────────────────────────────────────────

    def _moment(self, item: Item, now: int) -> _Moment:
        """When it goes. Raises EvaluationError and ValueError for what the event says wrongly."""
        spec = self._spec
        at, why = now + spec.delay, "delay"
        if self._send_at is not None:
            wished = moment_of(self._send_at(item.data))
            if wished > at:
                at, why = wished, "send_at"
        lot = 0.0
        if spec.jitter:
            lot = unit(f"{self._path}\x1f{item.tenant}\x1f{item.recipient_id}")
            if at > now:
                at += int(lot * spec.jitter)
        quiet = self._quiet(item)
        if quiet is None or self._zone is None:
            return _Moment(at, why)
        zone = self._zone(item.data)
        if type(zone) is not str or not is_zone(zone):
            zone = spec.no_zone
            if zone == "drop":
                return _Moment(at, "no_zone", "drop")
            if zone == "pass":
                return _Moment(at, why)
        end = quiet.until(at, zone)
        if not end:
            return _Moment(at, why)
        verdict = self._verdict(item)
        if verdict == "defer":
            why = "quiet_hours"
            # A person's own hours may leave less of the day than the jitter would take.
            later = int(lot * min(spec.jitter, quiet.open_for()))
            while end:
                at = end + later
                end = quiet.until(at, zone)
        return _Moment(at, "quiet_hours" if verdict == "drop" else why, verdict)

    def _quiet(self, item: Item) -> QuietHours | None:
        """The person's own hours, else the flow's; None for no quiet hours."""
        if self._own_quiet is not None:
            own = self._own_quiet(item.data)
            if own == NEVER:
                return None
            if type(own) is str and (hours := readable(own)) is not None:
                return hours
        return self._spec.quiet

    def _verdict(self, item: Item) -> Verdict:
        """What becomes of an item whose moment is in quiet hours."""
        name = self._spec.category or self._types.get(str(item.data.get("type", "")), "")
        category = self._categories.get(name) or Category(name)
        said = self._priority(item.data) if self._priority is not None else None
        priority = Priority.of(str(said)) if said else ""
        classes = (
            name,
            "critical" if category.critical else "",
            "marketing" if category.marketing else "",
            priority,
        )
        for each in classes:
            if each and each in self._verdicts:
                return self._verdicts[each]
        return self._spec.then


def _shown(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="seconds")


def _names(spec: HoldSpec) -> Iterable[str]:
    return (DOWNGRADED,) if spec.downgrades() else ()


def _reads(spec: HoldSpec) -> frozenset[str]:
    by_type = {"type"} if spec.quiets() and not spec.category else set[str]()
    return reads_expressions(spec) | by_type


OPERATOR = Operator(
    name="hold",
    spec=HoldSpec,
    shape=Shape.KEYED,
    parts=frozenset({Part.KEYED}),
    build=Hold,
    names=_names,
    reads=_reads,
    example="""
step: {hold: {quiet: 22:00-08:00, zone: zone}}
in:
  - {at: 0h, id: e1, data: {zone: Europe/Madrid}}
  - {at: 0h, id: e2, data: {zone: Pacific/Auckland}}
  - {at: 9h, id: e3, data: {zone: Europe/Madrid}}
out:
  - {at: 0h, members: [e1]}
  - {at: 8h, members: [e2]}
  - {at: 18h, members: [e3]}
dropped:
  - {at: 0h, members: [e2], kind: deferred, reason: quiet_hours}
  - {at: 9h, members: [e3], kind: deferred, reason: quiet_hours}
""",
)
