"""How a lane writes the outcomes of a delivery: what they all say alike is encoded once.

An outcome is a JSON object of two parts: what it says by itself, and its delivery's own words, the
same bytes in each attempt and in the end. Read back they are one ``records.Outcome``; to make that
whole and to encode it costs twice as much.
"""

from __future__ import annotations

import msgspec

from tidings.log.port import Record
from tidings.records import Delivery, Origin


class Said(msgspec.Struct, omit_defaults=True, gc=False):
    """What one outcome says by itself; the fields are those of ``records.Outcome``."""

    outcome_id: str
    at: int
    stage: str
    kind: str
    step: str
    attempt: int = 0
    latency_ms: int = 0
    send_id: str = ""
    address: str = ""
    provider: str = ""
    provider_id: str = ""
    code: str = ""
    detail: str = ""
    reason: str = ""
    cost: int = 0
    template_version: str = ""
    locale: str = ""
    took_ms: int = 0


class _Alike(msgspec.Struct, omit_defaults=True, gc=False):
    recipient_id: str
    flow: str
    origin: Origin
    notif_id: str
    channel: str
    priority: str
    template: str
    category: str
    version: str
    tenant: str = "default"
    campaign_id: str = ""
    round: int = 0
    variant: str = ""


_encode = msgspec.json.Encoder().encode


def alike(delivery: Delivery, record: Record) -> bytes:
    """What all outcomes of a delivery say, for ``outcome``; ``record`` is where it stands.

    Best made as soon as the delivery is read, while all that goes into it is near at hand.
    """
    words = _Alike(
        delivery.recipient_id,
        delivery.flow,
        Origin(record.topic, record.partition, record.offset),
        delivery.notif_id,
        delivery.channel,
        delivery.priority,
        delivery.template,
        delivery.category,
        delivery.version,
        delivery.tenant,
        delivery.campaign_id,
        delivery.round,
        delivery.variant,
    )
    return b"," + _encode(words)[1:]


def outcome(said: Said, alike: bytes) -> bytes:
    """An outcome as it goes to the log."""
    return _encode(said)[:-1] + alike
