"""What the answers of SES, SendGrid and mail servers lead to in a lane: each row of their error
tables, by what is left behind."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.mail_lane import BAD, GOOD, Left, MailLane
from tests.contract.test_smtp import server_side
from tests.peers.mail_server import MailServer, Says, never
from tests.peers.provider import Got, Provider, Say
from tidings.services.certificate import self_signed

SECOND = 1_000
KEPT = {"bad": {BAD}, "good": {GOOD}}


def assert_gone(left: Left) -> None:
    """The address is out of its store, and only it; the delivery has failed."""
    assert left.addresses == {"bad": set(), "good": {GOOD}}
    assert (left.ends["bad"].kind, left.ends["bad"].reason) == ("failed", "address_gone")
    assert left.ends["good"].kind == "sent"
    assert left.unsettled == 0


def assert_dropped(left: Left) -> None:
    """A dead letter; the address stays."""
    assert left.addresses == KEPT
    assert (left.ends["bad"].kind, left.ends["bad"].reason) == ("failed", "refused")
    assert left.letters == {"bad"}
    assert left.ends["good"].kind == "sent"
    assert left.unsettled == 0


def assert_delayed(left: Left, *, spared: int = 0) -> None:
    """In the delay topic; nothing has ended."""
    assert left.addresses == KEPT
    assert (left.delayed["30s"]["bad"].attempt, left.delayed["30s"]["bad"].spared) == (1, spared)
    assert "bad" not in left.ends
    assert not left.letters
    assert left.unsettled == 0


def assert_stopped(left: Left) -> None:
    """The provider is stopped with an alert, and the message kept: it is read again by whoever
    comes next."""
    assert left.addresses == KEPT
    assert {(kind, state) for kind, state, _ in left.alerts} == {("provider_stopped", "open")}
    assert "bad" not in left.ends
    assert not left.delayed
    assert not left.letters
    assert left.unsettled > 0
    assert {kind for who, kind, _ in left.told if who == "bad"} == {"retried"}


def assert_unknown(left: Left) -> None:
    """It may have gone out, and is not sent again."""
    assert left.addresses == KEPT
    assert (left.ends["bad"].kind, left.ends["bad"].reason) == ("unknown", "no_answer")
    assert left.unsettled == 0


CONSEQUENCE: dict[str, Callable[[Left], None]] = {
    "gone": assert_gone,
    "drop": assert_dropped,
    "retry": assert_delayed,
    "limit": lambda left: assert_delayed(left, spared=1),
    "stop": assert_stopped,
    "unknown": assert_unknown,
}

# ── SES ───────────────────────────────────────────────────────────────────────────────────────


def ses(folder: Path, url: str, **changes: Any) -> MailLane:
    secret = folder / "aws.secret"
    secret.write_text("secret")
    provider: dict[str, Any] = {
        "kind": "ses",
        "region": "eu-west-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": f"file:{secret}",
        "sender": "hello@example.com",
        "endpoint": url,
        "timeout": "2s",
        "wait": "1s",
    }
    return MailLane(folder, provider | changes)


def of_ses(refusal: Say) -> Callable[[Got], Say]:
    """A single mail to Bad is refused, another taken."""
    return lambda got: refusal if BAD.encode() in got.body else Say(200, b'{"MessageId": "m"}')


@pytest.mark.parametrize(
    ("status", "error", "message", "consequence"),
    [
        (429, "TooManyRequestsException", "slow down", "limit"),
        (429, "ThrottlingException", "", "limit"),
        (500, "InternalServiceErrorException", "", "retry"),
        (503, "", "", "retry"),
        (400, "LimitExceededException", "", "stop"),
        (400, "AccountSuspendedException", "", "stop"),
        (400, "SendingPausedException", "", "stop"),
        (400, "MailFromDomainNotVerifiedException", "", "stop"),
        (404, "NotFoundException", "", "stop"),
        (400, "MessageRejected", "Email address is not verified", "stop"),
        (403, "SignatureDoesNotMatch", "", "stop"),
        (400, "MessageRejected", "a virus", "drop"),
        (400, "BadRequestException", "", "drop"),
        (0, "", "", "unknown"),
    ],
)
def test_a_call_that_ses_refuses(
    tmp_path: Path, status: int, error: str, message: str, consequence: str
) -> None:
    body = json.dumps({"message": message}).encode()
    refusal = Say(status, body, {"x-amzn-errortype": error} if error else {})
    with Provider(of_ses(refusal)) as provider:
        left = ses(tmp_path, provider.url, bulk=1).run()
    CONSEQUENCE[consequence](left)
    if status:
        expected = error.removesuffix("Exception") or str(status)
        assert {code for who, _, code in left.told if who == "bad"} == {expected}


@pytest.mark.parametrize(
    ("status", "consequence"),
    [
        ("ACCOUNT_THROTTLED", "limit"),
        ("TRANSIENT_FAILURE", "retry"),
        ("ACCOUNT_DAILY_QUOTA_EXCEEDED", "stop"),
        ("ACCOUNT_SUSPENDED", "stop"),
        ("ACCOUNT_SENDING_PAUSED", "stop"),
        ("CONFIGURATION_SET_SENDING_PAUSED", "stop"),
        ("TEMPLATE_NOT_FOUND", "stop"),
        ("CONFIGURATION_SET_NOT_FOUND", "stop"),
        ("MAIL_FROM_DOMAIN_NOT_VERIFIED", "stop"),
        ("INVALID_SENDING_POOL_NAME", "stop"),
        ("INVALID_PARAMETER", "drop"),
        ("MESSAGE_REJECTED", "drop"),
        ("FAILED", "drop"),
        ("SOMETHING_NEW", "unknown"),
    ],
)
def test_an_entry_of_a_bulk_that_ses_refuses(tmp_path: Path, status: str, consequence: str) -> None:
    def answer(got: Got) -> Say:
        asked = json.loads(got.body)
        if "BulkEmailEntries" not in asked:
            return Say(200, b'{"MessageId": "m"}')
        results = [
            {"Status": status if entry["Destination"]["ToAddresses"] == [BAD] else "SUCCESS"}
            for entry in asked["BulkEmailEntries"]
        ]
        return Say(200, json.dumps({"BulkEmailEntryResults": results}).encode())

    with Provider(answer) as provider:
        left = ses(tmp_path, provider.url).run()
    CONSEQUENCE[consequence](left)
    assert left.ends["good"].kind == "sent"
    assert {code for who, _, code in left.told if who == "bad"} == {status}
    assert len(json.loads(provider.got[0].body)["BulkEmailEntries"]) == 2


def test_a_sender_that_is_not_verified_stops_the_provider_in_a_bulk_too(tmp_path: Path) -> None:
    entry = {"Status": "MESSAGE_REJECTED", "Error": "Email address is not verified."}

    def answer(got: Got) -> Say:
        entries = json.loads(got.body)["BulkEmailEntries"]
        return Say(200, json.dumps({"BulkEmailEntryResults": [entry] * len(entries)}).encode())

    with Provider(answer) as provider:
        left = ses(tmp_path, provider.url).run()
    assert_stopped(left)
    assert len(provider.got) == 1


# ── SendGrid ──────────────────────────────────────────────────────────────────────────────────


def sendgrid(folder: Path, url: str, **changes: Any) -> MailLane:
    key = folder / "sendgrid.key"
    key.write_text("SG.key")
    provider: dict[str, Any] = {
        "kind": "sendgrid",
        "key": f"file:{key}",
        "sender": "hello@example.com",
        "endpoint": url,
        "timeout": "2s",
        "wait": "1s",
    }
    return MailLane(folder, provider | changes)


@pytest.mark.parametrize(
    ("status", "field", "consequence"),
    [
        (400, "personalizations.{}.to.0.email", "gone"),
        (400, "personalizations[{}].to[0].email", "gone"),
        (400, "personalizations.{}.headers", "drop"),
        (400, "personalizations.99.to.0.email", "drop"),
        (400, None, "drop"),
        (400, "from.email", "stop"),
        (400, "ip_pool_name", "stop"),
        (413, None, "drop"),
        (401, None, "stop"),
        (403, "from", "stop"),
        (429, None, "limit"),
        (408, None, "retry"),
        (500, None, "retry"),
        (503, None, "retry"),
        (502, None, "unknown"),
        (599, None, "unknown"),
        (503, "from.email", "retry"),
        (0, None, "unknown"),
    ],
)
def test_a_call_that_sendgrid_refuses(
    tmp_path: Path, status: int, field: str | None, consequence: str
) -> None:
    def answer(got: Got) -> Say:
        to = [one["to"][0]["email"] for one in json.loads(got.body)["personalizations"]]
        if BAD not in to:
            return Say(202, b"", {"x-message-id": "sg-1"})
        named = field and field.format(to.index(BAD))
        return Say(status, json.dumps({"errors": [{"field": named, "message": "no"}]}).encode())

    together = consequence in ("gone", "drop")
    with Provider(answer) as provider:
        left = sendgrid(tmp_path, provider.url, bulk=1_000 if together else 1).run()
    CONSEQUENCE[consequence](left)


def test_sendgrids_rate_limit_waits_until_it_is_reset_and_uses_up_no_retry(tmp_path: Path) -> None:
    before = int(time.time() * 1000)
    reset = str(before // 1000 + 100)
    limited = Say(429, b"", {"x-ratelimit-reset": reset})
    with Provider(lambda _: limited) as provider:
        left = sendgrid(tmp_path, provider.url).run()
    assert {one.spared for one in left.delayed["30s"].values()} == {1}
    assert min(one.not_before for one in left.delayed["30s"].values()) - before >= 99 * SECOND


# ── SMTP ──────────────────────────────────────────────────────────────────────────────────────


def smtp(folder: Path, port: int, **changes: Any) -> MailLane:
    provider: dict[str, Any] = {
        "kind": "smtp",
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "sender": "hello@example.com",
        "helo": "tidings.test",
        "timeout": "500ms",
        "connections": 1,
    }
    return MailLane(folder, provider | changes)


@pytest.mark.parametrize(
    ("command", "reply", "consequence"),
    [
        ("recipient", "550 5.1.1 no such user", "gone"),
        ("recipient", "550 5.1.2 no such domain", "gone"),
        ("recipient", "553 5.1.3 bad address", "gone"),
        ("recipient", "550 5.1.6 has moved", "gone"),
        ("recipient", "556 5.1.10 null MX", "gone"),
        ("recipient", "550 5.2.1 disabled", "gone"),
        ("recipient", "550 no such user", "gone"),
        ("recipient", "551 not local", "gone"),
        ("recipient", "450 4.7.1 greylisted", "retry"),
        ("recipient", "451 4.3.0 trouble", "retry"),
        ("recipient", "552 5.2.2 mailbox full", "retry"),
        ("recipient", "554 5.7.1 relay access denied", "stop"),
        ("recipient", "550 5.7.1 policy", "drop"),
        ("recipient", "550 listed at a blocklist", "drop"),
        ("recipient", "421 4.7.0 too many of you", "limit"),
        ("recipient", "452 too many", "retry"),
        ("recipient", "550 4.2.2 over quota", "retry"),
        ("recipient", "530 log in first", "stop"),
        ("content", "554 5.7.1 spam", "drop"),
        ("content", "552 5.3.4 too big", "drop"),
        ("content", "451 4.3.0 disk", "retry"),
        ("content", "552 5.3.1 the system is full", "retry"),
        ("content", "454 Throttling failure: Maximum sending rate exceeded.", "limit"),
        ("content", "550 5.4.5 the quota of the day", "retry"),
        ("content", "554 your address is not verified", "stop"),
    ],
)
def test_a_mail_that_a_server_refuses(
    tmp_path: Path, command: str, reply: str, consequence: str
) -> None:
    given: dict[str, Says] = {command: lambda subject: reply if BAD in subject else ""}
    with MailServer(says=given) as server:
        left = smtp(tmp_path, server.port).run()
    CONSEQUENCE[consequence](left)
    status, said = reply.split()[:2]
    assert {code for who, _, code in left.told if who == "bad"} == {said if "." in said else status}


@pytest.mark.parametrize(
    ("command", "consequence"),
    [("sender", "retry"), ("recipient", "retry"), ("content", "unknown")],
)
def test_a_server_that_falls_silent(tmp_path: Path, command: str, consequence: str) -> None:
    given: dict[str, Says] = {command: never}
    with MailServer(says=given) as server:
        left = smtp(tmp_path, server.port).run()
    CONSEQUENCE[consequence](left)


@pytest.mark.parametrize("reply", ["550 5.1.8 who are you?", "530 5.7.0 log in first"])
def test_a_server_that_does_not_take_our_sender(tmp_path: Path, reply: str) -> None:
    with MailServer(says={"sender": lambda _: reply}) as server:
        left = smtp(tmp_path, server.port).run(attempts=1)
    assert_stopped(left)


def test_a_server_that_does_not_take_our_password(tmp_path: Path) -> None:
    made = self_signed(tmp_path, now=datetime.datetime.now(datetime.UTC))
    (tmp_path / "password").write_text("wrong")
    with MailServer(login=("ana", "secret"), starttls=server_side(made)) as server:
        given = {"user": "ana", "password": f"file:{tmp_path}/password", "ca": made.certificate}
        left = smtp(tmp_path, server.port, tls="starttls", **given).run(attempts=1)
    assert_stopped(left)
    assert {code for _, _, code in left.told} == {"5.7.8"}


# ── What no provider need be asked ────────────────────────────────────────────────────────────


def test_marketing_without_a_link_to_unsubscribe_is_a_dead_letter(tmp_path: Path) -> None:
    marketing = {"categories": {"social": {"marketing": True}}}
    with MailServer() as server:
        provider = {
            "kind": "smtp",
            "host": "127.0.0.1",
            "port": server.port,
            "tls": "none",
            "sender": "hello@example.com",
        }
        left = MailLane(tmp_path, provider, **marketing).run()
    assert left.letters == {"bad", "good"}
    assert {code for _, _, code in left.told} == {"NoUnsubscribe"}
    assert server.taken == []
