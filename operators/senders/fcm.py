"""Google's push service (FCM, HTTP v1): Android, browsers, and iPhones behind it.

    providers:
      fcm:
        key: env:FCM_KEY             # the service account's JSON; without it Application Default

One request a device, over a few HTTP/2 connections. What is sent is in `fcm_message`, what is
answered in `fcm_answer`, whom we are in `fcm_token`. A send that finds no token waits a moment for
the one that is being asked for; one whose token was refused is made once more with a new one.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from pydantic import Field

from tidings.http2 import Head, Pool, Request, Response, Result
from tidings.operators.senders.proof import proved_by_push
from tidings.operators.senders.push import fcm_token
from tidings.operators.senders.push.fcm_answer import NOT_OURS, classify, message_id
from tidings.operators.senders.push.fcm_message import Composer, Label, TooLarge, target
from tidings.operators.senders.push.fcm_token import AccessToken, Account
from tidings.operators.senders.push.mix_up import MixUp
from tidings.operators.senders.push.push_marks import Marks
from tidings.operators.senders.push.road import GRACE, RoadSettings, unanswered
from tidings.operators.senders.retry_after import wait_ms
from tidings.ports import Clock
from tidings.rates import parse_rate
from tidings.secret import Secret
from tidings.sender import Answer, Done, Send, SenderKind, Terms, Verdict

_NAME = "fcm"
_HOST = "fcm.googleapis.com"
_LARGEST_INDEXED = 3_000  # bytes of a token that the server's compression table has room for
_MAY_SAY_WHEN = (429, 500, 503)
_UNAUTHENTICATED = "UNAUTHENTICATED"
_OK = Verdict.OK  # a member of an enum costs 0.1 µs to name


class Settings(RoadSettings):
    """Settings of FCM."""

    key: Secret | None = None
    """The service account's key, the JSON that the Firebase console gives: ``file:PATH`` or
    ``env:NAME``. Without it Google's Application Default credentials are taken."""
    project: Annotated[str, Field(pattern="^([a-z0-9.:-]{1,100})?$")] = ""
    """The Firebase project's id; by default the key's."""
    label: Label = "category"
    """The analytics label of a message: its ``category``, its ``send_id`` (for an export to
    BigQuery; Firebase's own reports know 100 labels a day), or ``none``."""
    dry_run: bool = False
    """FCM checks each message, and delivers none."""
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    """How many; Google takes 100 sends at once on each."""


class _Try(msgspec.Struct, gc=False):
    """One send on its way: what is needed when its answer comes."""

    send: Send
    done: Done
    token: str
    last: bool


