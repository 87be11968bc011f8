"""How far a unit may commit: below every output that the log has not confirmed yet.

A *flight* is what one pulled batch wrote. It is labelled, per partition, with the batch's *first*
offset: a crash replays the batch whole, so nothing of it may lie below the committed offset while
any of its outputs is open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from tidings.log.port import LogError, Slot


class Label(NamedTuple):
    """Where a batch begins in one partition: its first offset, and the log time before it.

    ``turn`` tells apart the batches that begin before one record: its deadlines may be more than
    one batch takes. Labels are compared whole; only the offset is committed.
    """

    offset: int
    time: int
    turn: int = 0


class Flight:
    """The outputs of one batch. ``ack`` is handed to the log with each of them."""

    __slots__ = ("error", "open")

    def __init__(self) -> None:
        # One for the batch itself: it can't close while outputs are still being handed over.
        self.open = 1
        self.error: object | None = None

    def ack(self, error: object | None, receipt: object = None) -> None:
        """One output is confirmed, or has failed for good."""
        self.open -= 1
        if error is not None:
            self.error = error


class Flights:
    """The open flights of a unit, per partition in the order of their batches."""

    def __init__(self) -> None:
        self._open: dict[Slot, deque[tuple[Label, Flight]]] = {}

    def take(self, labels: Mapping[Slot, Label]) -> Flight:
        """A new flight for a batch that begins at ``labels``."""
        flight = Flight()
        for slot, label in labels.items():
            self._open.setdefault(slot, deque()).append((label, flight))
        return flight

    def low(self, slot: Slot, position: Label) -> Label:
        """The first label with an unconfirmed output, else ``position``.

        Raises LogError when an output could not be written: only a restart, which replays the
        batch, makes that good.
        """
        flights = self._open.get(slot)
        while flights:
            label, flight = flights[0]
            if flight.error is not None:
                raise LogError(
                    f"an output of {slot.topic}:{slot.partition} was not written: {flight.error}"
                )
            if flight.open:
                return label
            flights.popleft()
        return position

    def forget(self, slot: Slot) -> None:
        """The partition is no longer ours."""
        self._open.pop(slot, None)

    def idle(self) -> bool:
        """True when every output is confirmed."""
        return not any(flight.open for flights in self._open.values() for _, flight in flights)
