"""The settings of `digest`: when a window opens and closes, and what is kept of its events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tidings.contract import Spec
from tidings.durations import Duration
from tidings.expressions import Condition, Expression, FieldPath
from tidings.problems import ValueProblem
from tidings.quiet_hours import is_zone
from tidings.timetable import Timetable


def _keep(text: Any) -> Any:
    """``last 3`` → {"which": "last", "most": 3}; ``top 3 by score`` has the field, too."""
    if isinstance(text, dict | Keep):
        return text
    words = str(text).split()
    if len(words) == 2 and words[0] in ("first", "last") and words[1].isdigit():
        return {"which": words[0], "most": int(words[1])}
    if len(words) == 4 and words[0] == "top" and words[1].isdigit() and words[2] == "by":
        return {"which": "top", "most": int(words[1]), "by": words[3]}
    raise ValueProblem(
        "bad-value",
        f"expected `first N`, `last N` or `top N by FIELD`, got `{text}`",
        "by which field are they the top?" if words[:1] == ["top"] else "such as keep: last 3",
    )


class Keep(Spec):
    """Which events of a digest a template gets whole."""

    which: Literal["first", "last", "top"] = "last"
    """The first ones, the last ones, or those with the highest numbers in the field `by`."""

    most: int = Field(3, ge=0, le=100)
    """How many at the most."""

    by: FieldPath | None = None
    """The field of `top`. Of equal ones the earlier counts as higher."""

    def __str__(self) -> str:
        return f"{self.which} {self.most}" + (f" by {self.by}" if self.by is not None else "")

    @model_validator(mode="after")
    def _field(self) -> Self:
        if (self.which == "top") != (self.by is not None):
            raise ValueProblem(
                "bad-value", "`top` takes a field, the others take none", "keep: top 3 by score"
            )
        return self


class Cancel(Spec):
    """An event that takes back what was gathered, and is not gathered itself."""

    when: Condition
    """The condition that tells it from others, e.g. `type == 'unlike'`."""

    match: tuple[FieldPath, ...] = ()
    """It takes back those of the person's events that have the same values in these fields, out of
    all windows of this step: `[actor_id, photo_id]`. One in which any of them is missing takes
    nothing back, and is not taken back. Without `match` and `event` it takes back the whole window
    of its own `by`."""

    takes: Condition | None = None
    """With `match`: only events for which this holds are taken back, e.g. `type == 'like'`, where
    the same person may have commented on the same photo."""

    event: FieldPath | None = None
    """The field in which it has the id of the one event that it takes back."""

    reason: str = "cancelled"
    """What the outcome of what is taken back says."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.match and self.event is not None:
            raise ValueProblem(
                "one-of",
                "a `cancel` takes either `match` or `event`, got both",
                "give it two rules",
            )
        if self.takes is not None and not self.match:
            raise ValueProblem(
                "bad-value",
                "`takes` is about the events that `match` finds, and there is no `match`",
                "such as match: [actor_id, photo_id]",
            )
        return self


_Rule = str | Cancel


def _rules(given: Any) -> Any:
    """One rule, or a bare condition, as a list of rules."""
    rules = given if isinstance(given, list | tuple) else [given]
    return [{"when": each} if isinstance(each, str) else each for each in rules]


def name_of(field: FieldPath) -> str:
    """What a field is called behind the digest: the last name of its path."""
    return str((field.path or (field.text,))[-1])


