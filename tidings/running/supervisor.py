"""Child processes that are kept alive: restarted with backoff, stopped together, never orphaned.

A crash is a restart, and nothing is lost by it: that is the units' business. The wait before a
restart doubles from crash to crash, with jitter so that several children do not start in step, and
begins anew once a child has lived for a while. Children die with the supervisor, by the kernel's
hand where it is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from tidings.ids import unit
from tidings.running.readiness import VARIABLE, Ear
from tidings.services.process import spawn

PATIENCE = 30.0  # seconds from SIGTERM to SIGKILL; a process drains for 25
_LOOK = 0.02


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a restart. Seconds."""

    first: float = 0.25
    most: float = 30.0
    jitter: float = 0.2
    healthy_after: float = 10.0
    """A child that lived so long begins anew with the first wait."""

    def wait(self, crashes: int, seed: str) -> float:
        """The wait after the ``crashes``-th crash in a row, a function of ``seed``."""
        wait = min(self.most, self.first * 2.0 ** (crashes - 1))
        return wait * (1 + self.jitter * unit(f"{seed}:{crashes}"))


class Program(NamedTuple):
    """What a child runs."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = {}


class Phase(StrEnum):
    """Where a child stands."""

    STARTING = "starting"
    UP = "up"  # it has told so itself
    WAITING = "waiting"  # for its restart
    STOPPED = "stopped"


@dataclass
class Child:
    """One child and its story. Times are the supervisor's clock, seconds."""

    program: Program
    log: Path
    ear: Ear
    phase: Phase = Phase.STOPPED
    process: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    restart_at: float = 0.0
    crashes: int = 0
    restarts: int = 0
    last_exit: int | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        runs = self.phase in (Phase.STARTING, Phase.UP)
        return self.process.pid if self.process is not None and runs else None

    def last_words(self, lines: int = 8) -> str:
        """The end of what it has written."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Event(NamedTuple):
    """Something that happened to a child, for people."""

    child: Child
    what: str


class Supervisor:
    """Starts programs, and starts them again. ``logs`` is the folder of what they write."""

    def __init__(
        self,
        programs: Sequence[Program],
        logs: Path,
        *,
        backoff: Backoff | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backoff = backoff or Backoff()
        self._monotonic = monotonic
        logs.mkdir(parents=True, exist_ok=True)
        self.children = [
            Child(program, logs / f"{program.name}.log", Ear()) for program in programs
        ]

    def start(self) -> None:
        """Start all."""
        for child in self.children:
            self._start(child)

    def look(self) -> list[Event]:
        """Notice who has ended, restart who is due; to be called a few times a second."""
        now = self._monotonic()
        events: list[Event] = []
        for child in self.children:
            if child.process is not None and child.phase in (Phase.STARTING, Phase.UP):
                told, code = child.ear.heard(), child.process.poll()
                if code is not None:
                    events.append(self._ended(child, code, now))
                elif told:
                    child.phase = Phase.UP
                    events.append(Event(child, "is up"))
            elif child.phase is Phase.WAITING and now >= child.restart_at:
                child.restarts += 1
                self._start(child)
                events.append(Event(child, "is started again"))
        return events

    def _start(self, child: Child) -> None:
        _, command, env = child.program
        env = {**env, VARIABLE: child.ear.address}
        child.process = spawn(command, log=child.log, cwd=Path.cwd(), env=env)
        child.phase, child.since = Phase.STARTING, self._monotonic()

    def _ended(self, child: Child, code: int, now: float) -> Event:
        child.crashes = 1 if now - child.since >= self._backoff.healthy_after else child.crashes + 1
        wait = self._backoff.wait(child.crashes, child.program.name)
        child.phase, child.since, child.last_exit = Phase.WAITING, now, code
        child.restart_at = now + wait
        return Event(child, f"ended {_how(code)}; again in {wait:.1f} s")

    def up(self) -> bool:
        """Whether all children have told that they are ready."""
        return all(child.phase is Phase.UP for child in self.children)

    def stop(self, patience: float = PATIENCE) -> bool:
        """End all by SIGTERM; tells whether all ended well, and in time."""
        for child in self.children:
            _signal(child, signal.SIGCONT)  # a frozen process does not hear SIGTERM
            _signal(child, signal.SIGTERM)
        deadline = self._monotonic() + patience
        while self._running() and self._monotonic() < deadline:
            time.sleep(_LOOK)
        clean = not self._running() and all(_ended_well(child) for child in self.children)
        self.kill()
        return clean

    def kill(self) -> None:
        """End all at once."""
        for child in self.children:
            _signal(child, signal.SIGKILL)
        for child in self.children:
            if child.process is not None:
                child.process.wait()
            child.phase = Phase.STOPPED
            child.ear.close()

    def _running(self) -> bool:
        return any(
            child.process is not None and child.process.poll() is None for child in self.children
        )


def _ended_well(child: Child) -> bool:
    # One that SIGTERM itself has ended did not listen to it yet: it had begun nothing.
    good = (0, -signal.SIGTERM)
    return child.phase is Phase.WAITING or child.process is None or child.process.returncode in good


def _signal(child: Child, number: signal.Signals) -> None:
    # A process that was not waited for still owns its id, so this never reaches a stranger.
    if child.process is not None and child.process.returncode is None:
        os.kill(child.process.pid, number)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
