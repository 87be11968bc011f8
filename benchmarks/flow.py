"""The intake and the keyed flow on real Kafka: events per CPU-second.

    python -m benchmarks.flow [--events N] [--recipients N] [--runs N] [--json]

A topic is filled first; then a process of its own works it off, and counts its CPU from the first
batch to the last confirmed output, or with ``--warm`` from a share of the events on. The digest's
window is chosen so that a digest has about seven events. ``busy`` is how long a batch keeps the
flow from reading, ``work`` how much of that is its own CPU: the rest, the machine was others'.
Beside ours runs ``plain``: the same digest and limit written by hand, a loop on
confluent-kafka and msgspec with its state in a dict, nothing saved: what the task costs at the
least.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.harness import child, medians, peak_mb, print_table

EVENT = {
    "type": "like",
    "photo_title": "Sunset over the old harbour, seen from the pier",
    "text": "",
    "client": {"app": "ios", "version": "7.41.2", "locale": "en-GB", "session": "b7c1f0c2a9d84e55"},
    "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
PER_DIGEST = 7
FLOW = """
flow: social
source: {{topic: social.events, key: recipient_id, id: event_id}}
steps:
  - filter: {{keep: actor_id != recipient_id, reason: own_action}}
  - dedupe: {{by: event_id, within: 24h}}
  - digest:
      {{by: [type, photo_id], window: {window}ms, actors: actor_id, names: actor_name, keep: last 1,
       fields: [actor_name, photo_title], max_items: 500}}
  - limit: {{at_most: 1000, within: 1d}}
  - consent: {{category: social}}
  - deliver: {{first_of: [push, email], template: social_digest, expires: 6h}}
