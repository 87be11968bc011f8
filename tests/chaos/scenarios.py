"""The scenarios: each breaks a world in the middle of a blast, lets it settle, and audits it.

crash       kill -9 of every part and server in turn, at random instants
operators   kill -9 of intake and flow of a flow that has every operator which decides
storm       kill -9 of one part again and again, within its first second of work on a backlog
elastic     from one process to several and back, by SIGTERM or by kill -9
frozen      a process that lost its partitions wakes up with its old state in hand
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos import faults, operators_scene, scene
from tests.chaos.audit import audit_flow, audit_sends, due_of
from tests.chaos.backlog import pile_up
from tests.chaos.faults import Fault, Provider, sandbox_took
from tests.chaos.replay import audit_replay
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
    people: int = 1_000
    seconds: float = 200.0
    seed: int = 1
    followers: int = 0


@dataclass
class Result:
    """What a scenario showed; ``wrong`` is empty when all is as it must be."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    wrong: dict[str, Any] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)


class Play:
    """A scenario under way: a world with one process of each of ``parts``."""

    def __init__(self, world: World, blast: Blast, parts: Sequence[str] = PARTS) -> None:
        self.world = world
        self.provider = Provider(world.valkey.url, lambda: sandbox_took(world.stage.sandbox))
        self.kills: list[Fault] = []
        self.random = Random(blast.seed)
        self._parts = parts
        self._blast = blast
        for part in parts:
            world.start(part)
        world.wait_for_work(parts)

    def blast(
        self, acts: Sequence[tuple[float, Act]], seconds: float, quiet: float = QUIET
    ) -> Upstream:
        """Run the blast, do each act at its second, and wait until all is settled: until for
        ``quiet`` seconds nothing more has come."""
        blast = self._blast
        brokers = self.world.kafka.bootstrap
        upstream = Upstream(
            brokers, blast.events, blast.people, seconds, blast.seed, blast.followers
        )
        upstream.start()
        for at, act in sorted(acts, key=lambda one: one[0]):
            while upstream.passed < at:
                self.world.check()
                time.sleep(0.005)
            act(at)
        upstream.finish()
        self.world.settle(self._parts, quiet=quiet, timeout=180 + quiet)
        return upstream

    def kill(self, part: str, at: float, which: int = 0) -> Fault:
        """Kill -9 one process of ``part``; nobody starts it again."""
        fault = Fault(len(self.kills) + 1, part, at)
        fault.gone = self.world.kill(self.world.workers[part][which])
        if part == "lane":
            self.provider.look(fault)
        self.kills.append(fault)
        return fault

    def rage(self, part: str, kills: int) -> None:
        """Kill and restart ``part`` as soon as it has begun to work, while there is some."""
        while len(self.kills) < kills and self.world.gets_on(part):
            time.sleep(self.random.uniform(0.0, 0.8))
            fault = Fault(len(self.kills) + 1, part, 0.0)
            faults.strike(self.world, fault, self.provider)
            self.kills.append(fault)

    def audit(self, name: str, upstream: Upstream) -> Result:
        """What became of all that the upstream wrote; then end by SIGTERM."""
        flow, truth = audit_flow(self.world.log, upstream)
        sends = audit_sends(self.world.log, due_of(truth), self.world.stage)
        result = Result(name, {"flow": flow.figures(), "sends": sends.figures()})
        result.wrong = flow.faults() | sends.faults()
        if not flow.digests or not sends.accepted:
            result.wrong["idle"] = "nothing was decided or sent at all"
        return self.end(result)

    def audit_lane(self, name: str, due: set[Any]) -> Result:
        """The same for a lane alone."""
        sends = audit_sends(self.world.log, due, self.world.stage)
        return self.end(Result(name, {"sends": sends.figures()}, wrong=sends.faults()))

    def end(self, result: Result) -> Result:
        """Add what the kills repeated, and end everything by SIGTERM."""
        if unexplained := self.provider.count():
            result.wrong["repeats"] = unexplained
        for fault in self.kills:
            if fault.repeats > REPEATS:
                result.wrong[f"kill {fault.number}"] = f"{fault.repeats} sends were repeated"
        self.world.end(list(self.world.everyone()))
        result.rows = [faults.as_row(fault) for fault in self.kills]
        return result

    def clock(self, result: Result, within: float) -> None:
        """Add how long each kill kept its partitions waiting."""
        done = {part: faults.progress(self.world, part) for part in self._parts}
        for fault, row in zip(self.kills, result.rows, strict=True):
            row["back"] = back = faults.back_at_work(fault, self._parts, done)
            if back is None or back > within:
                result.slow.append(f"kill {fault.number} of {fault.target}: {back} s")


Act = Callable[[float], None]


