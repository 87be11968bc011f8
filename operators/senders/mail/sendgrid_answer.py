"""What SendGrid says, and what it means.

A call is taken whole or refused whole. A refusal (400) names the field that it is about, such as
``personalizations.3.to.0.email``: that one is to blame, the others can go again. What is about a
field that comes from our settings stops the provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tidings.operators.senders.retry_after import wait_ms
from tidings.sender import Answer, Verdict

_PLACE = re.compile(r"personalizations(?:\.(\d+)|\[(\d+)\])(?:\.([a-z_]+))?")
_SETTINGS = frozenset(
    {"from", "reply_to", "ip_pool_name", "template_id", "asm", "tracking_settings", "categories"}
)
_STATUSES = {
    **dict.fromkeys((400, 413), Verdict.DROP),
    **dict.fromkeys((401, 403, 404, 405, 406, 415), Verdict.CFG),
    **dict.fromkeys((408, 429, 500, 503), Verdict.RETRY),
    **dict.fromkeys((502, 504), Verdict.AMB),  # a gateway's: what stands behind it may have acted
}


class _Error(msgspec.Struct):
    message: str = ""
    field: str | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


class _Scopes(msgspec.Struct):
    scopes: list[str] = []


SCOPE = "mail.send"
"""What a key must be allowed to do."""

_decode_scopes = msgspec.json.Decoder(_Scopes).decode
_decode = msgspec.json.Decoder(_Errors).decode


class Refusal(NamedTuple):
    """Why a call was not taken.

    ``guilty``: the personalizations that are to blame, by their place, with the answer of each.
    ``answer`` is that of all where none is named. ``divisible`` tells that it is about the mails
    and not about us, so that a part of them may be taken.
    """

    answer: Answer
    guilty: Mapping[int, Answer]
    divisible: bool


def refusal(status: int, body: bytes, headers: Mapping[str, str], now: int) -> Refusal:
    """What an answer other than 202 means; ``now`` is epoch ms."""
    try:
        errors = _decode(body).errors
    except (msgspec.DecodeError, UnicodeDecodeError):
        errors = []
    first = errors[0] if errors else _Error()
    verdict = _STATUSES.get(status)
    if verdict is None:
        verdict = Verdict.AMB if status >= 500 else Verdict.CFG
    if status == 400:
        guilty = {}
        for error in errors:
            found = _PLACE.match(error.field or "")
            if found is not None:
                guilty[int(found[1] or found[2])] = _personal(error, found[3] or "")
        if guilty:
            return Refusal(_answer(Verdict.DROP, status, first), guilty, divisible=True)
        if any((error.field or "").partition(".")[0] in _SETTINGS for error in errors):
            verdict = Verdict.CFG
    answer = _answer(verdict, status, first)
    if status == 429:
        answer = msgspec.structs.replace(answer, limited=True, retry_after_ms=_reset(headers, now))
    return Refusal(answer, {}, divisible=verdict is Verdict.DROP)


def _personal(error: _Error, part: str) -> Answer:
    """What is said of one personalization: a bad address is dead, else it is a bad mail."""
    return _answer(Verdict.INV if part == "to" else Verdict.DROP, 400, error)


def _answer(verdict: Verdict, status: int, error: _Error) -> Answer:
    return Answer(verdict=verdict, code=error.field or str(status), detail=error.message)


def _reset(headers: Mapping[str, str], now: int) -> int:
    """The wait until X-RateLimit-Reset (epoch seconds), or as Retry-After says; -1 for neither."""
    reset = headers.get("x-ratelimit-reset", "")
    if reset.isdigit() and len(reset) <= 12:
        return max(int(reset) * 1000 - now, 0)
    return wait_ms(headers.get("retry-after", "").encode("latin-1"), now)


def scopes(body: bytes) -> frozenset[str]:
    """What a key may do, as ``/v3/scopes`` lists it; nothing where that can't be read."""
    try:
        return frozenset(_decode_scopes(body).scopes)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return frozenset()
