"""What there is to see: what people got, what was gathered, what was held, how fast it went.

Told by the sandbox's file (what a phone would show) and by the outcomes. Times are epoch ms.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from tidings.demo.cast import Cast
from tidings.operators.senders.sandbox import Received
from tidings.records import Kind, Outcome, Stage

SHOWN = 12  # of each kind
WINDOW_MS = 30_000  # that rates and latencies are about


class Arrival(NamedTuple):
    """A message as its reader sees it."""

    at: int
    who: str
    title: str
    body: str


class Gathered(NamedTuple):
    """A digest that formed."""

    at: int
    who: str
    events: int
    flow: str


class Held(NamedTuple):
    """Something that a person was spared."""

    at: int
    who: str
    flow: str
    why: str


class Pace:
    """How fast the notifications of one priority went, from their event to the provider's yes."""

    def __init__(self) -> None:
        self.latencies: list[int] = []
        self._recent: deque[tuple[int, int]] = deque()

    def add(self, at: int, latency_ms: int) -> None:
        """One that went out."""
        self.latencies.append(latency_ms)
        self._recent.append((at, latency_ms))

    def recent(self, now: int) -> tuple[float, int | None, int | None]:
        """(a second, p50, p99) over the last WINDOW_MS."""
        while self._recent and self._recent[0][0] < now - WINDOW_MS:
            self._recent.popleft()
        latencies = [latency for _, latency in self._recent]
        lasted = min(WINDOW_MS, now - self._recent[0][0]) if self._recent else WINDOW_MS
        rate = len(latencies) * 1_000 / max(lasted, 1_000)
        return rate, quantile(latencies, 0.5), quantile(latencies, 0.99)


class Scene:
    """Keeps the latest of everything."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self.places: dict[str, deque[Arrival]] = {
            channel: deque(maxlen=SHOWN) for channel in ("push", "email", "sms")
        }
        self.got: Counter[str] = Counter()
        self.digests: deque[Gathered] = deque(maxlen=SHOWN)
        self.formed = 0
        self.gathered = 0
        self.held: deque[Held] = deque(maxlen=SHOWN)
        self.reasons: Counter[str] = Counter()
        self.paces: dict[str, Pace] = {}

    def receive(self, received: Iterable[Received]) -> list[Arrival]:
        """What the sandbox accepted."""
        arrivals = []
        for each in received:
            if not each.accepted or each.channel not in self.places:
                continue
            parts = each.parts
            title = parts.get("title") or parts.get("subject") or ""
            body = parts.get("body") or parts.get("text") or ""
            who = self._cast.name_at(each.address, each.platform)
            arrival = Arrival(each.at, who, title, " ".join(body.split()))
            self.places[each.channel].append(arrival)
            self.got[each.channel] += 1
            arrivals.append(arrival)
        return arrivals

    def hear(self, outcome: Outcome) -> None:
        """What the log says about it."""
        if outcome.stage == Stage.END:
            if outcome.kind == Kind.SENT:
                pace = self.paces.setdefault(outcome.priority, Pace())
                pace.add(outcome.at, outcome.latency_ms)
        elif outcome.stage == Stage.DECISION:
            who = outcome.recipient_id.capitalize()
            if outcome.kind == Kind.QUEUED and len(outcome.members) > 1:
                self.formed += 1
                self.gathered += len(outcome.members)
                self.digests.append(Gathered(outcome.at, who, len(outcome.members), outcome.flow))
            elif outcome.kind == Kind.SUPPRESSED:
                self.reasons[outcome.reason] += 1
                self.held.append(Held(outcome.at, who, outcome.flow, outcome.reason))


def quantile(values: list[int], share: float) -> int | None:
    """The nearest-rank quantile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
