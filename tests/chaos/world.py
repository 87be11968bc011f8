"""A whole Tidings on real servers, with the means to break each part of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos import scene
from tests.chaos.worker import Worker
from tidings.log.address import open_log
from tidings.log.port import Slot
from tidings.services.kafka import Kafka
from tidings.services.process import wait_for
from tidings.services.valkey import Valkey
from tidings.topics import settings

GROUPS = {  # the consumer group of each part, and what it reads
    "intake": ("tidings.social.intake", [scene.SOURCE]),
    "flow": ("tidings.social", [scene.ENTRIES]),
    "lane": ("tidings.lane.push.normal", [scene.DELIVERIES, *scene.LADDER]),
}


class World:
    """Kafka, Valkey (append-only: what it has answered it still knows after a kill), the scene's
    topics and files, and workers by part. Use as a context; everything ends with it.
    """

    def __init__(self, folder: Path, people: int, session_ms: int = 3_000) -> None:
        self.folder = folder
        self.kafka = Kafka(folder / "kafka")
        self.valkey = Valkey(folder / "valkey", persistence="appendonly")
        self.workers: dict[str, list[Worker]] = {"intake": [], "flow": [], "lane": []}
        self._people = people
        self._session_ms = session_ms
        self._number = 0
        self._stack = ExitStack()
        self.stage: scene.Scene

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.kafka)
            stack.enter_context(self.valkey)
            stack.callback(self._end_workers)
            address = f"kafka:{self.kafka.bootstrap}?session.timeout.ms={self._session_ms}"
            claims = f"valkey://127.0.0.1:{self.valkey.port}/0"
            self.stage = scene.write(self.folder / "scene", self._people, address, claims)
            self.log = open_log(f"kafka:{self.kafka.bootstrap}")
            self.log.admin().create(settings(scene.topics()))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    # ── Workers ───────────────────────────────────────────────────────────────────────────────

    def start(self, part: str) -> Worker:
        """One more process of ``part``, in an empty folder."""
        self._number += 1
        stage = self.stage
        arguments = {
            "intake": [str(stage.flow), "--part", "intake"],
            "flow": [str(stage.flow), "--part", "flow"],
            "lane": [str(stage.lane), "--priority", "normal"],
        }[part]
        arguments += ["--config", str(stage.config)]
        worker = Worker(part, arguments, self.folder / f"{part}-{self._number}")
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

    # ── What the log says ─────────────────────────────────────────────────────────────────────

    def lag(self, part: str) -> int:
        """How many records the group of ``part`` has not committed yet."""
        group, topics = GROUPS[part]
        existing = self.log.admin().topics()
        slots = [Slot(topic, n) for topic in topics for n in range(existing[topic].partitions)]
        reader = self.log.reader()
        consumer = self.log.consumer(group)
        try:
            committed = consumer.committed(slots)
            total = 0
            for slot in slots:
                position, span = committed[slot], reader.span(slot)
                total += span.end - (position.offset if position is not None else span.first)
            return total
        finally:
            consumer.close()
            reader.close()

    def settle(self, parts: Sequence[str], *, quiet: float, timeout: float) -> None:
        """Wait until the groups of ``parts`` have committed everything, and for ``quiet`` seconds
        (the longest window) nothing more has come."""
        deadline = time.monotonic() + timeout
        ends, since = None, time.monotonic()
        while True:
            self.check()
            lags = {part: self.lag(part) for part in parts}
            now = self._ends()
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
        """Wait until ``part`` gets something done; False where it has nothing left to do."""
        deadline = time.monotonic() + timeout
        before = self._done(part)
        while self._done(part) <= before:
            self.check()
            if self.lag(part) == 0:
                return False
            assert time.monotonic() < deadline, f"the {part} does nothing for {timeout:g} s"
        return True

    def _done(self, part: str) -> int:
        if part == "lane":
            sandbox = self.stage.sandbox
            return sandbox.stat().st_size if sandbox.exists() else 0
        topic = scene.ENTRIES if part == "intake" else scene.OUTCOMES
        reader = self.log.reader()
        try:
            partitions = self.log.admin().topics()[topic].partitions
            return sum(reader.span(Slot(topic, number)).end for number in range(partitions))
        finally:
            reader.close()

    def _ends(self) -> list[int]:
        reader = self.log.reader()
        try:
            existing = self.log.admin().topics()
            return [
                reader.span(Slot(topic, number)).end
                for topic in (scene.ENTRIES, scene.OUTCOMES, scene.DELIVERIES)
                for number in range(existing[topic].partitions)
            ]
        finally:
            reader.close()

    def wait_for_work(self, parts: Sequence[str], timeout: float = 30.0) -> None:
        """Wait until the groups of ``parts`` have taken their partitions: a position is saved."""
        for part in parts:
            wait_for(
                lambda part=part: self._has_position(part),  # type: ignore[misc]
                timeout=timeout,
                what=f"the {part} to take its partitions",
            )

    def _has_position(self, part: str) -> bool:
        self.check()
        group, topics = GROUPS[part]
        slot = Slot(topics[0], 0)
        consumer = self.log.consumer(group)
        try:
            return consumer.committed([slot])[slot] is not None
        finally:
            consumer.close()
