"""The keyed part on the embedded log: what one machine does, killed and stopped as it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.engine import Tick, append, create, ground_of, settle, turn
from tests.unit.runtime.world import BUCKETS, MAX_WAIT, TOPICS, decided, entry_of, oracle, the_plan
from tidings.compile.units import keyed
from tidings.log.port import Append
from tidings.log.sqlite import SqliteLog
from tidings.runtime.keyed import KeyedFlow


class Machine:
    """One process of the flow at a time, on a log in files."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = Random(seed)
        self.clock = Tick(1_000_000)
        self.log = SqliteLog(folder / "log", self.clock)
        create(self.log, *TOPICS)
        self.ground = ground_of(folder, self.log, self.clock, state={"buckets": BUCKETS})
        self.written: list[Append] = []
        self.started = 0
        self.unit = self.start()

    def start(self) -> KeyedFlow:
        self.started += 1
        ground = replace(self.ground, holder=f"process-{self.started}")
        unit = keyed(the_plan(), ground)
        unit.start()
        return unit

    def write(self) -> None:
        for _ in range(self.random.randint(1, 12)):
            self.written.append(entry_of(self.random, len(self.written)))
            append(self.log, self.written[-1])

    def kill(self) -> None:
        """What was not flushed is gone, nobody says goodbye, and the kernel frees the group."""
        self.unit._consumer._group.release()  # type: ignore[attr-defined]
        self.unit = self.start()

    def restart(self) -> None:
        """SIGTERM, and a new process."""
        self.unit.stop()
        self.unit.close()
        self.unit = self.start()

    def step(self) -> None:
        """One random thing happens."""
        what = self.random.random()
        if what < 0.30:
            self.write()
        elif what < 0.50:
            self.clock.advance(self.random.randint(1, 700))
        elif what < 0.90:
            for _ in range(self.random.randint(1, 4)):
                turn(self.unit)
        elif what < 0.97:
            self.kill()
        else:
            self.restart()

    def finish(self) -> None:
        """Let all that is open close; a stop flushes what lingers."""
        for _ in range(8):
            self.clock.advance(MAX_WAIT)
            for _ in range(3):  # the opening, what was decided, what goes out
                self.unit._producer.flush(5.0)
                settle(self.unit, turns=5)
            self.restart()


@pytest.mark.parametrize("seed", range(4))
def test_kills_and_stops_at_random_instants_change_no_decision(tmp_path: Path, seed: int) -> None:
    machine = Machine(tmp_path, seed)
    for _ in range(120):
        machine.step()
    machine.finish()

    expected = oracle(machine.log)
    assert set(decided(machine.log)) == expected
    members = sorted(member for one in expected for member in one.members)
    assert members == sorted(f"e{number}" for number in range(len(machine.written)))
