"""What the kernel knows of a process: memory and CPU time. Linux' ``/proc``, nothing to install."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Vitals(NamedTuple):
    """``memory`` in bytes, resident; ``cpu`` in seconds since the start, all threads."""

    memory: int
    cpu: float


def vitals(pid: int) -> Vitals | None:
    """The vitals of a process, None when it is gone."""
    home = Path(f"/proc/{pid}")
    try:
        # The name in the second field may hold anything, blanks and brackets too.
        fields = (home / "stat").read_text().rpartition(")")[2].split()
        pages = int((home / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return Vitals(pages * _PAGE, (int(fields[11]) + int(fields[12])) / _TICK)


class Load:
    """The share of a core that a process took between two looks."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, float]] = {}

    def of(self, pid: int, cpu: float, now: float) -> float:
        """Cores in use since the last call for ``pid``; 0 at the first. ``now`` in seconds."""
        spent, at = self._before.get(pid, (cpu, now))
        self._before[pid] = (cpu, now)
        return (cpu - spent) / (now - at) if now > at else 0.0
