"""A mail as it goes over SMTP: MIME, of a text part and an HTML part.

Written here because the standard library takes 1.3 ms for it, and this 8 to 26 µs. All is ASCII:
bodies are quoted-printable, so that no line is too long and none can be taken for the boundary, and
words of a header that are not ASCII are encoded as RFC 2047 says.
"""

from __future__ import annotations

from binascii import b2a_qp
from email.header import Header
from email.utils import formatdate

from tidings.operators.senders.mail.mail import Mail, message_id

_LONGEST_LINE = 900  # characters of a header; RFC 5322 allows 998


def mime(mail: Mail, now: int) -> bytes:
    """The message, with CRLF at the end of each line; ``now`` (epoch ms) is its date."""
    manner = mail.manner
    fields = [
        ("Date", formatdate(now / 1000)),
        ("From", manner.sender.header),
        ("To", mail.to),
        ("Subject", _words(mail.subject)),
        ("Message-ID", message_id(mail)),
        ("MIME-Version", "1.0"),
    ]
    if manner.reply_to is not None:
        fields.append(("Reply-To", manner.reply_to.header))
    fields += mail.headers
    head = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")
    if not mail.html:
        return head + _part("plain", mail.text)
    boundary = b"=_" + mail.send.send_id.encode()  # "=_" is in no quoted-printable text
    return b"".join(
        (
            head,
            b'Content-Type: multipart/alternative; boundary="' + boundary + b'"\r\n\r\n',
            b"--" + boundary + b"\r\n" + _part("plain", mail.text),
            b"--" + boundary + b"\r\n" + _part("html", mail.html),
            b"--" + boundary + b"--\r\n",
        )
    )


def _part(kind: str, text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    head = (
        f"Content-Type: text/{kind}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    # It ends its own lines as it finds them ended.
    return head.encode() + b2a_qp((lines + "\r\n").encode())


def _words(text: str) -> str:
    if text.isascii() and len(text) < _LONGEST_LINE and "=?" not in text:
        return text
    return Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")
