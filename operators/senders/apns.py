"""Apple's push service (APNs), by provider token.

    providers:
      apns:
        key: env:APNS_KEY            # the text of the .p8 file; or file:PATH
        key_id: ABC123DEFG
        team_id: DEF123GHIJ
        topic: com.example.app

One request a device, over a few HTTP/2 connections. Apple's answers are classified by their reason;
what concerns a connection or the token is seen to here: a token that has expired is signed anew and
its sends are made once more, a connection that says it is unwell is replaced.

Of a rendered message ``title``, ``subtitle`` and ``body`` are the alert, ``sound`` and ``thread``
what their names say; without an alert it is a background push. Its data goes beside ``aps``, and
data called ``aps`` (badge, category, mutable-content) into it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from tidings.durations import PositiveDuration
from tidings.http2 import Fate, Head, Limits, Origin, Pool, Request, Response, Result, literal
from tidings.ids import id_of
from tidings.operators.senders.apns_token import ProviderToken
from tidings.operators.senders.mix_up import MixUp
from tidings.ports import Clock
from tidings.secret import Secret
from tidings.sender import Answer, Content, Done, Send, SenderKind, Verdict

_NAME = "apns"
_HOSTS = {"production": "api.push.apple.com", "sandbox": "api.sandbox.push.apple.com"}
_LARGEST = 4_096  # bytes of payload, as sent
_LARGEST_VOIP = 5_120
_LARGEST_COLLAPSE_ID = 64  # bytes
_LONGEST_TOKEN = 200  # characters; Apple's are 64 today, and say that they may grow
_REST = 60.0  # seconds for a connection that has seen too many tokens
_GRACE = 2.0  # seconds to finish when closing
_MOST_HEADS = 256

_ID = literal(b"apns-id", bytes(36))[:-36]  # the id itself follows
_DO_NOT_STORE = literal(b"apns-expiration", b"0")
_ALERT = ("title", "subtitle", "body")

PushType = Literal["alert", "background", "voip", "complication", "fileprovider", "location", "mdm"]


class Settings(BaseModel):
    """Settings of APNs."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    key: Secret
    """The signing key, a ``.p8`` file: ``file:PATH`` or ``env:NAME``."""
    key_id: Annotated[str, Field(pattern="^[A-Za-z0-9]{1,64}$")]
    """Apple's id of that key."""
    team_id: Annotated[str, Field(pattern="^[A-Za-z0-9]{1,64}$")]
    """The id of the team that owns the app."""
    topic: Annotated[str, Field(pattern="^[!-~]{1,200}$")]
    """The app's bundle id; a device that names its app outranks it."""
    environment: Literal["production", "sandbox"] = "production"
    """Which of Apple's two services; tokens of one are unknown to the other."""
    push_type: PushType | None = None
    """Fixed for all; by default ``alert``, or ``background`` where there is nothing to show."""
    store: bool = True
    """Whether Apple keeps a message for a phone that is off, until it expires."""
    host: str = ""
    """Another server than Apple's, for tests."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 443
    """443, or 2197 where a firewall wants it."""
    ca: Path | None = None
    """Whom to trust instead of the system's authorities, a PEM file."""
    connections: Annotated[int, Field(ge=1, le=64)] = 2
    """How many; each takes up to ``streams`` sends at once."""
    streams: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Sends under way on one connection; Apple allows 1,000."""
    timeout: PositiveDuration = 10_000
    """From a send to its answer; what takes longer may have been delivered."""
    wait: PositiveDuration = 1_000
    """How long a send waits for a connection before it is given back."""


# ── What is sent ──────────────────────────────────────────────────────────────────────────────


def payload(content: Content) -> tuple[dict[str, Any], bool]:
    """What the phone gets, and whether it is something to show."""
    parts = content.parts
    data = dict(content.data)
    aps = data.get("aps")
    aps = dict(aps) if isinstance(aps, dict) else {}
    alert = {name: parts[name] for name in _ALERT if parts.get(name)}
    if alert:
        aps["alert"] = alert
    if parts.get("sound"):
        aps["sound"] = parts["sound"]
    if parts.get("thread"):
        aps["thread-id"] = parts["thread"]
    shown = "alert" in aps
    if not shown:
        aps["content-available"] = 1
    data["aps"] = aps
    return data, shown


def apns_id(send_id: str) -> str:
    """The send's id, as Apple writes ids: what its answer and its console call the send."""
    return f"{send_id[:8]}-{send_id[8:12]}-{send_id[12:16]}-{send_id[16:20]}-{send_id[20:32]}"


