"""Whether a provider in trouble holds up the others: beside it in a lane, and in other lanes.

    python -m benchmarks.isolation [--pairs N] [--seconds N] [--json]

    deliveries.push.normal ──► push lane ──► APNs   (measured)
                                        └──► FCM    well, or 10 s to an answer
    deliveries.sms.normal ───► sms lane ───► SMS    (measured)
    deliveries.email.normal ─► email lane ─► e-mail well, or a black hole: no answer for 30 s

Pairs of runs, one with all providers well and one with FCM and e-mail in trouble, in turn. A time
is from the writing of a delivery to the instant at which the sandbox took its message. The goal:
the 99th percentile of APNs and of SMS, in trouble over well, is 1.5 at the most, median of the
pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import print_table
from benchmarks.stage import Stage, paced
from tidings.log.port import Append
from tidings.operators.senders.sandbox import received
from tidings.records import Delivery, Origin, Priority, encode
from tidings.topics import EVENTS, deliveries, lane_topics

GOAL = 1.5
RATES = {"apns": 100, "fcm": 100, "sms": 50, "email": 50}  # a second
CHANNELS = {"apns": "push", "fcm": "push", "sms": "sms", "email": "email"}
ADDRESSES = {
    "apns": {"value": "phone-a", "platform": "ios"},
    "fcm": {"value": "phone-f", "platform": "android"},
    "sms": {"value": "+12025550100"},
    "email": {"value": "ana@example.com"},
}
WARM = 6.0  # s from the start of the processes, not counted: trouble has to build up
LIFE = 20_000  # ms: what a run leaves behind is not the next one's work

LANES = {
    "push": "{ios: apns, android: fcm}",
    "sms": "{default: sms}",
    "email": "{default: email}",
}
KINDS = {"push": "device", "sms": "phone", "email": "email"}
LANE = """
lane: {channel}
steps:
  - expire
  - addresses: {{kind: {kind}}}
  - render
  - send: {send}
