"""Whether a provider accepts our credentials: each is asked, and nobody is sent anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract import apns_desk, fcm_desk, test_sendgrid, test_ses, test_twilio
from tests.peers.h2_server import Exchange
from tests.peers.provider import Got, Provider, Say
from tidings.review.reach import Probe, asked
from tidings.sender import Provable, Sender
from tidings.services.process import free_port


async def proved(sender: Sender) -> None:
    assert isinstance(sender, Provable)
    await sender.open(asyncio.get_running_loop())
    try:
        await sender.prove()
    finally:
        await sender.close()


def refusal(sender: Sender) -> str:
    """What ``check --connect`` says of it."""
    return asked(Probe(("providers", "x"), lambda: asyncio.run(proved(sender))), 10.0) or ""


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


@pytest.mark.parametrize("name", SENDERS)
def test_it_reads_with_its_credentials(tmp_path: Path, name: str) -> None:
    make, path = SENDERS[name]
    with Provider(lambda got: Say(200, b"{}")) as provider:
        assert refusal(make(tmp_path, provider.url)) == ""
    [got] = provider.got
    assert (got.method, got.path) == ("GET", path)
    assert got.headers["authorization"].split()[0] in ("Bearer", "Basic", "AWS4-HMAC-SHA256")


@pytest.mark.parametrize("name", SENDERS)
def test_what_the_provider_says_is_told_without_what_is_private(tmp_path: Path, name: str) -> None:
    def refuses(got: Got) -> Say:
        return Say(401, b'{"message": "Authenticate, ana@example.com"}')

    make, _ = SENDERS[name]
    with Provider(refuses) as provider:
        said = refusal(make(tmp_path, provider.url))
    assert said.startswith('it answers 401: {"message": "Authenticate')
    assert "ana@" not in said


@pytest.mark.parametrize("name", SENDERS)
def test_one_that_can_not_be_reached_is_told(tmp_path: Path, name: str) -> None:
    make, _ = SENDERS[name]
    assert refusal(make(tmp_path, f"http://127.0.0.1:{free_port()}"))
