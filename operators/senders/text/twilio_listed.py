"""Whether Twilio has a message or a call that it did not answer for: by what it lists.

Twilio has no name of ours for a message, so it is found by what it is: to whom, from whom, since
when, and what it says. Of a text that Twilio may have rewritten (links shortened, characters
replaced, bodies redacted) nobody can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import msgspec

from tidings.operators.senders.text.sms import is_gsm
from tidings.sender import Answer, Verdict

PAGE = 50  # the newest to one number: more than anybody gets in a minute
_SKEW_MS = 5_000  # by which Twilio's clock may be behind ours


class Wanted(NamedTuple):
    """What is looked for: from ``sender`` (a number, a name, or a messaging service), not older
    than ``since`` (epoch ms). ``body`` is None for a call, which says nothing."""

    sender: str
    since: int
    body: str | None = None
    rewritten: bool = False
    """Whether Twilio may have sent other words."""


class Entry(msgspec.Struct):
    """Of a listed message or call what we look at."""

    sid: str = ""
    direction: str = ""
    from_: str | None = msgspec.field(default=None, name="from")
    messaging_service_sid: str | None = None
    body: str | None = None
    date_created: str | None = None
    num_segments: str | None = None


class Page(msgspec.Struct):
    """A page of a list; of the two one is there."""

    messages: tuple[Entry, ...] = ()
    calls: tuple[Entry, ...] = ()
    next_page_uri: str | None = None


read_page = msgspec.json.Decoder(Page).decode


def rewritten(body: str, *, service: bool, shortens: bool) -> bool:
    """Whether Twilio may send ``body`` in other words: a messaging service replaces characters that
    would make a text longer, and shortens links where it is asked to.

    >>> rewritten("Your code is 481516", service=True, shortens=True)
    False
    >>> rewritten("It’s 481516", service=True, shortens=False)
    True
    """
    return (service and not is_gsm(body)) or (shortens and "://" in body)


def found(page: Page, wanted: Wanted) -> Answer:
    """What the list says: ``OK`` it is there, ``RETRY`` it is not, ``DROP`` it can't be told."""
    doubtful = False
    entries: Sequence[Entry] = page.messages or page.calls
    since = wanted.since - wanted.since % 1_000 - _SKEW_MS  # a list tells seconds
    for entry in entries:
        created = _ms(entry.date_created)
        if created is not None and created < since:
            continue
        if not entry.direction.startswith("outbound") or not _from(entry, wanted.sender):
            continue
        if created is None or (wanted.body is not None and not entry.body):
            doubtful = True
        elif wanted.body is None or entry.body == wanted.body:
            count = entry.num_segments or ""
            return Answer(
                verdict=Verdict.OK,
                provider_id=entry.sid,
                segments=int(count) if count.isdigit() else 0,
            )
        elif wanted.rewritten:
            doubtful = True
    if doubtful:
        detail = "Twilio lists a message that may be this one, in other words or with none"
        return Answer(verdict=Verdict.DROP, code="CantTell", detail=detail)
    if page.next_page_uri and len(entries) >= PAGE and (_ms(entries[-1].date_created) or 0) > since:
        return Answer(verdict=Verdict.DROP, code="CantTell", detail="so many went to this number")
    return Answer(verdict=Verdict.RETRY, code="NotThere", detail="Twilio has no such message")


def _from(entry: Entry, sender: str) -> bool:
    return sender in (entry.from_, entry.messaging_service_sid)


def _ms(date: str | None) -> int | None:
    try:
        when: datetime = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return int(when.timestamp() * 1000)
