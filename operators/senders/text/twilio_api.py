"""Twilio's REST API, as its senders call it: one POST of a form, one answer in JSON.

The SDK's client makes a call at a time in 400 µs and more, and its exceptions lose Retry-After, so
the calls are ours; of the SDK we use TwiML and the validation of callbacks. Nothing is sent again
here: a call that was written and not answered may have been acted on.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self
from urllib.parse import urlencode

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidings.callbacks import Callback, reference_of
from tidings.durations import PositiveDuration
from tidings.http2 import Failure, Fate
from tidings.operators.senders.proof import proved_by_call
from tidings.operators.senders.push.mix_up import MixUp
from tidings.operators.senders.text.twilio_listed import PAGE, Wanted, found, read_page
from tidings.ports import Clock
from tidings.problems import ValueProblem
from tidings.redaction import text_redacted
from tidings.secret import Secret
from tidings.sender import Answer, Done, Send, Terms, Verdict

if TYPE_CHECKING:
    from tidings.http1 import Pool, Result

_GRACE = 2.0  # seconds to finish when closing


class Account(BaseModel):
    """The account, and how to reach Twilio."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    account: Annotated[str, Field(pattern="^AC[0-9a-f]{32}$")]
    """The account's SID."""
    auth_token: Secret | None = None
    """The account's auth token. It signs callbacks, and calls where there is no `api_key`."""
    api_key: Annotated[str, Field(pattern="^(SK[0-9a-f]{32})?$")] = ""
    """An API key's SID, in place of the auth token for calls: a key can be revoked alone."""
    api_secret: Secret | None = None
    """That key's secret."""
    callback: Callback | None = None
    """Where Twilio sends its receipts."""
    url: Annotated[str, Field(pattern="^https?://[^/?#]+$")] = "https://api.twilio.com"
    """Another region's address than Twilio's usual one, or a test's."""
    ca: Path | None = None
    """Whom to trust instead of the system's authorities, a PEM file."""
    connections: Annotated[int, Field(ge=1, le=1_000)] = 100
    """How many; each carries one call at a time."""
    warm: Annotated[int, Field(ge=0, le=1_000)] = 2
    """Connections that are made before there is a message, and again after a silence; 0 for none.
    A message never waits for them."""
    timeout: PositiveDuration = 10_000
    """From a call to its answer; what takes longer may have been acted on."""
    wait: PositiveDuration = 3_000
    """How long a call waits for a connection before it is given back."""
    settles: PositiveDuration = 15_000
    """When a call without an answer is so old, and Twilio lists no such message, it is believed
    that it has none; for a lane that asks (``on_uncertain: ask``)."""

    @model_validator(mode="after")
    def _some_key(self) -> Self:
        if bool(self.api_key) != bool(self.api_secret):
            raise ValueProblem("missing-field", "`api_key` and `api_secret` go together")
        if not (self.api_key or self.auth_token):
            raise ValueProblem("missing-field", "give `auth_token`, or `api_key` with `api_secret`")
        if self.callback is not None and self.auth_token is None:
            raise ValueProblem(
                "missing-field", "`callback` needs `auth_token`: Twilio signs callbacks with it"
            )
        return self


def terms(settings: Account) -> Terms:
    """What an account grants: that it is asked about what it may have."""
    return Terms(settles_ms=settings.settles)


# ── What is answered ──────────────────────────────────────────────────────────────────────────


class _Said(msgspec.Struct):
    """Of an answer's body what we look at; ``code`` and ``message`` come with a refusal."""

    sid: str = ""
    num_segments: str | None = None
    code: int | None = None
    message: str | None = None


class _Shown(msgspec.Struct):
    """Of an account."""

    status: str = ""
    type: str = ""


_decode_account = msgspec.json.Decoder(_Shown).decode
_decode = msgspec.json.Decoder(_Said).decode

