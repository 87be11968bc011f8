"""throttle: thins out a source that chatters; the excess is dropped at once.

What it is not: a `limit` counts exactly over any stretch of time and stands over what a person
gets; it remembers the time of everything that passed. A throttle is a token bucket: one number for
each key, however much passes, so it may stand where most of the events come by. The price is that
a stretch of ``within`` may see the bucket's fill on top of what trickles in: up to ``burst`` +
``at_most`` − 1.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

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
from tidings.problems import ValueProblem
from tidings.records import Kind


class ThrottleSpec(Spec):
    """Lets events pass at a rate of `at_most` in `within`, and drops the excess.

    For each person, and each value of `by`, there is a bucket of `burst` tokens. An event takes
    one; where there is none it is dropped. Tokens come back one at a time, `at_most` of them in
    `within`. With `at_most: 1` that is the leading edge: the first event passes, and nothing more
    until `within` is over.

    It is meant for sources that chatter, before the digest. In any stretch of `within` at most
    `burst + at_most - 1` pass. Where no stretch may see more than `at_most`, take `limit`, which
    remembers the time of each that passed.
    """

    at_most: int = Field(1, ge=1, le=10_000)
    """How many tokens come back in `within`."""

    within: PositiveDuration
    """The time in which they come back."""

    by: tuple[FieldPath, ...] = ()
    """A bucket for each value of these fields, e.g. `[sensor_id]`; without them, one a person."""

    burst: int | None = Field(None, ge=1, le=10_000)
    """How many tokens the bucket holds: so many pass at once after a pause. By default `at_most`;
    1 spaces them evenly."""

    reason: str = "throttle"
    """What the outcome of a dropped one says."""

    @model_validator(mode="after")
    def _some_rate(self) -> Self:
        if self.at_most > self.within:
            raise ValueProblem(
                "bad-value",
                f"{self.at_most} in {self.within}ms is more than one a millisecond",
                "time in the log has no finer grain, so it would let everything pass",
                loc=("within",),
            )
        return self


State = dict[str, int]
CROWDED = 32  # buckets of one person; from there on those that are full again are let go at once
MICROS = 1_000  # in a millisecond: tokens come back at times between two of them


class Throttle:
    """The keyed step. Its state: group → when its bucket is full again, in epoch µs.

    Rounded so that a token comes back too late rather than too early, by less than 1 µs.
    """

    state = State

    def __init__(self, spec: ThrottleSpec, site: Site) -> None:
        self._apart = -(-spec.within * MICROS // spec.at_most)
        self._spare = self._apart * ((spec.burst or spec.at_most) - 1)
        self._by = tuple(field.of for field in spec.by)
        self._reason = spec.reason

    def on_item(self, state: State | None, item: Item, now: int, out: Out) -> State | None:
        """Pass the item or drop it."""
        group = ""
        if self._by:
            try:
                group = "\x1f".join([str(get(item.data)) for get in self._by])
            except EvaluationError as error:
                out.dead(item, "expression", error)
                return state
        if state is None:
            state = {}
        at = now * MICROS
        full_at = max(state.get(group, 0), at)
        if full_at - at > self._spare:
            out.drop(item, Kind.SUPPRESSED, self._reason)
            return state
        state[group] = full_at + self._apart
        if len(state) > CROWDED:
            state = {group: full_at for group, full_at in state.items() if full_at > at}
        out.down(item)
        return state

    def on_time(self, state: State, who: Who, now: int, out: Out) -> State | None:
        """A throttle waits for nothing."""
        return state

    def horizon(self, state: State) -> Horizon:
        """Forgotten when every bucket is full again."""
        return Horizon(0, -(-max(state.values()) // MICROS))


OPERATOR = Operator(
    name="throttle",
    spec=ThrottleSpec,
    shape=Shape.KEYED,
    parts=frozenset({Part.KEYED}),
    build=Throttle,
    reads=reads_expressions,
    example="""
step: {throttle: {at_most: 2, within: 10m, by: [sensor]}}
in:
  - {at: 0m, id: e1, data: {sensor: door}}
  - {at: 1m, id: e2, data: {sensor: door}}
  - {at: 2m, id: e3, data: {sensor: door}}
  - {at: 2m, id: e4, data: {sensor: window}}
  - {at: 5m, id: e5, data: {sensor: door}}
out:
  - {at: 0m, members: [e1]}
  - {at: 1m, members: [e2]}
  - {at: 2m, members: [e4]}
  - {at: 5m, members: [e5]}
dropped:
  - {at: 2m, members: [e3], kind: suppressed, reason: throttle}
""",
)
