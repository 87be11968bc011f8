"""A provider is down in the midst of a blast, for two priorities at once, and comes back.

What the provider got is read from the sandboxes' files: they know nothing of breakers or ladders.
Ten minutes of outage are scaled to half a minute, and with them the ladder and the breaker's
pauses.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.audit import records
from tests.chaos.blast import HOUR, Blast, a_delivery
from tests.chaos.scenarios import Result
from tests.chaos.worker import Worker
from tidings.log.address import open_log
from tidings.log.port import Log
from tidings.operators.senders.sandbox import Received, received
from tidings.records import Alert, Delivery, Priority, decode_alert
from tidings.services.kafka import Kafka
from tidings.services.process import wait_for
from tidings.services.valkey import Valkey
from tidings.topics import ALERTS, EVENTS, lane_topics, settings

CLASSES = (Priority.HIGH, Priority.LOW)
LADDER = ("2s", "10s")
LATENCY = 50  # ms, of both providers
LIFE = 8_000  # ms, of those that do not outlive the outage
DOUBLES = {Priority.HIGH: 500, Priority.LOW: 2_000}  # ms, after an outage

LANE = f"""
lane: push
steps:
  - expire
  - addresses: {{kind: device}}
  - render
  - send:
      ios: apns
      android: fcm
      in_flight: 100
      retry: {{in_place: [200ms, 400ms], ladder: [{", ".join(LADDER)}]}}
      breaker: {{volume: 20, window: 2s, pause: 500ms, longest: 2s}}
"""
CONFIG = """
log: {log}
claims: {claims}
people: file:{folder}/people
suppressions: file:{folder}/suppressions
templates: {folder}/templates
categories: {{social: {{}}}}
providers:
  apns:
    kind: sandbox
    file: {folder}/apns.jsonl
    latency: {latency}ms
    script:
      - {{since: {since}ms, until: {until}ms, answer: retry, code: "503", latency: 5ms}}
  fcm: {{kind: sandbox, file: {folder}/fcm.jsonl, latency: {latency}ms}}
