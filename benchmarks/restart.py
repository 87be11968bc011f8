"""How soon a flow works again after kill -9, with many people in its state.

    python -m benchmarks.restart [--live N] [--runs N] [--json]

A trickle of events goes on all the time. The flow is killed and started again at once, as a
supervisor would; it works again when every partition has decided something that came after the
kill. A process with a name gets its partitions back at once; those of another are free when the
dead member's session is over (3 s here), so that is the least.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Mapping
from random import Random
from typing import Any

from benchmarks.crowd import TOPICS, Crowd, Entries
from benchmarks.harness import medians, print_table
from benchmarks.stage import SESSION, Stage, paced
from tidings.log.port import Slot
from tidings.topics import EVENTS

GOAL = 5.0  # seconds
TRICKLE = 2_000  # events a second
TRICKLES_FOR = 40.0  # seconds; ended sooner


def measure(live: int, *arguments: str) -> dict[str, Any]:
    """One kill."""
    with Stage(TOPICS, people=10) as stage:
        crowd = Crowd(stage, live, "1s", *arguments)
        stop = threading.Event()
        trickle = threading.Thread(target=_trickle, args=(crowd.entries, live, stop))
        trickle.start()
        time.sleep(5.0)
        before = stage.memory("flow")
        stage.kill("flow")
        killed = int(time.time() * 1_000)
        crowd.run()
        try:
            back: Mapping[int, int] = {}
            while len(back) < 8:
                stage.check()
                time.sleep(0.2)
                back = _first_decisions(stage, killed + 100)
        finally:
            stop.set()
            trickle.join()
        first, last = min(back.values()) - killed, max(back.values()) - killed
    return {
        "first_partition_s": first / 1_000,
        "last_partition_s": last / 1_000,
        "goal_s": GOAL,
        "session_s": SESSION / 1_000,
        "mib_before": round(before),
    }


def _trickle(entries: Entries, live: int, stop: threading.Event) -> None:
    random = Random(7)
    for due in paced(TRICKLE, TRICKLES_FOR):
        for _ in due:
            entries.write(random.randrange(live), "photo-0002")
        if stop.is_set():
            break
    entries.flush()


def _first_decisions(stage: Stage, since: int) -> dict[int, int]:
    """By partition of the flow's topic, when it first decided something after ``since``."""
    reader = stage.log.reader()
    found: dict[int, int] = {}
    try:
        for number in range(8):
            slot = Slot(EVENTS, number)
            span = reader.span(slot)
            for records in reader.read(slot, max(span.first, span.end - 20_000), span.end):
                for record in records:
                    if record.time > since:
                        partition = json.loads(record.value or b"")["origin"][1]
                        found[partition] = min(record.time, found.get(partition, record.time))
    finally:
        reader.close()
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for what, arguments in (("a name", ("--instance", "a")), ("no name", ())):
        found = [measure(options.live, *arguments) for _ in range(options.runs)]
        rows.append({"what": f"flow, {options.live:,} live people, {what}", **medians(found)})
    print_table("Back at work after kill -9", rows, as_json=options.json)


if __name__ == "__main__":
    main()
