"""One step of a running flow or lane, as the log tells of it: before, in and behind the step.

Nothing is asked of the process that runs the step, so nothing slows it. Its price is what the log
doesn't tell: of a step that only passes things on, what it passed is seen when a step behind it
drops, defers or delivers that.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidings.log.port import Record
from tidings.plan import FlowPlan, LanePlan, StepPlan
from tidings.runtime.letters import PREFIX
from tidings.topics import EVENTS, dead_letters, entries

_LETTER = f"{PREFIX}step"


class _At(msgspec.Struct):
    """Of an outcome, where it was made."""

    step: str


_at = msgspec.json.Decoder(_At).decode


class Tap:
    """What a record of ``topics`` tells of the step ``path``. Raises LookupError for no step."""

    def __init__(self, plan: FlowPlan | LanePlan, path: str) -> None:
        steps = plan.steps() if isinstance(plan, FlowPlan) else plan.steps
        if path not in {step.path for step in steps}:
            raise LookupError(path)
        self._path = path
        self._entered = ""
        if isinstance(plan, FlowPlan):
            self._behind = _behind((*plan.intake, *plan.keyed, *plan.tail), path)
            if plan.keyed and plan.keyed[0].path == path:
                self._entered = entries(plan.name)
            letters = dead_letters("flow")
        else:
            self._behind = _behind(plan.steps, path)
            letters = dead_letters(plan.channel)
        self.topics = [name for name in (self._entered, EVENTS, letters) if name]

    def sees(self, record: Record) -> str:
        """``in``: an entry on its way into it. ``here``: it dropped, deferred, delivered, sent, or
        made a dead letter. ``past``: a step behind it did. Empty for what is not its own."""
        if record.topic == self._entered:
            return "in" if record.value is not None else ""
        if record.topic == EVENTS:
            step = _at(record.value or b"").step
        else:
            step = dict(record.headers).get(_LETTER, b"").decode()
        return "here" if step == self._path else "past" if step in self._behind else ""


def _behind(steps: Sequence[StepPlan], path: str) -> frozenset[str]:
    """The steps that only what has passed ``path`` comes to, the arms of a branch among
    them; of a step in an arm, those of the arm."""
    for number, step in enumerate(steps):
        if step.path == path:
            later = (each.path for top in steps[number:] for each in top.walk())
            return frozenset(later) - {path}
        for arm in step.arms:
            if any(path == each.path for inner in arm for each in inner.walk()):
                return _behind(arm, path)
    return frozenset()


class Rate:
    """At most ``a_second`` of what comes by; ``left_out`` counts the rest."""

    def __init__(self, a_second: int) -> None:
        self._a_second = a_second
        self._second = -1
        self._shown = 0
        self.left_out = 0

    def allows(self, now: float) -> bool:
        """Whether one more may be shown at ``now``, in seconds."""
        if int(now) != self._second:
            self._second, self._shown = int(now), 0
        if self._shown >= self._a_second:
            self.left_out += 1
            return False
        self._shown += 1
        return True
