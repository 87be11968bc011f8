"""``tidings backtest``: events per CPU-second of the whole command, and of the replay alone.

    python -m benchmarks.backtest [--events N] [--recipients N] [--runs N] [--json]

A recorded log of 1,000 events a second goes through two versions of a digest whose window differs.
The command runs as a process of its own, start and end included; ``replay`` is the same without
starting, reading the settings and printing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.flow import FLOW, event
from benchmarks.harness import child, medians, print_table
from benchmarks.stage import recipient

NOON = 1_782_907_200_000
WINDOWS = {"before": 30_000, "after": 60_000}  # ms
SETTINGS = "people: file:people\nsuppressions: file:suppressions\ncategories: {social: {}}\n"


def prepare(folder: Path, events: int, recipients: int) -> None:
    """Write both versions, the settings, people with a phone, and the log."""
    for name, window in WINDOWS.items():
        (folder / f"{name}.yaml").write_text(FLOW.format(window=window))
    (folder / "tidings.yaml").write_text(SETTINGS)
    (folder / "people").mkdir()
    with (folder / "people" / "people.jsonl").open("w") as file:
        for number in range(recipients):
            device = {"kind": "device", "value": f"device-{number}", "platform": "ios"}
            line = {"recipient_id": recipient(number), "addresses": [device]}
            file.write(json.dumps(line) + "\n")
    random = Random(7)
    with (folder / "log.jsonl").open("w") as file:
        for number in range(events):
            value = event(number, recipients, random)
            key = value["recipient_id"]
            record = {"topic": "social.events", "time": NOON + number, "key": key, "value": value}
            file.write(json.dumps(record) + "\n")


def command(folder: Path, events: int) -> dict[str, Any]:
    """The verb as it is called."""
    called = [sys.executable, "-m", "tidings.cli", "backtest", "after.yaml"]
    called += ["--against", "before.yaml", "--log", "log.jsonl", "--config", "tidings.yaml"]
    begun, wall = _children(), time.monotonic()
    done = subprocess.run(
        [*called, "--format", "json"], cwd=folder, stdout=subprocess.PIPE, check=True
    )
    cpu = _children() - begun
    found = json.loads(done.stdout)
    if found["records"] != events or not found["difference"]["shifted"]:
        raise RuntimeError(f"not what was recorded: {found['records']} records")
    return _figures(events, cpu, time.monotonic() - wall)


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def replay(folder: Path, events: int) -> dict[str, Any]:
    """The replay in this process."""
    from tidings.driver.backtest import backtest, recorded
    from tidings.plan import FlowPlan, load
    from tidings.problems import Problems
    from tidings.running.ground import open_ground
    from tidings.settings import read_settings

    os.chdir(folder)
    plans: list[FlowPlan] = []
    for name in WINDOWS:
        problems = Problems()
        plan = load(Path(f"{name}.yaml"), os.environ, problems)
        problems.raise_if_any()
        assert isinstance(plan, FlowPlan)
        plans.append(plan)
    before, after = plans
    settings = read_settings(Path("tidings.yaml"), None)
    own = settings.model_copy(update={"claims": f"sqlite:{folder}/claims.db"})
    with open_ground(own) as ground:
        wall, begun = time.monotonic(), time.process_time()
        topic = "social.events"
        records = recorded(Path("log.jsonl"), [topic], topic)
        found = backtest(before, after, records, own, ground.io)
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
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=("replay",), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        sys.stdout.write(json.dumps(replay(options.folder, options.events)) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as name:
        folder = Path(name)
        prepare(folder, options.events, options.recipients)
        found: dict[str, list[dict[str, Any]]] = {"command": [], "replay": []}
        own = ("--part", "replay", "--folder", name, "--events", str(options.events))
        for _ in range(options.runs):
            found["command"].append(command(folder, options.events))
            found["replay"].append(child("benchmarks.backtest", *own))
    rows = [{"what": what, **medians(runs)} for what, runs in found.items()]
    print_table("tidings backtest", rows, as_json=options.json)


if __name__ == "__main__":
    main()
