"""Which records are deliveries that a lane can bring to an end; the others are dead letters.

What is let in here must not be able to stop the lane later: every word about a delivery that fits
the log has to fit the log as well.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from tidings.log.port import Record
from tidings.nesting import WRAPPED, check_depth
from tidings.records import UNDECODABLE, Delivery, decode_delivery
from tidings.runtime.lane.settings import LaneSettings
from tidings.topics import is_entries

LARGEST = 3 << 19  # bytes, of the 2 MiB that a topic takes: the ladder adds what was answered
LONG = 1 << 16  # bytes of a record whose names are worth looking at
LONGEST_NAMES = 1 << 15  # characters of all that an outcome says of its delivery
LONGEST_CAP = 1 << 10  # characters of a cap's name
LONGEST_WINDOW = 366 * 86_400_000  # ms: more than any cap's, and no trouble to count


def admit(record: Record, settings: LaneSettings, channels: Collection[str]) -> Delivery:
    """The delivery in ``record``. ``channels`` are those that exist.

    Raises ValueError for what no flow and no lane of ours has written.
    """
    value = record.value or b""
    try:
        delivery = decode_delivery(value)
        if len(value) > 2 * WRAPPED:
            check_depth(value, WRAPPED)
    except UNDECODABLE as error:
        raise ValueError(str(error)) from error
    if delivery.channel != settings.channel or delivery.priority != settings.priority:
        raise ValueError(
            f"it is for {delivery.channel}.{delivery.priority}, "
            f"this lane is {settings.channel}.{settings.priority}"
        )
    if not (delivery.notif_id and delivery.recipient_id):
        raise ValueError("it lacks a notif_id or a recipient_id")
    if not 0 <= delivery.spared <= delivery.attempt:
        raise ValueError(f"spared {delivery.spared} of {delivery.attempt} attempts")
    if delivery.reply_to and not is_entries(delivery.reply_to):
        raise ValueError(f"`{delivery.reply_to}` is no flow's topic to reply to")
    if delivery.chain:
        _check_chain(delivery, channels)
    if len(value) > LONG:
        _check_size(delivery, len(value))
    return delivery


def _check_chain(delivery: Delivery, channels: Collection[str]) -> None:
    for channel in delivery.chain:
        if channel not in channels:
            raise ValueError(f"there is no channel `{channel}` to go on to")
    if delivery.allowances:
        _check_allowances(delivery)


def _check_allowances(delivery: Delivery) -> None:
    for allowances in delivery.allowances.values():
        for name, at_most, within_ms, _ in map(msgspec.structs.astuple, allowances):
            if len(name) > LONGEST_CAP or at_most < 1 or not 1 <= within_ms <= LONGEST_WINDOW:
                raise ValueError(f"there is no cap `{name[:50]}` of {at_most} in {within_ms} ms")


def _check_size(delivery: Delivery, size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"its {size:,} bytes are more than {LARGEST:,}")
    names = (
        delivery.notif_id,
        delivery.recipient_id,
        delivery.tenant,
        delivery.flow,
        delivery.step,
        delivery.version,
        delivery.template,
        delivery.category,
        delivery.campaign_id,
        delivery.variant,
        delivery.wait,
    )
    length = sum(map(len, names))
    if length > LONGEST_NAMES:
        raise ValueError(f"its ids and names have {length:,} characters: {LONGEST_NAMES:,} at most")
