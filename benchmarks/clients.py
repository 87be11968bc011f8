"""Clients of a provider, ours beside the official one, against nginx on loopback.

Each runs in a process of its own, by turns, so that a machine's slow minutes meet all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import child, medians, peak_mb, print_table

LONGEST = 80.0  # seconds after which no other turn begins


class Meter:
    """Counts answers and CPU; calls ``more`` with how many requests are to be sent now.

    Requests go out in batches of at least ``batch``, as a lane hands them over.
    """

    def __init__(self, requests: int, in_flight: int, more: Callable[[int], None]) -> None:
        self.finished = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._left = requests - in_flight
        self._batch = max(in_flight // 10, 1)
        self._more = more
        self._answered = 0
        self._free = 0
        gc.collect()
        self._cpu, self._wall = time.process_time(), time.monotonic()
        more(in_flight)

    def answered(self) -> None:
        """One more answer is here."""
        self._answered += 1
        self._free += 1
        if self._free >= self._batch and self._left > 0:
            send, self._free = min(self._free, self._left), 0
            self._left -= send
            self._more(send)
        if self._answered == self._requests:
            self._cpu = time.process_time() - self._cpu
            self._wall = time.monotonic() - self._wall
            self.finished.set_result(None)

    def report(self) -> dict[str, Any]:
        """What it took."""
        return {
            "per_cpu_second": round(self._requests / self._cpu),
            "us": round(self._cpu / self._requests * 1e6, 2),
            "per_second": round(self._requests / self._wall),
            "mb": peak_mb(),
        }


def port_of(url: str) -> int:
    """Where nginx listens, for a client that wants no URL."""
    return int(url.rpartition(":")[2])


def compare(
    module: str,
    doc: str | None,
    clients: Mapping[str, Callable[..., Any]],
    answers: str,
    title: str,
    *,
    counted: str = "requests",
    count: int,
    in_flight: int | None,
) -> None:
    """The command line of a benchmark of ``clients``.

    Each is called, or awaited, with nginx's URL, the file of its authority, how many requests, and
    how many under way unless ``in_flight`` is None; it gives its figures. ``answers`` is what nginx
    says, in its own words; ``counted`` names the requests.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument(f"--{counted}", dest="count", type=int, default=count)
    parser.add_argument("--runs", type=int, default=5)
    if in_flight is not None:
        parser.add_argument("--in-flight", type=int, default=in_flight)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *arguments = json.loads(options.child)
        figures = clients[name](*arguments)
        if inspect.iscoroutine(figures):
            figures = asyncio.run(figures)
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    wanted = [options.count] if in_flight is None else [options.count, options.in_flight]
    rows = _by_turns(module, list(clients), answers, wanted, options.runs)
    under_way = "" if in_flight is None else f", {options.in_flight} under way"
    title = f"{title} (nginx){under_way}, medians of {rows[0]['runs']}"
    print_table(title, rows, as_json=options.json)


def _by_turns(
    module: str, names: list[str], answers: str, wanted: list[int], runs: int
) -> list[dict[str, Any]]:
    """One row for each: medians of ``runs``."""
    from tidings.services.nginx import Nginx

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    until = time.monotonic() + LONGEST
    with Nginx(answers) as nginx:
        for turn in range(runs):
            if turn and time.monotonic() > until:
                break  # the machine is busy: fewer runs, and the table says so
            for name in names:
                ca = str(nginx.certificate.certificate)
                arguments = json.dumps([name, nginx.url, ca, *wanted])
                found[name].append(child(module, "--child", arguments, timeout=60.0))
    return [
        {"what": name, **medians(rows), "least": min(row["per_cpu_second"] for row in rows)}
        for name, rows in found.items()
    ]
