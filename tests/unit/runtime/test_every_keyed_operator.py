"""Whatever happens when, every keyed operator decides in a replay as it did before, byte by byte.

A run full of kills, stops, frozen processes and rebalances is held against one process to which
nothing happens, on the same records at the same times. Operators come from the registry, each with
its own example: a new one is here without being named. Modes that no example shows are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import yaml

from tests.engine import plan_of
from tests.unit.runtime.world import ENTRIES, MAX_WAIT, World, said, undisturbed
from tidings.contract import Shape
from tidings.durations import parse_duration
from tidings.log.port import Append
from tidings.plan import FlowPlan
from tidings.problems import ProblemsError
from tidings.records import Entry, Origin, encode
from tidings.registry import operators
from tidings.runtime import keyed

HOUR, DAY = 3_600_000, 86_400_000
DELIVER = {"template": "t", "expires": "6h"}
PHOTOS = "digest: {by: [photo], window: 1s, "
MODES = {
    "digest full": PHOTOS + "max_items: 3, keep: first 2}",
    "digest sliding": "digest: {by: [photo], gap: 600ms, max_wait: 2s, keep: last 1}",
    "digest leading": PHOTOS + "leading: true, keep: last 2}",
    "digest of some": PHOTOS + "min_items: 3, keep: last 5}",
    "digest leading, of some": PHOTOS + "leading: true, min_items: 2, keep: last 5}",
    "digest top": PHOTOS + "keep: top 2 by score, actors: actor}",
    "throttle": "throttle: {at_most: 2, within: 3s, by: [photo]}",
    "limit by channel and category": "limit: {at_most: 2, within: 3s, by: [channel, category]}",
    "hold for a moment": "hold: {delay: 700ms, jitter: 300ms, max_held: 5}",
}
SLOW_MODES = {
    "digest calendar": "digest: {at: 0 9 * * *, zone: zone, by: [photo, zone], keep: last 1}",
    "hold until": "hold: {send_at: when}",
    "hold quiet": "hold: {quiet: 22:00-08:00, zone: zone, no_zone: drop, jitter: 10m}",
    "hold downgrade": "hold: {quiet: 22:00-08:00, zone: zone, then: downgrade}",
    "hold own": "hold: {quiet: 22:00-08:00, own_quiet: hours, zone: zone, no_zone: pass}",
}
ALL = """
  - throttle: {at_most: 6, within: 2s, by: [photo]}
  - filter: {keep: actor != 'bad', reason: bad_actor}
  - set: {heavy: score > 5}
  - switch:
      cases:
        - name: likes
          when: type == 'like'
          steps:
            - digest: {by: [type, photo, heavy], window: 1s, leading: true, keep: last 2,
                        actors: actor}
        - name: comments
          when: type == 'comment'
          steps:
            - fan_out:
                - name: each
                  steps:
                    - digest: {by: [type, photo], window: 1s, min_items: 2, keep: first 2}
                - name: all
                  when: photo == 'p1'
                  steps:
                    - digest: {by: [type], gap: 600ms, max_wait: 2s, keep: top 2 by score}
  - hold: {delay: 300ms, jitter: 200ms}
  - limit: {at_most: 4, within: 5s, by: [type]}
  - assign: {experiment: tone, arms: {plain: 1, bold: 1}, holdout: 0.2}
  - consent: {category: social}
  - cap: {channel: push, at_most: 20, within: 7d}
  - deliver: {to: push, template: t, expires: 6h}