_CODES = {
    **dict.fromkeys(
        (
            21211,  # no valid number
            21217,  # the same, for a call
            21214,  # a call can't reach it
            13223,  # a call's number is malformed
            13224,  # the same, by its length
            30004,  # message blocked by its owner
            30005,  # unknown number
        ),
        Verdict.INV,
    ),
    21610: Verdict.INV,  # answered STOP to us: see ``classify``
    21614: Verdict.INV,  # not a mobile number
    21635: Verdict.INV,  # a landline
    30006: Verdict.INV,  # a landline, or a carrier that can't be reached
    **dict.fromkeys(
        (
            20003,  # wrong credentials
            20005,  # the account is not active
            20404,  # no such account
            21210,  # the caller's number is not ours
            21212,  # the sender is no number
            21606,  # the sender can't send messages there
            21609,  # a status callback that is no address
            21621,
            21659,  # the sender is not ours
            21701,  # no such messaging service
            21703,  # it has no senders
            21704,
            21705,
            30002,  # the account is suspended
            30034,  # the sender is not registered with the carriers
        ),
        Verdict.CFG,
    ),
    **dict.fromkeys(
        (
            14107,  # too many messages of one sender
            20429,  # too many calls
            21611,  # the sender's queue is full
            30001,  # the account's queue is full
            30022,  # the carrier's daily quota
        ),
        Verdict.RETRY,
    ),
}
_PLACES = frozenset({21215, 21408, 21612})  # a country, or a pair of numbers, we may not serve
STOPPED = 21610  # the person answered STOP
TEXTLESS = frozenset({21614, 21635, 30006})  # such a number takes calls, and no texts
FILTERED = 30007  # by the carriers, for what it says
_STATUSES = {
    **dict.fromkeys(range(400, 500), Verdict.DROP),
    **dict.fromkeys((401, 403, 404, 405, 407), Verdict.CFG),
    **dict.fromkeys((408, 425, 429, *range(500, 600)), Verdict.RETRY),
}


def classify(status: int, code: int, message: str = "", retry_after: str = "") -> Answer:
    """What a refusal means, by Twilio's code, else by the status.

    A landline stays with its person: a voice can reach it.

    A country that is not switched on (21408) drops its own messages; see ``Api`` for when it is
    more than that. What Twilio says quotes numbers, so it is kept without them.
    """
    verdict = _CODES.get(code) or _STATUSES.get(status, Verdict.CFG)
    if code in _PLACES or code == FILTERED:
        verdict = Verdict.DROP
    return Answer(
        verdict=verdict,
        code=str(code or status),
        detail=text_redacted(message)[:300],
        limited=verdict is Verdict.RETRY and (code in _CODES or status == 429),
        retry_after_ms=int(retry_after[:6]) * 1000 if retry_after.isdigit() else -1,
        suppress="stop" if code == STOPPED else "landline" if code in TEXTLESS else "",
    )


# ── Calls ─────────────────────────────────────────────────────────────────────────────────────


