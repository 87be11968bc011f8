"""Apple's push service: one device a request, HTTP/2 alone, by a token that our key has signed, or
by a certificate."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tidings.ids import id_of
from tidings.receipts import Webhook
from tidings.sender import Verdict
from tidings.simulator.scenario import ProviderName
from tidings.simulator.wire import Asked, Fate, Reply, Request, Told, as_json, wording

_PATH = "/3/device/"
_HOUR = 3_600_000  # ms
_token = re.compile(r"[0-9a-fA-F]{2,200}").fullmatch
_uuid = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_TYPES = frozenset(
    {"alert", "background", "voip", "location", "complication", "fileprovider", "mdm",
     "liveactivity", "pushtotalk", "widgets", "controls"}
)  # fmt: skip
_STATUSES = {
    **dict.fromkeys(("Unregistered", "ExpiredToken"), 410),
    **dict.fromkeys(("TooManyRequests", "TooManyProviderTokenUpdates"), 429),
    **dict.fromkeys(("ServiceUnavailable", "Shutdown"), 503),
    **dict.fromkeys(
        (
            *("InvalidProviderToken", "MissingProviderToken", "ExpiredProviderToken"),
            *("BadCertificate", "BadCertificateEnvironment", "Forbidden"),
            *("UnrelatedKeyIdInToken", "BadEnvironmentKeyIdInToken"),
        ),
        403,
    ),
    "InternalServerError": 500,
    "PayloadTooLarge": 413,
    "BadPath": 404,
    "MethodNotAllowed": 405,
}
_USUAL = {
    Verdict.INV: "Unregistered",
    Verdict.RETRY: "ServiceUnavailable",
    Verdict.CFG: "InvalidProviderToken",
    Verdict.DROP: "BadExpirationDate",
}
_ALERT = ("title", "subtitle", "body")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Apns:
    """Knows the public halves of the keys that may sign, by their key id; with none of them it
    takes certificates alone."""

    name: ProviderName = "apns"
    bounces = False

    def __init__(self, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> None:
        self._keys = keys
        self._tokens: dict[str, int] = {}  # good ones, and when they were issued (ms)

    def knows(self, path: str) -> bool:
        """Whether it is a device's."""
        return path.startswith("/3/")

    def read(self, request: Request, now: int) -> Sequence[Asked] | Reply:
        """The push, or what Apple says to one that is wrong."""
        reason = self._wrong(request, now)
        if reason:
            return _refusal(reason)
        device = request.path.removeprefix(_PATH)
        try:
            data = _decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _refusal("PayloadEmpty")
        aps = data.get("aps")
        alert = aps.get("alert") if isinstance(aps, dict) else None
        parts = {"body": alert} if isinstance(alert, str) else {}
        if isinstance(alert, dict):
            parts = {name: str(alert[name]) for name in _ALERT if name in alert}
        named = request.headers.get("apns-id", "")
        key = named or id_of("apns", device, request.body.decode(errors="replace"))
        return [Asked(key, device, parts, "ios", {"apns-id": named})]

    def reply(self, asked: Sequence[Asked], fates: Sequence[Fate], now: int) -> Reply:
        """200, or the reason."""
        fate = fates[0]
        name = asked[0].more["apns-id"] or _as_uuid(fate.id)
        if fate.verdict is Verdict.OK:
            return Reply(200, b"", (("apns-id", name), ("apns-unique-id", _as_uuid(fate.id))))
        status, reason = wording(fate, _STATUSES, _USUAL, "TooManyRequests")
        body: dict[str, Any] = {"reason": reason}
        if status == 410:
            body["timestamp"] = now - fate.dead_for
        return as_json(status, body, code=reason, headers=(("apns-id", name), *fate.waits))

    def webhook(self, told: Told, now: int) -> Webhook | None:
        """None: Apple tells nothing."""
        return None

    # ── What a client must do right ───────────────────────────────────────────────────────────

    def _wrong(self, request: Request, now: int) -> str:
        """The reason for which Apple would refuse, "" for none."""
        headers, body = request.headers, request.body
        push_type = headers.get("apns-push-type", "alert")
        if request.http != "2" or request.method != "POST":
            return "MethodNotAllowed"
        if not request.path.startswith(_PATH):
            return "BadPath"
        if not request.path.removeprefix(_PATH):
            return "MissingDeviceToken"
        if not _token(request.path.removeprefix(_PATH)):
            return "BadDeviceToken"
        if reason := self._stranger(request, push_type, now):
            return reason
        if push_type not in _TYPES:
            return "InvalidPushType"
        if headers.get("apns-priority", "10") not in ("1", "5", "10"):
            return "BadPriority"
        if not headers.get("apns-expiration", "0").isdigit():
            return "BadExpirationDate"
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            return "BadCollapseId"
        if headers.get("apns-id") and not _uuid(headers["apns-id"]):
            return "BadMessageId"
        if not body:
            return "PayloadEmpty"
        return "PayloadTooLarge" if len(body) > (5_120 if push_type == "voip" else 4_096) else ""

    def _stranger(self, request: Request, push_type: str, now: int) -> str:
        """Why who sends may not, "" where they may."""
        topic, client = request.headers.get("apns-topic", ""), request.client
        if client:
            own = topic == client or topic.startswith(f"{client}.")
            return "" if own and (push_type == "mdm") == _is_mdm(client) else "TopicDisallowed"
        if not self._keys:
            return "BadCertificate"
        token = request.headers.get("authorization", "")
        if not token.lower().startswith("bearer "):
            return "MissingProviderToken"
        if reason := self._token_wrong(token[7:].strip(), now):
            return reason
        if not topic:
            return "MissingTopic"
        return "TopicDisallowed" if push_type == "mdm" or _is_mdm(topic) else ""

    def _token_wrong(self, token: str, now: int) -> str:
        issued = self._tokens.get(token)
        if issued is None:
            issued = self._issued(token)
            if issued is None:
                return "InvalidProviderToken"
            self._tokens[token] = issued
        return "" if now - _HOUR <= issued <= now + _HOUR else "ExpiredProviderToken"

    def _issued(self, token: str) -> int | None:
        """When a token was issued (ms); None for one that none of our keys has signed."""
        try:
            head, claims, signature = token.split(".")
            key = self._keys[_decode(_raw(head))["kid"]]
            raw = _raw(signature)
            pair = (int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            signed = f"{head}.{claims}".encode()
            key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(hashes.SHA256()))
            return int(_decode(_raw(claims))["iat"]) * 1000
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return None


def _refusal(reason: str) -> Reply:
    return as_json(_STATUSES.get(reason, 400), {"reason": reason}, code=reason)


def _is_mdm(topic: str) -> bool:
    return topic.startswith("com.apple.mgmt.")


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _as_uuid(name: str) -> str:
    return f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:32]}".upper()
