"""One connection to a mail server, over which mails go one after the other.

aiosmtplib connects, speaks TLS and logs in. The content is handed over here, because what matters
is whether a connection broke before the content's end or after it: before, nothing was sent; after,
nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

from tidings.operators.senders.mail.smtp_answer import Reply, Stage

if TYPE_CHECKING:
    from aiosmtplib import SMTP

_START = 354  # "go ahead"
_GOODBYE = 1.0  # seconds for the reply to QUIT


class Lost(Exception):
    """The connection is gone. ``sent``: the whole mail had been written."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Refused(Exception):
    """The server won't have us, or not now."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Session:
    """A connection that is logged in. ``uses``: mails that it has carried."""

    def __init__(self, client: SMTP, timeout: float) -> None:
        self._client = client
        self._transport = client.transport  # the client forgets it when it closes
        self._timeout = timeout
        self.uses = 0

    @classmethod
    async def open(
        cls,
        client: SMTP,
        *,
        starttls: ssl.SSLContext | None,
        user: str,
        password: str,
        connecting: float,
        patience: float,
    ) -> Session:
        """Connect, speak TLS where ``starttls`` says how, and log in.

        A step takes ``connecting`` seconds at most, a command ``patience`` later on.
        Raises Refused, and Lost where there is no connection.
        """
        from aiosmtplib import SMTPException, SMTPNotSupported, SMTPResponseException

        session = None
        try:
            await client.connect(timeout=connecting)
            if starttls is not None:
                await client.ehlo(timeout=connecting)
                if not client.supports_extension("starttls"):
                    raise SMTPNotSupported("the server offers no STARTTLS")
                await client.starttls(tls_context=starttls, timeout=connecting)
            if client.is_ehlo_or_helo_needed:
                await client.ehlo(timeout=connecting)
            if user:
                await client.login(user, password, timeout=connecting)
            session = cls(client, patience)
        except SMTPResponseException as error:
            raise Refused(Reply(Stage.CONNECT, error.code, error.message)) from None
        except (SMTPNotSupported, ssl.SSLCertVerificationError) as error:
            raise Refused(Reply(Stage.CONNECT, 554, str(error))) from None
        except (SMTPException, OSError, ValueError) as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise Refused(Reply(Stage.CONNECT, 554, str(error.__cause__))) from None
            raise Lost(str(error) or type(error).__name__, sent=False) from None
        finally:
            if session is None:
                _drop(client, client.transport)
        return session

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as we know."""
        return self._client.is_connected

    async def deliver(self, sender: str, to: str, message: bytes) -> Reply:
        """Send one mail; gives the first refusal, or the reply to its content. Raises Lost.

        ``message`` has CRLF at the end of each line, the last one included.
        """
        from aiosmtplib import SMTPException

        self.uses += 1
        client, timeout = self._client, self._timeout
        sent = False
        try:
            for stage, words, fine in (
                (Stage.SENDER, (b"MAIL", f"FROM:<{sender}>".encode()), (250,)),
                (Stage.RECIPIENT, (b"RCPT", f"TO:<{to}>".encode()), (250, 251)),
                (Stage.CONTENT, (b"DATA",), (_START,)),
            ):
                reply = await client.execute_command(*words, timeout=timeout)
                if reply.code not in fine:
                    await self._start_anew()
                    return Reply(stage, reply.code, reply.message)
            protocol = client.protocol
            if protocol is None:
                raise ConnectionResetError("Connection lost")
            sent = True
            protocol.write(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            reply = await protocol.read_response(timeout=timeout)
        except (SMTPException, OSError, asyncio.CancelledError) as error:
            sent = sent and not self._unwritten()
            _drop(client, self._transport)
            why = str(error) or "closed before an answer came"
            raise Lost(why, sent=sent) from None
        return Reply(Stage.CONTENT, reply.code, reply.message)

    def _unwritten(self) -> bool:
        """Whether some of what was written is still here: the server can't have its end."""
        transport = self._transport
        return isinstance(transport, asyncio.WriteTransport) and bool(
            transport.get_write_buffer_size()
        )

    async def _start_anew(self) -> None:
        """Clear what the server holds of a mail that it refused, or let the connection go."""
        from aiosmtplib import SMTPException

        try:
            await self._client.rset(timeout=self._timeout)
        except (SMTPException, OSError):
            _drop(self._client, self._transport)

    async def close(self) -> None:
        """Say goodbye."""
        from aiosmtplib import SMTPException

        with contextlib.suppress(SMTPException, OSError):
            await self._client.quit(timeout=_GOODBYE)
        _drop(self._client, self._transport)


def _drop(client: SMTP, transport: asyncio.BaseTransport | None) -> None:
    """Let a connection go at once: nobody waits for the goodbye of TLS."""
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    client.close()