def collapse_id(key: str) -> bytes:
    """Up to 64 bytes of printable ASCII: the key itself, or its hash where it is something else."""
    if len(key) <= _LARGEST_COLLAPSE_ID and key.isascii() and key.isprintable():
        return key.encode()
    return id_of("collapse", key).encode()


# ── What is answered ──────────────────────────────────────────────────────────────────────────

_REASONS = {
    **dict.fromkeys(
        ("Unregistered", "ExpiredToken", "BadDeviceToken", "DeviceTokenNotForTopic"), Verdict.INV
    ),
    **dict.fromkeys(
        (
            *("BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority"),
            *("InvalidPushType", "DuplicateHeaders", "PayloadEmpty", "PayloadTooLarge"),
            "MissingDeviceToken",
        ),
        Verdict.DROP,
    ),
    **dict.fromkeys(
        (
            *("BadTopic", "MissingTopic", "TopicDisallowed", "BadPath", "MethodNotAllowed"),
            *("InvalidProviderToken", "MissingProviderToken", "ExpiredProviderToken"),
            *("BadCertificate", "BadCertificateEnvironment", "Forbidden"),
            *("UnrelatedKeyIdInToken", "BadEnvironmentKeyIdInToken"),
        ),
        Verdict.CFG,
    ),
    **dict.fromkeys(
        (
            *("IdleTimeout", "TooManyRequests", "TooManyProviderTokenUpdates"),
            *("InternalServerError", "ServiceUnavailable", "Shutdown"),
        ),
        Verdict.RETRY,
    ),
}
_STATUSES = {
    **dict.fromkeys(range(400, 500), Verdict.DROP),
    **dict.fromkeys((401, 403, 404, 405, 407), Verdict.CFG),
    **dict.fromkeys((408, 421, 425, 429, *range(500, 600)), Verdict.RETRY),
    410: Verdict.INV,
}
_MAY_SAY_WHEN = (429, 503)
_UNWELL = frozenset({"IdleTimeout", "InternalServerError", "ServiceUnavailable", "Shutdown"})
_MIXED_UP = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})


class _Reason(msgspec.Struct):
    reason: str = ""
    timestamp: int = 0  # epoch ms, with 410


_encode = msgspec.json.Encoder().encode
_decode_reason = msgspec.json.Decoder(_Reason).decode


