"""A mail, made of a send: what SES, SendGrid and SMTP are given, each in its own words.

`Writer` checks what would harm or be refused anyway. An address that is none is dead; a line break
in a header would be a header of somebody else's, and is refused; marketing that nobody could
unsubscribe from does not go out.
"""

from __future__ import annotations

from email.header import Header

import msgspec

from tidings.callbacks import reference_of
from tidings.operators.senders.mail.mail_links import Links
from tidings.operators.senders.mail.mail_plain import plain
from tidings.operators.senders.mail.mail_settings import (
    CategoryMail,
    MailSettings,
    TenantMail,
    is_address,
    mailbox_parts,
)
from tidings.receipts import Reference
from tidings.sender import Answer, Done, Send, Verdict

_MOST_MANNERS = 1_000
_LONGEST_SUBJECT = 998  # characters of a line, says RFC 5322
_ONE_CLICK = ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")

BAD_ADDRESS = Answer(verdict=Verdict.INV, code="BadAddress", detail="it is no e-mail address")
_NOT_ASCII = Answer(
    verdict=Verdict.DROP,
    code="NotAscii",
    detail="the part before the @ is not ASCII, which providers don't take",
)
_NO_LINKS = Answer(
    verdict=Verdict.DROP,
    code="NoUnsubscribe",
    detail="marketing needs a link to unsubscribe: set `links` of the provider",
)
_NO_BODY = Answer(verdict=Verdict.DROP, code="NoBody", detail="neither a text nor an html part")
_BROKEN = Answer(verdict=Verdict.DROP, code="BadHeader", detail="a line break in the subject")
_NO_SUBJECT = Answer(verdict=Verdict.DROP, code="NoSubject", detail="there is no subject")


class Mailbox(msgspec.Struct, frozen=True):
    """A name and an address. ``header`` is how a header says them, in ASCII."""

    name: str
    address: str
    header: str

    @classmethod
    def of(cls, text: str) -> Mailbox:
        """``Example <hello@example.com>``, read."""
        name, address = mailbox_parts(text)
        return cls(name, address, mailbox_header(name, address))


class Manner(msgspec.Struct, frozen=True, eq=False):
    """How the mail of one tenant and category goes out; compared by identity."""

    sender: Mailbox
    reply_to: Mailbox | None
    pool: str
    category: str
    domain: str
    unsubscribe: bool
    opens: bool
    clicks: bool


class Mail(msgspec.Struct, gc=False):
    """One mail to one address. ``headers`` are those beside From, To, Reply-To and Subject."""

    send: Send
    done: Done
    manner: Manner
    to: str
    subject: str
    text: str
    html: str
    headers: tuple[tuple[str, str], ...]
    reference: str

    @property
    def size(self) -> int:
        """About how many bytes it takes on the wire: HTML is full of what JSON escapes."""
        return 700 + len(self.subject) + 2 * (len(self.text) + len(self.html))


class Writer:
    """Makes mails.

    ``reference_key`` signs what a provider gives back with its receipts; without it nothing but the
    send's id does. Raises ValueError for a secret that can't be had.
    """

    def __init__(self, settings: MailSettings, reference_key: bytes = b"") -> None:
        self._settings = settings
        self._reference_key = reference_key
        links = settings.links
        self._links = Links(links.url, links.key.read()) if links is not None else None
        self._manners: dict[tuple[str, str, bool], Manner] = {}

    def write(self, send: Send, done: Done) -> Mail | Answer:
        """The mail of a send, or the answer where it can be none."""
        to = send.address.value
        if not is_address(to):
            known = ascii_address(to)
            if isinstance(known, Answer):
                return known
            to = known
        parts = send.content.parts
        subject, text, html = parts.get("subject", ""), parts.get("text", ""), parts.get("html", "")
        wrong = _wrong(subject, text, html)
        if wrong is not None:
            return wrong
        manner = self._manners.get((send.tenant, send.category, send.marketing))
        if manner is None:
            manner = self._manner(send)
        reference = reference_of(send)
        headers: tuple[tuple[str, str], ...] = ()
        if manner.unsubscribe:
            if self._links is None or reference is None:
                return _NO_LINKS
            headers = (("List-Unsubscribe", f"<{self._links.unsubscribe(reference)}>"), _ONE_CLICK)
        if html:
            text = text or plain(html)
            if self._links is not None and reference is not None:
                html = self._tracked(html, manner, self._links, reference)
        signed = ""
        if self._reference_key and reference is not None:
            signed = reference.signed(self._reference_key)
        return Mail(send, done, manner, to, subject, text, html, headers, signed)

    def _tracked(self, html: str, manner: Manner, links: Links, reference: Reference) -> str:
        if manner.clicks:
            html = links.with_redirects(html, reference)
        if manner.opens:
            html = links.with_pixel(html, reference)
        return html

    def _manner(self, send: Send) -> Manner:
        settings = self._settings
        category = settings.categories.get(send.category, CategoryMail())
        tenant = settings.tenants.get(send.tenant, TenantMail())
        sender = Mailbox.of(tenant.sender or category.sender or settings.sender)
        reply_to = tenant.reply_to or category.reply_to or settings.reply_to
        unsubscribe = category.unsubscribe
        if len(self._manners) >= _MOST_MANNERS:
            self._manners.clear()
        manner = self._manners[send.tenant, send.category, send.marketing] = Manner(
            sender,
            Mailbox.of(reply_to) if reply_to else None,
            category.pool or settings.pool,
            send.category,
            sender.address.rpartition("@")[2],
            send.marketing if unsubscribe is None else unsubscribe,
            category.opens,
            category.clicks,
        )
        return manner


def _wrong(subject: str, text: str, html: str) -> Answer | None:
    if not subject.isprintable() and any(ord(each) < 32 or ord(each) == 127 for each in subject):
        return _BROKEN
    if not subject or len(subject) > _LONGEST_SUBJECT:
        return _NO_SUBJECT
    return None if text or html else _NO_BODY


def ascii_address(text: str) -> str | Answer:
    """An address with its domain as the wire has it (IDNA), or why it is none."""
    local, _, domain = text.rpartition("@")
    try:
        written = f"{local}@{domain.encode('idna').decode('ascii')}" if domain else ""
    except UnicodeError:
        return BAD_ADDRESS
    if is_address(written):
        return written
    spoken = local.isprintable() and not local.isascii() and " " not in local
    return _NOT_ASCII if spoken and is_address(f"a@{written.rpartition('@')[2]}") else BAD_ADDRESS


def mailbox_header(name: str, address: str) -> str:
    """A mailbox as a header says it."""
    if not name:
        return address
    if name.isascii():
        quoted = name.replace("\\", r"\\").replace('"', r"\"")
        return f'"{quoted}" <{address}>'
    return f"{Header(name, 'utf-8', maxlinelen=990).encode()} <{address}>"


def message_id(mail: Mail) -> str:
    """Its Message-ID: the send's id, at the sender's domain."""
    return f"<{mail.send.send_id}@{mail.manner.domain}>"
