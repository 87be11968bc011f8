"""What receipts ask of the log: the delivery that one is about, and whether a flow still waits.

A log that can't answer now makes the receipts wait; one that answers that something is gone stops
nobody.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

import structlog

from tidings.log.port import Log, LogError, OutOfRangeError, Reader, Slot
from tidings.ports import Clock, Unavailable
from tidings.receipts import PROVIDER_EVENTS
from tidings.records import UNDECODABLE, Delivery, Origin, decode_delivery
from tidings.runtime.receipt_case import Case

_LOG = structlog.get_logger(__name__)
_ASK_AGAIN_MS = 30_000  # between two looks for a topic that is not there


class Known(NamedTuple):
    """What the log says of a case: its delivery, where that is needed, and whether a flow waits."""

    delivery: Delivery | None
    awaited: bool


class Lookback:
    """Looks back from receipts to what they are about."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._reader: Reader | None = None
        self._there: dict[str, int] = {}  # topics, and their partitions
        self._missing_until: dict[str, int] = {}  # topics that were not there, and when to ask anew

    def ask(self, case: Case) -> Known:
        """Raises Unavailable where the log can't answer now."""
        reference, receipt = case.reference, case.receipt
        if reference is None:
            return Known(None, False)
        try:
            delivery = None
            if receipt.again_ms or receipt.alert:
                delivery = self._delivery(reference.origin)
            awaited = bool(reference.reply_to) and self._partitions(reference.reply_to) > 0
        except LogError as error:
            self._there = {}  # one of them may be gone
            _LOG.warning("the log does not answer; receipts wait", error=str(error))
            raise Unavailable(str(error)) from error
        return Known(delivery, awaited)

    def close(self) -> None:
        """Let go of the client."""
        if self._reader is not None:
            self._reader.close()

    def _partitions(self, topic: str) -> int:
        """How many a topic has, 0 where it was taken away: that must not stop the others."""
        if topic in self._there:
            return self._there[topic]
        now = self._clock.now()
        if 0 < self._missing_until.get(topic, 0) - now <= _ASK_AGAIN_MS:
            return 0
        with closing(self._log.admin()) as admin:
            found = {name: one.partitions for name, one in admin.topics().items()}
        if PROVIDER_EVENTS not in found:  # what we read from: no list to be believed
            raise LogError(f"{PROVIDER_EVENTS} is not among the log's topics")
        self._there = found
        if topic not in found:
            self._missing_until[topic] = now + _ASK_AGAIN_MS
            _LOG.warning("what a receipt is for has been taken away: no such topic", topic=topic)
        return found.get(topic, 0)

    def _delivery(self, origin: Origin) -> Delivery | None:
        """The delivery at these coordinates; None where the log no longer holds it."""
        if origin.partition >= self._partitions(origin.topic):
            return None
        if self._reader is None:
            self._reader = self._log.reader()
        slot = Slot(origin.topic, origin.partition)
        span = self._reader.span(slot)
        error: object = f"the log holds {span.first} to {span.end}"
        try:
            if span.first <= origin.offset < span.end:
                for records in self._reader.read(slot, origin.offset, origin.offset + 1):
                    for record in records:
                        if record.offset == origin.offset:
                            return decode_delivery(record.value or b"")
        except (OutOfRangeError, *UNDECODABLE) as raised:
            error = raised
        _LOG.warning("a delivery can't be read back", origin=str(origin), error=str(error))
        return None
