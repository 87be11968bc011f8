"""The scenarios: each breaks a world in the middle of a blast, lets it settle, and audits it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos import faults
from tests.chaos.audit import audit_flow, audit_sends
from tests.chaos.faults import Fault
from tests.chaos.upstream import Upstream
from tests.chaos.world import World

PARTS = ("intake", "flow", "lane")
QUIET = 4.0  # seconds: longer than the longest window
REPEATS = 500  # sends that one kill may repeat, at the default settings
RESTARTED, TAKEN_OVER = 5.0, 10.0  # seconds to be back at work


@dataclass
class Blast:
    """What is written meanwhile."""

    events: int = 60_000
    people: int = 1_500
    seconds: float = 140.0
    seed: int = 1


@dataclass
class Result:
    """What a scenario showed; ``wrong`` is empty when all is as it must be."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    wrong: dict[str, Any] = field(default_factory=dict)


Act = Callable[[World, float], None]


def _play(world: World, blast: Blast, acts: Sequence[tuple[float, Act]]) -> Upstream:
    """Run the blast, do each act at its second, and wait until all is settled."""
    upstream = Upstream(
        world.kafka.bootstrap, blast.events, blast.people, blast.seconds, blast.seed
    )
    begun = time.monotonic()
    upstream.start()
    for at, act in sorted(acts, key=lambda one: one[0]):
        time.sleep(max(0.0, begun + at - time.monotonic()))
        world.check()
        act(world, at)
    upstream.finish()
    world.settle(PARTS, quiet=QUIET, timeout=180)
    return upstream


def _audit(name: str, world: World, upstream: Upstream) -> Result:
    flow, truth = audit_flow(world.log, upstream)
    result = Result(name, {"flow": flow.figures()}, wrong=flow.faults())
    if flow.digests == 0:
        result.wrong["idle"] = "nothing was decided at all"
    if "lane" in PARTS:
        sends = audit_sends(world.log, truth, world.stage)
        result.figures["sends"] = sends.figures()
        result.wrong |= sends.faults()
    return result


# ── Crash ─────────────────────────────────────────────────────────────────────────────────────


def crash(folder: Path, blast: Blast, targets: Sequence[str], kills: int) -> Result:
    """Kill -9 of ``targets`` in turn at random instants, each started again at once."""
    with World(folder, blast.people) as world:
        for part in PARTS:
            world.start(part)
        world.wait_for_work(PARTS)
        plan = faults.draw(Random(blast.seed), targets, kills, blast.seconds)
        upstream = _play(world, blast, [(fault.at, _striking(fault)) for fault in plan])
        result = _audit("crash", world, upstream)
        _judge(result, world, plan, RESTARTED)
        world.end(list(world.everyone()))
    return result


def _striking(fault: Fault) -> Act:
    return lambda world, at: faults.strike(world, fault)


def _judge(result: Result, world: World, plan: Sequence[Fault], within: float) -> None:
    """Add what each kill cost, and whether that is too much."""
    done = {part: faults.progress(world, part) for part in PARTS}
    faults.assign_repeats(plan, world)
    for fault in plan:
        fault.back = faults.back_at_work(fault, PARTS, done)
        if fault.back is None or fault.back > within:
            result.figures.setdefault("slow", []).append(f"kill {fault.number}: {fault.back} s")
        if fault.repeats > min(REPEATS, max(fault.unmarked, 0)):
            result.wrong.setdefault("repeats", []).append(faults.as_row(fault))
        result.rows.append(faults.as_row(fault))


# ── Elastic ───────────────────────────────────────────────────────────────────────────────────


def elastic(folder: Path, blast: Blast, parts: Sequence[str], most: int, by: str) -> Result:
    """From one process of each of ``parts`` to ``most``, doubling, and back to one, by ``term`` or
    by ``kill``; every process in an empty folder."""
    plan: list[Fault] = []

    def grow(world: World, at: float) -> None:
        for part in parts:
            for _ in range(len(world.workers[part])):
                world.start(part)

    def shrink(world: World, at: float) -> None:
        leaving = [worker for part in parts for worker in world.workers[part][1:]]
        if by == "term":
            world.end(leaving)
            return
        for worker in leaving:
            worker.process.kill()
        for part in parts:
            fault = Fault(len(plan) + 1, part, at)
            for worker in [worker for worker in leaving if worker.part == part]:
                fault.gone = world.kill(worker)
            if part == "lane":
                fault.unmarked = faults.unmarked(world)
            plan.append(fault)

    growths = most.bit_length() - 1
    step = blast.seconds / (growths + 2)
    acts: list[tuple[float, Act]] = [((n + 1) * step, grow) for n in range(growths)]
    acts.append(((growths + 1) * step, shrink))
    with World(folder, blast.people) as world:
        for part in PARTS:
            world.start(part)
        world.wait_for_work(PARTS)
        upstream = _play(world, blast, acts)
        result = _audit(f"elastic by {by}", world, upstream)
        _judge(result, world, plan, TAKEN_OVER)
        world.end(list(world.everyone()))
    return result


# ── Frozen ────────────────────────────────────────────────────────────────────────────────────


def frozen(folder: Path, blast: Blast, part: str, seconds: float) -> Result:
    """Of two processes one is frozen until it has long lost its partitions; when it wakes up with
    its old state in hand, the other is killed a moment later, and the zombie must take over."""
    plan: list[Fault] = []

    def freeze(world: World, at: float) -> None:
        world.workers[part][0].freeze()

    def thaw(world: World, at: float) -> None:
        zombie, other = world.workers[part]
        zombie.thaw()
        time.sleep(0.1)
        fault = Fault(1, part, at)
        fault.gone = world.kill(other)
        if part == "lane":
            fault.unmarked = faults.unmarked(world)
        plan.append(fault)

    with World(folder, blast.people) as world:
        for each in PARTS:
            world.start(each)
        world.start(part)
        world.wait_for_work(PARTS)
        start = blast.seconds * 0.3
        upstream = _play(world, blast, [(start, freeze), (start + seconds, thaw)])
        result = _audit(f"a frozen {part}", world, upstream)
        _judge(result, world, plan, TAKEN_OVER)
        world.end(list(world.everyone()))
    return result
