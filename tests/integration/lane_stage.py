"""A lane as people run it, on a real log and a real Valkey, and what its provider knows of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import redis

from tidings.log.address import open_log
from tidings.log.port import Append, Position, Record, Slot
from tidings.operators.senders.sandbox import Received, received
from tidings.records import Delivery, Origin, Outcome, Priority, encode, outcomes_of
from tidings.services.process import spawn, wait_for
from tidings.topics import EVENTS, lane_topics, settings

NORMAL = Priority.NORMAL
DELIVERIES = "deliveries.push.normal"
PATIENCE = 60.0

CONFIG = """
log: {log}
claims: {claims}
people: file:{folder}/people
suppressions: file:{folder}/suppressions
templates: {folder}/templates
categories: {{social: {{}}}}
providers: {providers}
"""
LANE = """
lane: push
steps:
  - expire
  - addresses: {kind: device}
  - consent
  - suppress
  - render: {max_bytes: 4096}
  - send: SEND
"""


class Stage:
    """The files of one lane, its log, and its processes."""

    def __init__(
        self, folder: Path, log: str, claims: str, send: object, providers: dict[str, object]
    ) -> None:
        self.folder = folder
        self.log = open_log(log)
        self.claims = claims
        for name in ("people", "suppressions", "templates/hello"):
            (folder / name).mkdir(parents=True)
        (folder / "templates/hello/push.en.j2").write_text(
            "--- title\nHello {{ name }}\n--- body\n{{ count }} likes\n"
        )
        self.people(())
        config = CONFIG.format(
            log=log, claims=claims, folder=folder, providers=json.dumps(providers)
        )
        (folder / "tidings.yaml").write_text(config)
        (folder / "push.yaml").write_text(LANE.replace("SEND", json.dumps(send)))
        admin = self.log.admin()
        admin.create(settings([*lane_topics("push", NORMAL), "deliveries.email.normal", EVENTS]))
        admin.close()
        self.processes: list[subprocess.Popen[bytes]] = []

    def people(self, known: Iterable[tuple[str, list[dict[str, object]]]]) -> None:
        """Who has which addresses."""
        lines = [json.dumps({"recipient_id": who, "addresses": what}) for who, what in known]
        (self.folder / "people/people.jsonl").write_text("\n".join(lines) + "\n")

    # ── The log ───────────────────────────────────────────────────────────────────────────────

    def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Append deliveries, confirmed."""
        producer = self.log.producer()
        failed: list[object] = []
        appends = [Append(DELIVERIES, one.recipient_id.encode(), encode(one)) for one in deliveries]
        producer.append(appends, lambda error, _: failed.append(error) if error else None)
        assert producer.flush(30.0)
        producer.close()
        assert not failed

    def records(self, topic: str) -> list[Record]:
        """All that a topic holds."""
        reader, found = self.log.reader(), []
        for slot in self.slots(topic):
            span = reader.span(slot)
            for batch in reader.read(slot, span.first, span.end):
                found += batch
        reader.close()
        return found

    def slots(self, topic: str) -> list[Slot]:
        admin = self.log.admin()
        partitions = admin.topics()[topic].partitions
        admin.close()
        return [Slot(topic, number) for number in range(partitions)]

    def ends(self) -> dict[str, set[tuple[str, str]]]:
        """The ends of each notification: outcome id and kind."""
        found: dict[str, set[tuple[str, str]]] = {}
        for one in self.outcomes("end"):
            found.setdefault(one.notif_id, set()).add((one.outcome_id, one.kind))
        return found

    def outcomes(self, stage: str) -> list[Outcome]:
        values = [record.value or b"" for record in self.records(EVENTS)]
        return [one for value in values for one in outcomes_of(value) if one.stage == stage]

    def lag(self) -> int:
        """What the group has not settled, as its positions say."""
        consumer, reader = self.log.consumer("tidings.lane.push.normal"), self.log.reader()
        slots = self.slots(DELIVERIES)
        committed = consumer.committed(slots)
        lag = sum(reader.span(slot).end - (committed[slot] or Position(0)).offset for slot in slots)
        reader.close()
        consumer.close()
        return lag

    # ── Processes ─────────────────────────────────────────────────────────────────────────────

    def start(self) -> subprocess.Popen[bytes]:
        """A process of the lane."""
        command = [
            *(sys.executable, "-m", "tidings.cli", "run", str(self.folder / "push.yaml")),
            *("--priority", "normal", "--config", str(self.folder / "tidings.yaml")),
            "--create-topics",
        ]
        log = self.folder / f"lane-{len(self.processes)}.log"
        process = spawn(command, log=log, cwd=self.folder)
        self.processes.append(process)
        return process

    def terminate(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM, and a clean end."""
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        assert code == 0, self.said(process)

    def said(self, process: subprocess.Popen[bytes]) -> str:
        return (self.folder / f"lane-{self.processes.index(process)}.log").read_text()

    def until_ended(self, count: int) -> None:
        """Wait until so many deliveries have ended."""
        wait_for(lambda: self._has_ended(count), timeout=PATIENCE, what=f"{count} ends")

    def _has_ended(self, count: int) -> bool:
        assert self.processes[-1].poll() is None, self.said(self.processes[-1])
        ended = len(self.ends()) >= count
        if not ended:
            time.sleep(0.2)  # a look reads the whole topic
        return ended

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    # ── What the provider knows ───────────────────────────────────────────────────────────────

    def got(self, name: str = "sandbox") -> list[Received]:
        return received(self.folder / f"{name}.jsonl")

    def until_got(self, count: int) -> None:
        """Wait until the provider got so many."""
        file = self.folder / "sandbox.jsonl"

        def enough() -> bool:
            return file.exists() and file.read_bytes().count(b"\n") >= count

        wait_for(enough, timeout=PATIENCE, what=f"{count} sends")

    def accepted(self) -> Counter[str]:
        """How often each send was accepted."""
        return Counter(one.send_id for one in self.got() if one.accepted)

    def unmarked(self, claims: str) -> int:
        """How many sends were accepted and are not marked."""
        accepted = [*self.accepted()]
        with redis.from_url(claims) as client:
            held = client.mget([f"tidings:send:{one}" for one in accepted])
        return sum(1 for state in held if state is None or state[:1] not in (b"S", b"D"))


def a_delivery(number: int, recipient: str, **fields: object) -> Delivery:
    given: dict[str, object] = {
        "notif_id": f"n{number:06d}",
        "recipient_id": recipient,
        "flow": "social",
        "step": "social.deliver",
        "version": "v1",
        "channel": "push",
        "template": "hello",
        "category": "social",
        "created_at": int(time.time() * 1000),
        "origin": Origin("tidings.social", 0, number),
        "data": {"name": recipient, "count": number},
    }
    return Delivery(**(given | fields))  # type: ignore[arg-type]
