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
from typing import Any, Literal, NamedTuple, Self

import msgspec
from pydantic import Field, model_validator

from tidings.contract import (
    Category,
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
from tidings.durations import Duration, format_duration
from tidings.expressions import EvaluationError, Expression
from tidings.ids import unit
from tidings.operators.expire import moment_of
from tidings.problems import ValueProblem, suggestion
from tidings.quiet_hours import DAY, QuietHours, is_zone
from tidings.records import Kind, Origin, Priority
from tidings.topics import entries, settings

Verdict = Literal["pass", "defer", "drop", "downgrade"]
DOWNGRADED = "quiet_hours"  # the field that says so
BY_NATURE: Mapping[str, Verdict] = {"critical": "pass", "high": "pass"}


class HoldSpec(Spec):
    """Holds a person's notifications until it is time for them.

    What is held leaves by the log's clock, survives restarts and goes along when partitions move.
    Its outcome is `deferred`, with the moment at which it will go; at that moment it counts as new:
    `expires` of `deliver` runs from there. An `expire` before the hold sets a moment that stays,
    and what would be past it when it may go ends as `expired` at once.
    """

    quiet: QuietHours | None = None
    """Hours in which the person is left alone, by the clock on his wall, e.g. `22:00-08:00`. They
    may run over midnight. A time that the clock skips in spring is at the jump; of one that it
    shows twice in autumn the first counts."""

    zone: Expression | None = None
    """A field or expression for the person's time zone, an IANA name such as `Europe/Madrid`. A
    keyed step asks nobody, so the event has to bring it: let `lookup: {people: [zone]}` write it
    down before the first keyed step. Behind a digest it is known if the digest has it in `by`."""

    no_zone: str = "UTC"
    """What goes for people whose zone is missing or unknown: the name of a zone; `pass`, no quiet
    hours for them; or `drop`."""

    then: Verdict = "defer"
    """What becomes of what would go in quiet hours: `defer` it to their end, `drop` it, `pass` it
    on, or `downgrade` it: it goes at once, with the field `quiet_hours` set to true (else false),
    by which a `switch` takes it another way, say to e-mail instead of push."""

    classes: dict[str, Verdict] = Field(default={})
    """The same by class, in place of `then`: `{marketing: drop, social: downgrade}`. A class is a
    category's name; `critical` or `marketing`, for what such categories have in common; or a
    priority. The first of these that is given counts. What is critical or of high priority passes,
    unless it is said otherwise here."""

    category: str = ""
    """The category; by default by the event's `type`."""

    priority: Expression | None = None
    """A field or expression for the event's priority."""

    send_at: Expression | None = None
    """A field or expression for the moment at which to send it, epoch milliseconds or a text such
    as `2026-07-01T12:00:00Z`. Where it is missing, null or past it sets none; farther away than the
    log is kept it makes a dead letter."""

    delay: Duration = 0
    """How long to hold everything."""

    jitter: Duration = 0
    """Spreads what is held over so long a time, by a hash of the person, so that not everybody is
    written to on the stroke of eight. A person's own notifications keep together."""

    max_held: int = Field(100, ge=1, le=10_000)
    """How many may be held for a person; more are dropped, reason `too_many_held`. Where so many
    come in a night, put a `digest` before the hold."""

    max_bytes: int = Field(65_536, ge=1_024, le=1_000_000)
    """How many bytes of events may be held for a person, counted in the same way."""

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.quiet is None and self.send_at is None and not self.delay:
            raise ValueProblem(
                "bad-value",
                "this holds nothing: give `quiet`, `send_at` or `delay`",
                "for example: {quiet: 22:00-08:00, zone: zone}",
            )
        if self.quiet is None:
            for name in ("zone", "then", "classes", "category", "priority", "no_zone"):
                if name in self.model_fields_set:
                    raise ValueProblem("bad-value", f"`{name}` says nothing without `quiet`")
            return self
        if self.zone is None:
            raise ValueProblem(
                "bad-value",
                "`quiet` needs a `zone`: whose clock are these hours on?",
                "`lookup: {people: [zone]}` writes it down; for all alike, zone: \"'UTC'\"",
            )
        if self.no_zone not in ("pass", "drop") and not is_zone(self.no_zone):
            raise ValueProblem(
                "bad-value",
                f"there is no time zone `{self.no_zone}`",
                "a name such as Europe/Madrid, or `pass`, or `drop`",
            )
        open_for = DAY - self.quiet.length() - 3_600_000  # an hour may be skipped
        if self.jitter > max(open_for, 0):
            raise ValueProblem(
                "bad-value",
                f"a `jitter` of {format_duration(self.jitter)} reaches into the next quiet hours",
                f"{self.quiet} leave {format_duration(max(open_for, 0))} on the shortest day",
            )
        return self

    def downgrades(self) -> bool:
        """Whether anything may be downgraded."""
        return "downgrade" in (self.then, *self.classes.values())


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
        self._zone = spec.zone.or_null() if spec.zone is not None else None
        self._priority = spec.priority.or_null() if spec.priority is not None else None
        self._verdicts = {**BY_NATURE, **spec.classes}
        self._marks = spec.downgrades()
        self._categories, self._types = site.categories, site.types
        self._check(spec, site)

    def _check(self, spec: HoldSpec, site: Site) -> None:
        kept = format_duration(self._longest)
        longest = spec.delay + spec.jitter + (DAY if spec.quiet is not None else 0)
        if longest > self._longest:
            raise ValueProblem(
                "out-of-range",
                f"this may hold for {format_duration(longest)}, and the log is kept for {kept}",
                "hold for a shorter time, or let the upstream send the event later",
            )
        if spec.category and spec.category not in site.categories:
            message = f"there is no category `{spec.category}` in the configuration"
            hint = suggestion(spec.category, site.categories)
            raise ValueProblem("unknown-category", message, hint)
        known = [*site.categories, "critical", "marketing", *map(str, Priority)]
        for name in spec.classes:
            if name not in known:
                message = f"`{name}` is no category in the configuration, and no other class"
                raise ValueProblem("unknown-category", message, suggestion(name, known))

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
        body = msgspec.json.encode(item.data).decode()
        if state is None:
            state = []
        used = sum([len(each.body) for each in state])
        if len(state) >= self._spec.max_held or used + len(body) > self._spec.max_bytes:
            out.drop(item, Kind.SUPPRESSED, "too_many_held", f"{len(state)} are held")
            return state or None
        origin = item.origin
        held = Held(
            release=at,
            body=body,
            event_id=item.event_id,
            offset=origin.offset,
            index=origin.index,
            expires_at=item.expires_at,
            members=item.members,
            way=item.way,
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
        later = 0
        if spec.jitter:
            later = int(unit(f"{self._path}\x1f{item.tenant}\x1f{item.recipient_id}") * spec.jitter)
            if at > now:
                at += later
        quiet = spec.quiet
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
            while end:
                at = end + later
                end = quiet.until(at, zone)
        return _Moment(at, "quiet_hours" if verdict == "drop" else why, verdict)

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
    by_type = {"type"} if spec.quiet is not None and not spec.category else set[str]()
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
