"""``tidings backtest``: events per CPU-second of the whole command, and of the replay alone.

    python -m benchmarks.backtest [--events N] [--recipients N] [--runs N] [--flow NAME] [--json]

A recorded log goes through two versions of a flow. ``digest``: 1,000 events a second, and another
window. ``rounds``: an `escalate` of 100 alerts and acknowledgements a second, and what became of
the rounds that went out; the second version is quicker. Nine of ten alerts are acknowledged, after
two minutes in the mean, three are opened. The command runs as a process of its own, start and end
included, with its bytecode compiled before, as an installation has it; ``replay`` is the same
without starting, reading the settings and printing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from operator import itemgetter
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any, NamedTuple

from benchmarks.flow import FLOW, event
from benchmarks.harness import child, medians, print_table
from benchmarks.stage import recipient
from tidings.ids import notification_id, send_id

NOON = 1_782_907_200_000
SECOND, MINUTE = 1_000, 60_000
SETTINGS = "people: file:people\nsuppressions: file:suppressions\ncategories: {CATEGORY: {}}\n"
ROUNDS = """
flow: oncall
source: {{topic: oncall.events, key: recipient_id, id: event_id}}
steps:
  - escalate:
      rounds: [{{channel: push}}, {{channel: sms, after: {after}}}, {{channel: sms, after: 10m}}]
      until: opened
      by: alert_id
      cancel: type == 'acknowledged'
  - consent: {{category: security}}
  - deliver: {{template: notify, expires: 6h}}
