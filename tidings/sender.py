"""The port to a provider: what a lane hands to a sender and what it gets back.

A sender lives on the lane's asyncio loop. It gets batches, calls ``done`` once for each send, and
decides nothing but what the provider's answer means; retry, expiry, leases and outcomes are the
lane's. It never retries by itself: a send whose fate is unknown must be seen as ``AMB``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec
from pydantic import BaseModel

from tidings.ports import Address, Clock
from tidings.rates import Rate
from tidings.receipts import Receipt, Reply, Webhook
from tidings.records import Delivery, Origin


class Verdict(StrEnum):
    """What an answer means, whatever the provider: the consequence is the lane's."""

    OK = "ok"  # accepted
    INV = "inv"  # the address is dead: remove it, never send there again
    RETRY = "retry"  # transient: back off and try again
    CFG = "cfg"  # our credentials or settings: stop the provider, alert, keep the message
    DROP = "drop"  # the message is bad: never retry
    AMB = "amb"  # written, but nothing came back: it may have been delivered


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A provider's answer to one send.

    ``code`` is the provider's own word for it (``BadDeviceToken``, ``429``), ``retry_after_ms``
    what it asked for (-1: it said nothing; the lane takes 30 s for a rate limit), ``limited`` tells
    a rate limit from another transient error, ``since`` (epoch ms) from when on the address has
    been dead, ``segments`` and ``cost`` (millionths) what it took. ``suppress`` goes with ``INV``:
    the address exists but must not be sent to on this channel any more, for this reason (``stop``);
    it goes on the suppression list and stays with its person. ``replacement`` is the address that
    has taken this one's place, where the provider says so.
    """

    verdict: Verdict
    code: str = ""
    detail: str = ""
    provider_id: str = ""
    retry_after_ms: int = -1
    limited: bool = False
    since: int = 0
    suppress: str = ""
    replacement: str = ""
    segments: int = 0
    cost: int = 0


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What render made: the parts by name (title, body; subject, text, html) and data to carry.

    ``small`` is what goes out in its place where a provider's own rule says that the whole is too
    large: a short text, and in its data, as `FETCH`, the address at which the app fetches the
    whole. What is measured is what the provider would be sent.
    """

    parts: Mapping[str, str]
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)
    locale: str = ""
    template_version: str = ""
    small: Content | None = None


FETCH = "fetch"
"""The field of a push's data that holds the address of the whole."""


class Doubt(msgspec.Struct, frozen=True, gc=False):
    """Attempts of one send that were written and not answered: the provider may have taken any.

    ``count`` says how many, ``since`` and ``last`` (epoch ms) when the first and the latest of them
    left, ``begun`` when the first was given up; ``attempt`` is the number of the latest.
    """

    count: int
    since: int
    last: int
    begun: int
    attempt: int


class Send(msgspec.Struct, gc=False):
    """One notification to one address, one attempt.

    ``attempt`` counts from 1; ``spared`` of those before it do not count against the retries (a
    rate limit, a stopped provider). ``provider`` is its name in the lane's YAML. ``expires_at``
    (epoch ms, 0 never) goes to the provider as its own kind of expiry. ``delivery`` and ``origin``
    (where it stands in the log) are what a receipt leads back to; they are only to be read, and the
    delivery comes without its data, which the content tells. ``marketing`` tells that its category
    is advertising. ``doubt`` is what an `Askable` is asked about. ``ticket`` and ``asking`` belong
    to the lane and are not to be touched.
    """

    send_id: str
    channel: str
    address: Address
    content: Content
    tenant: str
    category: str
    priority: str
    attempt: int
    now: int
    expires_at: int = 0
    collapse_key: str = ""
    provider: str = ""
    spared: int = 0
    marketing: bool = False
    delivery: Delivery | None = None
    origin: Origin | None = None
    ticket: Any = None
    doubt: Doubt | None = None
    asking: bool = False


Done = Callable[[Send, Answer], None]


class Sender(Protocol):
    """One provider. All methods run on the lane's loop."""

    name: str

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make ready (connections may come later). Raises ValueError for unusable settings."""
        ...

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends; returns at once. ``done`` is called exactly once for each, from the
        loop, at the latest when the sender's own time-out has passed. Never raises.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way for a moment, answer the rest (RETRY if surely not written,
        else AMB), and let go.
        """
        ...


class Terms(NamedTuple):
    """What a provider grants where the lane's YAML says nothing, and how it counts.

    ``rate`` is what an account may send. ``counts_limited``: what it refuses as too many counts
    against that rate all the same. ``bulk`` is how many sends one call takes: a lane hands over as
    many at once where they wait. ``settles_ms`` is for an `Askable`: that the provider has no such
    message is believed when the call is so old. 0: it can't be asked.
    """

    rate: Rate | None = None
    counts_limited: bool = True
    bulk: int = 1
    settles_ms: int = 0


@runtime_checkable
class Askable(Protocol):
    """A sender whose provider can tell whether it has a message; its terms say ``settles_ms``."""

    def ask(self, sends: Sequence[Send], done: Done) -> None:
        """Ask for each whether one of the attempts in its ``doubt`` was taken; sends nothing.

        ``done`` is called as for ``send``: ``OK`` it was, with its id; ``RETRY`` none was, so far;
        ``DROP`` it can't be told and never will; ``AMB`` the provider has not said. Never raises.
        """
        ...


@runtime_checkable
class Provable(Protocol):
    """A sender that can have its credentials tried, without anybody being sent anything."""

    async def prove(self) -> None:
        """Ask the provider. Raises NotAccepted, with what it said, where it refuses us, ValueError
        where it does not answer. The sender is open."""
        ...


class NotAccepted(ValueError):
    """A provider's refusal of our credentials or settings, in its words."""


S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class SenderKind(Generic[S]):
    """The registration of one kind of provider: ``SENDER = SenderKind(...)`` ends a sender's file.

    ``settings`` are its part of the configuration; their docstrings are the reference. ``build``
    opens nothing yet. ``receipts`` reads what the provider's webhook brought, after it has checked
    that it is the provider's: it raises ``receipts.Forged`` where it is not, ValueError for what
    it can't read. It is a pure function of what came. ``terms`` are those of the settings.
    """

    name: str
    settings: type[S]
    build: Callable[[S, Clock], Sender]
    receipts: Callable[[S, Webhook], Sequence[Receipt | Reply]] | None = None
    terms: Callable[[S], Terms] = lambda settings: Terms()