class DigestSpec(Spec):
    """Gathers events of one person into one notification.

    Give ``window`` for a fixed window; ``gap`` and ``max_wait`` for one that stays open while
    events come: it closes at min(last + gap, first + max_wait); or ``at`` and ``zone`` for one that
    closes at a time of day on the person's clock.

    An event that would have expired when its window closes ends as `expired` at once, and a sliding
    window closes before the first of its events expires. The digest expires when the last of its
    events does, and never if one of them does not.
    """

    by: tuple[FieldPath, ...] = ()
    """Events with equal values in these fields are gathered together."""

    window: Duration | None = None
    """How long a fixed window stays open, from its first event."""

    gap: Duration | None = None
    """A sliding window closes when so long nothing came."""

    max_wait: Duration | None = None
    """A sliding window closes at the latest so long after its first event."""

    at: Timetable | None = None
    """When a calendar window closes, as in cron: `0 9 * * *` is daily at nine. A time that the
    clock skips in spring is at the jump; of one that it shows twice in autumn the first counts."""

    zone: Expression | None = None
    """A field or expression for the person's time zone, an IANA name such as `Europe/Madrid`; that
    of a window's first event counts. `lookup: {people: [zone]}` writes it down beforehand."""

    no_zone: str = "UTC"
    """The zone of people whose own is missing or unknown."""

    leading: bool = False
    """The first event goes at once, as a digest of one; what follows within the window is gathered
    without it. If nothing follows, nothing more is sent."""

    min_items: int = Field(1, ge=1, le=100)
    """A window that closes and has never had so many at once gives its events singly, each as a
    digest of one. Nothing waits for company that may never come."""

    max_items: int = Field(500, ge=1, le=10_000)
    """The window closes at once when so many have come."""

    actors: FieldPath | None = None
    """Who did it: distinct values are counted, the recipient himself is left out."""

    names: FieldPath | None = None
    """What an actor is called; without it, by the value of ``actors``."""

    keep: Annotated[Keep, BeforeValidator(_keep)] = Keep(which="last", most=3)
    """Which events a template gets as ``items``: ``last 3``, ``first 3`` or
    ``top 3 by score``. All are counted, whatever is kept."""

    fields: tuple[FieldPath, ...] = ()
    """Of a kept event, only these fields (null where it lacks one); all, if none are named. Fewer
    make state smaller."""

    counts: FieldPath | None = None
    """Its values are counted one by one, such as `type`: a template gets `counts`, a map of value →
    exact number. Of more than 50 values the further ones are counted together, as `other`."""

    tell_apart: tuple[FieldPath, ...] = ()
    """The fields by which `consent` behind the digest may take single events out of it, because the
    person has opted out of their `type`, or muted who or what they are about: `[type, actor_id]`.
    What is among `by` is alike in all of them and need not stand here. Each field costs a byte or
    two of state for each event, and each distinct value its length."""

    flush: Condition | None = None
    """An event for which this holds closes its window at once, itself included."""

    cancel: Annotated[
        tuple[Cancel, ...],
        BeforeValidator(_rules, json_schema_input_type=_Rule | tuple[_Rule, ...]),
    ] = ()
    """Events that take back what was gathered: a condition, as in `type == 'photo_deleted'`, takes
    back the window with the same `by`; a rule, or a list of them, says more. What is taken back
    ends as `cancelled`, and the rest is counted as if it had not come; a window of which nothing is
    left is over. What has closed before is not called back, nor what was sent by `leading`."""

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        if (self.window, self.gap, self.at).count(None) != 2:
            raise ValueProblem(
                "bad-value",
                "a digest takes either `window`, or `gap` and `max_wait`, or `at`",
                "for example: window: 30s",
            )
        if self.gap is not None and (self.max_wait is None or self.max_wait < self.gap):
            raise ValueProblem(
                "bad-value",
                "`gap` needs a `max_wait` that is at least as long",
                "a steady trickle of events would keep the window open for ever",
            )
        if (self.at is None) != (self.zone is None):
            raise ValueProblem(
                "bad-value",
                "`at` and `zone` go together: whose clock is it?",
                "`lookup: {people: [zone]}` writes it down; for all alike, zone: \"'UTC'\"",
            )
        if not is_zone(self.no_zone):
            raise ValueProblem(
                "bad-value",
                f"there is no time zone `{self.no_zone}`",
                "a name such as Europe/Madrid",
                loc=("no_zone",),
            )
        if self.min_items > self.max_items:
            raise ValueProblem(
                "bad-value",
                "`min_items` is more than `max_items`",
                "the window closes at `max_items`",
                loc=("min_items",),
            )
        return self
