"""What all text messages have in common: a number in E.164, a text that costs by the segment.

GSM 03.38: 160 characters of the GSM alphabet in one segment, 153 in each of several (``^{}\\[~]|€``
count twice); of any other text 70 and 67 UTF-16 units. A character is never split between two.

No module of a provider: it has no ``SENDER``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tidings.problems import ValueProblem
from tidings.sender import Answer, Send, Verdict

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_TWICE = "\f^{}\\[~]|€"
_gsm = re.compile(f"[{re.escape(_BASIC + _TWICE)}]*").fullmatch
_twice = re.compile(f"[{re.escape(_TWICE)}]").findall
_wide = re.compile("[\U00010000-\U0010ffff]").findall

Prefix = Annotated[str, Field(pattern=r"^\+[1-9]\d{0,6}$")]


class SmsSettings(BaseModel):
    """What the settings of every provider of text messages begin with."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    country: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = ""
    """The country of numbers that are written without theirs, as in ``AR``; without it such a
    number is refused."""
    max_segments: Annotated[int, Field(ge=1, le=10)] = 6
    """A text that takes more segments is dropped, and not sent at its price."""
    prices: dict[Prefix, Annotated[float, Field(ge=0)]] = {}
    """What a segment costs in the account's currency, by the number's first digits; the longest
    that fits counts: ``{"+1": 0.0079, "+5411": 0.05}``."""


class Text(NamedTuple):
    """A message that is ready to go. ``cost`` is in millionths."""

    number: str
    body: str
    segments: int
    cost: int


def text_of(send: Send, settings: SmsSettings) -> Text | Answer:
    """The message of ``send``, or the answer where no provider need be asked."""
    number, body = number_of(send, settings.country), body_of(send)
    if isinstance(number, Answer):
        return number
    if isinstance(body, Answer):
        return body
    count = segments(body)
    if count > settings.max_segments:
        detail = f"{count} segments; `max_segments` is {settings.max_segments}"
        return Answer(verdict=Verdict.DROP, code="TextTooLong", detail=detail, segments=count)
    return Text(number, body, count, count * price(number, settings.prices))


def number_of(send: Send, country: str) -> str | Answer:
    """The number of ``send``, or the answer where there is none."""
    given = send.address.value
    number = e164(given, country)
    if number:
        return number
    if not (country or given.startswith("+")):  # the settings lack something, not the person
        detail = "the number has no country code, and the provider's settings no `country`"
        return Answer(verdict=Verdict.DROP, code="NoCountryCode", detail=detail)
    return Answer(verdict=Verdict.INV, code="InvalidNumber", detail="there is no such number")


def body_of(send: Send) -> str | Answer:
    """The text of ``send``, or the answer where it is empty."""
    body = send.content.parts.get("body", "").strip()
    if body:
        return body
    return Answer(verdict=Verdict.DROP, code="EmptyText", detail="the part `body` is empty")


@lru_cache(65_536)  # a number costs 60 µs to check
def e164(number: str, country: str = "") -> str:
    """``number`` as in +5491123456789, or "" where there can be no such."""
    import phonenumbers  # with the numbers of all countries: for those who send

    try:
        parsed = phonenumbers.parse(number, country or None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(parsed):
        return ""
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def segments(text: str) -> int:
    """How many segments ``text`` takes.

    >>> segments("Your code is 481516"), segments("Tu código es 481516 " * 4)
    (1, 2)
    """
    if is_gsm(text):
        return _pieces(text, _TWICE, len(text) + len(_twice(text)), 160, 153)
    return _pieces(text, None, len(text) + len(_wide(text)), 70, 67)


def is_gsm(text: str) -> bool:
    """Whether ``text`` is in the GSM alphabet.

    >>> is_gsm("Tu código"), is_gsm("It costs 5 €")
    (False, True)
    """
    return _gsm(text) is not None


def _pieces(text: str, twice: str | None, size: int, alone: int, each: int) -> int:
    """``twice``: the characters that take two places; None for those beyond U+FFFF."""
    if size <= alone:
        return 1
    count, used = 1, 0
    for character in text:
        width = 1 + (character in twice if twice is not None else character > "\uffff")
        used += width
        if used > each:
            count, used = count + 1, width
    return count


def price(number: str, prices: dict[str, float]) -> int:
    """What a segment to ``number`` costs in millionths; 0 where the table does not say."""
    for length in range(min(len(number), 8), 1, -1):
        found = prices.get(number[:length])
        if found is not None:
            return round(found * 1_000_000)
    return 0


def require_one(settings: BaseModel, first: str, second: str) -> None:
    """Raises ValueProblem unless exactly one of two fields is set."""
    if bool(getattr(settings, first)) == bool(getattr(settings, second)):
        raise ValueProblem("missing-field", f"give either `{first}` or `{second}`, and not both")
