"""A whole Tidings on a log, with the means to break each part of it."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos import scene
from tests.chaos.groups import Groups
from tests.chaos.worker import Worker
from tidings.log.address import open_log
from tidings.log.port import Log
from tidings.services.kafka import Kafka
from tidings.services.process import wait_for
from tidings.services.valkey import Valkey
from tidings.topics import TopicRule, settings

OUTPUTS = (scene.ENTRIES, scene.OUTCOMES, scene.DELIVERIES)
LARGE_SOURCE = TopicRule(pattern=scene.SOURCE, max_record_bytes=16 * 1024 * 1024)


class Ground(ABC):
    """Processes of the scene on some log. Use as a context; everything ends with it.

    ``named`` processes are known by their names when they are started again.
    """

    def __init__(self, folder: Path, *, named: bool = False) -> None:
        self.folder = folder
        self._named = named
        self.workers: dict[str, list[Worker]] = {
            part: [] for part in ("intake", "flow", "lane", "receipts", "all")
        }
        self._number = 0
        self._stack = ExitStack()
        self.stage: scene.Scene
        self.log: Log
        self.groups: Groups

    @abstractmethod
    def _open(self, stack: ExitStack) -> tuple[str, scene.Scene]:
        """Start the servers; gives the log's address and the files."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._end_workers)
            address, self.stage = self._open(stack)
            self.log = open_log(address)
            self.log.admin().create(settings(scene.topics(), [LARGE_SOURCE]))
            self.groups = Groups(self.log)
            stack.callback(self.groups.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_workers()
        self._stack.close()

    # ── Workers ───────────────────────────────────────────────────────────────────────────────

    def start(self, part: str) -> Worker:
        """One more process of ``part``, in an empty folder; ``all`` is everything in one."""
        self._number += 1
        flow, lane = str(self.stage.flow), str(self.stage.lane)
        arguments = {
            "intake": ["run", flow, "--part", "intake"],
            "flow": ["run", flow, "--part", "flow"],
            "lane": ["run", lane, "--priority", "normal"],
            "receipts": ["receipts"],
            "all": ["run", flow, lane, "--priority", "normal"],
        }[part]
        arguments += ["--config", str(self.stage.config)]
        taken = {worker.instance for worker in self.workers[part]}
        names = (f"{part}.{number}" for number in itertools.count(1))
        instance = next(name for name in names if name not in taken) if self._named else ""
        worker = Worker(part, arguments, self.folder / f"{part}-{self._number}", instance)
        self.workers[part].append(worker)
        return worker

    def kill(self, worker: Worker) -> int:
        """Kill -9; gives the epoch ms from which on it did nothing more."""
        self.workers[worker.part].remove(worker)
        return worker.kill()

    def end(self, workers: Sequence[Worker]) -> None:
        """SIGTERM to all of them at once, and wait."""
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.ended()
            self.workers[worker.part].remove(worker)

    def everyone(self) -> Iterator[Worker]:
        """All workers."""
        for workers in self.workers.values():
            yield from workers

    def check(self) -> None:
        """Raises AssertionError where a worker died that nobody killed."""
        for worker in self.everyone():
            worker.check()

    def _end_workers(self) -> None:
        for worker in self.everyone():
            worker.kill()

    # ── How far they are ──────────────────────────────────────────────────────────────────────

    def wait_for_work(self, parts: Sequence[str], timeout: float = 60.0) -> None:
        """Wait until the groups of ``parts`` have taken their partitions."""

        def taken() -> bool:
            self.check()
            return all(self.groups.has_position(part) for part in parts)

        wait_for(taken, timeout=timeout, what=f"{', '.join(parts)} to take their partitions")

    def settle(self, parts: Sequence[str], *, quiet: float, timeout: float) -> None:
        """Wait until the groups of ``parts`` have committed everything, and for ``quiet`` seconds
        (the longest window) nothing more has come."""
        deadline = time.monotonic() + timeout
        ends, since = None, time.monotonic()
        while True:
            self.check()
            lags = {part: self.groups.lag(part) for part in parts}
            now = self.groups.ends(OUTPUTS)
            if now != ends or any(lags.values()):
                ends, since = now, time.monotonic()
            elif time.monotonic() - since > quiet:
                return
            assert time.monotonic() < deadline, (
                f"not settled in {timeout:g} s: behind by {lags}\n"
                + "\n".join(worker.tail(8) for worker in self.everyone())
            )
            time.sleep(0.2)

    def gets_on(self, part: str, timeout: float = 60.0) -> bool:
        """Wait until ``part`` gets something done; False where for 2 s it has nothing to do."""
        deadline = time.monotonic() + timeout
        before, idle_since = self._done(part), time.monotonic()
        while self._done(part) <= before:
            self.check()
            now = time.monotonic()
            if self.groups.lag(part):
                idle_since = now
            elif now - idle_since > 2.0:
                return False
            assert now < deadline, f"the {part} does nothing for {timeout:g} s"
        return True

    def _done(self, part: str) -> int:
        if part == "lane":
            sandbox = self.stage.sandbox
            return sandbox.stat().st_size if sandbox.exists() else 0
        return sum(self.groups.ends([scene.ENTRIES if part == "intake" else scene.OUTCOMES]))


class World(Ground):
    """Kafka, and Valkey (append-only: what it has answered it still knows after a kill).

    ``session_ms`` is how long a member may be silent before its partitions go to others; 6,000 is
    what a broker allows as it comes.
    """

    def __init__(
        self,
        folder: Path,
        script: scene.Script = scene.GATHERING,
        *,
        session_ms: int = 3_000,
        named: bool = False,
    ) -> None:
        super().__init__(folder, named=named)
        self.kafka = Kafka(folder / "kafka")
        self.valkey = Valkey(folder / "valkey", persistence="appendonly")
        self._script = script
        self._session_ms = session_ms

    def _open(self, stack: ExitStack) -> tuple[str, scene.Scene]:
        stack.enter_context(self.kafka)
        stack.enter_context(self.valkey)
        address = f"kafka:{self.kafka.bootstrap}?session.timeout.ms={self._session_ms}"
        claims = f"valkey://127.0.0.1:{self.valkey.port}/0"
        return address, scene.write(self.folder / "scene", self._script, address, claims)


class Hut(Ground):
    """One machine with nothing installed: the log and the claims are SQLite."""

    def __init__(self, folder: Path, script: scene.Script = scene.GATHERING) -> None:
        super().__init__(folder)
        self._script = script

    def _open(self, stack: ExitStack) -> tuple[str, scene.Scene]:
        address = f"sqlite:{self.folder}/log"
        claims = f"sqlite:{self.folder}/claims.db"
        return address, scene.write(self.folder / "scene", self._script, address, claims)
