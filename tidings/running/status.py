"""The state of a house's processes, one line each: what they run, since when, what they take."""

from __future__ import annotations

import time

from rich.table import Table

from tidings.running.house import House
from tidings.running.supervisor import Child, Phase
from tidings.running.vitals import Load, vitals

_MIB = 1_048_576
_COLOUR = {Phase.STARTING: "cyan", Phase.UP: "green", Phase.WAITING: "yellow", Phase.STOPPED: "red"}


class Status:
    """Makes the table; keeps what it needs to tell the load between two of them."""

    def __init__(self, house: House, *, roles: bool = True) -> None:
        self._house = house
        self._shows_roles = roles
        self._load = Load()
        self._roles = {each.name: " ".join(each.roles) for each in house.packs}

    def table(self) -> Table:
        """All processes as they are now."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("process", "state", "pid", "CPU", "memory", "restarts"):
            table.add_column(
                heading, justify="left" if heading in ("process", "state") else "right"
            )
        if self._shows_roles:
            table.add_column("runs", style="dim", overflow="fold")
        now = time.monotonic()
        for child in self._house.supervisor.children:
            table.add_row(*self._child(child, now))
        for name in ("valkey", "supervisor"):
            pid = self._house.pids().get(name)
            if pid is not None:
                table.add_row(name, "[green]up[/]", str(pid), *self._taken(pid, now))
        return table

    def _child(self, child: Child, now: float) -> tuple[str, ...]:
        state = f"[{_COLOUR[child.phase]}]{child.phase}[/]"
        if child.phase is Phase.UP:
            state += f" {_lasted(now - child.since)}"
        taken = self._taken(child.pid, now) if child.pid is not None else ("", "")
        name = child.program.name
        return (
            *(name, state, str(child.pid or "")),
            *taken,
            str(child.restarts),
            *((self._roles.get(name, ""),) if self._shows_roles else ()),
        )

    def _taken(self, pid: int, now: float) -> tuple[str, str]:
        found = vitals(pid)
        if found is None:
            return "", ""
        load = self._load.of(pid, found.cpu, now)
        return f"{100 * load:.0f} %", f"{found.memory / _MIB:.0f} MB"


def _lasted(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
