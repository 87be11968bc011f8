"""Amazon's e-mail service (SES v2).

    providers:
      ses:
        kind: ses
        region: eu-west-1
        sender: Example <hello@example.com>
        pool: transactional          # the configuration set, for what has none of its own

What comes within `linger` is merged: up to fifty mails of one sender and configuration set are
one call, by a template that hands the words through. Each entry's status is its own send's answer.
A call that SES refuses as a whole, because of one mail in it, is cut in two and made again, until
the one is found: nothing of it was sent.

The wire is ours: boto3 takes a thread and three times the CPU. Its library finds the credentials
and signs; nothing is ever sent twice by itself. The send's id and, with a `callback`, a signed
reference go along as tags, and come back in SES' events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tidings.http2 import Failure
from tidings.operators.senders.aws_signer import Signer
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
from tidings.operators.senders.mail.ses_answer import accepted, entries, refusal, unfit
from tidings.operators.senders.mail.ses_receipts import receipts
from tidings.operators.senders.mail.ses_request import (
    ACCOUNT,
    BULK,
    LARGEST,
    MOST,
    SINGLE,
    Requests,
    fits_bulk,
    shape,
)
from tidings.operators.senders.proof import proved_by_call
from tidings.ports import Clock
from tidings.receipts import Receipt, Webhook
from tidings.secret import Secret
from tidings.sender import Answer, Done, Send, SenderKind, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Result

_NAME = "ses"


class Settings(ApiSettings):
    """Settings of SES."""

    region: Annotated[str, Field(pattern="^[a-z0-9-]{1,32}$")]
    """The region, such as ``eu-west-1``."""
    access_key_id: str = ""
    """A key of its own; by default what Amazon's tools find: environment, profile, role."""
    secret_access_key: Secret | None = None
    """That key's secret."""
    session_token: Secret | None = None
    """That key's session, where it is a temporary one."""
    profile: str = ""
    """A profile of Amazon's own configuration files."""
    template: str = ""
    """A stored template for bulks, ``{{subject}}``, ``{{text}}``, ``{{html}}``; by default an
    inline one of the same content."""
    endpoint: str = ""
    """Another address than Amazon's, for tests and private endpoints."""
    event_topic: str = ""
    """The ARN of the SNS topic by which SES tells of its mails, to the address in `callback`."""
    bulk: Annotated[int, Field(ge=1, le=MOST)] = MOST
    """How many mails go in one call; 1 for none together."""


class Ses:
    """A sender for one account and region. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._requests = Requests(settings.template)
        self._writer: Writer
        self._signer: Signer
        self._pool: Pool | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._held: list[list[Mail]] = []
        linger = settings.linger / 1000
        self._gatherer = Gatherer(self._go, most=settings.bulk, linger=linger)

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Find credentials and make ready. Raises ValueError for settings that can't be used."""
        settings = self._settings
        self._writer = writer_of(settings)
        self._signer = await loop.run_in_executor(
            None,
            partial(
                Signer.of,
                settings.region,
                profile=settings.profile,
                endpoint=settings.endpoint,
                key=_key(settings),
            ),
        )
        self._pool = await opened(self._signer.endpoint, settings)

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

    def _go(self, gathered: Sequence[Mail]) -> None:
        mails = [mail for mail in gathered if fits_bulk(mail)]
        alone = [[mail] for mail in gathered if not fits_bulk(mail)]
        calls = merged(mails, shape, most=self._settings.bulk, largest=LARGEST)
        self._start([*calls, *alone])

    async def prove(self) -> None:
        """Raises ValueError where Amazon does not accept the credentials, for ``GetAccount``, or
        the account may not send to everybody."""
        assert self._pool is not None
        headers = self._signer.headers(ACCOUNT, b"", method="GET")
        if why := unfit(await proved_by_call(self._pool, ACCOUNT, headers)):
            raise ValueError(why)

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        self._gatherer.flush()
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing], timeout=GRACE)
        held, self._held = self._held, []
        for mails in held:
            answer_all(mails, Answer(verdict=Verdict.RETRY, code="NotSent", detail="closed"))
        if self._pool is not None:
            await self._pool.close(GRACE)

    def _start(self, calls: Sequence[list[Mail]]) -> None:
        if self._refreshing is None and not self._signer.stale:
            for mails in calls:
                self._post(mails)
            return
        self._held += calls
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        """Fetch the credentials anew, off the loop, and send what waited for them."""
        loop = asyncio.get_running_loop()
        failure = None
        try:
            await loop.run_in_executor(None, self._signer.refresh)
        except ValueError as error:
            failure = Answer(verdict=Verdict.CFG, code="NoCredentials", detail=str(error))
        self._refreshing = None
        held, self._held = self._held, []
        for mails in held:
            if failure is None:
                self._post(mails)
            else:
                answer_all(mails, failure)

    def _post(self, mails: Sequence[Mail]) -> None:
        assert self._pool is not None
        if len(mails) == 1:
            path, body = SINGLE, self._requests.single(mails[0])
        else:
            path, body = BULK, self._requests.bulk(mails)
        headers = self._signer.headers(path, body)
        self._pool.request("POST", path, headers, body, partial(self._answered, mails))

    def _answered(self, mails: Sequence[Mail], result: Result) -> None:
        if isinstance(result, Failure):
            answer_all(mails, no_answer(result))
        elif result.status == 200:
            each = [accepted(result.body)] if len(mails) == 1 else entries(result.body, len(mails))
            pairs = [*zip(mails, each, strict=True)]
            # What stops the provider comes last: a yes behind it would have it go on.
            for mail, said in sorted(pairs, key=lambda pair: pair[1].verdict is Verdict.CFG):
                mail.done(mail.send, said)
        else:
            answer = refusal(
                result.status,
                result.headers.get("x-amzn-errortype", ""),
                result.body,
                retry_after=result.headers.get("retry-after", ""),
                now=self._clock.now(),
            )
            if answer.verdict is Verdict.DROP and len(mails) > 1:
                for half in halves(mails):
                    self._post(half)
            else:
                answer_all(mails, answer)


def _key(settings: Settings) -> tuple[str, str, str] | None:
    if not settings.access_key_id:
        return None
    if settings.secret_access_key is None:
        raise ValueError("`access_key_id` is set and `secret_access_key` is not")
    token = settings.session_token.read().strip() if settings.session_token else ""
    return settings.access_key_id, settings.secret_access_key.read().strip(), token


def _receipts(settings: Settings, webhook: Webhook) -> Sequence[Receipt]:
    return receipts(settings.event_topic, webhook)


SENDER = SenderKind(_NAME, Settings, Ses, _receipts)
