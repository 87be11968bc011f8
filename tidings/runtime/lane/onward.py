"""The delivery that follows one: on a rung of the ladder, or on the next channel of its chain."""

from __future__ import annotations

import msgspec

from tidings.log.port import Append
from tidings.records import Delivery, Priority, decode_delivery, encode
from tidings.runtime.lane.tracker import Parcel
from tidings.topics import deliveries


def _whole(parcel: Parcel) -> Delivery:
    """The delivery with its data, which is let go once it is rendered."""
    delivery = parcel.delivery
    delivery.data = decode_delivery(parcel.record.value or b"").data
    return delivery


def on_rung(parcel: Parcel, topic: str, at: int) -> Append:
    """The same delivery, to be read again from the rung ``topic``, not before ``at`` (epoch ms);
    what was answered so far goes with it."""
    delivery, record = _whole(parcel), parcel.record
    delivery.attempt = parcel.tried
    delivery.spared = parcel.spared
    delivery.not_before = at
    delivery.awaits = tuple(sorted(parcel.awaits or ()))
    return Append(topic, record.key, encode(delivery), record.headers)


def on_next_channel(parcel: Parcel, chain: tuple[str, ...], counted: tuple[str, ...]) -> Append:
    """The same notification on the next channel of its chain, with a fresh count of attempts."""
    delivery, record = _whole(parcel), parcel.record
    channel, *rest = chain
    ahead = delivery.allowances
    following = msgspec.structs.replace(
        delivery,
        channel=channel,
        chain=tuple(rest),
        attempt=0,
        spared=0,
        answers={},
        not_before=0,
        awaits=(),
        caps=counted,
        allowances={name: ahead[name] for name in rest if name in ahead},
    )
    topic = deliveries(following.channel, Priority.of(following.priority))
    return Append(topic, record.key, encode(following), record.headers)
