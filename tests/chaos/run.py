"""Breaks everything, counts what was lost, and says how long it took: ``make chaos``.

    python -m tests.chaos.run [--seed N] [--kills N] [--events N] [--only NAME,…] [--json]

Tables go to standard error, with ``--json`` the same as JSON to standard output. Ends with 1 where
anything was lost, decided wrongly or repeated without a reason, or took too long. About a quarter
of an hour; a run is what its seed makes it, but for the machine's own timing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos import scenarios, scene
from tests.chaos.answers import TARGETS as ANSWERS_TARGETS
from tests.chaos.answers import answers
from tests.chaos.bulk import bulk
from tests.chaos.letters import Plan as LettersPlan
from tests.chaos.letters import letters
from tests.chaos.outage import Outage, outage
from tests.chaos.quarantine import SCRIPT, quarantine
from tests.chaos.rounds import PARTS as ROUNDS_TARGETS
from tests.chaos.rounds import rounds
from tests.chaos.scenarios import Blast, Result
from tests.chaos.world import World

TARGETS = ("intake", "flow", "lane", "valkey", "broker")
SECONDS_A_KILL = 10.0  # so that one recovery is over before the next kill
POISONED = 100_000  # records

Scenario = Callable[[Path], Result]


def programme(seed: int, kills: int, events: int) -> dict[str, Scenario]:
    """All scenarios by name."""
    long = Blast(events=events, seconds=kills * SECONDS_A_KILL, seed=seed)
    few = Blast(events=events // 10, seconds=kills * SECONDS_A_KILL, seed=seed)
    short = Blast(events=events // 2, seconds=50.0, seed=seed)
    many = Blast(events=2 * events, seed=seed)
    every = ["intake", "flow", "lane"]
    return {
        "crash": lambda folder: scenarios.crash(folder, long, TARGETS, kills),
        "operators": lambda folder: scenarios.operators(folder, long, kills),
        "storm-intake": lambda folder: scenarios.storm(folder, long, "intake", kills // 2),
        "storm-flow": lambda folder: scenarios.storm(folder, long, "flow", kills // 2),
        "storm-lane": lambda folder: scenarios.lane_storm(folder, long, kills),
        "elastic-term": lambda folder: scenarios.elastic(folder, short, every, 4, "term"),
        "elastic-kill": lambda folder: scenarios.elastic(folder, short, every, 4, "kill"),
        "frozen-intake": lambda folder: scenarios.frozen(folder, short, "intake", 10.0),
        "frozen-flow": lambda folder: scenarios.frozen(folder, short, "flow", 10.0),
        # Longer than a lease: what it had in flight has been sent by the other meanwhile.
        "frozen-lane": lambda folder: scenarios.frozen(folder, short, "lane", 20.0),
        "rounds": lambda folder: rounds(folder, few, ROUNDS_TARGETS, kills),
        "poison": lambda folder: _poison(folder, seed),
        "providers": lambda folder: scenarios.lane_storm(folder, many, 10, scene.PROVIDERS),
        "bulk": lambda folder: bulk(folder, 2 * events, kills // 2, seed),
        "answers": lambda folder: answers(folder, few, ANSWERS_TARGETS, kills // 2),
        "outage": lambda folder: outage(folder, Outage(seed=seed)),
        "letters": lambda folder: letters(folder, LettersPlan(seed=seed)),
        "letters-storm": lambda folder: letters(folder, LettersPlan(seed=seed, kills=(1, 2))),
    }


def _poison(folder: Path, seed: int) -> Result:
    with World(folder, SCRIPT) as world:
        fates = quarantine(world, ("intake", "flow", "lane"), POISONED, seed)
    figures = {"records": fates.records, "letters": fates.letters, "sent": fates.sent}
    return Result("poison", {"fates": figures}, wrong=dict(fates.wrong()))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--only", default="", help="names, or beginnings of names, with commas")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = {
        name: play
        for name, play in programme(options.seed, options.kills, options.events).items()
        if name.startswith(tuple(options.only.split(",")))
    }
    console = Console(stderr=True, width=140)
    console.print(f"chaos: seed {options.seed}, {', '.join(chosen)}")
    results = [_run(name, play, console) for name, play in chosen.items()]
    bad = [result.name for result in results if result.wrong or result.slow]
    console.print(f"[red]not as it must be: {', '.join(bad)}" if bad else "[green]all held")
    if options.json:
        report = {"seed": options.seed, "results": [_as_json(result) for result in results]}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 1 if bad else 0


def _run(name: str, play: Scenario, console: Console) -> Result:
    folder = Path(tempfile.mkdtemp(prefix=f"tidings-{name}-"))
    begun = time.monotonic()
    try:
        result = play(folder)
    except (AssertionError, TimeoutError) as error:
        result = Result(name, wrong={"ended early": str(error)})
    result.name = name
    result.figures["seconds"] = {"run": round(time.monotonic() - begun)}
    _show(result, console)
    if result.wrong:
        console.print(f"   its logs are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _show(result: Result, console: Console) -> None:
    console.rule(result.name)
    for part, figures in result.figures.items():
        console.print(f"{part}: " + ", ".join(f"{value:,} {key}" for key, value in figures.items()))
    if result.rows:
        console.print(_table(result.rows))
    for line in result.slow:
        console.print(f"[yellow]slow: {line}")
    for what, value in result.wrong.items():
        count = f" ({len(value)})" if isinstance(value, list) else ""
        sample = value[:5] if isinstance(value, list) else value
        console.print(f"[red]{what}{count}: {sample}", markup=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


def _as_json(result: Result) -> Mapping[str, Any]:
    return {**asdict(result), "wrong": {name: str(value) for name, value in result.wrong.items()}}


if __name__ == "__main__":
    sys.exit(main())
