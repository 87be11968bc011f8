"""Whether a provider accepts our credentials: each is asked, and nobody is sent anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract import apns_desk, fcm_desk, test_sendgrid, test_ses, test_sns, test_twilio
from tests.contract.simulated import KINDS, simulated
from tests.peers.h2_server import Exchange
from tests.peers.provider import Got, Provider, Say
from tidings.operators.senders.sns import Sns
from tidings.providers import sender_of
from tidings.review.reach import Probe, asked
from tidings.sender import NotAccepted, Provable, Sender
from tidings.services.process import free_port
from tidings.stores.clock import SystemClock


async def proved(sender: Sender) -> None:
    assert isinstance(sender, Provable)
    await sender.open(asyncio.get_running_loop())
    try:
        await sender.prove()
    finally:
        await sender.close()


def refusal(sender: Sender) -> str:
    """What ``check --connect`` says of it."""
    [trouble] = asked([Probe(("providers", "x"), lambda: asyncio.run(proved(sender)))], 10.0)
    return trouble.why if trouble else ""


# ── By a push to a token that there is not ────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (400, "BadDeviceToken", ""),
        (403, "InvalidProviderToken", "it answers InvalidProviderToken"),
        (400, "TopicDisallowed", "it answers TopicDisallowed"),
    ],
)
def test_apple_looks_at_the_token_last(tmp_path: Path, status: int, reason: str, said: str) -> None:
    async def test(desk: apns_desk.Desk) -> None:
        if said:
            with pytest.raises(ValueError, match=said):
                await desk.sender.prove()
        else:
            await desk.sender.prove()
        paths = {exchange.headers[":path"] for exchange in desk.server.exchanges}
        assert "/3/device/" + "0" * 64 in paths

    apns_desk.run(tmp_path, test, apns_desk.refuses(status, reason))


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "INVALID_ARGUMENT", ""),
        (404, "UNREGISTERED", ""),
        (403, "", "it answers"),
    ],
)
def test_google_looks_at_the_token_last(tmp_path: Path, status: int, code: str, said: str) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.respond(status, fcm_desk.error(status, code))

    async def test(desk: fcm_desk.Desk) -> None:
        if said:
            with pytest.raises(ValueError, match=said):
                await desk.sender.prove()
        else:
            await desk.sender.prove()
        assert b"tidings-check" in desk.server.exchanges[0].body

    fcm_desk.run(tmp_path, test, answer)


# ── By a call that only reads ─────────────────────────────────────────────────────────────────

Make = Callable[[Path, str], Sender]
SENDERS: dict[str, tuple[Make, str]] = {
    "sendgrid": (lambda folder, url: test_sendgrid.a_sender(folder, url), "/v3/scopes"),
    "ses": (lambda folder, url: test_ses.a_sender(folder, url), "/v2/email/account"),
    "twilio": (
        lambda folder, url: test_twilio.messages(folder, url),
        f"/2010-04-01/Accounts/{test_twilio.ACCOUNT}.json",
    ),
    "twilio by a key": (
        lambda folder, url: test_twilio.messages(
            folder, url, api_key="SK" + "0" * 32, api_secret=f"file:{folder}/token"
        ),
        f"/2010-04-01/Accounts/{test_twilio.ACCOUNT}/Messages.json?PageSize=1",
    ),
    "twilio voice": (
        lambda folder, url: test_twilio.calls(folder, url),
        f"/2010-04-01/Accounts/{test_twilio.ACCOUNT}.json",
    ),
}


GOOD: dict[str, dict[str, object]] = {
    "sendgrid": {"scopes": ["alerts.read", "mail.send"]},
    "ses": {"ProductionAccessEnabled": True, "SendingEnabled": True, "SendQuota": {}},
    "twilio": {"status": "active", "type": "Full"},
    "twilio voice": {"status": "active", "type": "Full"},
    "twilio by a key": {"messages": []},
}


@pytest.mark.parametrize("name", SENDERS)
def test_it_reads_with_its_credentials(tmp_path: Path, name: str) -> None:
    make, path = SENDERS[name]
    with Provider(lambda got: Say(200, json.dumps(GOOD[name]).encode())) as provider:
        assert refusal(make(tmp_path, provider.url)) == ""
    [got] = provider.got
    assert (got.method, got.path) == ("GET", path)
    assert got.headers["authorization"].split()[0] in ("Bearer", "Basic", "AWS4-HMAC-SHA256")


@pytest.mark.parametrize(
    ("name", "account", "said"),
    [
        ("sendgrid", {"scopes": ["alerts.read"]}, "give it the scope `mail.send`"),
        ("sendgrid", {}, "give it the scope `mail.send`"),
        ("ses", {"ProductionAccessEnabled": False}, "in SES' sandbox in this region"),
        (
            "ses",
            {"SendingEnabled": False, "EnforcementStatus": "SHUTDOWN"},
            "may not send in this region (its status is SHUTDOWN)",
        ),
        ("ses", {"SendingEnabled": None}, "its answer is not that of GetAccount"),
        ("twilio", {"status": "suspended"}, "the account is suspended"),
        ("twilio", {"type": "Trial"}, "reaches verified numbers alone"),
        ("twilio voice", {"status": "closed"}, "the account is closed"),
    ],
)
def test_an_account_that_can_not_send_to_everybody_is_told(
    tmp_path: Path, name: str, account: dict[str, object], said: str
) -> None:
    shown = account if name == "sendgrid" else GOOD[name] | account
    make, _ = SENDERS[name]
    with Provider(lambda got: Say(200, json.dumps(shown).encode())) as provider:
        assert said in refusal(make(tmp_path, provider.url))


@pytest.mark.parametrize("name", SENDERS)
def test_what_the_provider_says_is_told_without_what_is_private(tmp_path: Path, name: str) -> None:
    def refuses(got: Got) -> Say:
        return Say(401, b'{"message": "Authenticate, ana@example.com"}')

    make, _ = SENDERS[name]
    with Provider(refuses) as provider:
        said = refusal(make(tmp_path, provider.url))
    assert said == "it answers 401: Authenticate, a…@example.com"
    assert "ana@" not in said


@pytest.mark.parametrize("name", SENDERS)
def test_one_that_can_not_be_reached_is_told(tmp_path: Path, name: str) -> None:
    make, _ = SENDERS[name]
    assert refusal(make(tmp_path, f"http://127.0.0.1:{free_port()}"))


# ── By a text to a number that there is not ───────────────────────────────────────────────────

NOBODY = "Invalid parameter: PhoneNumber Reason: +0 is not valid to publish to"


def amazon(status: int, code: str, message: str) -> Say:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Say(status, f"<ErrorResponse>{error}</ErrorResponse>".encode())


@pytest.mark.parametrize(
    ("published", "sandboxed", "said"),
    [
        (
            amazon(400, "InvalidParameter", NOBODY),
            Say(200, b"<IsInSandbox>false</IsInSandbox>"),
            "",
        ),
        (amazon(400, "InvalidParameter", NOBODY), amazon(403, "AuthorizationError", "no"), ""),
        (
            amazon(400, "InvalidParameter", NOBODY),
            Say(200, b"<IsInSandbox>true</IsInSandbox>"),
            "in SNS' sandbox for texts",
        ),
        (
            amazon(403, "InvalidClientTokenId", "of ana@example.com"),
            Say(200),
            "it answers InvalidClientTokenId",
        ),
        (amazon(403, "AuthorizationError", "no Publish"), Say(200), "no Publish"),
        (amazon(400, "InvalidParameterValue", "SenderID"), Say(200), "SenderID"),
    ],
)
def test_amazon_looks_at_the_number_last(
    tmp_path: Path, published: Say, sandboxed: Say, said: str
) -> None:
    def answer(got: Got) -> Say:
        return published if got.form["Action"] == "Publish" else sandboxed

    with Provider(answer) as provider:
        given = test_sns.settings(tmp_path, endpoint=provider.url, sender_id="Example")
        told = refusal(Sns(given, SystemClock()))
    assert said in told if said else told == ""
    assert "ana@" not in told
    asked = provider.got[0]
    assert asked.form["PhoneNumber"] == "+0"
    assert asked.headers["authorization"].split()[0] == "AWS4-HMAC-SHA256"


def test_amazon_that_can_not_be_reached_is_told(tmp_path: Path) -> None:
    given = test_sns.settings(tmp_path, endpoint=f"http://127.0.0.1:{free_port()}")
    assert refusal(Sns(given, SystemClock()))


# ── The simulator ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_a_rehearsal_passes_the_check_and_another_key_does_not(tmp_path: Path, kind: str) -> None:
    other: dict[str, dict[str, str]] = {
        "apns": {"key_id": "ANOTHER000"},
        "fcm": {"project": "another"},
        "ses": {"secret_access_key": f"file:{tmp_path}/other"},
        "sendgrid": {"key": f"file:{tmp_path}/other"},
        "twilio": {"auth_token": f"file:{tmp_path}/other"},
    }
    (tmp_path / "other").write_text("other")

    async def use() -> tuple[list[str], int]:
        async with simulated(tmp_path) as peer:
            found = []
            for changes in ({}, other[kind]):
                given = {kind: {**peer.settings[kind], **changes}}
                sender = await asyncio.to_thread(sender_of, kind, given, SystemClock())
                try:
                    await proved(sender)
                    found.append("")
                except NotAccepted as error:
                    found.append(str(error))
            return found, sum(one.accepted and one.address != NOBODYS[kind] for one in peer.got())

    (good, bad), sent = asyncio.run(use())
    assert good == ""
    assert bad.startswith("it answers ")
    assert sent == 0


NOBODYS = {"apns": "0" * 64, "fcm": "tidings-check"} | dict.fromkeys(KINDS[2:], "")
