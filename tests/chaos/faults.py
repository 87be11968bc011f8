"""What is done to whom and when, and how long it took until everything was at work again."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
    ``unmarked``: how many sends the provider had accepted of which Claims did not know it yet;
    ``repeats``: how many of them it accepted once more.
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


def strike(world: World, fault: Fault, provider: Provider) -> None:
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
        if fault.target == "lane":
            provider.look(fault)
        world.start(fault.target)


class Provider:
    """What the provider has accepted and Claims do not know: the sends that a kill may repeat.

    ``taken`` counts the acceptances of each send, ``ids`` gives what Claims may know it by. One
    that was accepted n times has been lost sight of by n - 1 kills; more would be a repeat without
    a reason.
    """

    def __init__(
        self,
        valkey: str,
        taken: Callable[[], Counter[str]],
        ids: Callable[[str], Sequence[str]] = lambda send_id: [send_id],
    ) -> None:
        self._valkey = valkey
        self._taken = taken
        self._ids = ids
        self._guilty: dict[str, list[Fault]] = {}

    def look(self, fault: Fault) -> None:
        """To be called when the lane's process is dead and Valkey answers."""
        taken = self._taken()
        if not taken:
            return
        keys = [f"tidings:send:{id_}" for send_id in taken for id_ in self._ids(send_id)]
        with redis.from_url(self._valkey) as client:
            states = dict(zip(keys, client.mget(keys), strict=True))
        for send_id, times in taken.items():
            if not any(_is_taken(states[f"tidings:send:{id_}"]) for id_ in self._ids(send_id)):
                guilty = self._guilty.setdefault(send_id, [])
                if times > len(guilty):  # else it is an earlier kill's, and still waits
                    guilty.append(fault)
                    fault.unmarked += 1

    def count(self) -> list[str]:
        """Give each repeat to its kill; gives the repeats that no kill explains."""
        unexplained: list[str] = []
        for send_id, times in self._taken().items():
            guilty = self._guilty.get(send_id, [])
            for fault in guilty[: times - 1]:
                fault.repeats += 1
            unexplained += [send_id] * (times - 1 - len(guilty))
        return unexplained


def _is_taken(state: bytes | None) -> bool:
    """Whether Claims know that a send went out; one that used up its tries is marked as well."""
    return state is not None and state[:1] in b"SD" and not state[1:].startswith(b'["retry"')


def sandbox_took(file: Path) -> Counter[str]:
    """How often the sandbox has accepted each send, by its own file."""
    return Counter(line.send_id for line in received(file) if line.accepted)


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
