"""Replies: what people answer becomes events that flows read, under the key of whose address it is.

    Reply ──► People.find ──► one event for each of the tenant's people whose it is ──► replies

Its id is the provider's for the message: what is called back twice, or written again after a kill,
is the same event. What people write is theirs: no log line has it, nor the address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import structlog

from tidings.contract import Item
from tidings.ids import person_key
from tidings.log.port import Append
from tidings.ports import People, Person
from tidings.receipts import REPLIES, Reply
from tidings.records import encode

_LOG = structlog.get_logger(__name__)
UNKNOWN_SENDER = "unknown_sender"
TYPE = "reply"


class Answer(NamedTuple):
    """One reply in hand; ``item`` is the callback that brought it."""

    item: Item
    provider: str
    reply: Reply


def senders(
    answers: Sequence[Answer], channels: Mapping[str, str], people: People
) -> list[list[Person]]:
    """Who wrote each: all of its tenant with that address; one question for a kind of address.

    Raises Unavailable.
    """
    asked: dict[str, dict[str, tuple[Person, ...]]] = {}
    for _, _, reply in answers:
        asked.setdefault(channels.get(reply.channel, ""), {})[reply.address] = ()
    for kind, known in asked.items():
        if kind:
            known.update(zip(known, people.find(kind, list(known)), strict=True))
    return [
        [
            person
            for person in asked[channels.get(reply.channel, "")][reply.address]
            if person.tenant == reply.tenant
        ]
        for _, _, reply in answers
    ]


def events(answer: Answer, people: Sequence[Person]) -> Iterator[Append]:
    """The reply as an event of each of these."""
    item, provider, reply = answer
    for tenant, recipient_id in people:
        event = {
            "event_id": reply.event_id,
            "type": TYPE,
            "recipient_id": recipient_id,
            "tenant": tenant,
            "channel": reply.channel,
            "text": reply.text,
            "provider": provider,
            "at": reply.at or item.time,
        }
        yield Append(REPLIES, person_key(tenant, recipient_id).encode(), encode(event))


def nobodys(answer: Answer) -> str:
    """Say that nobody is known to have written this, and what may be done, without what it says."""
    _, provider, reply = answer
    _LOG.info(
        "a reply whose sender nobody knows",
        provider=provider,
        channel=reply.channel,
        tenant=reply.tenant,
        event_id=reply.event_id,
    )
    return (
        f"no person of the tenant `{reply.tenant}` has the address that this came from, as it is "
        "written there; give it to its person, or the number's webhook its own `?tenant=`"
    )
