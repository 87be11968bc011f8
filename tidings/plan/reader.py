"""Reads a file as a whole: a flow, cut into its parts, or a lane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from tidings.contract import Part, Shape
from tidings.load import bind, read_file
from tidings.load.nodes import Map, Node
from tidings.plan.files import FlowFile, LaneFile
from tidings.plan.model import FlowPlan, LanePlan
from tidings.plan.names import check_names
from tidings.plan.order import (
    check_end,
    check_parts,
    check_sense,
    check_splits,
    keyed_part,
    usable,
)
from tidings.plan.rounds import check_rounds
from tidings.plan.steps import Steps
from tidings.problems import Problems


def load(path: Path, env: Mapping[str, str], problems: Problems) -> FlowPlan | LanePlan | None:
    """The plan of a file, or None; what is wrong with it is among ``problems``."""
    node = read_file(path, env, problems)
    if node is None:
        return None
    before = len(problems.errors)
    version = xxh3_64_hexdigest(path.read_bytes())[:8]
    if isinstance(node, Map) and "lane" in node:
        plan: FlowPlan | LanePlan | None = _lane(node, path, version, problems)
    else:
        plan = _flow(node, path, version, problems)
    return plan if len(problems.errors) == before else None


def _flow(node: Node, file: Path, version: str, problems: Problems) -> FlowPlan | None:
    head = bind(node, FlowFile, "flow", problems)
    if head is None or not isinstance(node, Map):
        return None
    reading = Steps(head.flow, problems)
    steps = reading.read(node["steps"], head.flow)
    first, last = keyed_part(steps)
    plan = FlowPlan(
        head.flow, version, file, head.source, steps[:first], steps[first:last], steps[last:]
    )
    check_parts(plan, problems)
    check_splits(plan, problems)
    check_end(steps, problems, whole=reading.whole)
    check_rounds(plan, problems, whole=reading.whole)
    check_sense(steps, problems)
    check_names(plan, node, problems)
    return plan


def _lane(node: Map, file: Path, version: str, problems: Problems) -> LanePlan | None:
    head = bind(node, LaneFile, "lane", problems)
    if head is None:
        return None
    reading = Steps(head.lane, problems)
    steps = reading.read(node["steps"], head.lane)
    for step in steps:
        if Part.LANE not in step.operator.parts:
            problems.error(
                "wrong-place",
                f"`{step.operator.name}` has no place in a lane",
                step.where,
                step.path,
                "a lane sends what a flow has decided: " + usable(Part.LANE),
            )
    if reading.whole and steps and steps[-1].operator.shape is not Shape.END:
        problems.error(
            "no-end", "a lane ends in `send`", steps[-1].where, steps[-1].path, "add `- send: {…}`"
        )
    return LanePlan(head.lane, version, file, node["lane"].where, steps)
