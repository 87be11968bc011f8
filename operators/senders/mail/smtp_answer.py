"""What a mail server's replies mean: by the enhanced status code (RFC 3463), else by the reply's.

stage      what was said
connect    the greeting, TLS, who we are
sender     MAIL FROM
recipient  RCPT TO
content    DATA, and the mail itself
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from tidings.sender import Answer, Verdict


class Stage(StrEnum):
    """How far a mail had come."""

    CONNECT = "connect"
    SENDER = "sender"
    RECIPIENT = "recipient"
    CONTENT = "content"


class Reply(NamedTuple):
    """A server's reply to one command."""

    stage: Stage
    code: int
    text: str


_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
_GONE = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
# Said to be for good, and is not: a full mailbox or disk, and the day's quota at Google (5.4.5).
_PASSES = frozenset({"5.2.2", "5.3.1", "5.4.5"})
_OURS = frozenset({"5.1.7", "5.1.8", "5.1.90", "5.7.8", "5.7.9", "5.7.11", "5.7.60", "5.5.1"})
_OUR_SENDER = re.compile(r"not verified|verified sender identity", re.I)  # Amazon, SendGrid
_TOO_FAST = re.compile(r"throttling|rate exceeded", re.I)  # Amazon's 454
_UNKNOWN = re.compile(r"user unknown|no such (user|mailbox|recipient)|does not exist", re.I)
_RELAY = re.compile(r"relay", re.I)


def classify(reply: Reply) -> Answer:
    """The answer for the mail in hand; a reply of 2xx to its content is a yes."""
    stage, code, text = reply
    found = _ENHANCED.match(text)
    enhanced = found[1] if found else ""
    if stage is Stage.CONTENT and 200 <= code < 300:
        return Answer(verdict=Verdict.OK, provider_id=text.partition("\n")[0][:200])
    return Answer(
        verdict=_verdict(stage, code, enhanced, text),
        code=enhanced or str(code),
        detail=f"{code} {text}"[:500],
        limited=400 <= code < 500 and _limited(code, enhanced, text),
    )


def _verdict(stage: Stage, code: int, enhanced: str, text: str) -> Verdict:
    if 400 <= code < 500 or enhanced.startswith("4.") or code < 0:
        return Verdict.RETRY
    if stage in (Stage.CONNECT, Stage.SENDER) or enhanced in _OURS or code in (530, 534, 535, 538):
        return Verdict.CFG
    if _OUR_SENDER.search(text):
        return Verdict.CFG
    if stage is Stage.RECIPIENT:
        if enhanced in _GONE or (not enhanced and _names_nobody(code, text)):
            return Verdict.INV
        if _RELAY.search(text):
            return Verdict.CFG
    return Verdict.RETRY if enhanced in _PASSES else Verdict.DROP


def _limited(code: int, enhanced: str, text: str) -> bool:
    """Whether we send too fast, and the server is otherwise well."""
    return (code == 421 and enhanced.startswith("4.7.")) or bool(_TOO_FAST.search(text))


def _names_nobody(code: int, text: str) -> bool:
    """A 550 without an enhanced code may be a policy as well: only its words tell."""
    return code in (551, 553, 501) or bool(_UNKNOWN.search(text))
