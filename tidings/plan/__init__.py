"""From YAML to a plan: what a flow or a lane is, typed, checked and cut, and nothing built yet.

    flow file ──► FlowPlan(source, intake │ keyed │ tail)      cut before the first keyed step
    lane file ──► LanePlan(channel, steps)

    files    what may stand in a file          model   what comes of it
    steps    reads lists of steps              order   what may stand where, and how a flow ends
    names    which fields are known where      rounds  what may stand behind an escalation
    reader   a file as a whole

All problems of a file are found at once. A step's path (``social.digest``) is its id for ever:
state and outcomes go by it.
"""

from tidings.plan.files import SourceSpec
from tidings.plan.model import FlowPlan, LanePlan, StepPlan, alike, fields_read
from tidings.plan.reader import load
from tidings.plan.rounds import ways

__all__ = [
    "FlowPlan",
    "LanePlan",
    "SourceSpec",
    "StepPlan",
    "alike",
    "fields_read",
    "load",
    "ways",
]
