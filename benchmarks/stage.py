"""A Tidings as it runs: the shipped flows and lanes as processes of ``tidings run``, on real Kafka
and Valkey, to the sandbox; and upstreams that write to it at a pace of their own.

Everything runs on the machine that the benchmark runs on, brokers and upstreams included, and ends
with the block.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tidings.content import content_root
from tidings.log.address import open_log
from tidings.log.port import Slot
from tidings.running.vitals import vitals
from tidings.services.kafka import Kafka
from tidings.services.process import spawn, wait_for
from tidings.services.valkey import Valkey
from tidings.topics import TopicRule, settings

SESSION = 3_000  # ms that a dead member goes unnoticed
CONFIG = """
log: kafka:{bootstrap}?session.timeout.ms={session}
claims: valkey://127.0.0.1:{valkey}/0
people: file:{folder}/people
suppressions: file:{folder}/suppressions
templates: {templates}
categories: {{social: {{}}, codes: {{critical: true}}}}
types: {{like: social, otp: codes}}
channels: {{push: device, email: email, sms: phone, voice: phone}}
providers:
  sandbox: &box {{kind: sandbox, file: {folder}/sandbox.jsonl, latency: {latency}}}
  spare: *box
"""
MIB = 1_048_576


class Stage:
    """Kafka, Valkey, a configuration, ``people`` people with a phone, and processes by name."""

    def __init__(
        self,
        topics: Iterable[str],
        people: int,
        latency: str = "[15ms, 60ms]",
        rules: Sequence[TopicRule] = (),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidings-bench-"))
        self.kafka, self.valkey = Kafka(), Valkey()
        self.sandbox = self.folder / "sandbox.jsonl"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._topics = sorted(set(topics))
        self._people = people
        self._latency = latency
        self._rules = rules
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.enter_context(self.kafka)
            stack.enter_context(self.valkey)
            stack.callback(self._end)
            self.log = open_log(f"kafka:{self.kafka.bootstrap}")
            self.log.admin().create(settings(self._topics, self._rules))
            self._write()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _write(self) -> None:
        (self.folder / "people").mkdir()
        (self.folder / "tidings.yaml").write_text(
            CONFIG.format(
                bootstrap=self.kafka.bootstrap,
                session=SESSION,
                valkey=self.valkey.port,
                folder=self.folder,
                templates=content_root() / "config" / "templates",
                latency=self._latency,
            )
        )
        with (self.folder / "people" / "people.jsonl").open("w") as file:
            for number in range(self._people):
                phone = {"kind": "phone", "value": f"+1202{number:07d}"}
                device = {"kind": "device", "value": f"device-{number}", "platform": "ios"}
                line = {"recipient_id": recipient(number), "addresses": [device, phone]}
                file.write(json.dumps(line) + "\n")

    # ── Processes ─────────────────────────────────────────────────────────────────────────────

    def run(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        """Start ``tidings run`` under ``name``; files among its ``arguments`` are absolute."""
        command = [sys.executable, "-m", "tidings.cli", "run", *arguments, "--name", name]
        command += ["--config", str(self.folder / "tidings.yaml")]
        log = self.folder / f"{name}.log"
        self.processes[name] = spawn(command, log=log, cwd=self.folder, env=env)

    def kill(self, name: str) -> None:
        """Kill -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def memory(self, name: str) -> float:
        """MiB that a process has resident."""
        found = vitals(self.processes[name].pid)
        if found is None:
            raise RuntimeError(f"{name} is gone:\n{self.said(name)}")
        return found.memory / MIB

    def cpu(self, name: str) -> float:
        """CPU-seconds that a process has used, all its threads."""
        found = vitals(self.processes[name].pid)
        return found.cpu if found is not None else 0.0

    def said(self, name: str) -> str:
        """The end of what a process logged."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2_000:]

    def check(self) -> None:
        """Raises RuntimeError where a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.said(name)}")

    def wait_until(self, holds: Callable[[], bool], what: str, timeout: float = 300.0) -> None:
        """Wait for ``holds``; raises when a process ends meanwhile, or the time is over."""

        def look() -> bool:
            self.check()
            return holds()

        wait_for(look, timeout=timeout, what=what)

    def _end(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()

    def written(self, topic: str) -> int:
        """How many records of a topic are there."""
        reader = self.log.reader()
        try:
            count = self.log.admin().topics()[topic].partitions
            return sum(reader.span(Slot(topic, number)).end for number in range(count))
        finally:
            reader.close()

    # ── How far a group is ────────────────────────────────────────────────────────────────────

    def lag(self, group: str, topic: str) -> int:
        """How many records of ``topic`` the group has not committed."""
        reader, consumer = self.log.reader(), self.log.consumer(group)
        try:
            count = self.log.admin().topics()[topic].partitions
            slots = [Slot(topic, number) for number in range(count)]
            committed = consumer.committed(slots)
            behind = 0
            for slot in slots:
                position = committed[slot]
                span = reader.span(slot)
                behind += span.end - (position.offset if position is not None else span.first)
            return behind
        finally:
            consumer.close()
            reader.close()


def flow_file(name: str) -> str:
    """A shipped flow or lane."""
    return str(content_root() / "flows" / f"{name}.yaml")


def recipient(number: int) -> str:
    """The id of a person."""
    return f"user-{number:08d}"


def paced(rate: float, seconds: float) -> Iterator[range]:
    """Numbers that are due, in small steps, ``rate`` a second; what was late comes at once."""
    begun = time.monotonic()
    done = 0
    while (passed := time.monotonic() - begun) < seconds:
        due = int(passed * rate)
        if due > done:
            yield range(done, due)
            done = due
        time.sleep(0.005)


def producer(bootstrap: str, linger_ms: int) -> Any:
    """A plain producer, for an upstream."""
    from confluent_kafka import Producer

    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 2,
            "linger.ms": linger_ms,
            "compression.type": "lz4",
            "message.max.bytes": 32 * MIB,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def end_now() -> None:
    """End a child of a benchmark, its answer on standard output."""
    sys.stdout.flush()
    os._exit(0)
