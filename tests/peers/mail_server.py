"""aiosmtpd on a thread of its own: it keeps what it got, and refuses as a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tidings.services.process import free_port

Says = Callable[[str], str | Awaitable[str]]
"""What a command is answered, by the address or, for the content, by the recipient; "" for yes."""


class Taken(NamedTuple):
    """One mail: its envelope and its content."""

    sender: str
    to: list[str]
    content: bytes
    session: int

    @property
    def message(self) -> EmailMessage:
        """It, read."""
        found = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


class MailServer:
    """The server. ``says`` tells what ``sender``, ``recipient`` and ``content`` are answered."""

    def __init__(
        self,
        *,
        says: Mapping[str, Says] | None = None,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.taken: list[Taken] = []
        self.sessions: set[int] = set()
        self._says = says or {}
        self._login = login
        options: dict[str, Any] = {}
        if login is not None:
            options = {"authenticator": self._known}
        self.port = free_port()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            ssl_context=tls,
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_require_tls=tls is None,
            **options,
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._controller.stop()

    # ── What aiosmtpd asks ────────────────────────────────────────────────────────────────────

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.sessions.add(id(session))
        said = await self._said("sender", address)
        if not said:
            envelope.mail_from = address
        return said or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        said = await self._said("recipient", address)
        if not said:
            envelope.rcpt_tos.append(address)
        return said or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        said = await self._said("content", envelope.rcpt_tos[0])
        if not said:
            content = envelope.original_content or b""
            taken = Taken(envelope.mail_from or "", [*envelope.rcpt_tos], content, id(session))
            self.taken.append(taken)
        return said or f"250 2.0.0 queued as {len(self.taken)}"

    async def _said(self, what: str, subject: str) -> str:
        says = self._says.get(what)
        said = says(subject) if says is not None else ""
        return said if isinstance(said, str) else await said

    def _known(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        known = (given.login.decode(), given.password.decode()) == self._login
        return AuthResult(success=known, handled=False)


async def never(_: str) -> str:
    """A command that is not answered in our time."""
    await asyncio.sleep(30)
    return ""
