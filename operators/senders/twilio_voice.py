"""Phone calls over Twilio, in which a voice reads the message: a code for whom no text reached.

    providers:
      voice:
        kind: twilio_voice
        account: AC0123456789abcdef0123456789abcdef
        auth_token: env:TWILIO_AUTH_TOKEN
        from: "+15005550006"

Of a rendered message ``body`` is what is read. Four digits and more in a row are a code: they are
read one by one, slowly. All is said again after a pause. The call brings its own TwiML, so Twilio
has to ask us for nothing. What Twilio did not answer for can be asked about: a call to that number
since then is taken for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from tidings.operators.senders.text.sms import body_of, number_of
from tidings.operators.senders.text.twilio_api import Account, Api, terms
from tidings.operators.senders.text.twilio_listed import Wanted
from tidings.operators.senders.text.twilio_receipts import receipts
from tidings.ports import Clock
from tidings.sender import Answer, Done, Send, SenderKind, Verdict

_NAME = "twilio_voice"
_LONGEST_TWIML = 4_000  # characters that Twilio takes in a call
_LONGEST_RING = 600  # seconds
_code = re.compile(r"\d{4,}")
_LANGUAGES = {
    "ca": "ca-ES", "da": "da-DK", "de": "de-DE", "en": "en-US", "es": "es-ES", "fi": "fi-FI",
    "fr": "fr-FR", "it": "it-IT", "ja": "ja-JP", "ko": "ko-KR", "nb": "nb-NO", "nl": "nl-NL",
    "pl": "pl-PL", "pt": "pt-BR", "ru": "ru-RU", "sv": "sv-SE", "zh": "zh-CN",
}  # fmt: skip
_REGIONAL = frozenset(
    {"en-AU", "en-CA", "en-GB", "en-IN", "en-US", "es-ES", "es-MX", "es-US", "fr-CA", "fr-FR",
     "pt-BR", "pt-PT", "zh-CN", "zh-HK", "zh-TW"}
)  # fmt: skip


class Settings(Account):
    """Settings of Twilio's calls."""

    caller: Annotated[str, Field(alias="from", pattern=r"^\+\d{5,15}$")]
    """The number that calls."""
    country: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = ""
    """The country of numbers that are written without theirs, as in ``AR``."""
    voice: Annotated[str, Field(pattern="^[A-Za-z0-9.-]{0,64}$")] = ""
    """Whose voice, as Twilio names it (``Polly.Lupe``); by default Twilio's own of the
    language."""
    languages: Mapping[str, str] = Field(default_factory=dict)
    """The language to read in, by locale, where it is not the usual one: ``{es: es-MX}``."""
    repeat: Annotated[int, Field(ge=1, le=5)] = 2
    """How often the message is said."""
    ring: Annotated[int, Field(ge=5, le=_LONGEST_RING)] = 30
    """Seconds that the phone rings."""
    cost: Annotated[float, Field(ge=0)] = 0.0
    """What a call costs in the account's currency."""


def language(locale: str, own: Mapping[str, str] | None = None) -> str:
    """The language in which Twilio reads a text of this locale; English where it can't.

    >>> language("es-AR"), language("en_GB"), language("es-AR", {"es": "es-MX"})
    ('es-ES', 'en-GB', 'es-MX')
    """
    locale = locale.replace("_", "-")
    parent = locale.partition("-")[0].lower()
    for known in (locale, parent):
        if own and known in own:
            return own[known]
    return locale if locale in _REGIONAL else _LANGUAGES.get(parent, "en-US")


def spelled(text: str) -> str:
    """``text`` with the digits of codes apart, which a voice reads one by one.

    >>> spelled("Your code is 481516. It expires in 10 minutes.")
    'Your code is 4, 8, 1, 5, 1, 6. It expires in 10 minutes.'
    """
    return _code.sub(lambda found: ", ".join(found[0]), text)


def twiml(text: str, locale: str, settings: Settings) -> str:
    """What the call says."""
    from twilio.twiml.voice_response import VoiceResponse

    how = {"language": language(locale, settings.languages)}
    if settings.voice:
        how["voice"] = settings.voice
    response, text = VoiceResponse(), spelled(text)
    for turn in range(settings.repeat):
        if turn:
            response.pause(length=1)
        response.say(text, **how)
    return str(response)


class TwilioVoice:
    """A sender of calls for one account. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._api = Api(settings, "Calls", clock)
        self._cost = round(settings.cost * 1_000_000)

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the secrets. Raises ValueError for one that can't be read."""
        await self._api.open()

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """One call for each."""
        for send in sends:
            self._start(send, done)

    def ask(self, sends: Sequence[Send], done: Done) -> None:
        """One request for each: the calls to its number."""
        settings = self._settings
        for send in sends:
            number, doubt = number_of(send, settings.country), send.doubt
            if isinstance(number, Answer) or doubt is None:
                raise RuntimeError("only what was called is asked about")
            wanted = Wanted(settings.caller, doubt.since)
            self._api.ask(send, number, wanted, done, self._took)

    async def prove(self) -> None:
        """Raises ValueError where Twilio does not accept the credentials."""
        await self._api.prove()

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        await self._api.close()

    def _start(self, send: Send, done: Done) -> None:
        form = self._form(send)
        if isinstance(form, Answer):
            done(send, form)
        else:
            self._api.call(send, form, done, self._took)

    def _form(self, send: Send) -> dict[str, str] | Answer:
        """What the call is made with, or the answer where Twilio need not be asked."""
        settings = self._settings
        number, body = number_of(send, settings.country), body_of(send)
        if isinstance(number, Answer):
            return number
        if isinstance(body, Answer):
            return body
        said = twiml(body, send.content.locale, settings)
        if len(said) > _LONGEST_TWIML:
            detail = f"{len(said)} characters of TwiML; Twilio takes {_LONGEST_TWIML}"
            return Answer(verdict=Verdict.DROP, code="TextTooLong", detail=detail)
        form = {"To": number, "From": settings.caller, "Twiml": said, "Timeout": str(settings.ring)}
        callback = self._api.callback(send)
        return form | {"StatusCallback": callback} if callback else form

    def _took(self, answer: Answer) -> Answer:
        return Answer(verdict=Verdict.OK, provider_id=answer.provider_id, cost=self._cost)


SENDER = SenderKind(_NAME, Settings, TwilioVoice, receipts, terms)
