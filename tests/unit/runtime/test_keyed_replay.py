"""Whatever happens when, to whichever process, the flow decides as an oracle of its topic says.

Kills, stops, frozen processes that wake up, rebalances, a database that is away, a log that is slow
to confirm, compaction, brokers' clocks that differ: `World.step` draws them at random.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtime.world import World, decided, oracle
from tidings.runtime import keyed


def check(world: World) -> None:
    """Every event is in exactly one decision, and every decision is the oracle's."""
    expected = oracle(world.log)
    assert set(decided(world.log)) == expected
    members = sorted(member for one in expected for member in one.members)
    assert members == sorted(f"e{number}" for number in range(len(world.written)))


@pytest.fixture(autouse=True, params=[1, 3, 10_000])
def _work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much work a batch: an entry or a deadline, a few, or all there is."""
    monkeypatch.setattr(keyed, "WORK", request.param)


@pytest.mark.parametrize("seed", range(60))
def test_no_misfortune_changes_a_decision(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed, processes=1 + seed % 3)
    for _ in range(200):
        world.step()
    world.finish()

    check(world)


def test_processes_that_come_and_go_in_order_write_nothing_twice(tmp_path: Path) -> None:
    world = World(tmp_path, seed=1)
    for number in range(20):
        world.write()
        world.settle(turns=3)
        world.clock.advance(300 * number)
        if number % 3 == 0:
            world.join()
        if number % 4 == 0:
            world.leave(world.processes[0])
            world.share()
    world.finish()

    check(world)
    said = decided(world.log)
    assert len(said) == len(set(said))
