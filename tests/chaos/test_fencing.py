"""Two processes of one name, on a real broker: the one that took it later lives, the other is told.

A broker fences by the name: it knows the process by what it called it when that joined, and
takes whoever comes with an older number for one that was replaced.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.worker import Worker
from tests.engine import append, records
from tidings.log.address import open_log
from tidings.log.kafka.client import REPLACED
from tidings.log.port import Append, Log
from tidings.records import decode_entry
from tidings.services.kafka import Kafka
from tidings.services.process import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

SESSION = 3.0  # seconds
FLOW = """
flow: {flow}
source: {{topic: {flow}.events, key: recipient_id, id: event_id}}
steps:
  - digest: {{window: 1s}}
  - deliver: {{to: push, template: t, category: social}}
"""
CONFIG = """
log: kafka:{brokers}?session.timeout.ms={session}
claims: sqlite:{folder}/claims.db
categories: {{social: {{}}}}
templates: {folder}/templates
"""
TEXT = "--- title\n{{ count }}\n--- body\n{{ count }}\n"


class Named:
    """Processes of one intake, all of them called ``a``."""

    def __init__(self, folder: Path, brokers: str) -> None:
        self._folder = folder
        self._flow = f"fenced_{uuid.uuid4().hex[:8]}"
        self._file, self._config = folder / "flow.yaml", folder / "tidings.yaml"
        self._file.write_text(FLOW.format(flow=self._flow))
        session = round(SESSION * 1_000)
        self._config.write_text(CONFIG.format(brokers=brokers, session=session, folder=folder))
        (folder / "templates/t").mkdir(parents=True)
        (folder / "templates/t/push.en.j2").write_text(TEXT)
        self.log: Log = open_log(f"kafka:{brokers}")
        self.workers: list[Worker] = []

    def start(self) -> Worker:
        arguments = ["run", str(self._file), "--part", "intake", "--create-topics"]
        arguments += ["--config", str(self._config)]
        folder = self._folder / f"intake-{len(self.workers)}"
        self.workers.append(Worker("intake", arguments, folder, "a"))
        return self.workers[-1]

    def wait_until_ready(self, worker: Worker) -> None:
        wait_for(lambda: "ready" in worker.log.read_text(), timeout=30, what="a first process")

    def emit(self, event_id: str) -> None:
        event = json.dumps({"event_id": event_id, "recipient_id": "ana", "type": "like"})
        append(self.log, Append(f"{self._flow}.events", None, event.encode()))

    def entries(self) -> list[str]:
        found = records(self.log, f"tidings.{self._flow}")
        return [decode_entry(one.value or b"").event_id for one in found if one.value]

    def wait_for_entry(self, event_id: str) -> None:
        wait_for(lambda: event_id in self.entries(), timeout=30, what=f"the entry of {event_id}")


@pytest.fixture
def named(tmp_path: Path, kafka: Kafka) -> Iterator[Named]:
    made = Named(tmp_path, kafka.bootstrap)
    yield made
    for worker in made.workers:
        worker.kill()


def ends_and_says_why(worker: Worker) -> None:
    code = worker.process.wait(30)
    assert code == 1
    assert REPLACED in worker.log.read_text()


def test_the_older_of_two_processes_with_one_name_ends_and_the_younger_goes_on(
    named: Named,
) -> None:
    older = named.start()
    named.wait_until_ready(older)
    named.emit("e1")
    named.wait_for_entry("e1")

    younger = named.start()
    ends_and_says_why(older)

    named.emit("e2")
    named.wait_for_entry("e2")
    younger.check()
    assert [*dict.fromkeys(named.entries())] == ["e1", "e2"]


@pytest.mark.parametrize("seconds", [0.0, SESSION + 1.0], ids=["its session", "no session"])
def test_who_was_frozen_while_another_took_its_name_ends_when_it_wakes_up(
    named: Named, seconds: float
) -> None:
    """It wakes up while the broker waits for it, or when that has long given it up."""
    frozen = named.start()
    named.wait_until_ready(frozen)
    named.emit("e1")
    named.wait_for_entry("e1")
    frozen.freeze()

    younger = named.start()
    named.emit("e2")
    named.wait_for_entry("e2")
    time.sleep(seconds)
    frozen.thaw()
    ends_and_says_why(frozen)

    named.emit("e3")
    named.wait_for_entry("e3")
    younger.check()
    assert [*dict.fromkeys(named.entries())] == ["e1", "e2", "e3"]
