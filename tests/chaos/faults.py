"""What is done to whom and when, and how long it took until everything was at work again."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import msgspec
import redis

from tests.chaos import scene
from tests.chaos.audit import records
from tests.chaos.world import World
from tidings.operators.senders.sandbox import received

SETTLES = 0.1  # s after a death in which the broker may still append what had reached it


@dataclass
class Fault:
    """One kill. Instants are epoch ms; ``at`` is seconds into the blast.

    ``gone``: from then on the victim surely did nothing more. ``up``: a server answers again.
    ``unmarked``: sends that the provider had accepted and that Claims did not know as sent.
    """

    number: int
    target: str
    at: float
    gone: int = 0
    up: int = 0
    unmarked: int = 0
    repeats: int = 0
    back: float | None = None


def draw(random: Random, targets: Sequence[str], kills: int, seconds: float) -> list[Fault]:
    """``kills`` instants in a blast of ``seconds``, the targets in turn.

    Each falls into the first half of a stretch of its own, so that recoveries can be told apart.
    """
    stretch = seconds / max(1, kills)
    return [
        Fault(n + 1, targets[n % len(targets)], round((n + random.random() / 2) * stretch, 3))
        for n in range(kills)
    ]


def strike(world: World, fault: Fault) -> None:
    """Kill -9, note what was under way, and start again at once, as a supervisor does."""
    if fault.target == "broker":
        world.kafka.kill()
        fault.gone = _now()
        world.kafka.start()
        fault.up = _now()
    elif fault.target == "valkey":
        world.valkey.kill()
        fault.gone = _now()
        world.valkey.start()
        fault.up = _now()
    else:
        fault.gone = world.kill(world.workers[fault.target][0])
        world.start(fault.target)
        if fault.target == "lane":
            fault.unmarked = unmarked(world)


def unmarked(world: World) -> int:
    """How many sends the provider has accepted that Claims do not know as sent or done."""
    taken = [line.send_id for line in received(world.stage.sandbox) if line.accepted]
    if not taken:
        return 0
    with redis.from_url(world.valkey.url) as client:
        states = client.mget([f"tidings:send:{send_id}" for send_id in taken])
    return sum(1 for state in states if state is None or state[:1] == b"L")


def assign_repeats(faults: Sequence[Fault], world: World) -> None:
    """Give each repeated send to the last kill of a lane between its two acceptances (of anything,
    where no lane was killed)."""
    first: dict[str, int] = {}
    for line in received(world.stage.sandbox):
        if not line.accepted:
            continue
        before = first.setdefault(line.send_id, line.at)
        if before == line.at:
            continue
        between = [fault for fault in faults if before - 1_000 <= fault.gone <= line.at]
        guilty = [fault for fault in between if fault.target == "lane"] or between
        if guilty:
            guilty[-1].repeats += 1


# ── Back at work ──────────────────────────────────────────────────────────────────────────────


def progress(world: World, part: str) -> dict[int, list[int]]:
    """When a part got something done (append times, epoch ms), by partition of its input."""
    done: dict[int, list[int]] = defaultdict(list)
    for partition, time_ in _done(world, part):
        done[partition].append(time_)
    for times in done.values():
        times.sort()
    return done


def _done(world: World, part: str) -> Iterator[tuple[int, int]]:
    topic = scene.ENTRIES if part == "intake" else scene.OUTCOMES
    for record in records(world.log, topic):
        if record.value is None:
            continue
        written = json.loads(record.value)
        if part == "flow" and (
            written["stage"] != "decision" or written["origin"][0] != scene.ENTRIES
        ):
            continue
        if part == "lane" and written["stage"] != "end":
            continue
        yield written["origin"][1], record.time


def back_at_work(
    fault: Fault, parts: Sequence[str], done: dict[str, dict[int, list[int]]]
) -> float | None:
    """Seconds from the kill (of a broker: from its answer) until every partition of every part that
    it stopped has got something done; None where nothing more came."""
    stopped = {"broker": parts, "valkey": [p for p in parts if p != "flow"]}.get(
        fault.target, [fault.target]
    )
    since = fault.up if fault.target == "broker" else fault.gone
    longest = 0.0
    for part in stopped:
        for times in done[part].values():
            following = bisect_right(times, since + 1_000 * SETTLES)
            if following == len(times):
                return None
            longest = max(longest, (times[following] - since) / 1_000)
    return round(longest, 2)


def _now() -> int:
    return int(time.time() * 1_000)


def as_row(fault: Fault) -> dict[str, object]:
    """For the report."""
    row = msgspec.to_builtins(fault)
    del row["gone"], row["up"]
    return dict(row)
