"""What Apple's answers mean, by their reason, else by their status."""

from __future__ import annotations

import msgspec

from tidings.sender import Answer, Verdict

UNWELL = frozenset({"IdleTimeout", "InternalServerError", "ServiceUnavailable", "Shutdown"})
"""They are about the connection: the next one may do better."""

MIXED_UP = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})
"""Many at once are our mistake: the other environment, or another app's topic."""

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


class _Reason(msgspec.Struct):
    reason: str = ""
    timestamp: int = 0  # epoch ms, with 410


_decode_reason = msgspec.json.Decoder(_Reason).decode


def classify(status: int, body: bytes, *, registered_at: int = 0, wait: int = -1) -> Answer:
    """What an answer other than 200 means.

    ``registered_at``: when the device registered, epoch ms; a token that Apple calls dead since
    before that is tried again. ``wait``: what Retry-After asks for, ms, -1 where it does not.
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
        retry_after_ms=wait,
        since=max(said.timestamp, 0),
    )