"""


@dataclass
class Outage:
    """A blast of ``messages`` of each class over ``seconds``; APNs is away from ``since`` to
    ``until`` (s after the processes began)."""

    messages: int = 6_000
    seconds: float = 30.0
    since: float = 5.0
    until: float = 35.0
    seed: int = 1


@dataclass
class Seen:
    """What became of it."""

    delivered: dict[str, Delivery] = field(default_factory=dict)
    ends: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    got: dict[str, list[Received]] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)


def outage(folder: Path, plan: Outage) -> Result:
    """Play it, and hold what the providers got against what was to be sent."""
    with Kafka(folder / "kafka") as kafka, Valkey(folder / "valkey") as valkey:
        address = f"kafka:{kafka.bootstrap}?session.timeout.ms=6000"
        log = open_log(address)
        log.admin().create(
            settings(
                [*(name for one in CLASSES for name in lane_topics("push", one, LADDER)), EVENTS]
            )
        )
        scene = _write(folder / "scene", address, f"valkey://127.0.0.1:{valkey.port}/0", plan)
        workers = [_lane(scene, one, folder) for one in CLASSES]
        seen = Seen()
        try:
            wait_for(lambda: _began(workers), timeout=60, what="the lanes to begin")
            _blast(log, plan, seen, workers)
            wait_for(
                lambda: _settled(log, seen, workers),
                timeout=plan.until + 90,
                what="all deliveries to end",
            )
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.ended()
        finally:
            for worker in workers:
                if worker.running:
                    worker.kill()
        seen.got = {name: received(scene / f"{name}.jsonl") for name in ("apns", "fcm")}
        seen.alerts = [decode_alert(one.value or b"") for one in records(log, ALERTS)]
    return _judge(seen)


# ── The play ──────────────────────────────────────────────────────────────────────────────────


def _write(folder: Path, log: str, claims: str, plan: Outage) -> Path:
    for name in ("people", "suppressions", "templates/hello"):
        (folder / name).mkdir(parents=True)
    (folder / "push.yaml").write_text(LANE)
    config = CONFIG.format(
        log=log,
        claims=claims,
        folder=folder,
        latency=LATENCY,
        since=round(plan.since * 1_000),
        until=round(plan.until * 1_000),
    )
    (folder / "tidings.yaml").write_text(config)
    (folder / "templates/hello/push.en.j2").write_text("--- title\nHello\n--- body\n{{ name }}\n")
    with (folder / "people/people.jsonl").open("w") as file:
        for platform in ("ios", "android"):
            address = {"kind": "device", "value": f"{platform}-phone", "platform": platform}
            file.write(json.dumps({"recipient_id": platform, "addresses": [address]}) + "\n")
    return folder


def _lane(scene: Path, priority: Priority, folder: Path) -> Worker:
    arguments = [
        *("run", str(scene / "push.yaml"), "--priority", str(priority)),
        *("--config", str(scene / "tidings.yaml")),
    ]
    return Worker("lane", arguments, folder / f"lane-{priority}")


def _began(workers: Sequence[Worker]) -> bool:
    for worker in workers:
        worker.check()
    return all("starting" in worker.log.read_text(errors="replace") for worker in workers)


def _blast(log: Log, plan: Outage, seen: Seen, workers: Sequence[Worker]) -> None:
    random = Random(plan.seed)

    def make(priority: Priority, number: int, now: int) -> Delivery:
        recipient = "ios" if random.random() < 0.5 else "android"
        life = LIFE if random.random() < 0.1 else HOUR
        return a_delivery(priority, number, now, recipient=recipient, template="hello", life=life)

    blast = Blast(log, CLASSES, plan.messages, plan.seconds, make)
    while not blast.over:
        time.sleep(0.05)
        seen.delivered |= blast.go_on()
        for worker in workers:
            worker.check()
    blast.close()


def _settled(log: Log, seen: Seen, workers: Sequence[Worker]) -> bool:
    for worker in workers:
        worker.check()
    seen.ends.clear()
    for record in records(log, EVENTS):
        outcome = json.loads(record.value or b"")
        if outcome["stage"] == "end":
            seen.ends[outcome["notif_id"]].add(outcome["kind"])
    settled = len(seen.ends) >= len(seen.delivered)
    if not settled:
        time.sleep(1.0)  # a look reads the whole topic
    return settled


# ── The judgement ─────────────────────────────────────────────────────────────────────────────


def _judge(seen: Seen) -> Result:
    result = Result("outage")
    accepted = [line for lines in seen.got.values() for line in lines if line.accepted]
    times = Counter(line.parts["body"] for line in accepted)
    kinds = Counter(" ".join(sorted(each)) for each in seen.ends.values())
    long_lived = {
        name for name, one in seen.delivered.items() if one.expires_at - one.created_at > LIFE
    }
    wrong: dict[str, list[Any]] = {
        "lost": sorted(long_lived - times.keys()),
        "without an end": sorted(seen.delivered.keys() - seen.ends.keys()),
        "ended otherwise": sorted(
            name for name in long_lived & seen.ends.keys() if seen.ends[name] != {"sent"}
        ),
        "sent twice": sorted(name for name, count in times.items() if count > 1),
        "sent when it had expired": sorted(
            line.parts["body"]
            for line in accepted
            if line.at >= seen.delivered[line.parts["body"]].expires_at
        ),
        "expired and sent": sorted(
            name for name, each in seen.ends.items() if "expired" in each and name in times
        ),
    }
    apns = seen.got["apns"]
    back = max((line.at for line in apns if not line.accepted), default=0)  # the last it refused
    after = {
        one: [line.at for line in apns if line.accepted and line.priority == one and line.at > back]
        for one in CLASSES
    }
    refused = [line.at for line in apns if not line.accepted]
    result.figures = {
        "ends": dict(kinds),
        "refused": {"in all": len(refused), **_by_second(refused)},
        **{f"{one}, accepted after the outage": _by_second(after[one]) for one in CLASSES},
        "alerts": Counter(f"{one.where} {one.kind} {one.state}" for one in seen.alerts),
    }
    if not all(len(times) > 100 for times in after.values()):
        wrong["calm"] = [f"little waited for the end of the outage: {result.figures}"]
    else:
        wrong |= _paced(after)
    told = sorted((one.where, one.kind, one.state) for one in seen.alerts)
    expected = sorted(
        (f"push.{one}", "provider_down", state) for one in CLASSES for state in ("open", "closed")
    )
    wrong["alerts"] = [] if told == expected else told
    result.wrong = {name: value for name, value in wrong.items() if value}
    return result


def _paced(after: dict[Priority, list[int]]) -> dict[str, list[Any]]:
    """High is out before half of low is; and in no second more than the slow start allows."""
    high, low = (sorted(after[one]) for one in CLASSES)
    wrong: dict[str, list[Any]] = {}
    # What came last of high's own blast does not count: 95 % of what had waited.
    if high[len(high) * 95 // 100] > low[len(low) // 2]:
        wrong["high is not out before low"] = [high[len(high) * 95 // 100] - low[len(low) // 2]]
    for one in CLASSES:
        first = min(after[one])
        for second, count in enumerate(_seconds(after[one], first)[:4]):
            places = min(100.0, 4 * 2 ** ((second + 1) * 1_000 / DOUBLES[one]))
            most = places * 1_000 / LATENCY + 100
            if count > most:
                wrong[f"herd of {one}"] = [f"{count} in second {second + 1}, at most {most:.0f}"]
    return wrong


def _seconds(times: Iterable[int], first: int) -> list[int]:
    counted = Counter((at - first) // 1_000 for at in times)
    return [counted[second] for second in range(max(counted, default=-1) + 1)]


def _by_second(times: list[int]) -> dict[str, int]:
    if not times:
        return {}
    return {f"in s {n + 1}": count for n, count in enumerate(_seconds(times, min(times))[:8])}
