"""Text messages over Amazon's SNS.

    providers:
      sns:
        region: us-east-1
        sender_id: Example
        promotional: [marketing]
        max_price: 0.05

One call a message, with Amazon's own signature and our connections: boto3 sends a call again when
its answer is lost. Of a rendered message ``body`` is the text. SNS keeps no message until it
expires and calls nobody back; what became of a message stands in CloudWatch alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import msgspec
from pydantic import Field

from tidings.durations import PositiveDuration
from tidings.http2 import Failure, Fate
from tidings.operators.senders.aws_signer import Signer
from tidings.operators.senders.proof import answered, told
from tidings.operators.senders.push.mix_up import MixUp
from tidings.operators.senders.text.sms import SmsSettings, Text, text_of
from tidings.ports import Clock
from tidings.redaction import text_redacted
from tidings.secret import Secret
from tidings.sender import Answer, Done, NotAccepted, Send, SenderKind, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Result

_NAME = "sns"
_GRACE = 2.0  # seconds to finish when closing
_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_NOBODY = "+0"  # no country's numbers begin so
_SANDBOX = b"Action=GetSMSSandboxAccountStatus&Version=2010-03-31"


class Settings(SmsSettings):
    """Settings of SNS."""

    region: Annotated[str, Field(pattern="^[a-z0-9-]{1,32}$")]
    """The region, such as ``us-east-1``; not all send text messages."""
    sender_id: Annotated[str, Field(pattern="^([A-Za-z0-9-]{1,11})?$")] = ""
    """The name that people see, where their country allows it."""
    origination: Annotated[str, Field(pattern=r"^(\+?\d{4,15})?$")] = ""
    """The number that sends, of those you have at Amazon."""
    promotional: frozenset[str] = frozenset()
    """Categories sent at Amazon's lower price and reliability; all others are transactional."""
    max_price: Annotated[float, Field(ge=0)] = 0.0
    """Dollars above which Amazon sends no message; 0 for the account's own limit."""
    access_key_id: str = ""
    """A key of its own; by default what Amazon's tools find: environment, profile, role."""
    secret_access_key: Secret | None = None
    """That key's secret."""
    profile: str = ""
    """A profile of Amazon's own configuration files."""
    endpoint: str = ""
    """Another address than Amazon's, for tests and private endpoints."""
    connections: Annotated[int, Field(ge=1, le=1_000)] = 50
    """How many; each carries one call at a time."""
    warm: Annotated[int, Field(ge=0, le=1_000)] = 2
    """Connections that are made before there is a message, and again after a silence; 0 for none.
    A message never waits for them."""
    timeout: PositiveDuration = 10_000
    """From a call to its answer; what takes longer may have been sent."""
    wait: PositiveDuration = 3_000
    """How long a call waits for a connection before it is given back."""


# ── What is sent, and what is answered ────────────────────────────────────────────────────────


def form(text: Text, category: str, settings: Settings) -> bytes:
    """The body of a call to ``Publish``, as Amazon's query protocol has it."""
    kind = "Promotional" if category in settings.promotional else "Transactional"
    attributes = [("AWS.SNS.SMS.SMSType", "String", kind)]
    if settings.sender_id:
        attributes.append(("AWS.SNS.SMS.SenderID", "String", settings.sender_id))
    if settings.origination:
        attributes.append(("AWS.MM.SMS.OriginationNumber", "String", settings.origination))
    if settings.max_price:
        attributes.append(("AWS.SNS.SMS.MaxPrice", "Number", f"{settings.max_price:.5f}"))
    fields = {
        "Action": "Publish",
        "Version": "2010-03-31",
        "PhoneNumber": text.number,
        "Message": text.body,
    }
    for place, (name, data_type, value) in enumerate(attributes, start=1):
        entry = f"MessageAttributes.entry.{place}"
        fields[f"{entry}.Name"] = name
        fields[f"{entry}.Value.DataType"] = data_type
        fields[f"{entry}.Value.StringValue"] = value
    return urlencode(fields).encode()


