"""What SES says, and what it means: errors of a call, and the status of each entry of a bulk."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from tidings.operators.senders.retry_after import wait_ms
from tidings.sender import Answer, Verdict

_OURS = "not verified"  # in a message, tells that it is about our sender and not about the mail
_DAY = re.compile(r"\bdaily\b.*\bquota\b", re.I)  # told by the name of a mere rate limit as well
_QUOTA = "the sending quota of the day is used up; it comes back hour by hour"

# By what stands before "Exception" in the name of the error.
_ERRORS = {
    **dict.fromkeys(
        ("TooManyRequests", "Throttling", "RequestLimitExceeded", "InternalServiceError"),
        Verdict.RETRY,
    ),
    **dict.fromkeys(
        (
            *("LimitExceeded", "AccountSuspended", "SendingPaused"),
            *("MailFromDomainNotVerified", "NotFound", "AccessDenied", "UnrecognizedClient"),
            *("InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature"),
            *("ExpiredToken", "InvalidClientTokenId", "MissingAuthenticationToken"),
            *("OptInRequired", "NotAuthorized", "InvalidAccessKeyId", "RequestExpired"),
        ),
        Verdict.CFG,
    ),
    **dict.fromkeys(("MessageRejected", "BadRequest", "Validation"), Verdict.DROP),
}
_LIMITS = frozenset({"TooManyRequests", "Throttling", "RequestLimitExceeded", "ACCOUNT_THROTTLED"})
_STATUSES = {
    "SUCCESS": Verdict.OK,
    **dict.fromkeys(("ACCOUNT_THROTTLED", "TRANSIENT_FAILURE"), Verdict.RETRY),
    **dict.fromkeys(
        (
            *("MAIL_FROM_DOMAIN_NOT_VERIFIED", "CONFIGURATION_SET_NOT_FOUND"),
            *("TEMPLATE_NOT_FOUND", "ACCOUNT_SUSPENDED", "ACCOUNT_DAILY_QUOTA_EXCEEDED"),
            *("INVALID_SENDING_POOL_NAME", "ACCOUNT_SENDING_PAUSED"),
            "CONFIGURATION_SET_SENDING_PAUSED",
        ),
        Verdict.CFG,
    ),
    **dict.fromkeys(("MESSAGE_REJECTED", "INVALID_PARAMETER", "FAILED"), Verdict.DROP),
}


class _Problem(msgspec.Struct):
    """The body of an error; emulators name its kind there, SES in a header."""

    message: str = ""
    capital_message: str = msgspec.field(name="Message", default="")
    type: str = ""
    aws_type: str = msgspec.field(name="__type", default="")


class _Entry(msgspec.Struct, rename="pascal"):
    status: str = ""
    error: str | None = None
    message_id: str | None = None


class _Bulk(msgspec.Struct, rename="pascal"):
    bulk_email_entry_results: list[_Entry] = []


class _Single(msgspec.Struct, rename="pascal"):
    message_id: str


class _Account(msgspec.Struct, rename="pascal"):
    production_access_enabled: bool
    sending_enabled: bool
    enforcement_status: str = ""


_decode_account = msgspec.json.Decoder(_Account).decode
_decode_problem = msgspec.json.Decoder(_Problem).decode
_decode_bulk = msgspec.json.Decoder(_Bulk).decode
_decode_single = msgspec.json.Decoder(_Single).decode
_UNREADABLE = Answer(
    verdict=Verdict.AMB, code="BadAnswer", detail="SES accepted the call and named no message"
)


def refusal(status: int, kind: str, body: bytes, *, retry_after: str = "", now: int = 0) -> Answer:
    """What an answer other than 200 means, by the name of the error, else by the status.

    ``kind`` is the header ``x-amzn-errortype``. A refusal is of the whole call: nothing was sent.
    """
    try:
        said = _decode_problem(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Problem()
    name = (
        (kind or said.type or said.aws_type)
        .partition(":")[0]
        .rpartition("#")[2]
        .removesuffix("Exception")
    )
    detail = said.message or said.capital_message
    verdict = _ERRORS.get(name)
    if verdict is None:
        verdict = Verdict.RETRY if status in (408, 429) or status >= 500 else Verdict.CFG
    if verdict is Verdict.DROP and _OURS in detail:
        verdict = Verdict.CFG
    used_up = name == "LimitExceeded" or bool(_DAY.search(detail))
    if used_up:
        verdict = Verdict.CFG
    return Answer(
        verdict=verdict,
        code=name[:64] or str(status),
        detail=_QUOTA if used_up else detail,
        limited=not used_up and (status == 429 or name in _LIMITS),
        retry_after_ms=wait_ms(retry_after.encode("latin-1"), now),
    )


def accepted(body: bytes) -> Answer:
    """The answer to a single mail that was taken."""
    try:
        return Answer(verdict=Verdict.OK, provider_id=_decode_single(body).message_id)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _UNREADABLE


def entries(body: bytes, count: int) -> Sequence[Answer]:
    """The answer to each of the ``count`` entries of a bulk, in their order."""
    try:
        results = _decode_bulk(body).bulk_email_entry_results
    except (msgspec.DecodeError, UnicodeDecodeError):
        results = []
    if len(results) != count:
        return [_UNREADABLE] * count
    return [_entry(result) for result in results]


def _entry(result: _Entry) -> Answer:
    status, detail = result.status, result.error or ""
    if status == "SUCCESS":
        return Answer(verdict=Verdict.OK, provider_id=result.message_id or "")
    verdict = _STATUSES.get(status, Verdict.AMB)
    if verdict is Verdict.DROP and _OURS in detail:
        verdict = Verdict.CFG
    if status == "ACCOUNT_DAILY_QUOTA_EXCEEDED":
        detail = _QUOTA
    return Answer(verdict=verdict, code=status[:64], detail=detail, limited=status in _LIMITS)


def unfit(body: bytes) -> str:
    """Why an account can't send to everybody, by the answer to ``GetAccount``; "" where it can."""
    try:
        account = _decode_account(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"its answer is not that of GetAccount: {error}"
    if not account.sending_enabled:
        status = account.enforcement_status or "unknown"
        return f"the account may not send in this region (its status is {status}): see SES' console"
    if not account.production_access_enabled:
        return (
            "the account is in SES' sandbox in this region, and sends to verified addresses alone: "
            "ask Amazon for production access"
        )
    return ""
