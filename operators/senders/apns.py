"""Apple's push service (APNs), by provider token; or by certificate, as MDM needs it.

    providers:
      apns:
        key: env:APNS_KEY            # the text of the .p8 file; or file:PATH
        key_id: ABC123DEFG
        team_id: DEF123GHIJ
        topic: com.example.app

One request a device, over a few HTTP/2 connections. What is sent is in `apns_message`, what is
answered in `apns_answer`, who we are in `apns_settings`. What concerns a connection or the token is
seen to here: a token that has expired is signed anew and its sends are made once more, a connection
that says it is unwell is replaced.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence

import msgspec

from tidings.http2 import Head, Pool, Request, Response, Result, literal
from tidings.operators.senders.proof import proved_by_push
from tidings.operators.senders.push.apns_answer import MIXED_UP, UNWELL, classify
from tidings.operators.senders.push.apns_message import (
    RULES,
    PushType,
    apns_id,
    collapse_id,
    payload,
    priority,
    topic,
)
from tidings.operators.senders.push.apns_settings import HOSTS, Settings
from tidings.operators.senders.push.apns_token import ProviderToken
from tidings.operators.senders.push.mix_up import MixUp
from tidings.operators.senders.push.push_marks import Marks, forms
from tidings.operators.senders.push.road import GRACE, unanswered
from tidings.operators.senders.retry_after import wait_ms
from tidings.ports import Clock
from tidings.sender import Answer, Done, Send, SenderKind, Verdict

_NAME = "apns"
_LONGEST_TOKEN = 200  # characters; Apple's are 64 today, and say that they may grow
_REST = 60.0  # seconds for a connection that has seen too many tokens
_MOST_HEADS = 256
_MAY_SAY_WHEN = (429, 503)

_ID = literal(b"apns-id", bytes(36))[:-36]  # the id itself follows
_DO_NOT_STORE = literal(b"apns-expiration", b"0")

_encode = msgspec.json.Encoder().encode


class _Try(msgspec.Struct, gc=False):
    """One send on its way: what is needed when its answer comes."""

    send: Send
    done: Done
    apns_id: str
    token: str
    last: bool


class Apns:
    """A sender for one team. All on the lane's loop."""

    name = _NAME

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        random: Callable[[], float] = random.random,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._tls = tls
        self._mix_up = MixUp()
        self._marks = Marks()
        self._token: ProviderToken | None = None
        self._pool: Pool | None = None
        self._heads: dict[tuple[str, PushType, str], Head] = {}
        self._heads_token = ""
        self._authority = settings.authority(HOSTS[settings.environment])

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the key or the certificate, and connect. Raises ValueError for one that can't be
        used, and for a CA."""
        settings = self._settings
        self._token = None
        if settings.key is not None:
            self._token = ProviderToken(settings.key.read(), settings.key_id, settings.team_id)
        self._marks = settings.marks()
        tls = self._tls or settings.tls()
        host = HOSTS[settings.environment]
        # Apple allows one stream until it has seen a good token.
        self._pool = settings.pool(host, tls, loop, self._random, probe=self._token is not None)
        await self._pool.open()

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends, in one write for each connection."""
        self._start(sends, done, last=False)

    async def prove(self) -> None:
        """Raises ValueError where Apple does not accept the key, the team or the topic."""
        await proved_by_push(self, "0" * 64, "ios", self._clock.now(), {"mdm": "tidings check"})

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        if self._pool is not None:
            await self._pool.close(GRACE)

    def _start(self, sends: Sequence[Send], done: Done, *, last: bool) -> None:
        if self._pool is None:
            raise RuntimeError("the sender is not open")
        now = self._clock.now()
        self._mix_up.look(now)
        token = self._token.current(now) if self._token is not None else ""
        if token != self._heads_token or len(self._heads) > _MOST_HEADS:
            self._heads.clear()
            self._heads_token = token
        requests = []
        for send in sends:
            made = self._request(send, done, now, last)
            if isinstance(made, Answer):
                done(send, made)
            else:
                requests.append(made)
        self._pool.submit(requests)

    def _request(self, send: Send, done: Done, now: int, last: bool) -> Request | Answer:
        """The request of a send, or the answer where Apple need not be asked."""
        device = send.address.value
        if not (device.isalnum() and device.isascii() and len(device) <= _LONGEST_TOKEN):
            return Answer(verdict=Verdict.INV, code="BadDeviceToken", detail="not hexadecimal")
        try:
            for content in forms(send.content):
                for marks in self._marks.of(send):
                    data, push_type = payload(content, self._settings.push_type, marks, now)
                    body, rules = _encode(data), RULES[push_type]
                    if len(body) <= rules.largest:
                        break
                if len(body) <= rules.largest:
                    break
            head = self._head(send, push_type)
        except (TypeError, ValueError) as error:
            return Answer(verdict=Verdict.DROP, code="BadMessage", detail=str(error))
        if len(body) > rules.largest:
            detail = f"{len(body)} bytes; APNs takes {rules.largest}"
            return Answer(verdict=Verdict.DROP, code="PayloadTooLarge", detail=detail)
        name = apns_id(send.send_id)
        fields = _ID + name.encode()
        if rules.now_or_never or not self._settings.store:
            fields += _DO_NOT_STORE
        elif send.expires_at:
            fields += literal(b"apns-expiration", b"%d" % (send.expires_at // 1000))
        elif rules.fleeting:
            fields += _DO_NOT_STORE
        if send.collapse_key:
            fields += literal(b"apns-collapse-id", collapse_id(send.collapse_key))
        attempt = _Try(send, done, name, self._heads_token, last)
        return Request(head, b"/3/device/" + device.encode(), fields, body, attempt, self._answered)

    def _head(self, send: Send, push_type: PushType) -> Head:
        urgency = priority(send.priority, push_type)
        app = send.address.app or self._settings.topic
        head = self._heads.get((app, push_type, urgency))
        if head is None:
            head = self._heads[app, push_type, urgency] = Head(
                self._authority,
                indexed=(
                    (b"apns-topic", topic(app, push_type).encode("ascii")),
                    (b"apns-push-type", push_type.encode()),
                    (b"apns-priority", urgency.encode()),
                ),
                plain=self._who_we_are(),
            )
        return head

    def _who_we_are(self) -> tuple[tuple[bytes, bytes], ...]:
        """The token; Apple asks for it to stay out of the compression table. Nothing where the
        connection's certificate says it."""
        if not self._heads_token:
            return ()
        return ((b"authorization", b"bearer " + self._heads_token.encode()),)

    def _answered(self, attempt: _Try, result: Result) -> None:
        if not isinstance(result, Response):
            answer = unanswered(result, attempt.apns_id)
        elif result.status == 200:
            self._mix_up.good += 1
            answer = Answer(verdict=Verdict.OK, provider_id=attempt.apns_id)
        else:
            refusal = self._refusal(attempt, result)
            if refusal is None:
                self._start([attempt.send], attempt.done, last=True)
                return
            answer = refusal
        attempt.done(attempt.send, answer)

    def _refusal(self, attempt: _Try, response: Response) -> Answer | None:
        """What a refusal means, with its consequence carried out; None to send once more."""
        now, token = self._clock.now(), self._token
        says_when = response.status in _MAY_SAY_WHEN
        answer = classify(
            response.status,
            response.body,
            registered_at=attempt.send.address.registered_at,
            wait=wait_ms(response.header(b"retry-after"), now) if says_when else -1,
        )
        verdict, detail, wait = answer.verdict, answer.detail, answer.retry_after_ms
        if answer.code == "ExpiredProviderToken" and token is not None:
            if not attempt.last and token.renew(attempt.token, now):
                return None
            detail = "signed anew and expired all the same: is this machine's clock right?"
        elif answer.code == "TooManyProviderTokenUpdates" and token is not None:
            token.keep_old(attempt.token, now)
            response.connection.rest(_REST)
            wait = int(_REST * 1000)
        elif answer.code in UNWELL or response.status >= 500:
            response.connection.retire(f"APNs said {answer.code}")
        elif answer.code in MIXED_UP and self._mix_up.bad(now):
            verdict = Verdict.CFG
            detail = "so are most of the last: is it the other environment, or another app's topic?"
        return msgspec.structs.replace(
            answer,
            verdict=verdict,
            detail=detail,
            retry_after_ms=wait,
            provider_id=attempt.apns_id,
        )


SENDER = SenderKind(_NAME, Settings, Apns)
