"""From units to a Bytewax dataflow.

The engine's item is a batch. So each step of the YAML is one step of the dataflow, at the price of
one call a batch, and what Bytewax would ask a tenth of a microsecond and a lock for, per event,
costs next to nothing. It reads, runs the steps and writes on one thread, cooperatively, and shows
the graph. State, time and offsets are not Bytewax's: see ``tidings.runtime.keyed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from tidings.runtime.unit import Unit


def dataflow(
    name: str,
    units: Sequence[Unit],
    stopping: Callable[[], bool],
    stirred: Callable[[], None] = lambda: None,
) -> Dataflow:
    """One dataflow of all ``units``, side by side; it ends when ``stopping`` and all are drained.

    ``stirred`` is called for each batch: there was something to do.

    Bytewax takes no dot in a step's name: ``social.digest`` is ``social/digest`` there. A lane's
    steps are called alike at every priority; there the unit's name stands before the second's.
    """
    flow = Dataflow(name)
    taken: set[str] = set()
    for unit in units:
        stream = op.input(_step_name(f"{unit.name}.in"), flow, UnitSource(unit, stopping, stirred))
        for stage in unit.stages:
            step = stage.id if stage.id not in taken else f"{unit.name}.{stage.id}"
            taken.add(step)
            stream = op.map(_step_name(step), stream, stage.run)
        op.output(_step_name(f"{unit.name}.out"), stream, UnitSink(unit))
    return flow


def run(flow: Dataflow) -> None:
    """Run a dataflow on this thread, with one worker, until its units are drained.

    Epochs do nothing for us and cost a look at every key, so they are made long. What a unit raises
    comes out as the cause of the engine's error.
    """
    run_main(flow, epoch_interval=timedelta(days=1))  # type: ignore[no-untyped-call]


def _step_name(path: str) -> str:
    return path.replace(".", "/")


class UnitSource(DynamicSource[Any]):
    """A unit's ``pull`` as a source. One worker a process: the unit is not shared."""

    def __init__(
        self, unit: Unit, stopping: Callable[[], bool], stirred: Callable[[], None]
    ) -> None:
        self._unit = unit
        self._stopping = stopping
        self._stirred = stirred

    def build(self, step_id: str, worker_index: int, worker_count: int) -> UnitPartition:
        """The one partition; raises ValueError for several workers."""
        if worker_count != 1:
            raise ValueError("a process runs one worker; start more processes instead")
        return UnitPartition(self._unit, self._stopping, self._stirred)


QUIET_AFTER = timedelta(seconds=1)
QUIET_FACTOR = 6  # 17 units that look 200 times a second would take a sixth of a core for nothing
LONGEST_PAUSE = 0.03  # seconds


class UnitPartition(StatelessSourcePartition[Any]):
    """Pulls until the unit is stopped and drained."""

    def __init__(
        self, unit: Unit, stopping: Callable[[], bool], stirred: Callable[[], None]
    ) -> None:
        unit.start()
        self._unit = unit
        self._stopping = stopping
        self._stirred = stirred
        self._stopped = False
        self._awake: datetime | None = None
        self._quiet_since: datetime | None = None

    def next_batch(self) -> list[Any]:
        """The unit's next batch, as the one item."""
        if self._stopping() and not self._stopped:
            self._stopped = True
            self._unit.stop()
        batch = self._unit.pull()
        if batch is not None:
            self._stirred()
            self._awake = self._quiet_since = None
            return [batch]
        if self._stopped and self._unit.drained():
            # Before the engine lets go of us: it hung in 4 of 51 stops while it freed a client.
            self._unit.close()
            raise StopIteration
        self._rest()
        return []

    def _rest(self) -> None:
        """Say when to pull again: after the unit's pause, a longer one where it is quiet."""
        pause = self._unit.pause()
        now = datetime.now(UTC)
        if self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since > QUIET_AFTER:
            pause *= QUIET_FACTOR
        # Far-off wishes would keep the other units of the process waiting, so pauses are short.
        pause = min(pause, LONGEST_PAUSE)
        self._awake = now + timedelta(seconds=pause) if pause else None

    def next_awake(self) -> datetime | None:
        """When to be asked again."""
        return self._awake


class UnitSink(DynamicSink[Any]):
    """A unit's ``push`` as a sink."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def build(self, step_id: str, worker_index: int, worker_count: int) -> UnitOutput:
        """The one partition."""
        return UnitOutput(self._unit)


class UnitOutput(StatelessSinkPartition[Any]):
    """Pushes batches."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def write_batch(self, items: list[Any]) -> None:
        """Push each."""
        for batch in items:
            self._unit.push(batch)
