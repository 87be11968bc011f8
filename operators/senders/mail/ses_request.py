"""A mail, or up to fifty, as SES v2 is asked to send them.

A bulk is made for one template with other words for each address. Ours hands the words through:
subject, text and html are each one variable, and what was rendered is its value. SES does not
escape them, and looks for no template in a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tidings.operators.senders.mail.mail import Mail

SINGLE = "/v2/email/outbound-emails"
BULK = "/v2/email/outbound-bulk-emails"
ACCOUNT = "/v2/email/account"
MOST = 50  # entries of a bulk
LARGEST = 900_000  # bytes of a call; SES takes 1 MB with an inline template
LARGEST_WORDS = 250_000  # characters of one entry's data; SES takes 262,144

_encode = msgspec.json.Encoder().encode


class Requests:
    """Writes requests; ``template`` names a stored pass-through template, "" for an inline one."""

    def __init__(self, template: str = "") -> None:
        self._stored = template

    def single(self, mail: Mail) -> bytes:
        """One mail, as it is."""
        body = {"Html": _part(mail.html)} if mail.html else {}
        if mail.text:
            body["Text"] = _part(mail.text)
        message: dict[str, Any] = {"Subject": _part(mail.subject), "Body": body}
        if mail.headers:
            message["Headers"] = _pairs(mail.headers)
        return _encode(
            {
                **_manner(mail),
                "Destination": {"ToAddresses": (mail.to,)},
                "EmailTags": (*_common_tags(mail), *_tags(mail)),
                "Content": {"Simple": message},
            }
        )

    def bulk(self, mails: Sequence[Mail]) -> bytes:
        """Mails of one manner and one shape, see ``shape``."""
        first = mails[0]
        return _encode(
            {
                **_manner(first),
                "DefaultEmailTags": _common_tags(first),
                "DefaultContent": {"Template": self._template(first)},
                "BulkEmailEntries": [_entry(mail) for mail in mails],
            }
        )

    def _template(self, mail: Mail) -> dict[str, Any]:
        if self._stored:
            return {"TemplateName": self._stored, "TemplateData": "{}"}
        content = {"Subject": "{{subject}}", "Text": "{{text}}"}
        if mail.html:
            content["Html"] = "{{html}}"
        return {"TemplateContent": content, "TemplateData": "{}"}


def shape(mail: Mail) -> tuple[int, bool]:
    """What mails of one bulk have in common."""
    return id(mail.manner), bool(mail.html)


def fits_bulk(mail: Mail) -> bool:
    """Whether its words fit into an entry of a bulk; else it goes by itself."""
    return mail.size < LARGEST_WORDS


def _manner(mail: Mail) -> dict[str, Any]:
    manner = mail.manner
    common: dict[str, Any] = {"FromEmailAddress": manner.sender.header}
    if manner.reply_to is not None:
        common["ReplyToAddresses"] = (manner.reply_to.header,)
    if manner.pool:
        common["ConfigurationSetName"] = manner.pool
    return common


def _entry(mail: Mail) -> dict[str, Any]:
    words = {"subject": mail.subject, "text": mail.text, "html": mail.html}
    entry: dict[str, Any] = {
        "Destination": {"ToAddresses": (mail.to,)},
        "ReplacementTags": _tags(mail),
        "ReplacementEmailContent": {
            "ReplacementTemplate": {"ReplacementTemplateData": _encode(words).decode()}
        },
    }
    if mail.headers:
        entry["ReplacementHeaders"] = _pairs(mail.headers)
    return entry


_LONGEST_TAG = 256
REFERENCE_TAGS = ("reference", *(f"reference_{number}" for number in range(2, 9)))
"""A reference takes as many tags as it is long: those of people with long ids take two or three."""


def _tags(mail: Mail) -> list[dict[str, str]]:
    """What SES' events give back: whose it was."""
    tags = [{"Name": "send_id", "Value": mail.send.send_id}]
    reference = mail.reference
    if len(reference) <= _LONGEST_TAG * len(REFERENCE_TAGS):
        for name, start in zip(
            REFERENCE_TAGS, range(0, len(reference), _LONGEST_TAG), strict=False
        ):
            tags.append({"Name": name, "Value": reference[start : start + _LONGEST_TAG]})
    return tags


def _common_tags(mail: Mail) -> tuple[dict[str, str], ...]:
    category = "".join(c if c.isascii() and c.isalnum() else "_" for c in mail.manner.category)
    return ({"Name": "category", "Value": category[:_LONGEST_TAG] or "none"},)


def _pairs(headers: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in headers]


def _part(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}
