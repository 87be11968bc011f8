"""Text messages over Twilio.

    providers:
      twilio:
        account: AC0123456789abcdef0123456789abcdef
        auth_token: env:TWILIO_AUTH_TOKEN
        service: MG0123456789abcdef0123456789abcdef    # or from: "+15005550006"
        callback: {url: https://notify.example.com/webhooks/twilio, key: env:TIDINGS_KEY}

One call a message. What is not sent before it expires is given up by Twilio too. Of a rendered
message ``body`` is the text. What Twilio did not answer for can be asked about: it is looked for
among the newest messages to that number. Two of the same words within 5 s are taken for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Self

import msgspec
from pydantic import Field, model_validator

from tidings.operators.senders.text.sms import SmsSettings, Text, require_one, text_of
from tidings.operators.senders.text.twilio_api import Account, Api, terms
from tidings.operators.senders.text.twilio_listed import Wanted, rewritten
from tidings.operators.senders.text.twilio_receipts import receipts
from tidings.ports import Clock
from tidings.problems import ValueProblem
from tidings.sender import Answer, Done, Send, SenderKind

_NAME = "twilio"
_LONGEST_VALIDITY = 36_000  # seconds
_SENDER = r"^(\+\d{5,15}|\d{3,8}|[\w .&+-]{1,11})?$"


class Settings(SmsSettings, Account):
    """Settings of Twilio's messages."""

    service: Annotated[str, Field(pattern="^(MG[0-9a-f]{32})?$")] = ""
    """The SID of a messaging service: Twilio chooses among its senders."""
    sender: Annotated[str, Field(alias="from", pattern=_SENDER)] = ""
    """One sender instead: a number, a short code, or a name where the country allows it."""
    shorten_links: bool = False
    """Have Twilio shorten links to the messaging service's own domain, and count clicks."""

    @model_validator(mode="after")
    def _one_sender(self) -> Self:
        require_one(self, "service", "sender")
        if self.shorten_links and not self.service:
            raise ValueProblem("missing-field", "`shorten_links` needs a messaging `service`")
        return self


class Twilio:
    """A sender of text messages for one account. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._api = Api(settings, "Messages", clock)
        self._same = (
            {"MessagingServiceSid": settings.service}
            if settings.service
            else {"From": settings.sender}
        )
        if settings.shorten_links:
            self._same["ShortenUrls"] = "true"

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the secrets. Raises ValueError for one that can't be read."""
        await self._api.open()

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """One call for each."""
        for send in sends:
            self._start(send, done)

    def ask(self, sends: Sequence[Send], done: Done) -> None:
        """One call for each: what went to its number."""
        for send in sends:
            self._ask(send, done)

    async def prove(self) -> None:
        """Raises ValueError where Twilio does not accept the credentials."""
        await self._api.prove()

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        await self._api.close()

    def _start(self, send: Send, done: Done) -> None:
        text = text_of(send, self._settings)
        if isinstance(text, Answer):
            done(send, text)
            return
        form = {"To": text.number, "Body": text.body, **self._same}
        if send.expires_at:
            left = -(-(send.expires_at - self._clock.now()) // 1000)
            form["ValidityPeriod"] = str(min(max(left, 1), _LONGEST_VALIDITY))
        callback = self._api.callback(send)
        if callback:
            form["StatusCallback"] = callback

        self._api.call(send, form, done, partial(_took, text))

    def _ask(self, send: Send, done: Done) -> None:
        text, doubt, settings = text_of(send, self._settings), send.doubt, self._settings
        if isinstance(text, Answer) or doubt is None:
            raise RuntimeError("only what was sent is asked about")
        other = rewritten(
            text.body, service=bool(settings.service), shortens=settings.shorten_links
        )
        wanted = Wanted(settings.service or settings.sender, doubt.since, text.body, other)
        self._api.ask(send, text.number, wanted, done, partial(_took, text))


def _took(text: Text, answer: Answer) -> Answer:
    count = answer.segments or text.segments  # a service says 0 until it has sent
    each = text.cost // text.segments
    return msgspec.structs.replace(answer, segments=count, cost=count * each)


SENDER = SenderKind(_NAME, Settings, Twilio, receipts, terms)
