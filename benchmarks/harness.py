"""What the benchmarks share: a child process with a JSON answer, medians, a table."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def child(module: str, *arguments: str, timeout: float = 300.0) -> dict[str, Any]:
    """Run ``python -m module`` and read the JSON on the last line of its standard output."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=timeout, check=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def peak_mb() -> int:
    """The most memory that this process has held, in MiB.

    Of the resource usage Linux gives that of whatever the process was before its exec as well.
    """
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes.split()[1]) // 1024


def medians(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, and the number of runs."""
    figures = {name: statistics.median(one[name] for one in found) for name in found[0]}
    return {**figures, "runs": len(found)}


def yardstick() -> float:
    """µs for a turn of plain Python (JSON, text, a dict): what this interpreter makes of this hour.

    A build without profile-guided optimisation, as pyenv makes them, takes a quarter longer.
    """
    event = {"a": 1, "b": ["x"] * 5, "c": {"k": "v"}, "n": "abc"}
    turns = 60_000
    begun = time.process_time()
    for turn in range(turns):
        text = json.dumps(event)
        word = f"{json.loads(text)['n']}-{turn}"
        dict.fromkeys(event, word)
    return round((time.process_time() - begun) / turns * 1e6, 2)


def print_table(title: str, rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Rows as a table on standard error, and as JSON on standard output where it is wanted."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    python = f"Python {platform.python_version()}, {sys.executable}; yardstick {yardstick()} µs"
    table = Table(title=title, caption=python)
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        table.add_row(*(f"{cell:,}" if isinstance(cell, int | float) else cell for cell in cells))
    Console(stderr=True, width=160).print(table)
    if as_json:
        found = {"title": title, "python": python, "rows": list(rows)}
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
