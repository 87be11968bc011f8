"""SendGrid (v3 Mail Send).

    providers:
      sendgrid:
        kind: sendgrid
        key: env:SENDGRID_API_KEY
        sender: Example <hello@example.com>
        categories:
          marketing: {pool: promo}   # the IP pool

What comes within `linger` is merged: up to a thousand mails of one sender, category and
campaign are one call. SendGrid takes it whole or refuses it whole; where it names the mail that is
to blame, that one is answered and the others go again at once: nothing of it was sent. Else the
call is cut in two.

The send's id and, with a `callback`, a signed reference go along as `custom_args`, and come back in
SendGrid's events. Its own tracking is off: our links are in the mail where a category asks for
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tidings.http2 import Failure
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_api import (
    GRACE,
    ApiSettings,
    answer_all,
    no_answer,
    opened,
    writer_of,
)
from tidings.operators.senders.mail.mail_merge import Gatherer, halves, merged
from tidings.operators.senders.mail.sendgrid_answer import SCOPE, refusal, scopes
from tidings.operators.senders.mail.sendgrid_receipts import receipts
from tidings.operators.senders.mail.sendgrid_request import LARGEST, MOST, Requests
from tidings.operators.senders.proof import proved_by_call
from tidings.ports import Clock
from tidings.receipts import Receipt, Webhook
from tidings.secret import Secret
from tidings.sender import Answer, Done, Send, SenderKind, Terms, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Response, Result

_NAME = "sendgrid"


class Settings(ApiSettings):
    """Settings of SendGrid."""

    key: Secret
    """The API key, with the right to send mail: ``env:NAME`` or ``file:PATH``."""
    event_key: str = ""
    """The public key that SendGrid shows for its signed event webhook, base64."""
    template: str = ""
    """The id (``d-…``) of a dynamic template with ``{{{subject}}}``, ``{{{text}}}`` and
    ``{{{html}}}``, so that mails of more than 10 kB are merged too."""
    endpoint: Annotated[str, Field(pattern="^https?://[!-~]+$")] = "https://api.sendgrid.com"
    """Where the API is; ``https://api.eu.sendgrid.com`` for an account in the EU."""
    path: Annotated[str, Field(pattern="^/[!-~]*$")] = "/v3/mail/send"
    """Its way to send mail, where something stands before the API."""
    bulk: Annotated[int, Field(ge=1, le=MOST)] = MOST
    """How many mails go in one call; 1 for none together."""


class SendGrid:
    """A sender for one account. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._requests = Requests(settings.template)
        self._headers: dict[str, str] = {}
        self._writer: Writer
        self._pool: Pool | None = None
        linger = settings.linger / 1000
        self._gatherer = Gatherer(self._go, most=settings.bulk, linger=linger)

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the key and make ready. Raises ValueError for settings that can't be used."""
        settings = self._settings
        self._headers = {
            "authorization": f"Bearer {_printable(settings.key.read())}",
            "content-type": "application/json",
        }
        self._writer = writer_of(settings)
        self._pool = await opened(settings.endpoint, settings)

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends, in as few calls as they fit in."""
        mails = []
        for send in sends:
            mail = self._writer.write(send, done)
            if isinstance(mail, Answer):
                done(send, mail)
            else:
                mails.append(mail)
        self._gatherer.add(mails)

    def _go(self, mails: Sequence[Mail]) -> None:
        for call in merged(mails, self._requests.shape, most=self._settings.bulk, largest=LARGEST):
            self._post(call)

    async def prove(self) -> None:
        """Raises ValueError where SendGrid does not accept the key, or it may not send mail."""
        assert self._pool is not None
        path = self._settings.path.removesuffix("/mail/send") + "/scopes"
        if SCOPE not in scopes(await proved_by_call(self._pool, path, self._headers)):
            raise ValueError(
                f"the key may not send: give it the scope `{SCOPE}` (Settings, API Keys, Mail Send)"
            )

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        self._gatherer.flush()
        if self._pool is not None:
            await self._pool.close(GRACE)

    def _post(self, mails: Sequence[Mail]) -> None:
        assert self._pool is not None
        body = self._requests.body(mails)
        self._pool.request(
            "POST", self._settings.path, self._headers, body, partial(self._answered, mails)
        )

    def _answered(self, mails: Sequence[Mail], result: Result) -> None:
        if isinstance(result, Failure):
            answer_all(mails, no_answer(result))
        elif 200 <= result.status < 300:
            message = result.headers.get("x-message-id", "")
            answer_all(mails, Answer(verdict=Verdict.OK, provider_id=message))
        else:
            self._refused(mails, result)

    def _refused(self, mails: Sequence[Mail], response: Response) -> None:
        why = refusal(response.status, response.body, response.headers, self._clock.now())
        guilty = {place: answer for place, answer in why.guilty.items() if place < len(mails)}
        if guilty:
            for place, answer in guilty.items():
                answer_all([mails[place]], answer)
            others = [mail for place, mail in enumerate(mails) if place not in guilty]
            if others:
                self._post(others)
        elif why.divisible and len(mails) > 1:
            for half in halves(mails):
                self._post(half)
        else:
            answer_all(mails, why.answer)


def _printable(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("the SendGrid key is not one word of ASCII; it begins with SG.")
    return key


def _receipts(settings: Settings, webhook: Webhook) -> Sequence[Receipt]:
    return receipts(settings.event_key, webhook)


SENDER = SenderKind(
    _NAME, Settings, SendGrid, _receipts, lambda settings: Terms(bulk=settings.bulk)
)
