"""assign: who gets which arm of an experiment, and who is left out of it.

A function of the person and the experiment's name, with no memory: the same person is in the same
arm for ever, in every flow that has the experiment, and two experiments do not follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tidings.contract import Batch, Item, Operator, Part, Shape, Site, Spec
from tidings.ids import person_key, unit
from tidings.ports import Io
from tidings.problems import ValueProblem
from tidings.records import Kind

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$")]
Weight = Annotated[int, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(gt=0, lt=1)]


class AssignSpec(Spec):
    """Puts each person into one arm of an experiment, or leaves him out of it.

    The arm is a function of the person and the experiment's name. It is put into a field, for a
    `switch` or a template, and every outcome of the notification says it, as `experiment:arm` in
    `variant`: that is the exposure by which arms are compared. Who is held out gets nothing; the
    outcome is `suppressed`, reason `holdout`, and says `experiment:holdout`.

    To change the weights moves as few people as that needs where arms keep their order. A new name
    draws lots anew.
    """

    experiment: Name
    """The experiment's name. It is the salt of the lots: flows with the same name agree about every
    person, and other names know nothing of it."""

    arms: dict[Name, Weight] = Field(min_length=1, max_length=100)
    """The arms and their weights, in any unit: `{plain: 1, bold: 1}` are halves."""

    holdout: Share | None = None
    """The share of people who get nothing, e.g. `0.05`. Drawn apart from the arms, so that a change
    of it moves nobody from one arm to another."""

    as_: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")] = Field(
        default="variant", alias="as"
    )
    """The field that the arm's name is put into."""

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if not any(self.arms.values()):
            message = "all arms have the weight 0, so nobody could be in one"
            raise ValueProblem("bad-value", message, loc=("arms",))
        if "holdout" in self.arms:
            raise ValueProblem(
                "bad-value",
                "an arm can't be called `holdout`: that is what outcomes say of those left out",
                "holdout: 0.05 leaves people out; an arm that changes nothing is called `control`",
                loc=("arms", "holdout", "[key]"),
            )
        if len(self.arms) == 1 and self.holdout is None:
            raise ValueProblem(
                "bad-value",
                "one arm and no `holdout` compare nothing",
                "arms: {plain: 1, bold: 1}, or a holdout beside the one arm",
                loc=("arms",),
            )
        return self


class Assign:
    """Draws each person's lot."""

    def __init__(self, spec: AssignSpec, site: Site) -> None:
        self._experiment = spec.experiment
        total = sum(spec.arms.values())
        ends = accumulate(weight / total for weight in spec.arms.values())
        self._arms = [pair for pair in zip(ends, spec.arms, strict=True) if spec.arms[pair[1]]]
        self._holdout = spec.holdout or 0.0
        self._as = spec.as_
        self._site = site

    def process(self, batch: Batch[Item], io: Io, now: int) -> None:
        """Say each item's arm; drop those of people held out."""
        experiment, kept = self._experiment, []
        for item in batch.items:
            person = person_key(item.tenant, item.recipient_id)
            arm = self.arm(person)
            exposure = f"{experiment}:{arm or 'holdout'}"
            item.variant = f"{item.variant} {exposure}" if item.variant else exposure
            if not arm:
                batch.drop(item, Kind.SUPPRESSED, "holdout", self._site, experiment)
                continue
            item.data = {**item.data, self._as: arm}
            kept.append(item)
        batch.items = kept

    def arm(self, person: str) -> str:
        """The arm of a person; empty for one who is held out."""
        if self._holdout and unit(f"holdout\x1f{self._experiment}\x1f{person}") < self._holdout:
            return ""
        lot = unit(f"arm\x1f{self._experiment}\x1f{person}")
        for end, name in self._arms:
            if lot < end:
                return name
        return self._arms[-1][1]  # the ends are sums of fractions, and may fall short of 1


def _names(spec: AssignSpec) -> Iterable[str]:
    return (spec.as_,)


OPERATOR = Operator(
    name="assign",
    spec=AssignSpec,
    shape=Shape.MAP,
    parts=frozenset({Part.TAIL}),
    build=Assign,
    names=_names,
    reads=lambda spec: frozenset(),
    timeless=True,
    example="""
step: {assign: {experiment: tone, arms: {plain: 1, bold: 1}, holdout: 0.2}}
in:
  - {recipient_id: ana}
  - {recipient_id: bob}
  - {recipient_id: joe}
out:
  - {recipient_id: ana, variant: plain}
  - {recipient_id: bob, variant: bold}
dropped:
  - {item: {recipient_id: joe}, kind: suppressed, reason: holdout}
""",
)
