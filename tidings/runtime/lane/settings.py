"""What is fixed when a lane starts, and why each default is what it is."""

from __future__ import annotations

from dataclasses import dataclass

from tidings.records import Priority

_DOUBLE_MS = {Priority.HIGH: 500, Priority.NORMAL: 1_000, Priority.LOW: 2_000}


@dataclass(frozen=True)
class LaneSettings:
    """One lane. ``holder`` names this process among all that ever ran: leases go by it."""

    name: str
    channel: str
    priority: Priority
    holder: str

    batch: int = 500
    """Deliveries, answers and leases in a round: some 20 ms of work, and nothing waits longer."""

    collect_ms: int = 5
    """Between two rounds while there is little to say: small batches are what a lane with latency
    costs (134 µs a send one by one, a quarter in rounds of 5 ms)."""

    commit_ms: int = 250
    """Between two commits. What was settled in between is asked again after a crash, and is found
    done; it is not sent again."""

    lease_ms: int = 15_000
    """The life of a lease: longer than a sender takes to answer. What a killed process had in
    flight waits so long before one on another machine may send it; one on its own sees that it is
    gone."""

    keep_ms: int = 86_400_000
    """How long it is remembered that a send went out."""

    patience_ms: int = 1_000
    """How long a full provider may hold up what comes behind it; then its sends go to the ladder.
    Ten times the latency of a provider that is merely busy."""

    frozen_ms: int = 500
    """A process that was not there for so long stood still: nobody has waited for a provider. Of a
    clock that a driver holds it says nothing."""

    probe_ms: int = 30_000
    """A stopped provider is tried with one send so often."""

    double_ms: int = 0
    """A provider that is back after an outage gets four sends at once, then twice as many after
    each of these. 0 for half a second at high priority, one at normal and two at low, so that what
    matters more is out before."""

    max_span: int = 20_000
    """Offsets between the oldest open delivery of a partition and the newest: what a commit's
    metadata can tell apart."""

    max_letters: int = 1_000_000
    """The same for dead letters, of which one may wait for a day: a byte each. What a commit's
    metadata can't tell of them is read again after a crash, and found sent."""

    @property
    def slow_start_ms(self) -> int:
        """``double_ms``, or that of its priority."""
        return self.double_ms or _DOUBLE_MS[self.priority]

    @property
    def group(self) -> str:
        """The consumer group: all processes of this lane."""
        return f"tidings.lane.{self.name}.{self.priority}"
