"""Any mail server, by SMTP.

    providers:
      smtp:
        kind: smtp
        host: mail.example.com
        user: tidings
        password: env:SMTP_PASSWORD
        sender: Example <hello@example.com>

A few connections are kept, each made when there is a mail for it and closed after a silence; over
each of them mails go one after the other. (Commands are not sent ahead of their replies: aiosmtplib
reads one reply at a time.) A mail whose connection broke before the end of its content was not
sent; one whose reply never came may have been.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidings.durations import PositiveDuration
from tidings.operators.senders.mail.mail import Mail, Writer
from tidings.operators.senders.mail.mail_api import GRACE, answer_all, trusting
from tidings.operators.senders.mail.mail_mime import mime
from tidings.operators.senders.mail.mail_settings import MailSettings
from tidings.operators.senders.mail.smtp_answer import classify
from tidings.operators.senders.mail.smtp_session import Lost, Refused, Session
from tidings.operators.senders.proof import told
from tidings.ports import Clock
from tidings.secret import Secret
from tidings.sender import Answer, Done, NotAccepted, Send, SenderKind, Verdict

_NAME = "smtp"
_PORTS = {"implicit": 465, "starttls": 587, "none": 25}


class Settings(MailSettings):
    """Settings of a mail server."""

    host: Annotated[str, Field(pattern="^[!-~]{1,253}$")]
    """The server's name."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Its port; 0 for the usual one: 465 with ``tls: implicit``, 587 with ``starttls``, else 25."""
    tls: Literal["implicit", "starttls", "none"] = "starttls"
    """From the first byte (``implicit``), after a greeting in the clear (``starttls``; nothing is
    sent where the server doesn't offer it), or not at all."""
    ca: Path | None = None
    """Whom to trust instead of the system's authorities, a PEM file."""
    user: str = ""
    """The name to log in with; without one there is no login."""
    password: Secret | None = None
    """Its password."""
    helo: str = ""
    """What we call ourselves; by default this machine's name."""
    connections: Annotated[int, Field(ge=1, le=100)] = 8
    """How many at most."""
    mails: Annotated[int, Field(ge=1)] = 100
    """Mails over one connection, before another takes its place: servers have such a bound."""
    idle: PositiveDuration = 10_000
    """Silence after which a connection is closed."""
    timeout: PositiveDuration = 30_000
    """From a command to its reply."""
    connect_timeout: PositiveDuration = 5_000
    """To connect and to log in."""
    wait: PositiveDuration = 10_000
    """How long a mail waits for a connection before it is given back."""

    @model_validator(mode="after")
    def _login_in_private(self) -> Self:
        if bool(self.user) != (self.password is not None):
            raise ValueError("`user` and `password` go together")
        if self.user and self.tls == "none":
            raise ValueError(
                "a password is not sent in the clear: set `tls` to starttls or implicit"
            )
        return self


class Smtp:
    """A sender for one mail server. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._password = ""
        self._tls: ssl.SSLContext | None = None
        self._writer: Writer
        self._loop: asyncio.AbstractEventLoop
        self._waiting: deque[tuple[float, Mail]] = deque()
        self._arrived = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle = 0
        self._closing = False

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the secrets; connections come with the mails. Raises ValueError."""
        settings = self._settings
        self._loop = loop
        self._writer = Writer(settings)
        self._password = settings.password.read().strip() if settings.password else ""
        if settings.tls != "none":
            self._tls = trusting(settings.ca) or ssl.create_default_context()

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends."""
        until = self._loop.time() + self._settings.wait / 1000
        for send in sends:
            mail = self._writer.write(send, done)
            if isinstance(mail, Answer):
                done(send, mail)
            elif self._closing:
                answer_all([mail], _not_sent("the sender is closed"))
            else:
                self._waiting.append((until, mail))
        missing = min(
            len(self._waiting) - self._idle, self._settings.connections - len(self._workers)
        )
        for _ in range(missing):
            worker = self._loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        self._arrived.set()

    async def prove(self) -> None:
        """Raises ValueError where the server does not take the login, or does not answer."""
        try:
            session = await self._connect()
        except Refused as error:
            kind = NotAccepted if error.reply.code >= 500 else ValueError
            raise kind(told(str(error.reply.code), error.reply.text)) from None
        except Lost as error:
            raise ValueError(str(error)) from None
        await session.close()

    async def close(self) -> None:
        """Finish what is under way for a moment, answer the rest, and let go."""
        self._closing = True
        while self._waiting:
            answer_all([self._waiting.popleft()[1]], _not_sent("the sender is closing"))
        self._arrived.set()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=GRACE)
            for worker in late:
                worker.cancel()
            if late:
                await asyncio.wait(late)
        for _ in range(3):  # TLS, its socket, and what they tell: the last are on their way out
            await asyncio.sleep(0)

    # ── A connection and its mails ────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        """Carry mails until there has been none for a while."""
        session: Session | None = None
        try:
            while (mail := await self._next()) is not None:
                said, session = await self._carry(mail, session)
                answer_all([mail], said)
        finally:
            if session is not None:
                await session.close()

    async def _next(self) -> Mail | None:
        """The next mail; None where it is time to go. What has waited too long is given back."""
        while True:
            while self._waiting:
                until, mail = self._waiting.popleft()
                if self._loop.time() < until:
                    return mail
                answer_all([mail], _not_sent("no connection was free in time"))
            if self._closing:
                return None
            self._arrived.clear()
            self._idle += 1
            try:
                async with asyncio.timeout(self._settings.idle / 1000):
                    await self._arrived.wait()
            except TimeoutError:
                return None
            finally:
                self._idle -= 1

    async def _carry(self, mail: Mail, session: Session | None) -> tuple[Answer, Session | None]:
        """Send one mail; gives its answer, and the session where it can be used again."""
        try:
            if session is not None and (not session.alive or session.uses >= self._settings.mails):
                await session.close()
                session = None
            if session is None:
                session = await self._connect()
            sender = mail.manner.sender.address
            reply = await session.deliver(sender, mail.to, mime(mail, self._clock.now()))
        except Refused as error:
            return classify(error.reply), None
        except Lost as error:
            if error.sent:
                return Answer(verdict=Verdict.AMB, code="NoAnswer", detail=str(error)), None
            return _not_sent(str(error)), None
        except asyncio.CancelledError:
            return _not_sent("closed while connecting"), None
        return classify(reply), session

    async def _connect(self) -> Session:
        from aiosmtplib import SMTP

        settings = self._settings
        client = SMTP(
            hostname=settings.host,
            port=settings.port or _PORTS[settings.tls],
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=self._tls if settings.tls == "implicit" else None,
            local_hostname=settings.helo or None,
        )
        return await Session.open(
            client,
            starttls=self._tls if settings.tls == "starttls" else None,
            user=settings.user,
            password=self._password,
            connecting=settings.connect_timeout / 1000,
            patience=settings.timeout / 1000,
        )


def _not_sent(why: str) -> Answer:
    return Answer(verdict=Verdict.RETRY, code="NotSent", detail=why)


SENDER = SenderKind(_NAME, Settings, Smtp)
