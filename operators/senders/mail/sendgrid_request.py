"""Up to a thousand mails as one call of SendGrid's v3 Mail Send.

Each is a personalization with its own address, subject, headers and words; what they share is said
once. The words stand in the content by two tags and are put in for each by substitution, which
takes 10,000 bytes a personalization: a mail with more goes by itself, with its words in place. With
a dynamic template that hands the words through there is no such bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tidings.operators.senders.mail.mail import Mail, Mailbox, message_id

MOST = 1_000  # personalizations of a call
LARGEST = 1_000_000  # bytes of a call; SendGrid takes 30 MB, our client likes less at once
_LONGEST_WORDS = 9_500  # bytes of substitutions, of 10,000
_TEXT, _HTML = "%tidings-text%", "%tidings-html%"
_TAG = "%tidings-"
_NO_TRACKING = {
    "click_tracking": {"enable": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
}

_encode = msgspec.json.Encoder().encode
Words = Callable[[Mail, dict[str, Any]], None]
"""Puts a mail's words into its personalization."""


class Requests:
    """Writes requests; ``template`` is the id of a dynamic pass-through template, "" for none."""

    def __init__(self, template: str = "") -> None:
        self._template = template

    def body(self, mails: Sequence[Mail]) -> bytes:
        """The call for mails of one ``shape``."""
        first = mails[0]
        manner = first.manner
        call: dict[str, Any] = {
            "from": _mailbox(manner.sender),
            "subject": first.subject,  # each has its own, and one is asked for all the same
            "categories": _categories(first),
            "tracking_settings": _NO_TRACKING,
        }
        if manner.reply_to is not None:
            call["reply_to"] = _mailbox(manner.reply_to)
        if manner.pool:
            call["ip_pool_name"] = manner.pool
        words: Words
        if self._template:
            call["template_id"] = self._template
            words = _dynamic
        elif _in_place(first):
            call["content"] = _content(first.text, first.html)
            words = _none
        else:
            call["content"] = _content(_TEXT, _HTML if first.html else "")
            words = _substituted
        call["personalizations"] = [_personalization(mail, words) for mail in mails]
        return _encode(call)

    def shape(self, mail: Mail) -> tuple[object, ...]:
        """What mails of one call have in common."""
        alone = mail.send.send_id if not self._template and _in_place(mail) else ""
        return id(mail.manner), campaign(mail), bool(mail.html), alone


def campaign(mail: Mail) -> str:
    """The campaign that a mail belongs to, "" for none."""
    delivery = mail.send.delivery
    return delivery.campaign_id if delivery is not None else ""


def _in_place(mail: Mail) -> bool:
    """Whether its words can't be substituted: too many, or they look like a tag of ours."""
    text, html = mail.text, mail.html
    if _TAG in text or _TAG in html:
        return True
    length = len(text) + len(html)
    if length * 4 <= _LONGEST_WORDS:  # a character is four bytes at most
        return False
    return len(text.encode()) + len(html.encode()) > _LONGEST_WORDS


def _personalization(mail: Mail, words: Words) -> dict[str, Any]:
    headers = {"Message-ID": message_id(mail)}
    headers.update(mail.headers)
    arguments = {"send_id": mail.send.send_id}
    if mail.reference:
        arguments["reference"] = mail.reference
    made: dict[str, Any] = {
        "to": ({"email": mail.to},),
        "subject": mail.subject,
        "headers": headers,
        "custom_args": arguments,
    }
    words(mail, made)
    return made


def _substituted(mail: Mail, made: dict[str, Any]) -> None:
    if mail.html:
        made["substitutions"] = {_TEXT: mail.text, _HTML: mail.html}
    else:
        made["substitutions"] = {_TEXT: mail.text}


def _dynamic(mail: Mail, made: dict[str, Any]) -> None:
    data = {"subject": mail.subject, "text": mail.text, "html": mail.html}
    made["dynamic_template_data"] = data


def _none(mail: Mail, made: dict[str, Any]) -> None:
    """They stand in the content."""


def _content(text: str, html: str) -> list[dict[str, str]]:
    content = [{"type": "text/plain", "value": text}]
    if html:
        content.append({"type": "text/html", "value": html})
    return content


def _categories(mail: Mail) -> tuple[str, ...]:
    named = (mail.manner.category, campaign(mail))
    return tuple(dict.fromkeys(name[:255] for name in named if name))


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    if not mailbox.name:
        return {"email": mailbox.address}
    return {"email": mailbox.address, "name": mailbox.name}
