"""Soft bounces: an address that may be back is kept, and counted; too many suppress it for a while.

The fifth within a fortnight suppresses it for 30 days, under the reason ``soft_bounce``. A message
that arrives meanwhile ends that, and no other suppression. What comes twice counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from tidings.ids import SEPARATOR, address_hash
from tidings.ports import Count, Io, Question, Suppression

REASON = "soft_bounce"
MOST = 4
WITHIN_MS = 14 * 86_400_000
FOR_MS = 30 * 86_400_000


class Bounce(NamedTuple):
    """A soft bounce, or a message that arrived; ``at`` in epoch ms."""

    tenant: str
    channel: str
    address: str
    event_id: str
    at: int
    source: str


def count(bounces: Sequence[Bounce], io: Io, now: int) -> None:
    """Count these, and suppress what has bounced too often. Raises Unavailable."""
    if not bounces:
        return
    counts = [Count(_key(one), one.event_id, MOST, WITHIN_MS) for one in bounces]
    for one, passed in zip(bounces, io.caps.count(counts, now), strict=True):
        if not passed:
            suppression = Suppression(
                channel=one.channel,
                address=one.address,
                reason=REASON,
                source=one.source,
                until=one.at + FOR_MS,
            )
            io.suppressions.add(one.tenant, suppression)


def lift(arrived: Sequence[Bounce], io: Io, now: int) -> None:
    """End the suppressions by soft bounces of addresses that took a message. Raises Unavailable."""
    if not arrived:
        return
    asked = [Question(one.tenant, one.channel, one.address, "") for one in arrived]
    for one, found in zip(arrived, io.suppressions.check(asked, now), strict=True):
        if found is not None and found.reason == REASON:
            io.suppressions.add(one.tenant, msgspec.structs.replace(found, until=now))


def _key(bounce: Bounce) -> str:
    hashed = address_hash(bounce.tenant, bounce.channel, bounce.address)
    return f"{REASON}{SEPARATOR}{hashed}"
