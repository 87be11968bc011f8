"""What goes between the protocols, the simulator and its providers: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from tidings.receipts import Webhook
from tidings.sender import Verdict
from tidings.simulator.scenario import Event, ProviderName

Fields = tuple[tuple[str, str], ...]


class Request(NamedTuple):
    """One request; names of ``headers`` are lower case. ``http`` is ``2`` or ``1.1``, ``client``
    the topic in the certificate that the client has shown, "" where it has shown none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    http: str
    client: str = ""


class Reply(NamedTuple):
    """An answer; ``code`` is the provider's word in it, for the journal."""

    status: int
    body: bytes = b""
    headers: Fields = ()
    code: str = ""


class Asked(NamedTuple):
    """One message of a call. ``key`` stays the same when it is sent again; ``more`` is what the
    provider wants to know for its answer and its callbacks."""

    key: str
    address: str
    parts: Mapping[str, str]
    platform: str = ""
    more: Mapping[str, Any] = {}


class Fate(NamedTuple):
    """What a message is to get. ``id`` is the provider's for it, ``retry_after`` ms or -1."""

    verdict: Verdict
    id: str
    code: str = ""
    status: int = 0
    limited: bool = False
    retry_after: int = -1
    dead_for: int = 0

    @property
    def waits(self) -> Fields:
        """The header that asks for patience."""
        if self.retry_after < 0:
            return ()
        return (("retry-after", str(-(-self.retry_after // 1000))),)


class Told(NamedTuple):
    """An event that is to be called back: of which message, which of its events, and when (ms)."""

    asked: Asked
    id: str
    event: Event
    number: int
    at: int


class Service(Protocol):
    """One provider. Pure but for its own credentials: no clock, no socket."""

    name: ProviderName
    bounces: bool
    """Whether it takes mail to dead addresses, and says so afterwards."""

    def knows(self, path: str) -> bool:
        """Whether a path is its own."""
        ...

    def read(self, request: Request, now: int) -> Sequence[Asked] | Reply:
        """The messages of a call, or the answer to one that is wrong, or that sends nothing."""
        ...

    def reply(self, asked: Sequence[Asked], fates: Sequence[Fate], now: int) -> Reply:
        """The answer to a call, and to each of its messages."""
        ...

    def webhook(self, told: Told, now: int) -> Webhook | None:
        """The signed callback of an event; None where this provider has none for it."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """A provider that lists what it has taken, to who asks."""

    def keep(self, asked: Asked, name: str, now: int) -> None:
        """It has taken this message, under this id."""
        ...


def worst(fates: Sequence[Fate]) -> Fate:
    """What a call gets that is answered as a whole: the first of its messages' that is no yes."""
    return next((fate for fate in fates if fate.verdict is not Verdict.OK), fates[0])


def wording(
    fate: Fate, statuses: Mapping[str, int], usual: Mapping[Verdict, str], limit: str
) -> tuple[int, str]:
    """The status and the provider's word of a refusal.

    ``statuses``: those that go with a word; ``usual``: the word of a verdict, ``limit`` that of a
    rate limit. A script's code of three digits is a status.
    """
    code, status = fate.code, fate.status
    if len(code) == 3 and code.isdigit():
        code, status = "", status or int(code)
    code = code or (limit if fate.limited else usual[fate.verdict])
    return status or statuses.get(code, 400), code


def as_json(status: int, content: Any, *, code: str = "", headers: Fields = ()) -> Reply:
    """An answer in JSON."""
    kind = (("content-type", "application/json"), *headers)
    return Reply(status, msgspec.json.encode(content), kind, code)
