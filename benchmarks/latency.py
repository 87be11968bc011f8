"""How long a one-time code takes while a blast runs beside it.

    python -m benchmarks.latency [--rates N,N] [--seconds N] [--json]

    otp.events ──► otp ──► deliveries.sms.high ──► sms lane ──► the sandbox's file      (measured)
    social.events ──► intake ──► flow ──► deliveries.push.normal ──► push lane ──► sandbox   (blast)

A code's time is from the append time of its event in Kafka to the instant at which the sandbox, as
a provider, took the message. Three processes: what is high (otp and its lane), social, its lane.
Broker, Valkey and the upstreams run on the same cores. The digest's window is chosen so that one
has about seven events, as in the other benchmarks.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from random import Random
from typing import Any

from benchmarks.harness import print_table
from benchmarks.stage import Stage, end_now, flow_file, paced, producer, recipient
from tidings.operators.senders.sandbox import received
from tidings.records import Priority
from tidings.topics import flow_topics, lane_topics

CODES = 20.0  # a second
WINDOW = 5.0  # seconds
PER_DIGEST = 7
GOALS = {10_000: 250, 2_778: 100}  # ms at the 99th percentile
WARM = 10.0  # seconds of blast before codes are counted
EVENT = {
    "type": "like",
    "photo_title": "Sunset over the old harbour, seen from the pier",
    "text": "",
    "client": {"app": "ios", "version": "7.41.2", "locale": "en-GB", "session": "b7c1f0c2a9d84e55"},
    "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}


def blast(bootstrap: str, rate: float, seconds: float, people: int) -> dict[str, Any]:
    """The blast's upstream; a process of its own. Gives what it achieved."""
    upstream = producer(bootstrap, linger_ms=5)
    random = Random(7)
    written = 0
    begun = time.monotonic()
    for due in paced(rate, seconds):
        for number in due:
            event = {
                "event_id": f"01J{number:013d}",
                "recipient_id": recipient(random.randrange(people)),
                "actor_id": f"actor-{random.randrange(50_000)}",
                "actor_name": "Alice",
                "photo_id": "photo-0001",
                **EVENT,
            }
            upstream.produce("social.events", json.dumps(event).encode())
            written += 1
        upstream.poll(0)
    upstream.flush(30)
    return {"per_second": round(written / (time.monotonic() - begun))}


class Codes(threading.Thread):
    """Asks for codes at an even pace; ``asked`` is when each event stood in Kafka, epoch ms."""

    def __init__(self, bootstrap: str, seconds: float, people: int, first: int = 0) -> None:
        super().__init__(name="codes")
        self._first = first
        self.asked: dict[str, int] = {}
        self._producer = producer(bootstrap, linger_ms=0)
        self._seconds = seconds
        self._people = people

    def run(self) -> None:
        random = Random(11)
        for due in paced(CODES, self._seconds):
            for number in due:
                code = f"{self._first + number:06d}"
                event = {
                    "request_id": f"r{code}",
                    "type": "otp",
                    "recipient_id": recipient(random.randrange(self._people)),
                    "code": code,
                    "app": "Bank",
                }
                self._producer.produce(
                    "otp.events",
                    json.dumps(event).encode(),
                    on_delivery=lambda error, message, code=code: self._ack(error, message, code),
                )
            self._producer.poll(0)
        self._producer.flush(30)

    def _ack(self, error: object, message: Any, code: str) -> None:
        if error is None:
            self.asked[code] = message.timestamp()[1]


def measure(rate: int, seconds: float) -> dict[str, Any]:
    """One blast, and the codes beside it."""
    people = max(100, round(rate * WINDOW / PER_DIGEST))
    high, normal = Priority.HIGH, Priority.NORMAL
    topics = [
        "social.events",
        "otp.events",
        *flow_topics("social", keyed=True),
        *lane_topics("push", normal),
        *lane_topics("email", normal),
        *lane_topics("sms", high),
        *lane_topics("voice", high),
    ]
    with Stage(topics, people) as stage:
        window = {"TIDINGS_SOCIAL_WINDOW": f"{WINDOW:g}s"}
        stage.run("high", flow_file("otp"), flow_file("lanes/sms"), "--priority", "high")
        stage.run("social", flow_file("social"), env=window)
        stage.run("push", flow_file("lanes/push"), "--priority", "normal")
        bootstrap = stage.kafka.bootstrap
        _warm(stage, bootstrap, people)
        upstream = _Child("--blast", bootstrap, rate, WARM + seconds + 2, people)
        time.sleep(WARM)
        before = {name: stage.cpu(name) for name in stage.processes}
        codes = Codes(bootstrap, seconds, people)
        codes.start()
        codes.join()
        spent = {name: stage.cpu(name) - before[name] for name in stage.processes}
        written = upstream.answer()["per_second"]
        taken = {}

        def all_taken() -> bool:
            lines = [line for line in received(stage.sandbox) if line.channel == "sms"]
            taken.update({_code(line.parts["body"]): line.at for line in reversed(lines)})
            return codes.asked.keys() <= taken.keys()

        stage.wait_until(all_taken, "all codes to be sent", timeout=60)
        pushes = sum(1 for line in received(stage.sandbox) if line.channel == "push")
    took = sorted(taken[code] - asked for code, asked in codes.asked.items())
    p99 = took[int(len(took) * 0.99)]
    goal = GOALS.get(rate)
    return {
        "what": f"a code beside {rate:,} events/s",
        "codes": len(took),
        "p50_ms": took[len(took) // 2],
        "p99_ms": p99,
        "max_ms": took[-1],
        "goal_ms": goal or "",
        "blast_per_second": written,
        "pushes": pushes,
        **{f"{name}_cores": round(used / seconds, 2) for name, used in spent.items()},
    }


def _code(body: str) -> str:
    return next(word.strip(".,:") for word in body.split() if word.strip(".,:").isdigit())


def _warm(stage: Stage, bootstrap: str, people: int) -> None:
    """Until the first code comes through: everybody has joined."""
    first = Codes(bootstrap, 0.2, people, first=900_000)
    first.start()
    first.join()
    stage.wait_until(lambda: bool(received(stage.sandbox)), "the first code", timeout=60)


class _Child:
    """This module as a process of its own."""

    def __init__(self, verb: str, *arguments: object) -> None:
        import subprocess

        command = [sys.executable, "-m", "benchmarks.latency", verb, json.dumps(arguments)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def answer(self) -> dict[str, Any]:
        """What it said when it was done."""
        said, _ = self._process.communicate(timeout=120)
        answer: dict[str, Any] = json.loads(said)
        return answer


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", default="10000,2778", help="events a second, with commas")
    parser.add_argument("--seconds", type=float, default=40.0, help="how long codes are asked for")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--blast", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.blast:
        bootstrap, rate, seconds, people = json.loads(options.blast)
        sys.stdout.write(json.dumps(blast(bootstrap, rate, seconds, people)) + "\n")
        end_now()
    rows = [measure(int(rate), options.seconds) for rate in options.rates.split(",")]
    print_table("A one-time code, from Kafka to the provider", rows, as_json=options.json)


if __name__ == "__main__":
    main()