_BAD_PARAMETER = frozenset(
    {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationError"}
)
_MOST = (
    "so are most of the last: does `region` send text messages, are `sender_id` and `origination` "
    "your own?"
)
_CODES = {
    **dict.fromkeys(("EndpointDisabled", "NotFound", "OptedOut"), Verdict.INV),
    **dict.fromkeys(_BAD_PARAMETER, Verdict.DROP),
    **dict.fromkeys(
        ("InternalError", "InternalFailure", "ServiceUnavailable", "RequestTimeout"),
        Verdict.RETRY,
    ),
    **dict.fromkeys(
        ("Throttled", "Throttling", "ThrottlingException", "KMSThrottling", "LimitExceeded"),
        Verdict.RETRY,
    ),
}
_LIMITED = frozenset({"Throttled", "Throttling", "ThrottlingException", "KMSThrottling"})
_STOPPED = "OptedOut"
_opted_out = re.compile(r"opted[ -]?out", re.I).search
_code = re.compile(r"<Code>\s*([^<]{1,100}?)\s*</Code>").search
_message = re.compile(r"<Message>([^<]{0,1000})</Message>").search
_sandboxed = re.compile(rb"<IsInSandbox>\s*true").search
_message_id = re.compile(r"<MessageId>\s*([^<]{1,100}?)\s*</MessageId>").search


def classify(status: int, body: bytes) -> Answer:
    """What a refusal means, by Amazon's code, else by the status.

    A parameter that is not valid is the number's fault where the message says so; see ``Sns`` for
    when it is not. What Amazon says quotes numbers, so it is kept without them.
    """
    xml = body.decode(errors="replace")
    found, said = _code(xml), _message(xml)
    code = found[1] if found else ""
    detail = unescape(said[1]) if said else ""
    verdict = _CODES.get(code)
    stopped = code == _STOPPED or (code in _BAD_PARAMETER and _opted_out(detail) is not None)
    if verdict is None:
        verdict = Verdict.RETRY if status >= 500 or status == 429 else Verdict.CFG
    elif stopped or (verdict is Verdict.DROP and "phonenumber" in detail.replace(" ", "").lower()):
        verdict = Verdict.INV
    return Answer(
        verdict=verdict,
        code=code or str(status),
        detail=text_redacted(detail)[:300],
        limited=code in _LIMITED or (status == 429 and verdict is Verdict.RETRY),
        suppress="stop" if stopped else "",
    )


# ── The sender ────────────────────────────────────────────────────────────────────────────────


class Sns:
    """A sender of text messages for one account and region. All on the lane's loop."""

    name = _NAME

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._mix_up = MixUp()
        self._pool: Pool | None = None
        self._signer: Signer
        self._refreshing: asyncio.Task[None] | None = None
        self._held: list[tuple[Send, Text, Done]] = []

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Find credentials and make ready. Raises ValueError for settings that can't be used."""
        from tidings.http1 import Limits, Pool  # takes 0.2 s and 25 MB: for those who send

        settings = self._settings
        key = None
        if settings.secret_access_key is not None:
            key = (settings.access_key_id, settings.secret_access_key.read().strip(), "")
        self._signer = await loop.run_in_executor(
            None,
            partial(
                Signer.of,
                settings.region,
                profile=settings.profile,
                endpoint=settings.endpoint,
                key=key,
                service="sns",
            ),
        )
        limits = Limits(
            connections=settings.connections,
            warm=settings.warm,
            wait=settings.wait / 1000,
            timeout=settings.timeout / 1000,
        )
        self._pool = Pool(self._signer.endpoint, limits)
        await self._pool.open()

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """One call for each."""
        ready = []
        for send in sends:
            text = text_of(send, self._settings)
            if isinstance(text, Answer):
                done(send, text)
            else:
                ready.append((send, text, done))
        if self._refreshing is None and not self._signer.stale:
            self._post(ready)
            return
        self._held += ready
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def prove(self) -> None:
        """Raises ValueError where Amazon does not accept the credentials, for ``Publish``, or the
        settings; and where it tells that the account sends to verified numbers alone. A key need
        not have the right to ask for that."""
        assert self._pool is not None
        nobody = Text(_NOBODY, "tidings check", 1, 0)
        body = form(nobody, "", self._settings)
        said = await answered(self._pool, "/", self._signer.headers("/", body, _FORM), body)
        if said.status != 200:
            answer = classify(said.status, said.body)
            if answer.verdict is not Verdict.INV:
                refused = answer.verdict is not Verdict.RETRY
                kind = NotAccepted if refused else ValueError
                raise kind(told(answer.code, answer.detail))
        headers = self._signer.headers("/", _SANDBOX, _FORM)
        if _sandboxed((await answered(self._pool, "/", headers, _SANDBOX)).body):
            raise ValueError(
                "the account is in SNS' sandbox for texts in this region, and sends to verified "
                "numbers alone: ask Amazon to move it out"
            )

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing], timeout=_GRACE)
        self._give_back(Answer(verdict=Verdict.RETRY, code="NotSent", detail="closed"))
        if self._pool is not None:
            await self._pool.close(_GRACE)

    async def _refresh(self) -> None:
        """Fetch the credentials anew, off the loop, and send what waited for them."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._signer.refresh)
        except ValueError as error:
            self._give_back(Answer(verdict=Verdict.CFG, code="NoCredentials", detail=str(error)))
        self._refreshing = None
        held, self._held = self._held, []
        self._post(held)

    def _give_back(self, answer: Answer) -> None:
        held, self._held = self._held, []
        for send, _, done in held:
            done(send, answer)

    def _post(self, ready: Sequence[tuple[Send, Text, Done]]) -> None:
        assert self._pool is not None
        for send, text, done in ready:
            body = form(text, send.category, self._settings)
            headers = self._signer.headers("/", body, _FORM)
            answered = partial(self._answered, send, text, done)
            self._pool.request("POST", "/", headers, body, answered)

    def _answered(self, send: Send, text: Text, done: Done, result: Result) -> None:
        if isinstance(result, Failure):
            unsent = result.fate is Fate.NOT_SENT
            answer = Answer(
                verdict=Verdict.RETRY if unsent else Verdict.AMB,
                code="NotSent" if unsent else "NoAnswer",
                detail=result.why,
            )
        elif result.status == 200:
            self._mix_up.look(self._clock.now())
            self._mix_up.good += 1
            found = _message_id(result.body.decode(errors="replace"))
            answer = Answer(
                verdict=Verdict.OK,
                provider_id=found[1] if found else "",
                segments=text.segments,
                cost=text.cost,
            )
        else:
            answer = classify(result.status, result.body)
            bad = answer.code in _BAD_PARAMETER and not answer.suppress
            if bad and self._mix_up.bad(self._clock.now()):
                answer = msgspec.structs.replace(answer, verdict=Verdict.CFG, detail=_MOST)
        done(send, answer)


SENDER = SenderKind(_NAME, Settings, Sns)
