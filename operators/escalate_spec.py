"""The settings of ``escalate``, and what in them makes no sense."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tidings.contract import Spec
from tidings.durations import Duration, PositiveDuration
from tidings.expressions import Condition, Expression
from tidings.problems import ValueProblem

Failure = Literal["failed", "suppressed", "expired", "unknown"]


class Round(Spec):
    """One try to reach the person, on one channel."""

    channel: str
    """The channel. Where an earlier round has used it too, this one begins with the next provider
    of the lane's list."""

    after: Duration | None = None
    """How long after the round before it. `until`: after a provider has accepted that one.
    `on_failure`: after it has failed, by default at once. Of the first round: after the event, by
    default at once."""

    upon: Condition | None = None
    """Goes out as soon as an event comes of which this is true, instead of after a time. The event
    belongs to what is open under the same `by`, and goes no further itself."""

    within: PositiveDuration | None = None
    """How long an event is waited for; without one by then, nothing more goes out."""

    sent_by: str = ""
    """Of the first round: the flow that sends it, from the same event and with a `reply_to` that
    names this one. Here it is only waited for."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.upon is None) != (self.within is None):
            raise ValueProblem(
                "bad-value",
                "`upon` and `within` go together: for which event, and how long it is waited for",
                "upon: type == 'shipped', within: 2d",
            )
        given = [name for name in ("after", "upon", "sent_by") if getattr(self, name)]
        if len(given) > 1:
            raise ValueProblem(
                "one-of", f"a round starts one way, got {' and '.join(f'`{n}`' for n in given)}"
            )
        return self


class EscalateSpec(Spec):
    """Tries to reach a person in rounds, each on another channel, until one has worked.

    What has worked is said in one of two ways. `until: opened`: the person has done that, or more
    than that (`delivered` < `opened` < `clicked`); a round that a provider has accepted gets the
    next one's `after` to do it, and one that fails, or is refused, is followed at once.
    `on_failure`: the next round goes out when the one before has failed, and only then.

    An event for which `cancel` is true ends what is open under the same `by`. What ends early is
    told by an outcome, `cancelled`, with the reason: `engaged` (by any round, an earlier one too),
    `cancelled`, `superseded`, `no_event`.

    It is the last keyed step, and a `deliver` without channels stands behind it: it sends the round
    in hand. Templates see its number, from 1, as `round`; `consent` behind it judges a digest as
    one. All time is the log's, so that a replay sends the same rounds.
    """

    rounds: tuple[Round, ...] = Field(min_length=1, max_length=20)
    """The rounds, in order."""

    until: Literal["delivered", "opened", "clicked", ""] = ""
    """What the person, or the phone, must have done: `delivered`, `opened` or `clicked`. It needs
    providers that tell (`tidings receipts`)."""

    on_failure: tuple[Failure, ...] = ()
    """Which ends of a delivery are a failure: of `failed` (a bounce that is told of later too),
    `suppressed`, `expired` and `unknown`."""

    by: tuple[Expression, ...] = ()
    """What belongs together, e.g. `alert_id`: to that a `cancel` or an `upon` refers. By default
    the event's id."""

    cancel: Condition | None = None
    """Which events end what is open, e.g. `type == 'acknowledged'`. They go no further."""

    again: Literal["restart", "ignore"] = "restart"
    """What an event does while another one of the same `by` is open: it takes its place, with the
    first round, or it is let go with the reason `open`."""

    accepted_within: PositiveDuration = 300_000
    """`until`: how long a provider's acceptance is waited for. Without one, the next round goes out
    all the same."""

    fails_within: PositiveDuration = 86_400_000
    """`on_failure`: how long after it went out a round may still fail."""

    max_open: int = Field(100, ge=1, le=10_000)
    """How many may be open for one person. Of more, the oldest is given up, with the reason
    `too_many_open`."""

    max_bytes: int = Field(262_144, ge=1_024, le=8_388_608)
    """How much the events that are open for one person may take, as JSON. Of more, the oldest is
    given up, likewise."""

    @field_validator("by", "on_failure", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        timed = any(each.upon is None for each in self.rounds[1:])
        given = [name for name in ("until", "on_failure") if getattr(self, name)]
        if len(given) > 1 or (timed and not given):
            raise ValueProblem(
                "one-of",
                "`escalate` takes exactly one of `until` and `on_failure`, got "
                + (" and ".join(f"`{name}`" for name in given) or "none of them"),
                "until: opened goes on unless the person reacts; on_failure: [failed, suppressed] "
                "only when a round could not be sent",
            )
        return self

    @model_validator(mode="after")
    def _rounds_in_place(self) -> Self:
        first, *later = self.rounds
        if any(each.sent_by for each in later):
            raise ValueProblem("bad-value", "only the first round can be sent by another flow")
        if first.sent_by and not later:
            raise ValueProblem("bad-value", "a round that another flow sends is the only one here")
        for number, each in enumerate(later, start=2):
            if self.until and each.after is None and each.upon is None:
                raise ValueProblem(
                    "missing-field",
                    f"round {number} does not say how long the one before it has",
                    "after: 5m, from when a provider has accepted that one",
                )
        waits = self.cancel is not None or any(each.upon is not None for each in self.rounds)
        if waits and not self.by:
            raise ValueProblem(
                "missing-field",
                "an event can only be told to belong to what is open by a `by`",
                "by: alert_id, a field that both events have",
            )
        return self

    def longest(self) -> int:
        """The longest time (ms) from the event to the end of the last wait."""
        total = self.rounds[0].after or self.rounds[0].within or 0
        for each in self.rounds[1:]:
            if each.within:
                total += each.within
            elif self.until:
                total += self.accepted_within + (each.after or 0)
            else:
                total += self.fails_within + (each.after or 0)
        return total