class Fcm:
    """A sender for one project. All on the lane's loop, but for asking Google for tokens."""

    name = _NAME

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        random: Callable[[], float] = random.random,
        tls: ssl.SSLContext | None = None,
        account: Callable[[Secret | None], Account] = fcm_token.account,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._tls = tls
        self._account = account
        self._composer = Composer(
            label=settings.label, dry_run=settings.dry_run, store=settings.store
        )
        self._marks = Marks()
        self._mix_up = MixUp()
        self._access: AccessToken | None = None
        self._pool: Pool | None = None
        self._path = b""
        self._head: Head | None = None
        self._head_token = ""
        self._held: list[tuple[Send, Done, bool]] = []  # they wait for a token
        self._patience: asyncio.TimerHandle | None = None

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the key, ask for a token and connect.

        Raises ValueError for credentials, a project or a CA that can't be used. Google away is no
        reason not to start.
        """
        settings = self._settings
        self._loop = loop
        self._marks = settings.marks()
        account = await asyncio.to_thread(self._account, settings.key)
        project = settings.project or account.project
        if not project:
            raise ValueError("FCM needs a project: these credentials name none, set `project`")
        self._path = f"/v1/projects/{project}/messages:send".encode()
        self._access = AccessToken(account.ask, self._clock.now, self._release)
        self._access.current(self._clock.now())
        self._pool = settings.pool(_HOST, self._tls, loop, self._random)
        await self._pool.open()
        await self._access.asked(settings.timeout / 1000)

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends, in one write for each connection."""
        self._start(sends, done, last=False)

    async def prove(self) -> None:
        """Raises ValueError where Google does not accept the account or the project."""
        await proved_by_push(self, "tidings-check", "android", self._clock.now())

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        if self._access is not None:
            self._access.close()
        self._give_back("the sender is closing")
        if self._pool is not None:
            await self._pool.close(GRACE)
        self._give_back("the sender is closing")

    # ── Going out ─────────────────────────────────────────────────────────────────────────────

    def _start(self, sends: Sequence[Send], done: Done, *, last: bool) -> None:
        if self._pool is None or self._access is None:
            raise RuntimeError("the sender is not open")
        now = self._clock.now()
        self._mix_up.look(now)
        token = self._access.current(now)
        if not token:
            self._hold(sends, done, last)
            return
        if token != self._head_token or self._head is None:
            self._head, self._head_token = self._make_head(token), token
        requests = []
        for send in sends:
            made = self._request(send, done, now, last)
            if isinstance(made, Answer):
                done(send, made)
            else:
                requests.append(made)
        self._pool.submit(requests)

    def _request(self, send: Send, done: Done, now: int, last: bool) -> Request | Answer:
        """The request of a send, or the answer where FCM need not be asked."""
        assert self._head is not None
        try:
            to = target(send.address.value)
        except ValueError as error:
            return Answer(verdict=Verdict.INV, code="INVALID_ARGUMENT", detail=str(error))
        try:
            body = self._composer.compose(send, to, now, self._marks.of(send))
        except TooLarge as error:
            return Answer(verdict=Verdict.DROP, code="PayloadTooLarge", detail=str(error))
        except (TypeError, ValueError) as error:
            return Answer(verdict=Verdict.DROP, code="BadMessage", detail=str(error))
        attempt = _Try(send, done, self._head_token, last)
        return Request(self._head, self._path, b"", body, attempt, self._answered)

    def _make_head(self, token: str) -> Head:
        authority = self._settings.authority(_HOST)
        kind = (b"content-type", b"application/json")
        bearer = (b"authorization", b"Bearer " + token.encode())
        # A thousand bytes of token are sent once a connection, and are one byte from then on.
        if len(token) <= _LARGEST_INDEXED:
            return Head(authority, indexed=(kind, bearer))
        return Head(authority, indexed=(kind,), plain=(bearer,))

    # ── Waiting for a token ───────────────────────────────────────────────────────────────────

    def _hold(self, sends: Sequence[Send], done: Done, last: bool) -> None:
        assert self._access is not None
        self._held += [(send, done, last) for send in sends]
        if not self._access.asking:
            self._give_back(self._access.failure)
        elif self._patience is None:
            self._patience = self._loop.call_later(
                self._settings.wait / 1000, self._give_back, "Google has not given us a token yet"
            )

    def _release(self) -> None:
        """There is a token, or there is none to be had."""
        held, self._held = self._held, []
        self._impatient()
        together: dict[tuple[Done, bool], list[Send]] = {}
        for send, done, last in held:
            together.setdefault((done, last), []).append(send)
        for (done, last), sends in together.items():
            self._start(sends, done, last=last)

    def _give_back(self, why: str) -> None:
        held, self._held = self._held, []
        self._impatient()
        refused = self._access is not None and self._access.refused
        answer = Answer(
            verdict=Verdict.CFG if refused else Verdict.RETRY, code="NoAccessToken", detail=why
        )
        for send, done, _ in held:
            done(send, answer)

    def _impatient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    # ── Coming back ───────────────────────────────────────────────────────────────────────────

    def _answered(self, attempt: _Try, result: Result) -> None:
        if not isinstance(result, Response):
            answer = unanswered(result)
        elif result.status == 200:
            self._mix_up.good += 1
            answer = Answer(verdict=_OK, provider_id=message_id(result.body))
        else:
            refusal = self._refusal(attempt, result)
            if refusal is None:
                self._start([attempt.send], attempt.done, last=True)
                return
            answer = refusal
        attempt.done(attempt.send, answer)

    def _refusal(self, attempt: _Try, response: Response) -> Answer | None:
        """What a refusal means, with its consequence carried out; None to send once more."""
        assert self._access is not None
        now = self._clock.now()
        says_when = response.status in _MAY_SAY_WHEN
        wait = wait_ms(response.header(b"retry-after"), now) if says_when else -1
        answer = classify(response.status, response.body, wait=wait)
        if response.status == 401 and answer.code in (_UNAUTHENTICATED, "401"):
            if not attempt.last and self._access.renew(attempt.token, now):
                return None
            detail = answer.detail or "FCM does not take the token that Google gave us"
            return msgspec.structs.replace(answer, detail=detail)
        if answer.verdict is Verdict.INV and answer.code in NOT_OURS and self._mix_up.bad(now):
            return msgspec.structs.replace(
                answer,
                verdict=Verdict.CFG,
                detail="so are most of the last: are they another project's tokens?",
            )
        return answer


_TERMS = Terms(parse_rate("600000/min"), counts_limited=False)  # a project's, unless raised

SENDER = SenderKind(_NAME, Settings, Fcm, terms=lambda settings: _TERMS)