"""


class Case(NamedTuple):
    """A flow in two versions, its category, and the records of its log in order of time."""

    topic: str
    category: str
    before: str
    after: str
    log: Callable[[int, int, Random], Iterable[dict[str, Any]]]


def likes(events: int, recipients: int, random: Random) -> Iterator[dict[str, Any]]:
    """What social events leave: themselves."""
    for number in range(events):
        yield record("social.events", NOON + number, event(number, recipients, random))


def alerts(events: int, recipients: int, random: Random) -> Iterable[dict[str, Any]]:
    """What alerts and acknowledgements leave in a flow of rounds: themselves, and outcomes."""
    log: list[dict[str, Any]] = []
    acknowledged: list[tuple[int, int, dict[str, Any]]] = []
    for number in range(events):
        at = NOON + 10 * number
        if acknowledged and acknowledged[0][0] <= at:
            value = heappop(acknowledged)[-1]
            log.append(record("oncall.events", at, {**value, "event_id": f"01J{number:013d}"}))
            continue
        value = event(number, recipients, random) | {"type": "alert", "alert_id": f"a{number}"}
        log.append(record("oncall.events", at, value))
        ends, opened = at + 30 * MINUTE, 0
        if random.random() < 0.9:
            ends = at + int(random.expovariate(1 / (2 * MINUTE)))
            heappush(acknowledged, (ends, number, {**value, "type": "acknowledged"}))
        if random.random() < 0.3:
            opened = at + int(random.expovariate(1 / (2 * MINUTE)))
        log += rounds_of(value, at, ends, opened)
    return sorted(log, key=itemgetter("time"))


def rounds_of(value: dict[str, Any], at: int, ends: int, opened: int) -> Iterator[dict[str, Any]]:
    """The outcomes of an alert's rounds: queued, sent after 200 ms, the push opened at ``opened``
    (0: never); they end at ``ends`` where nobody opens it before."""
    known, person = value["event_id"], value["recipient_id"]
    notif = notification_id("default", "oncall", known, person, "oncall.deliver")
    until = min(ends, opened or ends)
    at_round = (at, at + 5 * MINUTE + 200, at + 15 * MINUTE + 400)
    for number, (queued, channel) in enumerate(zip(at_round, ("push", "sms", "sms"), strict=True)):
        if queued >= until:
            break
        send = send_id(notif, channel, "address", number)
        about = {"recipient_id": person, "flow": "oncall", "version": "1", "notif_id": notif}
        about |= {"channel": channel, "category": "security", "priority": "normal"}
        decided = {"stage": "decision", "kind": "queued", "step": "oncall.deliver", "at": queued}
        sent = {"stage": "end", "kind": "sent", "step": channel, "at": queued + 200}
        sent |= {"send_id": send, "provider": "sandbox", "address": send[:16], "latency_ms": 200}
        told = [decided | {"members": [known]}, sent]
        if opened and not number:
            told.append({"stage": "receipt", "kind": "opened", "step": "receipts", "at": opened})
            told[-1] |= {"send_id": send, "provider": "sandbox"}
        for place, each in enumerate(told):
            outcome = about | each | {"outcome_id": f"{send[:24]}{place:08d}"}
            if number:
                outcome["round"] = number
            yield record("notif_events", each["at"], outcome)


def record(topic: str, time: int, value: dict[str, Any]) -> dict[str, Any]:
    """A line of the log."""
    return {"topic": topic, "time": time, "key": value["recipient_id"], "value": value}


CASES = {
    "digest": Case(
        "social.events", "social", FLOW.format(window=30_000), FLOW.format(window=60_000), likes
    ),
    "rounds": Case(
        "oncall.events", "security", ROUNDS.format(after="5m"), ROUNDS.format(after="3m"), alerts
    ),
}


def prepare(folder: Path, case: Case, events: int, recipients: int) -> None:
    """Write both versions, the settings, people with a phone, and the log."""
    (folder / "before.yaml").write_text(case.before)
    (folder / "after.yaml").write_text(case.after)
    (folder / "tidings.yaml").write_text(SETTINGS.replace("CATEGORY", case.category))
    (folder / "people").mkdir()
    with (folder / "people" / "people.jsonl").open("w") as file:
        for number in range(recipients):
            device = {"kind": "device", "value": f"device-{number}", "platform": "ios"}
            phone = {"kind": "phone", "value": f"+346{number:08d}"}
            line = {"recipient_id": recipient(number), "addresses": [device, phone]}
            file.write(json.dumps(line) + "\n")
    with (folder / "log.jsonl").open("w") as file:
        for line in case.log(events, recipients, Random(7)):
            file.write(json.dumps(line) + "\n")


def command(folder: Path, events: int) -> dict[str, Any]:
    """The verb as it is called."""
    called = [sys.executable, "-m", "tidings.cli", "backtest", "after.yaml"]
    called += ["--against", "before.yaml", "--log", "log.jsonl", "--config", "tidings.yaml"]
    called += ["--format", "json"]
    compiled = {"PYTHONPYCACHEPREFIX": str(folder.parent / "bytecode")}
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    run = partial(subprocess.run, cwd=folder, env=env | compiled, stdout=PIPE, check=True)
    run([*called, "--from", "2100-01-01"])  # of nothing: it compiles
    begun, wall = _children(), time.monotonic()
    done = run(called)
    cpu = _children() - begun
    found = json.loads(done.stdout)
    if found["records"] != events or not found["difference"]["shifted"]:
        raise RuntimeError(f"not what was recorded: {found['records']} records")
    return _figures(events, cpu, time.monotonic() - wall)


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def replay(folder: Path, case: Case, events: int) -> dict[str, Any]:
    """The replay in this process."""
    from tidings.cli.backtest import collecting_rarely
    from tidings.driver.backtest import backtest, recorded
    from tidings.plan import FlowPlan, load
    from tidings.problems import Problems
    from tidings.running.ground import open_ground
    from tidings.settings import read_settings
    from tidings.topics import EVENTS

    os.chdir(folder)
    plans: list[FlowPlan] = []
    for name in ("before", "after"):
        problems = Problems()
        plan = load(Path(f"{name}.yaml"), os.environ, problems)
        problems.raise_if_any()
        assert isinstance(plan, FlowPlan)
        plans.append(plan)
    before, after = plans
    settings = read_settings(Path("tidings.yaml"), None)
    own = settings.model_copy(update={"claims": f"sqlite:{folder}/claims.db"})
    with open_ground(own) as ground, collecting_rarely():
        wall, begun = time.monotonic(), time.process_time()
        file, topic = Path("log.jsonl"), case.topic
        records, outcomes = (recorded(file, [each], topic) for each in (topic, EVENTS))
        found = backtest(before, after, records, own, ground.io, outcomes=outcomes)
        cpu = time.process_time() - begun
    if found.records != events:
        raise RuntimeError(f"not what was recorded: {found.records} records")
    return _figures(events, cpu, time.monotonic() - wall)


def _figures(events: int, cpu: float, wall: float) -> dict[str, Any]:
    return {
        "per_cpu_second": round(events / cpu),
        "us": round(cpu / events * 1e6, 1),
        "per_second": round(events / wall),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both, or the one that ``--part`` names in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--recipients", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--flow", choices=CASES, action="append", help="by default each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=("replay",), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        case = CASES[options.flow[0]]
        sys.stdout.write(json.dumps(replay(options.folder, case, options.events)) + "\n")
        return
    rows = []
    for name in options.flow or CASES:
        found = measured(name, options.events, options.recipients, options.runs)
        rows += [{"what": f"{name}, {what}", **medians(runs)} for what, runs in found.items()]
    print_table("tidings backtest", rows, as_json=options.json)


def measured(name: str, events: int, recipients: int, runs: int) -> dict[str, list[dict[str, Any]]]:
    """The figures of command and replay, by turns."""
    found: dict[str, list[dict[str, Any]]] = {"command": [], "replay": []}
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as where:
        folder = Path(where) / name
        folder.mkdir()
        prepare(folder, CASES[name], events, recipients)
        own = ("--part", "replay", "--flow", name, "--folder", str(folder), "--events", str(events))
        for _ in range(runs):
            found["command"].append(command(folder, events))
            found["replay"].append(child("benchmarks.backtest", *own))
    return found


if __name__ == "__main__":
    main()