"""
ZONES = ["Europe/Madrid", "Pacific/Auckland", "America/New_York", "", None]
HOURS = ["21:00-09:30", "none", "at night", None]


def random_event(random: Random) -> dict[str, Any]:
    """An event that every mode can read."""
    return {
        "type": random.choice(["like", "like", "comment", "comment", "note"]),
        "photo": f"p{random.randrange(3)}",
        "actor": random.choice(["ana", "bob", "eve", "bad"]),
        "score": random.randrange(10),
        "channel": random.choice(["push", "email"]),
        "category": random.choice(["social", "orders"]),
        "zone": random.choice(ZONES),
        "hours": random.choice(HOURS),
        "when": random.choice([None, 1_000_000 + random.randrange(2 * DAY)]),
    }


class Script(NamedTuple):
    """What is played: a flow, its events, and time as it passes (``World.pause``, ``rest``)."""

    plan: FlowPlan
    event: Callable[[Random], Mapping[str, Any]]
    pause: int = World.pause
    rest: int = MAX_WAIT


class Played(World):
    """A script for a few people."""

    def __init__(self, folder: Path, seed: int, script: Script) -> None:
        self.script = script
        self.pause, self.rest = script.pause, script.rest
        super().__init__(folder, seed, processes=1 + seed % 3)

    def plan(self) -> FlowPlan:
        return self.script.plan

    def make(self, random: Random, number: int) -> Append:
        person = f"person{random.randrange(8)}"
        entry = Entry(
            recipient_id=person,
            event_id=f"e{number}",
            origin=Origin("social.events", number % 2, number // 2),
            event=dict(self.script.event(random)),
        )
        return Append(ENTRIES, person.encode(), encode(entry))


@cache
def flow(steps: str) -> FlowPlan:
    """A flow of these steps, made once."""
    with TemporaryDirectory() as folder:
        text = f"flow: social\nsource: {{topic: social.events, key: recipient_id}}\nsteps:{steps}"
        plan = plan_of(Path(folder), text)
    assert isinstance(plan, FlowPlan)
    return plan


def of_step(step: str) -> FlowPlan:
    """A flow of one step, and a delivery."""
    return flow(f"\n  - {step}\n  - deliver: {{to: push, template: t, expires: 6h}}\n")


def of_steps(steps: list[Any]) -> FlowPlan:
    """A flow of steps as they are read from YAML."""
    return flow("\n" + "".join(f"  {line}\n" for line in yaml.dump(steps).splitlines()))


def of_example(name: str) -> Script:
    """The operator's own example as a flow: its step, its events, and time as it passes there."""
    example = yaml.load(operators()[name].example, yaml.BaseLoader)
    try:
        plan = of_steps([example["step"], {"deliver": {"to": "push", **DELIVER}}])
    except ProblemsError:  # its own rounds say which channels
        plan = of_steps([example["step"], {"deliver": DELIVER}])
    given = yaml.safe_load(operators()[name].example)["in"]
    seen = [one["data"] for one in given if "data" in one]  # others are signals
    lasts = max(parse_duration(one["at"]) for part in ("in", "out") for one in example[part])
    return Script(
        plan,
        lambda random: _changed(random, random.choice(seen)),
        pause=max(lasts // 5, 1_000),
        rest=max(lasts, 2_000),
    )


def _changed(random: Random, event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of the example, now and then without one of its fields."""
    changed = dict(event)
    if changed and random.random() < 0.05:
        del changed[random.choice(sorted(changed))]
    return changed


def check(folder: Path, script: Script, seed: int, steps: int = 150) -> None:
    (folder / "calm").mkdir()
    world = Played(folder, seed, script)
    for _ in range(steps):
        world.step()
    world.finish()

    found = said(world.log)
    assert found["notif_events"]
    assert found == undisturbed(world, folder / "calm")


@pytest.fixture(autouse=True)
def _work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much work a batch: an entry or a deadline, a few, or all there is."""
    seed = request.node.callspec.params["seed"]
    monkeypatch.setattr(keyed, "WORK", (1, 3, 10_000)[seed % 3])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "name", sorted(each.name for each in operators().values() if each.shape is Shape.KEYED)
)
def test_an_operators_example_is_decided_alike(tmp_path: Path, name: str, seed: int) -> None:
    check(tmp_path, of_example(name), seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_decided_alike(tmp_path: Path, mode: str, seed: int) -> None:
    check(tmp_path, Script(of_step(MODES[mode]), random_event), seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", SLOW_MODES)
def test_a_mode_that_waits_for_hours_is_decided_alike(tmp_path: Path, mode: str, seed: int) -> None:
    script = Script(of_step(SLOW_MODES[mode]), random_event, pause=3 * HOUR, rest=13 * HOUR)
    check(tmp_path, script, seed)


@pytest.mark.parametrize("seed", range(12))
def test_all_of_them_in_one_flow_are_decided_alike(tmp_path: Path, seed: int) -> None:
    check(tmp_path, Script(flow(ALL), random_event), seed, steps=250)