"""
CONFIG = """
log: kafka:{bootstrap}?session.timeout.ms=3000
claims: valkey://127.0.0.1:{valkey}/0
people: file:{folder}/people
suppressions: file:{folder}/suppressions
templates: {folder}/templates
categories: {{social: {{}}}}
providers:
"""
WELL = "{{kind: sandbox, file: {file}, latency: [15ms, 60ms]}}"
TROUBLE = {
    "fcm": "{{kind: sandbox, file: {file}, latency: 10s}}",
    "email": "{{kind: sandbox, file: {file}, script: [{{answer: amb, latency: 30s}}]}}",
}


def prepare(stage: Stage) -> None:
    """The files that all runs share."""
    folder = stage.folder
    people = [
        {"recipient_id": name, "addresses": [{"kind": KINDS[CHANNELS[name]]} | address]}
        for name, address in ADDRESSES.items()
    ]
    (folder / "people/people.jsonl").write_text("\n".join(map(json.dumps, people)) + "\n")
    texts = folder / "templates/hello"
    texts.mkdir(parents=True)
    (texts / "push.en.j2").write_text("--- title\nHello\n--- body\n{{ at }}\n")
    (texts / "sms.en.j2").write_text("--- body\n{{ at }}\n")
    (texts / "email.en.j2").write_text("--- subject\nHello\n--- text\n{{ at }}\n")
    for channel, send in LANES.items():
        lane = LANE.format(channel=channel, kind=KINDS[channel], send=send)
        (folder / f"{channel}.yaml").write_text(lane)


def run(stage: Stage, number: int, seconds: float, *, trouble: bool) -> dict[str, float]:
    """One run; gives the 99th percentile of APNs and SMS in ms."""
    files = {name: stage.folder / f"{name}-{number}.jsonl" for name in RATES}
    config = CONFIG.format(
        bootstrap=stage.kafka.bootstrap, valkey=stage.valkey.port, folder=stage.folder
    )
    for name, file in files.items():
        form = TROUBLE.get(name, WELL) if trouble else WELL
        config += f"  {name}: {form.format(file=file)}\n"
    (stage.folder / "tidings.yaml").write_text(config)
    for channel in LANES:  # under the same name, so that the partitions are there at once
        lane = str(stage.folder / f"{channel}.yaml")
        stage.run(channel, lane, "--priority", "normal", "--instance", f"{channel}.1")
    blast(stage, seconds)
    time.sleep(1.0)
    stage.check()
    for channel in LANES:
        stage.kill(channel)
    return {name: percentile(files[name], seconds) for name in ("apns", "sms")}


def blast(stage: Stage, seconds: float) -> None:
    """Deliveries for all four at an even pace."""
    producer = stage.log.producer(linger_ms=2)
    for due in paced(max(RATES.values()), WARM + seconds):
        for name, rate in RATES.items():
            appends = [
                Append(deliveries(CHANNELS[name], Priority.NORMAL), key, encode(delivery))
                for key, delivery in made(name, due, rate)
            ]
            producer.append(appends, must)
        producer.poll()
    producer.flush(10.0)
    producer.close()


def made(name: str, due: range, rate: int) -> Iterator[tuple[bytes, Delivery]]:
    """The deliveries for one provider among those that are due."""
    every = max(RATES.values()) // rate
    for number in due:
        if number % every == 0:
            now = int(time.time() * 1000)
            notif_id = f"{name}-{now}-{number}"
            yield (
                notif_id.encode(),
                Delivery(
                    notif_id=notif_id,
                    recipient_id=name,
                    flow="social",
                    step="social.deliver",
                    version="1",
                    channel=CHANNELS[name],
                    template="hello",
                    category="social",
                    created_at=now,
                    expires_at=now + LIFE,
                    origin=Origin("tidings.social", 0, number),
                    data={"at": now},
                ),
            )


def must(error: object, receipt: object) -> None:
    """Raises for what the log does not take."""
    if error is not None:
        raise RuntimeError(str(error))


def percentile(file: Path, seconds: float) -> float:
    """The 99th of the times in a sandbox's file, those of the last ``seconds``; raises where a
    provider got too little for one."""
    lines = received(file)
    taken = [(int(line.parts.get("body") or line.parts["text"]), line.at) for line in lines]
    last = max((written for written, _ in taken), default=0)
    times = sorted(at - written for written, at in taken if written > last - seconds * 1_000)
    if len(times) < 100:
        raise RuntimeError(f"{file.name}: only {len(times)} were sent")
    return float(times[len(times) * 99 // 100])


def measure(pairs: int, seconds: float) -> list[dict[str, object]]:
    """A row for each pair, and the medians."""
    topics = [name for channel in LANES for name in lane_topics(channel, Priority.NORMAL)]
    rows: list[dict[str, object]] = []
    ratios: dict[str, list[float]] = {"apns": [], "sms": []}
    with Stage([*topics, EVENTS], people=1) as stage:
        prepare(stage)
        for pair in range(pairs):
            found: dict[bool, dict[str, float]] = {}
            for trouble in (False, True) if pair % 2 == 0 else (True, False):
                found[trouble] = run(stage, 2 * pair + trouble, seconds, trouble=trouble)
            row: dict[str, object] = {"what": f"pair {pair + 1}"}
            for name, all_ in ratios.items():
                well, bad = found[False][name], found[True][name]
                all_.append(bad / well)
                row |= {f"{name} well": well, f"{name} beside trouble": bad}
                row[f"{name} ratio"] = round(bad / well, 2)
            rows.append(row)
    medians = {f"{name} ratio": round(statistics.median(all_), 2) for name, all_ in ratios.items()}
    return [*rows, {"what": f"median (goal {GOAL})", **medians}]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.pairs, options.seconds)
    print_table("99th percentile, ms", rows, as_json=options.json)


if __name__ == "__main__":
    main()