"""


def event(number: int, recipients: int, random: Random) -> dict[str, Any]:
    """The ``number``th event, about 480 bytes as JSON."""
    actor = random.randrange(50_000)
    return {
        "event_id": f"01J{number:013d}",
        "recipient_id": f"user-{random.randrange(recipients):08d}",
        "actor_id": f"user-{actor + 50_000_000:08d}",
        "actor_name": f"Actor {actor}",
        "photo_id": "photo-0001",
        "at": 1_790_000_000_000 + number,
        **EVENT,
    }


def fill(
    bootstrap: str, topic: str, events: int, recipients: int, keyed: bool, rate: int = 0
) -> int:
    """Fill ``topic`` with events, or with entries as an intake writes them; gives its ms.

    ``rate`` paces it, in events a second; 0 is as fast as it goes.
    """
    from confluent_kafka import Producer

    from tidings.records import Entry, Origin, encode

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    random = Random(7)
    begun = time.monotonic()
    for number in range(events):
        one = event(number, recipients, random)
        key = one["recipient_id"]
        if keyed:
            origin = Origin("social.events", number % 8, number)
            value = encode(
                Entry(recipient_id=key, event_id=one["event_id"], origin=origin, event=one)
            )
        else:
            value = encode(one)
        while True:
            try:
                producer.produce(topic, value, key.encode())
                break
            except BufferError:
                producer.poll(0.05)
        if number % 100 == 0:
            producer.poll(0)
            ahead = rate and begun + number / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    producer.flush(60)
    return int((time.monotonic() - begun) * 1000)


# ── What is measured, each in a process of its own ────────────────────────────────────────────


def _ground(bootstrap: str, valkey: str) -> Any:
    from tidings.compile.units import Ground
    from tidings.log.address import open_log
    from tidings.ports import Address, Io, Profile
    from tidings.settings import CategorySettings, Settings
    from tidings.stores.claims_valkey import ValkeyClaims
    from tidings.stores.clock import SystemClock
    from tidings.stores.people_made import FunctionPeople
    from tidings.stores.suppressions import FileSuppressions
    from tidings.stores.valkey import Valkey

    clock = SystemClock()
    phone = Profile(addresses=(Address(kind="device", value="token", platform="ios"),))
    folder = Path(tempfile.mkdtemp())
    io = Io(
        people=FunctionPeople(lambda person: phone),
        suppressions=FileSuppressions(folder, clock),
        templates=None,
        claims=ValkeyClaims(Valkey(valkey)),
        caps=None,
        clock=clock,
    )
    settings = Settings(categories={"social": CategorySettings()}, types={"like": "social"})
    return Ground(open_log(f"kafka:{bootstrap}"), io, settings)


def run_unit(
    part: str, bootstrap: str, valkey: str, window: int, events: int, warm: int
) -> dict[str, Any]:
    """Works off the topic with the real unit on the real engine."""
    from bytewax.testing import run_main

    from tidings.compile.dataflow import dataflow
    from tidings.compile.units import intake, keyed
    from tidings.plan import FlowPlan, load
    from tidings.problems import Problems

    file = Path(tempfile.mkdtemp()) / "social.yaml"
    file.write_text(FLOW.format(window=window))
    problems = Problems()
    plan = load(file, {}, problems)
    problems.raise_if_any()
    assert isinstance(plan, FlowPlan)
    ground = _ground(bootstrap, valkey)
    unit: Any = intake(plan, ground) if part == "intake" else keyed(plan, ground)
    meter = Meter(unit, events, warm)
    gc.collect()
    gc.freeze()
    gc.disable()
    run_main(dataflow("bench", [meter], lambda: meter.done))
    return meter.report()


class Meter:
    """A unit around a unit: counts records, CPU, and how long each batch keeps it from reading."""

    def __init__(self, unit: Any, events: int, warm: int = 0) -> None:
        self._unit = unit
        self._events = events
        self._warm = warm
        self.name, self.stages, self.start = unit.name, unit.stages, unit.start
        self.push, self.pause, self.stop = unit.push, unit.pause, unit.stop
        self.drained, self.close = unit.drained, unit.close
        self.done = False
        self._cpu = self._wall = self._last = self._begun = 0.0
        self._gaps: list[float] = []
        self._work: list[float] = []
        self._counted = self._before = self._live = 0

    def pull(self) -> Any:
        if self._last:
            self._gaps.append(time.monotonic() - self._last)
            self._work.append(time.thread_time() - self._begun)
        batch = self._unit.pull()
        tasks = getattr(self._unit, "_tasks", None)
        now, self._last, self._begun = time.monotonic(), 0.0, time.thread_time()
        if batch is not None:
            if not self._wall and self._counted >= self._warm:
                self._cpu, self._wall, self._before = time.process_time(), now, self._counted
            if tasks is None:
                self._counted += len(batch.items)
            self._last = now
        if tasks and not self.done:  # a batch that was cut comes again with what is left of it
            self._counted = sum(task.position.offset for task in tasks.values())
        if batch is None and self._counted >= self._events and not self.done and self._idle():
            self._cpu, self._wall = time.process_time() - self._cpu, now - self._wall
            self.done = True
            buckets = [bucket for task in (tasks or {}).values() for bucket in task.buckets]
            self._live = sum(len(bucket.states.keys() | bucket.hot.keys()) for bucket in buckets)
        return batch

    def _idle(self) -> bool:
        return bool(self._unit._flights.idle())

    def report(self) -> dict[str, Any]:
        counted = self._counted - self._before
        return {
            "per_cpu_second": round(counted / self._cpu),
            "us": round(self._cpu / counted * 1e6, 2),
            "per_second": round(counted / self._wall),
            **_spread("busy", self._gaps),
            **_spread("work", self._work),
            **({"live": self._live} if self._live else {}),
            "mb": peak_mb(),
        }


def _spread(name: str, seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds) or [0.0]
    p99, longest = ranked[int(len(ranked) * 0.99)], ranked[-1]
    return {f"{name}_p99_ms": round(p99 * 1000, 1), f"{name}_max_ms": round(longest * 1000, 1)}


def run_plain(bootstrap: str, window: int, events: int) -> dict[str, Any]:
    """The same flow by hand: no engine, no saved state, no muting; confirmed output."""
    import heapq

    import msgspec
    from confluent_kafka import Consumer, Producer

    from tidings.records import decode_entry

    gc.disable()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"plain-{os.getpid()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 2,
        }
    )
    consumer.subscribe(["tidings.social"])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 2,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    encode = msgspec.json.Encoder().encode
    confirmed = produced = counted = 0

    def ack(error: object, message: object) -> None:
        nonlocal confirmed
        assert error is None
        confirmed += 1

    windows: dict[str, list[Any]] = {}
    passed: dict[str, list[int]] = {}
    heap: list[tuple[int, str]] = []
    times: dict[int, int] = {}
    cpu = wall = 0.0

    def close(now: int) -> None:
        nonlocal produced
        while heap and heap[0][0] <= now:
            at, key = heapq.heappop(heap)
            count, members, actors, last = windows.pop(key)
            recipient = key.split("\x1f")[0]
            recent = [t for t in passed.get(recipient, ()) if t > at - 86_400_000]
            passed[recipient] = [*recent, at]
            body = {"id": members[0], "to": recipient, "count": count, "actors": len(actors)}
            producer.produce("deliveries.push.normal", encode(body | last), recipient, -1, ack)
            told = encode(body | {"members": members})
            producer.produce("notif_events", told, recipient, -1, ack)
            produced += 2

    while counted < events:
        messages = consumer.consume(1_000, 0.01)
        producer.poll(0)
        if messages and not wall:
            cpu, wall = time.process_time(), time.monotonic()
        for message in messages:
            now = times[message.partition()] = max(
                message.timestamp()[1], times.get(message.partition(), 0)
            )
            if heap and heap[0][0] <= now:
                close(now)
            entry = decode_entry(message.value())
            data = entry.event
            key = f"{entry.recipient_id}\x1f{data['type']}\x1f{data['photo_id']}"
            held = windows.get(key)
            if held is None:
                held = windows[key] = [0, [], {}, None]
                heapq.heappush(heap, (now + window, key))
            held[0] += 1
            held[1].append(entry.event_id)
            held[2][data["actor_id"]] = data["actor_name"]
            held[3] = {"actor_name": data["actor_name"], "photo_title": data["photo_title"]}
        counted += len(messages)
    while confirmed < produced:
        producer.poll(0.01)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    consumer.close()
    return {
        "per_cpu_second": round(counted / cpu),
        "us": round(cpu / counted * 1e6, 2),
        "per_second": round(counted / wall),
    }


# ── The run ───────────────────────────────────────────────────────────────────────────────────


def measure(
    events: int,
    recipients: int,
    runs: int,
    parts: list[str],
    rate: int = 0,
    per_digest: float = PER_DIGEST,
    warm: float = 0,
) -> list[dict[str, Any]]:
    """One row for each part: medians of ``runs``. With a ``rate`` the topic fills meanwhile."""
    from tidings.log.address import open_log
    from tidings.records import Priority
    from tidings.services.kafka import Kafka
    from tidings.services.valkey import Valkey
    from tidings.topics import flow_topics, lane_topics, settings

    rows = []
    for part in parts:
        found = []
        topic = "social.events" if part == "intake" else "tidings.social"
        for _ in range(runs):
            with Kafka() as kafka, Valkey() as valkey:
                admin = open_log(f"kafka:{kafka.bootstrap}").admin()
                names = [*flow_topics("social", keyed=True), *lane_topics("push", Priority.NORMAL)]
                admin.create(settings(["social.events", *names]))
                filling = (kafka.bootstrap, topic, events, recipients, part != "intake", rate)
                with ThreadPoolExecutor() as pool:
                    filler = pool.submit(fill, *filling)
                    took = 1000 * events // rate if rate else filler.result()
                    window = max(50, round(recipients * per_digest * took / events))
                    arguments = [part, kafka.bootstrap, valkey.url, window, events]
                    arguments.append(round(events * warm))
                    found.append(child("benchmarks.flow", "--child", json.dumps(arguments)))
        paced = f", {rate:,} events/s" if rate else ""
        rows.append({"what": f"{part}, {recipients:,} recipients{paced}", **medians(found)})
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--recipients", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--parts", default="intake,flow,plain")
    parser.add_argument("--rate", type=int, default=0, help="events a second while it is measured")
    parser.add_argument("--per-digest", type=float, default=PER_DIGEST, help="events of a digest")
    parser.add_argument("--warm", type=float, default=0, help="share of events not measured")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        part, bootstrap, valkey, window, events, warm = json.loads(options.child)
        if part == "plain":
            report = run_plain(bootstrap, window, events)
        else:
            report = run_unit(part, bootstrap, valkey, window, events, warm)
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
        os._exit(0)
    rows = measure(
        options.events,
        options.recipients,
        options.runs,
        options.parts.split(","),
        options.rate,
        options.per_digest,
        options.warm,
    )
    print_table("Intake and flow on Kafka", rows, as_json=options.json)


if __name__ == "__main__":
    main()
