"""Receipts: what providers tell of a message after they took it, and whose message it was.

    Send ──► Reference.signed ──► provider ──► webhook ──► SenderKind.receipts ──► Receipt
                                                             Reference.read  ◄──────┘

What a provider gives back to us (a callback's URL, a tag, a custom argument) is a `Reference`: who
it was for, which send, and where its delivery stands in the log. It is signed, because what comes
from outside names people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tidings.log.port import Append, Record
from tidings.records import Kind, Origin
from tidings.signing import Forged, opened, signed

__all__ = ["PROVIDER_EVENTS", "REPLIES", "Forged", "Receipt", "Reference", "Reply", "Webhook"]

PROVIDER_EVENTS = "provider_events"
"""The topic of webhooks as they came in."""

REPLIES = "replies"
"""The topic of what people answered, as events that flows read."""

_PROVIDER, _URL, _HTTP = "tidings-provider", "tidings-url", "http-"
_CERTIFICATE = "tidings-certificate"


class Reference(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """Whose a send was. ``origin`` is where its delivery stands in the log, the last three are the
    delivery's, where a flow waits for news of it."""

    tenant: str
    recipient_id: str
    send_id: str
    notif_id: str
    flow: str
    channel: str
    category: str
    campaign_id: str
    origin: Origin
    reply_to: str = ""
    wait: str = ""
    round: int = 0

    def signed(self, key: bytes) -> str:
        """As text of letters, digits, ``-`` and ``_``: about 200 characters."""
        return signed(_pack(self), key)

    @classmethod
    def read(cls, text: str, keys: Sequence[bytes]) -> Reference:
        """The reference of a text that one of ``keys`` has signed. Raises Forged."""
        body = opened(text, keys)
        try:
            return _unpack(body)
        except msgspec.DecodeError as error:
            raise Forged(f"a reference that can't be read: {error}") from None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Reference).decode


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to a message, and what is to be done about it.

    ``kind`` is delivered, opened, clicked, bounced, complained, unsubscribed or failed; what a
    provider says on the way there (queued, sent) is no receipt. ``event_id`` tells apart what a
    provider says twice from what happened twice. ``at`` is epoch ms, 0 where it did not say.
    """

    kind: Kind
    event_id: str
    reference: str = ""
    tenant: str = "default"
    """Whose address it is where no reference came back, as when a person answers STOP."""
    channel: str = ""
    """Its channel, likewise."""
    provider_id: str = ""
    at: int = 0
    address: str = ""
    code: str = ""
    detail: str = ""
    suppress: str = ""
    """The reason for which the address is never to be sent to again on its channel."""
    lift: bool = False
    """The suppression for that reason ends: a person has opted in again."""
    scope: str = "all"
    """What is suppressed: "all", a category, or "category" for the message's own."""
    gone: bool = False
    """The address does not exist: it is removed from the person's."""
    soft: bool = False
    """The address may be back: it counts, and too many of them suppress it for a while."""
    again_ms: int = 0
    """How much later another try may do better, 0 for never."""
    tries: int = 1
    """How many such tries there are at most."""
    alert: bool = False
    """People have to look at it."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person has answered. ``address`` is theirs, ``tenant`` whose number they wrote to.

    ``event_id`` is the provider's id of it, ``at`` epoch ms, 0 where the provider did not say.
    """

    event_id: str
    channel: str
    address: str
    text: str
    tenant: str = "default"
    at: int = 0


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a provider, as it came: what is signed is these very bytes.

    ``url`` is the public one that was called, query included. Names of ``headers`` are lower case.
    ``certificate`` is the PEM that the body names, where it does: fetched by who took the call in.
    """

    provider: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    certificate: bytes = b""

    def append(self) -> Append:
        """As a record of ``provider_events``."""
        own = ((_PROVIDER, self.provider), (_URL, self.url))
        http = ((_HTTP + name, value) for name, value in self.headers.items())
        headers = tuple((name, value.encode()) for name, value in (*own, *http))
        if self.certificate:
            headers += ((_CERTIFICATE, self.certificate),)
        return Append(PROVIDER_EVENTS, None, self.body, headers)

    @classmethod
    def of(cls, record: Record) -> Webhook:
        """The webhook in a record. Raises ValueError for one that names no provider."""
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        if _PROVIDER not in headers:
            raise ValueError(f"the record has no header `{_PROVIDER}`")
        return cls(
            provider=headers[_PROVIDER],
            url=headers.get(_URL, ""),
            headers={
                name.removeprefix(_HTTP): value
                for name, value in headers.items()
                if name.startswith(_HTTP)
            },
            body=record.value or b"",
            certificate=headers.get(_CERTIFICATE, "").encode(),
        )
