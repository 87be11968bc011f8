"""What FCM's answers mean: by the code of its own (`FcmError`), else by their status."""

from __future__ import annotations

import msgspec

from tidings.sender import Answer, Verdict

DEFAULT_WAIT = 60_000
"""ms after QUOTA_EXCEEDED, which is counted by the minute, where FCM does not say how long."""

NOT_OURS = frozenset({"SENDER_ID_MISMATCH", "INVALID_ARGUMENT"})
"""What makes a token bad; many at once are our mistake, such as another project's tokens."""

_LONGEST_DETAIL = 300  # characters
_CODES = {
    "UNREGISTERED": Verdict.INV,
    "SENDER_ID_MISMATCH": Verdict.INV,
    "INVALID_ARGUMENT": Verdict.DROP,
    "QUOTA_EXCEEDED": Verdict.RETRY,
    "UNAVAILABLE": Verdict.RETRY,
    "INTERNAL": Verdict.RETRY,
    "THIRD_PARTY_AUTH_ERROR": Verdict.CFG,
    "APNS_AUTH_ERROR": Verdict.CFG,  # its older name
}
_STATUSES = {
    **dict.fromkeys(range(400, 500), Verdict.DROP),
    **dict.fromkeys((401, 403, 404, 405, 407), Verdict.CFG),
    **dict.fromkeys((408, 425, 429, *range(500, 600)), Verdict.RETRY),
}
_TOKEN_FIELDS = frozenset({"message.token", "message.fid", "token", "fid"})
_BAD_TOKEN = "registration token is not a valid"  # what FCM says where it names no field


class _Violation(msgspec.Struct):
    field: str = ""
    description: str = ""


class _Detail(msgspec.Struct):
    """FcmError, BadRequest and RetryInfo in one."""

    errorCode: str = ""  # noqa: N815 - as it is on the wire
    fieldViolations: tuple[_Violation, ...] = ()  # noqa: N815
    retryDelay: str = ""  # noqa: N815 - seconds, as in "3.5s"


class _Error(msgspec.Struct):
    message: str = ""
    status: str = ""
    details: tuple[_Detail, ...] = ()

    def delay(self) -> int:
        """How long it asks us to wait, ms; -1 where it does not."""
        for detail in self.details:
            try:
                return max(int(float(detail.retryDelay.removesuffix("s")) * 1000), 0)
            except (ValueError, OverflowError):
                continue
        return -1

    def bad_token(self) -> str:
        """Why the token, and nothing else about the message, is wrong; "" where it is not."""
        violations = [one for detail in self.details for one in detail.fieldViolations]
        if violations:
            token = all(one.field in _TOKEN_FIELDS for one in violations)
            return (violations[0].description or self.message or "bad token") if token else ""
        return self.message if _BAD_TOKEN in self.message.lower() else ""


class _Body(msgspec.Struct):
    error: _Error


class _Accepted(msgspec.Struct):
    name: str = ""


_decode = msgspec.json.Decoder(_Body).decode
_decode_accepted = msgspec.json.Decoder(_Accepted).decode


def message_id(body: bytes) -> str:
    """FCM's id of a message that it has taken, the last part of its name; "" where it says none."""
    try:
        return _decode_accepted(body).name.rpartition("/")[2]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def classify(status: int, body: bytes, *, wait: int = -1) -> Answer:
    """What an answer other than 200 means; ``wait`` is what Retry-After asks for, ms, or -1."""
    try:
        error = _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = _Error()
    own = next((detail.errorCode for detail in error.details if detail.errorCode), "")
    verdict = _CODES.get(own) or _STATUSES.get(status, Verdict.CFG)
    detail = error.message
    if status == 400 and (reason := error.bad_token()):
        verdict, detail = Verdict.INV, reason
    limited = status == 429
    if wait < 0:
        wait = error.delay()
    if wait < 0 and limited:
        wait = DEFAULT_WAIT
    return Answer(
        verdict=verdict,
        code=(own or error.status)[:64] or str(status),
        detail=detail[:_LONGEST_DETAIL],
        limited=limited,
        retry_after_ms=wait,
    )
