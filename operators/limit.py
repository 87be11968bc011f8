"""limit: at most so many notifications for one person in any stretch of time, the rest is dropped.

A rolling window, not a calendar day: between any two moments ``within`` apart at most ``at_most``
pass. Its memory is the times of those that passed, so the limit is exact, and since a decision is
taken at the time of the item in hand (a digest's deadline, an event's log time), a replay decides
the same.
"""

from __future__ import annotations

from pydantic import Field

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
from tidings.durations import PositiveDuration
from tidings.expressions import EvaluationError, FieldPath
from tidings.records import Kind


class LimitSpec(Spec):
    """Lets at most ``at_most`` items of a person pass in any ``within``; drops the excess."""

    at_most: int = Field(ge=1, le=10_000)
    """How many may pass."""

    within: PositiveDuration
    """In any stretch of time of this length."""

    by: tuple[FieldPath, ...] = ()
    """Counted apart for each value of these fields, such as a `channel` that the event names;
    without them, all together. For a limit of each channel that the flow itself chooses, give every
    arm of a `switch` or `fan_out` one of its own."""

    per_category: bool = False
    """Counted apart for each category, too: by the event's `type`, as the settings have it
    (`types`)."""

    reason: str = "limit"
    """What the outcome of a dropped one says."""


State = dict[str, list[int]]
CROWDED = 32  # groups of one person; from there on those that no longer count are let go at once


class Limit:
    """The keyed step. Its state: group → times of those that passed, oldest first."""

    state = State

    def __init__(self, spec: LimitSpec, site: Site) -> None:
        self._at_most = spec.at_most
        self._within = spec.within
        self._by = tuple(field.of for field in spec.by)
        self._reason = spec.reason
        self._types = site.types if spec.per_category else None

    def on_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Pass the item or drop it."""
        group = ""
        if self._by:
            try:
                group = "\x1f".join([str(get(item.data)) for get in self._by])
            except EvaluationError as error:
                out.dead(item, "expression", error)
                return state
        if self._types is not None:
            category = self._types.get(str(item.data.get("type", "")), "")
            group = f"{group}\x1f{category}" if group else category
        if state is None:
            state = {}
        since = now - self._within  # a passage exactly `within` ago no longer counts
        times = [time for time in state.get(group, ()) if time > since]
        if len(times) < self._at_most:
            times.append(now)
            out.down(item)
        else:
            out.drop(item, Kind.SUPPRESSED, self._reason)
        state[group] = times
        if len(state) > CROWDED:
            state = {group: times for group, times in state.items() if times[-1] > since}
        return state

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """A limit waits for nothing."""
        return state

    def horizon(self, state: State) -> Horizon:
        """Forgotten when the last passage no longer counts."""
        return Horizon(0, max([times[-1] for times in state.values()]) + self._within)


def _reads(spec: LimitSpec) -> frozenset[str]:
    return reads_expressions(spec) | ({"type"} if spec.per_category else set())


OPERATOR = Operator(
    name="limit",
    spec=LimitSpec,
    shape=Shape.KEYED,
    parts=frozenset({Part.KEYED}),
    build=Limit,
    reads=_reads,
    example="""
step: {limit: {at_most: 2, within: 1h}}
in:
  - {at: 0m, id: e1, data: {}}
  - {at: 10m, id: e2, data: {}}
  - {at: 20m, id: e3, data: {}}
  - {at: 61m, id: e4, data: {}}
out:
  - {at: 0m, members: [e1]}
  - {at: 10m, members: [e2]}
  - {at: 61m, members: [e4]}
dropped:
  - {at: 20m, members: [e3], reason: limit}
""",
)
