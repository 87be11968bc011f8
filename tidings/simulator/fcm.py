"""Google's push service, HTTP v1, and the token service before it."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tidings.ids import id_of
from tidings.receipts import Webhook
from tidings.sender import Verdict
from tidings.simulator.scenario import ProviderName
from tidings.simulator.wire import Asked, Fate, Reply, Request, Told, as_json, wording

TOKEN_PATH = "/oauth2/token"
"""Where access tokens come from: `token_uri` of a service account's key."""

_HOUR = 3_600_000  # ms
_LARGEST = 4_096  # bytes of what the phone gets
_send = re.compile(r"/v1/projects/([^/]+)/messages:send").fullmatch
_TARGETS = ("token", "fid", "topic", "condition")
_FIELDS = frozenset(
    {"name", "data", "notification", "android", "webpush", "apns", "fcmOptions", *_TARGETS}
)
_CANONICAL = {  # what an error is called beside FCM's own word: its status and Google's word
    "UNREGISTERED": (404, "NOT_FOUND"),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED"),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED"),
    "UNAVAILABLE": (503, "UNAVAILABLE"),
    "INTERNAL": (500, "INTERNAL"),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED"),
}
_STATUSES = {code: status for code, (status, _) in _CANONICAL.items()}
_USUAL = {
    Verdict.INV: "UNREGISTERED",
    Verdict.RETRY: "UNAVAILABLE",
    Verdict.CFG: "THIRD_PARTY_AUTH_ERROR",
    Verdict.DROP: "INVALID_ARGUMENT",
}

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Fcm:
    """One project; ``key`` is the public half of its service account's."""

    name: ProviderName = "fcm"
    bounces = False

    def __init__(self, project: str, key: rsa.RSAPublicKey) -> None:
        self._project = project
        self._key = key
        self._tokens: dict[str, int] = {}  # those given out, and their ends (ms)

    def knows(self, path: str) -> bool:
        """Whether it is a project's, or the token service's."""
        return path == TOKEN_PATH or path.startswith("/v1/projects/")

    def read(self, request: Request, now: int) -> Sequence[Asked] | Reply:
        """The message, or an access token, or what FCM says to a call that is wrong."""
        if request.path == TOKEN_PATH:
            return self._grant(request.body, now)
        found = _send(request.path)
        if found is None or request.method != "POST":
            return _refusal(404, "NOT_FOUND", "no such method")
        token = request.headers.get("authorization", "").partition(" ")[2]
        if self._tokens.get(token, 0) <= now:
            return _refusal(401, "UNAUTHENTICATED", "the access token is not valid")
        if found[1] != self._project:
            return _refusal(403, "PERMISSION_DENIED", f"no right to project {found[1]}")
        try:
            call = _decode(request.body)
            message = call["message"]
            unknown = set(message) - _FIELDS
            [target] = [name for name in _TARGETS if message.get(name)]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            return _invalid("a message has exactly one of token, fid, topic, condition")
        if unknown:
            return _invalid(f"Unknown name \"{min(unknown)}\" at 'message': Cannot find field.")
        apple = message.get("apns", {}).get("payload", {})
        shown = {name: message[name] for name in ("notification", "data") if name in message}
        if max(len(msgspec.json.encode(shown)), len(msgspec.json.encode(apple))) > _LARGEST:
            return _invalid("Android message is too big")
        if call.get("validateOnly"):
            return as_json(200, {"name": f"projects/{self._project}/messages/fake_message_id"})
        return [_asked(message, target, apple, request.body)]

    def reply(self, asked: Sequence[Asked], fates: Sequence[Fate], now: int) -> Reply:
        """Its name, or the error."""
        fate = fates[0]
        if fate.verdict is Verdict.OK:
            return as_json(200, {"name": f"projects/{self._project}/messages/{fate.id}"})
        status, code = wording(fate, _STATUSES, _USUAL, "QUOTA_EXCEEDED")
        word = _CANONICAL.get(code, (status, "UNKNOWN"))[1]
        error = {
            "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
            "errorCode": code,
        }
        said = "Requested entity was not found." if code == "UNREGISTERED" else code
        return _refusal(status, word, said, error, code=code)._replace(
            headers=(("content-type", "application/json; charset=UTF-8"), *fate.waits)
        )

    def webhook(self, told: Told, now: int) -> Webhook | None:
        """None: FCM tells nothing."""
        return None

    def _grant(self, body: bytes, now: int) -> Reply:
        """An access token for an hour, for who has signed with the key."""
        try:
            assertion = parse_qs(body.decode())["assertion"][0]
            signed, _, signature = assertion.rpartition(".")
            self._key.verify(_raw(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            ends_at = int(_decode(_raw(signed.partition(".")[2]))["exp"]) * 1000
        except (ValueError, KeyError, TypeError, InvalidSignature):
            ends_at = 0
        if ends_at <= now:
            said = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return as_json(400, said, code="invalid_grant")
        token = f"ya29.simulated.{id_of('token', str(now), str(len(self._tokens)))}"
        self._tokens[token] = now + _HOUR
        return as_json(
            200, {"access_token": token, "expires_in": _HOUR // 1000, "token_type": "Bearer"}
        )


def _asked(message: Mapping[str, Any], target: str, apple: Any, body: bytes) -> Asked:
    parts = {name: str(value) for name, value in message.get("notification", {}).items()}
    alert = apple.get("aps", {}).get("alert")
    if isinstance(alert, dict):
        parts |= {name: str(value) for name, value in alert.items()}
    platform = next(
        (ours for ours, theirs in (("ios", "apns"), ("web", "webpush")) if theirs in message),
        "android",
    )
    address = str(message[target])
    named = message.get("data", {}).get("send_id") or apple.get("send_id")
    key = str(named or id_of("fcm", address, body.decode(errors="replace")))
    return Asked(key, address, parts, platform)


def _refusal(status: int, word: str, message: str, *details: Any, code: str = "") -> Reply:
    error = {"code": status, "message": message, "status": word, "details": details}
    return as_json(status, {"error": error}, code=code or word)


def _invalid(message: str) -> Reply:
    return _refusal(400, "INVALID_ARGUMENT", message)


def _raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