def crash(folder: Path, blast: Blast, targets: Sequence[str], kills: int) -> Result:
    """Kill -9 of ``targets`` in turn at random instants, each started again at once, as a
    supervisor does: under the same name, with the broker's own settings."""
    script = scene.GATHERING._replace(people=blast.people)
    with World(folder, script, session_ms=6_000, named=True) as world:
        play = Play(world, blast)
        play.kills = faults.draw(play.random, targets, kills, blast.seconds)

        def strike(fault: Fault) -> Act:
            return lambda at: faults.strike(world, fault, play.provider)

        acts = [(fault.at, strike(fault)) for fault in play.kills]
        upstream = play.blast(acts, blast.seconds)
        result = play.audit("crash", upstream)
        play.clock(result, RESTARTED)
    return result


def operators(folder: Path, blast: Blast, kills: int) -> Result:
    """Kill -9 of intake and flow in turn, in a flow of every operator that decides: what it says is
    what one process says to which nothing happens."""
    script = operators_scene.EVERY._replace(people=blast.people)
    blast = replace(blast, followers=operators_scene.FOLLOWERS)
    with World(folder, script, session_ms=6_000, named=True) as world:
        play = Play(world, blast, ["intake", "flow"])
        play.kills = faults.draw(play.random, ["intake", "flow"], kills, blast.seconds)

        def strike(fault: Fault) -> Act:
            return lambda at: faults.strike(world, fault, play.provider)

        acts = [(fault.at, strike(fault)) for fault in play.kills]
        upstream = play.blast(acts, blast.seconds, quiet=operators_scene.LONGEST + QUIET)
        (folder / "calm").mkdir()
        found = audit_replay(world.log, world.stage, upstream, folder / "calm")
        result = Result("operators", {"replay": found.figures()}, wrong=found.faults())
        if not found.deliveries:
            result.wrong["idle"] = "nothing was decided at all"
        world.end(list(world.everyone()))
        result.rows = [faults.as_row(fault) for fault in play.kills]
        play.clock(result, RESTARTED)
    return result


def storm(folder: Path, blast: Blast, part: str, kills: int) -> Result:
    """Kill -9 of ``part`` (intake or flow) again and again while it works off a backlog."""
    with World(folder, scene.GATHERING._replace(people=blast.people)) as world:
        play = Play(world, blast)
        upstream = play.blast([(1.0, lambda at: play.rage(part, kills))], seconds=3.0 * kills)
        result = play.audit(f"storm on the {part}", upstream)
        if len(result.rows) < kills:
            result.wrong["calm"] = f"only {len(result.rows)} of {kills} kills found it at work"
        return result


def lane_storm(
    folder: Path, blast: Blast, kills: int, script: scene.Script = scene.GATHERING
) -> Result:
    """The same on a lane all of whose places are taken: ``blast.events`` deliveries wait for it."""
    with World(folder, script._replace(people=blast.people)) as world:
        due = pile_up(world.log, blast.events, blast.people, blast.seed)
        play = Play(world, blast, ["lane"])
        play.rage("lane", kills)
        world.settle(["lane"], quiet=1.0, timeout=180)
        result = play.audit_lane("storm on the lane", due)
        if len(result.rows) < kills:
            result.wrong["calm"] = f"only {len(result.rows)} of {kills} kills found it at work"
        return result


def elastic(folder: Path, blast: Blast, parts: Sequence[str], most: int, by: str) -> Result:
    """From one process of each of ``parts`` to ``most``, doubling, and back to one, by ``term`` or
    by ``kill``; every process in an empty folder."""
    with World(folder, scene.GATHERING._replace(people=blast.people)) as world:
        play = Play(world, blast)

        def grow(at: float) -> None:
            for part in parts:
                for _ in range(len(world.workers[part])):
                    world.start(part)

        def shrink(part: str) -> Act:
            def act(at: float) -> None:
                leaving = world.workers[part][1:]
                if by == "term":
                    world.end(leaving)
                    return
                for worker in leaving:
                    worker.process.kill()
                for _ in leaving:
                    play.kill(part, at, which=1)

            return act

        growths = most.bit_length() - 1
        step = blast.seconds / (growths + len(parts) + 1)
        acts: list[tuple[float, Act]] = [((n + 1) * step, grow) for n in range(growths)]
        acts += [((growths + 1 + n) * step, shrink(part)) for n, part in enumerate(parts)]
        upstream = play.blast(acts, blast.seconds)
        result = play.audit(f"elastic by {by}", upstream)
        play.clock(result, TAKEN_OVER)
    return result


def frozen(folder: Path, blast: Blast, part: str, seconds: float) -> Result:
    """Of two processes one is frozen until it has long lost its partitions; when it wakes up with
    its old state in hand, the other is killed a moment later, and the zombie must take over."""
    with World(folder, scene.GATHERING._replace(people=blast.people)) as world:
        play = Play(world, blast)
        world.start(part)

        def freeze(at: float) -> None:
            world.workers[part][0].freeze()

        def thaw(at: float) -> None:
            world.workers[part][0].thaw()
            time.sleep(0.1)
            play.kill(part, at, which=1)

        start = blast.seconds * 0.3
        acts = [(start, freeze), (start + seconds, thaw)]
        upstream = play.blast(acts, blast.seconds)
        result = play.audit(f"a frozen {part}", upstream)
        play.clock(result, TAKEN_OVER)
    return result