class Api:
    """Calls of one account to one resource (``Messages``, ``Calls``). All on the lane's loop."""

    def __init__(self, settings: Account, resource: str, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._path = f"/2010-04-01/Accounts/{settings.account}/{resource}.json"
        self._places = MixUp()
        self._headers: Mapping[str, str] = {}
        self._pool: Pool | None = None
        self._key = b""

    async def open(self) -> None:
        """Read the secrets and make ready. Raises ValueError for one that can't be read."""
        from tidings.http1 import Limits, Pool  # takes 0.2 s and 25 MB: for those who send

        settings = self._settings
        user, secret = settings.account, settings.auth_token
        if settings.api_secret is not None:
            user, secret = settings.api_key, settings.api_secret
        assert secret is not None, "the settings ask for one"
        if settings.callback is not None:
            self._key = settings.callback.signing_key()
        credentials = b64encode(f"{user}:{secret.read().strip()}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "tidings",
        }
        limits = Limits(
            connections=settings.connections,
            warm=settings.warm,
            wait=settings.wait / 1000,
            timeout=settings.timeout / 1000,
        )
        self._pool = Pool(settings.url, limits, tls=_trust(settings))
        await self._pool.open()

    async def prove(self) -> None:
        """Raises ValueError where Twilio does not accept the credentials.

        The account itself, and whether it may reach everybody, is shown to its token alone; a key
        is asked for the last of what it is to make.
        """
        assert self._pool is not None
        if self._settings.api_key:
            await proved_by_call(self._pool, f"{self._path}?PageSize=1", self._headers)
            return
        path = f"/2010-04-01/Accounts/{self._settings.account}.json"
        if why := unfit(await proved_by_call(self._pool, path, self._headers)):
            raise ValueError(why)

    async def close(self) -> None:
        """Let calls end for a moment, and let go."""
        if self._pool is not None:
            await self._pool.close(_GRACE)

    def callback(self, send: Send) -> str:
        """The address for the receipts of ``send``; "" where nobody asked for them."""
        callback, reference = self._settings.callback, reference_of(send)
        if callback is None or reference is None:
            return ""
        glue = "&" if "?" in callback.url else "?"
        return f"{callback.url}{glue}ref={reference.signed(self._key)}"

    def call(
        self, send: Send, form: Mapping[str, str], done: Done, took: Callable[[Answer], Answer]
    ) -> None:
        """Make the call of ``send``; ``took`` finishes the answer of one that Twilio accepted."""
        if self._pool is None:
            raise RuntimeError("the sender is not open")
        body = urlencode(form).encode()

        def answered(result: Result) -> None:
            answer = self._answer(result)
            done(send, took(answer) if answer.verdict is Verdict.OK else answer)

        self._pool.request("POST", self._path, self._headers, body, answered)

    def ask(
        self, send: Send, to: str, wanted: Wanted, done: Done, took: Callable[[Answer], Answer]
    ) -> None:
        """Look for what is wanted among the newest to a number; ``took`` finishes the answer where
        it is there."""
        if self._pool is None:
            raise RuntimeError("the sender is not open")
        query = urlencode({"To": to, "PageSize": PAGE})

        def answered(result: Result) -> None:
            answer = _looked_up(result, wanted)
            done(send, took(answer) if answer.verdict is Verdict.OK else answer)

        self._pool.request("GET", f"{self._path}?{query}", self._headers, None, answered)

    def _answer(self, result: Result) -> Answer:
        if isinstance(result, Failure):
            unsent = result.fate is Fate.NOT_SENT
            return Answer(
                verdict=Verdict.RETRY if unsent else Verdict.AMB,
                code="NotSent" if unsent else "NoAnswer",
                detail=result.why,
            )
        try:
            said = _decode(result.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = _Said()
        if 200 <= result.status < 300:
            self._places.look(self._clock.now())
            self._places.good += 1
            count = said.num_segments or ""
            return Answer(
                verdict=Verdict.OK,
                provider_id=said.sid,
                segments=int(count) if count.isdigit() else 0,
            )
        code, wait = said.code or 0, result.headers.get("Retry-After", "")
        answer = classify(result.status, code, said.message or "", wait)
        if code in _PLACES and self._places.bad(self._clock.now()):
            detail = "so are most of the last: are the countries you serve switched on at Twilio?"
            return msgspec.structs.replace(answer, verdict=Verdict.CFG, detail=detail)
        return answer


def _looked_up(result: Result, wanted: Wanted) -> Answer:
    """What an answer to a question says."""
    if isinstance(result, Failure):
        return Answer(verdict=Verdict.AMB, code="NoAnswer", detail=result.why)
    if not 200 <= result.status < 300:
        code = str(result.status)
        wait = result.headers.get("Retry-After", "")
        refused = classify(result.status, 0, "", wait)
        if refused.verdict is Verdict.RETRY:
            return msgspec.structs.replace(refused, verdict=Verdict.AMB)
        # A key that may send and not read; where the credentials are wrong, a send says so.
        return Answer(verdict=Verdict.DROP, code=code, detail="the list may not be read")
    try:
        return found(read_page(result.body), wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Answer(verdict=Verdict.AMB, code="NoAnswer", detail=f"its list is none: {error}")


def unfit(body: bytes) -> str:
    """Why an account can't reach everybody, by what Twilio shows of it; "" where it can."""
    try:
        shown = _decode_account(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"its answer is not that of an account: {error}"
    if shown.status not in ("", "active"):
        return f"the account is {shown.status}"
    if shown.type == "Trial":
        return "it is a trial account, and reaches verified numbers alone: upgrade it at Twilio"
    return ""


def _trust(settings: Account) -> ssl.SSLContext | None:
    if settings.ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise ValueError(f"can't use the CA file {settings.ca}: {error}") from None