def classify(
    status: int, body: bytes, *, registered_at: int = 0, retry_after: bytes = b""
) -> Answer:
    """What an answer other than 200 means, by its reason, else by its status.

    ``registered_at``: when the device registered, epoch ms; a token that Apple calls dead since
    before that is tried again.
    """
    try:
        said = _decode_reason(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Reason()
    verdict = _REASONS.get(said.reason) or _STATUSES.get(status, Verdict.CFG)
    detail = ""
    if verdict is Verdict.INV and 0 < said.timestamp <= registered_at:
        verdict, detail = Verdict.RETRY, "the device has registered since"
    return Answer(
        verdict=verdict,
        code=said.reason[:64] or str(status),
        detail=detail,
        limited=status == 429,
        retry_after_ms=int(retry_after[:6]) * 1000 if retry_after.isdigit() else -1,
        since=max(said.timestamp, 0),
    )


# ── The sender ────────────────────────────────────────────────────────────────────────────────


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
        self._token: ProviderToken | None = None
        self._pool: Pool | None = None
        self._heads: dict[tuple[str, str, bytes], Head] = {}
        self._heads_token = ""
        host = settings.host or _HOSTS[settings.environment]
        self._authority = (host if settings.port == 443 else f"{host}:{settings.port}").encode()
        self._largest = _LARGEST_VOIP if settings.push_type == "voip" else _LARGEST

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the key and connect. Raises ValueError for a key or a CA that can't be used."""
        settings = self._settings
        self._token = ProviderToken(settings.key.read(), settings.key_id, settings.team_id)
        self._pool = Pool(
            Origin(settings.host or _HOSTS[settings.environment], settings.port, self._context()),
            Limits(
                connections=settings.connections,
                streams=settings.streams,
                timeout=settings.timeout / 1000,
                wait=settings.wait / 1000,
                probe=True,
            ),
            loop=loop,
            random=self._random,
        )
        await self._pool.open()

    def _context(self) -> ssl.SSLContext:
        try:
            context = self._tls or ssl.create_default_context(cafile=self._settings.ca)
        except OSError as error:
            raise ValueError(f"can't use the CA file {self._settings.ca}: {error}") from None
        context.set_alpn_protocols(["h2"])
        return context

    def send(self, sends: Sequence[Send], done: Done) -> None:
        """Start these sends, in one write for each connection."""
        self._start(sends, done, last=False)

    async def close(self) -> None:
        """Finish what is under way for a moment, and let go."""
        if self._pool is not None:
            await self._pool.close(_GRACE)

    def _start(self, sends: Sequence[Send], done: Done, *, last: bool) -> None:
        if self._pool is None or self._token is None:
            raise RuntimeError("the sender is not open")
        token = self._token.current(self._clock.now())
        if token != self._heads_token or len(self._heads) > _MOST_HEADS:
            self._heads.clear()
            self._heads_token = token
        requests = []
        for send in sends:
            made = self._request(send, done, last)
            if isinstance(made, Answer):
                done(send, made)
            else:
                requests.append(made)
        self._pool.submit(requests)

    def _request(self, send: Send, done: Done, last: bool) -> Request | Answer:
        """The request of a send, or the answer where Apple need not be asked."""
        device = send.address.value
        if not (device.isalnum() and device.isascii() and len(device) <= _LONGEST_TOKEN):
            return Answer(verdict=Verdict.INV, code="BadDeviceToken", detail="not hexadecimal")
        try:
            data, shown = payload(send.content)
            body = _encode(data)
            head = self._head(send, shown)
        except (TypeError, ValueError) as error:
            return Answer(verdict=Verdict.DROP, code="BadMessage", detail=str(error))
        if len(body) > self._largest:
            detail = f"{len(body)} bytes; APNs takes {self._largest}"
            return Answer(verdict=Verdict.DROP, code="PayloadTooLarge", detail=detail)
        name = apns_id(send.send_id)
        fields = _ID + name.encode()
        if not self._settings.store:
            fields += _DO_NOT_STORE
        elif send.expires_at:
            fields += literal(b"apns-expiration", b"%d" % (send.expires_at // 1000))
        if send.collapse_key:
            fields += literal(b"apns-collapse-id", collapse_id(send.collapse_key))
        attempt = _Try(send, done, name, self._heads_token, last)
        return Request(head, b"/3/device/" + device.encode(), fields, body, attempt, self._answered)

    def _head(self, send: Send, shown: bool) -> Head:
        push_type = self._settings.push_type or ("alert" if shown else "background")
        # Apple refuses a background push that claims to be urgent.
        priority = b"5" if push_type == "background" or send.priority == "low" else b"10"
        topic = send.address.app or self._settings.topic
        head = self._heads.get((topic, push_type, priority))
        if head is None:
            head = self._heads[topic, push_type, priority] = Head(
                self._authority,
                indexed=(
                    (b"apns-topic", topic.encode("ascii")),
                    (b"apns-push-type", push_type.encode()),
                    (b"apns-priority", priority),
                ),
                # Apple asks for its token to stay out of the compression table.
                plain=((b"authorization", b"bearer " + self._heads_token.encode()),),
            )
        return head

    def _answered(self, attempt: _Try, result: Result) -> None:
        if not isinstance(result, Response):
            unsent = result.fate is Fate.NOT_SENT
            answer = Answer(
                verdict=Verdict.RETRY if unsent else Verdict.AMB,
                code="NotSent" if unsent else "NoAnswer",
                detail=result.why,
                provider_id=attempt.apns_id,
            )
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
        assert self._token is not None
        now = self._clock.now()
        answer = classify(
            response.status,
            response.body,
            registered_at=attempt.send.address.registered_at,
            retry_after=response.header(b"retry-after")
            if response.status in _MAY_SAY_WHEN
            else b"",
        )
        verdict, detail, wait = answer.verdict, answer.detail, answer.retry_after_ms
        if answer.code == "ExpiredProviderToken":
            if not attempt.last and self._token.renew(attempt.token, now):
                return None
            detail = "signed anew and expired all the same: is this machine's clock right?"
        elif answer.code == "TooManyProviderTokenUpdates":
            self._token.keep_old(attempt.token, now)
            response.connection.rest(_REST)
            wait = int(_REST * 1000)
        elif answer.code in _UNWELL or response.status >= 500:
            response.connection.retire(f"APNs said {answer.code}")
        elif answer.code in _MIXED_UP and self._mix_up.bad(now):
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
