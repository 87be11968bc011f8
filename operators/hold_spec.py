"""The settings of `hold`: what is held, by whose hours, and what becomes of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tidings.contract import Spec
from tidings.durations import Duration, format_duration
from tidings.expressions import Expression
from tidings.problems import ValueProblem
from tidings.quiet_hours import QuietHours, is_zone

Verdict = Literal["pass", "defer", "drop", "downgrade"]


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

    own_quiet: Expression | None = None
    """A field or expression for the person's own quiet hours, in place of `quiet`: a text such as
    `21:00-07:30`, or `none` for none at all. Where it is missing or can't be read, `quiet` goes.
    `lookup: {people: [zone, quiet]}` writes it down."""

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
        if not (self.quiets() or self.send_at is not None or self.delay):
            raise ValueProblem(
                "bad-value",
                "this holds nothing: give `quiet`, `send_at` or `delay`",
                "for example: {quiet: 22:00-08:00, zone: zone}",
            )
        if not self.quiets():
            for name in ("zone", "then", "classes", "category", "priority", "no_zone"):
                if name in self.model_fields_set:
                    raise ValueProblem(
                        "bad-value",
                        f"`{name}` says nothing without `quiet`",
                        loc=(name, "[key]"),
                    )
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
                loc=("no_zone",),
            )
        if self.quiet is not None and self.jitter > self.quiet.open_for():
            raise ValueProblem(
                "bad-value",
                f"a `jitter` of {format_duration(self.jitter)} reaches into the next quiet hours",
                f"{self.quiet} leave {format_duration(self.quiet.open_for())} on the shortest day",
                loc=("jitter",),
            )
        return self

    def quiets(self) -> bool:
        """Whether anybody has quiet hours."""
        return self.quiet is not None or self.own_quiet is not None

    def downgrades(self) -> bool:
        """Whether anything may be downgraded."""
        return "downgrade" in (self.then, *self.classes.values())
