"""News of a delivery, on its way to the flow that waits for it: entries of the flow's own topic.

    flow ──► delivery ──► lane ──► sent, failed …             ──┐
     ▲          │                                               │ Entry(signal=…)
     └──────────│───────────────────────────────────────────────┤
                └──► provider ──► receipts ──► delivered, opened ┘

A signal is written under the person's key, beside the outcome that says the same, and confirmed
with it. Told twice it changes nothing.
"""

from __future__ import annotations

from tidings.ids import person_key
from tidings.log.port import Append
from tidings.records import Delivery, Entry, Kind, Origin, Signal, encode


def signal_append(
    topic: str, tenant: str, recipient_id: str, origin: Origin, signal: Signal
) -> Append:
    """A signal as a record of ``topic``; ``origin`` is where it was found out."""
    entry = Entry(
        recipient_id=recipient_id,
        event_id=signal.wait,
        origin=origin,
        event={},
        tenant=tenant,
        signal=signal,
    )
    return Append(topic, person_key(tenant, recipient_id).encode(), encode(entry))


AGAIN = 1 << 16
"""A delivery that is tried again after a receipt has a round of its own: the escalation's, and so
many times this."""


def reply(delivery: Delivery, kind: Kind | str, origin: Origin) -> Append:
    """What became of ``delivery``, for the flow in its ``reply_to``."""
    signal = Signal(delivery.wait, str(kind), delivery.round % AGAIN)
    return signal_append(delivery.reply_to, delivery.tenant, delivery.recipient_id, origin, signal)
