"""What all senders of e-mail are told: from whom a mail is, and what is put into it.

    providers:
      ses:
        kind: ses
        sender: Example <hello@example.com>
        categories:
          marketing: {sender: Example News <news@example.com>, pool: promo, opens: true}
        tenants:
          acme: {sender: Acme <hello@acme.example>, reply_to: help@acme.example}
        links: {url: "https://mail.example.com", key: env:TIDINGS_LINK_KEY}

Of sender and reply-to the tenant's outrank the category's, and those the provider's own.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tidings.secret import Secret

_LOCAL = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
is_address = re.compile(rf"(?=.{{3,254}}\Z){_LOCAL}@{_LABEL}(?:\.{_LABEL})*").fullmatch
"""Whether a text is a mailbox that every mail server understands: what browsers take as one."""


_MAILBOX = re.compile(r"\s*(?:(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>|(?P<bare>\S*))\s*")


def mailbox_parts(text: str) -> tuple[str, str]:
    """The name and the address in ``Example, Inc. <hello@example.com>``; the name may be quoted."""
    found = _MAILBOX.fullmatch(text)
    if found is None:
        return "", ""
    return (found["name"] or "").strip('" '), found["address"] or found["bare"] or ""


def _mailbox(text: str) -> str:
    if not text.isprintable() or not is_address(mailbox_parts(text)[1]):
        raise ValueError(f"{text!r} is no mailbox; write it as: Example <hello@example.com>")
    return text


Mailbox = Annotated[str, AfterValidator(_mailbox)]


class Part(BaseModel):
    """The base of all of them."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class CategoryMail(Part):
    """How the mail of a category differs."""

    sender: Mailbox | None = None
    """Whom it is from."""
    reply_to: Mailbox | None = None
    """Where answers go."""
    pool: str = ""
    """Its road: SES' configuration set, SendGrid's IP pool."""
    unsubscribe: bool | None = None
    """Whether it carries a link to unsubscribe, by one click; by default marketing does."""
    opens: bool = False
    """Whether it carries a pixel that tells that it was opened."""
    clicks: bool = False
    """Whether its links lead through us, so that clicks are told."""


class TenantMail(Part):
    """How the mail of a tenant differs."""

    sender: Mailbox | None = None
    """Whom it is from."""
    reply_to: Mailbox | None = None
    """Where answers go."""


class LinkSettings(Part):
    """The addresses of ours that a mail carries."""

    url: Annotated[str, Field(pattern="^https?://[!-~]*[!-.0-~]$")]
    """Where they begin, without a slash at the end; below it are ``/u/`` (unsubscribe), ``/o/``
    (opened) and ``/c/`` (clicked)."""
    key: Secret
    """What they are signed with: 32 characters or more, the same for all processes."""


class MailSettings(Part):
    """What all senders of e-mail are told."""

    sender: Mailbox
    """Whom mail is from: ``hello@example.com``, or ``Example <hello@example.com>``."""
    reply_to: Mailbox | None = None
    """Where answers go, where that is not the sender."""
    pool: str = ""
    """The road of what has none of its own: SES' configuration set, SendGrid's IP pool."""
    categories: dict[str, CategoryMail] = {}
    """How the mail of a category differs, by its name."""
    tenants: dict[str, TenantMail] = {}
    """How the mail of a tenant differs, by its name."""
    links: LinkSettings | None = None
    """Our own addresses in a mail: without them there is no unsubscribe link, and no marketing."""

    @model_validator(mode="after")
    def _links_where_wanted(self) -> Self:
        for name, mail in self.categories.items():
            if self.links is None and (mail.unsubscribe or mail.opens or mail.clicks):
                raise ValueError(f"the category `{name}` wants links of ours: set `links`")
        return self
