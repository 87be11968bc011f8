"""A unit: one intake, one keyed flow or one lane, as the engine drives it.

The engine's item is a *batch*: each ``pull`` gives at most one, each step maps it, ``push`` writes
what it caused. All of a batch is handled before the next ``pull``, on one thread, so a unit needs
no locks and may keep its bookkeeping in plain attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol


class Stage(NamedTuple):
    """One named step of a unit: takes a batch, gives it on."""

    id: str
    run: Callable[[Any], Any]


class Unit(Protocol):
    """One intake, flow or lane. Every method is called from the engine's thread."""

    @property
    def name(self) -> str:
        """What it is called, among all units of all processes."""
        ...

    @property
    def stages(self) -> Sequence[Stage]:
        """Its steps, in order."""
        ...

    def start(self) -> None:
        """Open clients, join the group. May take a second; raises LogError if it can't."""
        ...

    def pull(self) -> Any | None:
        """What there is to do now, without waiting: serves acks, rebalances, commits and timers."""
        ...

    def push(self, batch: Any) -> None:
        """Write what the batch caused."""
        ...

    def pause(self) -> float:
        """Seconds until ``pull`` is worth calling again, 0 for at once; asked after a pull that
        gave nothing."""
        ...

    def stop(self) -> None:
        """Take nothing new (SIGTERM): leave the group, finish what is under way."""
        ...

    def drained(self) -> bool:
        """True once a stopped unit has nothing left under way."""
        ...

    def close(self) -> None:
        """Let go of every client. Called once, after ``drained`` or a drain deadline."""
        ...
