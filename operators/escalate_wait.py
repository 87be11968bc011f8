"""What ``escalate`` remembers of a person: the waits that are open."""

from __future__ import annotations

import msgspec

from tidings.contract import Item, Who
from tidings.records import Origin

AHEAD, OUT, ACCEPTED, BOUND, EARLY = range(5)
"""Where a wait stands: its first round is ahead; a round is out; a provider has it; that round has
failed, and the next one goes out when it is due. EARLY is none yet: news of a round that another
flow has sent, kept until its event comes."""


class Wait(msgspec.Struct, array_like=True, gc=False):
    """One escalation. ``name`` is what signals call it, ``due`` the log time at which something
    happens if nothing else does before, ``body`` the event as JSON, ``round`` the one that is out
    (of AHEAD: the one that comes), ``out_at`` when it went out (0: an older state does not say),
    ``news`` what EARLY has heard."""

    name: str
    due: int
    body: str = ""
    event_id: str = ""
    offset: int = 0
    index: int = 0
    round: int = 0
    stands: int = AHEAD
    expires_at: int = 0
    members: tuple[str, ...] = ()
    way: str = ""
    news: tuple[str, ...] = ()
    out_at: int = 0


State = dict[str, Wait]
"""Waits by group: the values of ``by``."""


def early_group(name: str) -> str:
    """The group of what came too early: no value of ``by`` comes out like that by chance."""
    return f"\x1fearly\x1f{name}"


def item_of(wait: Wait, who: Who, now: int) -> Item:
    """The event of a wait, without its data, as it is at ``now``."""
    tenant, recipient, topic, partition = who
    return Item(
        data={},
        origin=Origin(topic, partition, wait.offset, wait.index),
        time=now,
        recipient_id=recipient,
        event_id=wait.event_id,
        tenant=tenant,
        expires_at=wait.expires_at,
        members=wait.members,
        way=wait.way,
    )
