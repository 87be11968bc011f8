"""Our senders, and the official libraries, against the simulator: what it answers as its scenario
says, what its journal keeps, and what it calls back."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aioapns
import boto3
import pytest
from aioapns.connection import APNsProductionClientProtocol
from botocore.config import Config
from botocore.exceptions import ClientError
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from tests.contract.simulated import (
    ADDRESSES,
    CHANNELS,
    KINDS,
    PARTS,
    Peer,
    a_send,
    now_ms,
    simulated,
)
from tidings.providers import desks
from tidings.receipts import Receipt, Reference, Reply
from tidings.records import Kind
from tidings.secret import Secret
from tidings.sender import Verdict
from tidings.simulator.credentials import ACCESS_KEY, ACCOUNT, NUMBER

SECOND = 1_000
Use = Callable[[Peer], Coroutine[Any, Any, Any]]


def against(folder: Path, use: Use, *script: dict[str, Any], **scenario: Any) -> Any:
    """What ``use`` makes of a simulator with this script."""

    async def run() -> Any:
        async with simulated(folder, {"script": script, **scenario}) as peer:
            return await use(peer)

    return asyncio.run(run())


# ── Our senders ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_what_our_sender_sends_is_accepted_and_kept(tmp_path: Path, kind: str) -> None:
    sends = [a_send(kind, number) for number in range(1, 6)]

    async def use(peer: Peer) -> None:
        answers = await peer.send(kind, sends)
        assert {one.verdict for found in answers.values() for one in found} == {Verdict.OK}
        got = peer.got()
        assert sorted(one.address for one in got) == [
            ADDRESSES[kind].format(n) for n in range(1, 6)
        ]
        parts = PARTS[CHANNELS[kind]]
        assert all({k: one.parts[k] for k in parts} == parts for one in got)
        assert {(one.accepted, one.attempt, one.provider) for one in got} == {(True, 1, kind)}
        assert {one.http for one in got} == {"2" if kind in ("apns", "fcm") else "1.1"}
        calls = {"ses": 1, "sendgrid": 1}.get(kind, 5)
        assert len({one.call for one in got}) == calls, "mails go together, others alone"

    against(tmp_path, use)


@pytest.mark.parametrize(
    ("kind", "rule", "verdict", "code"),
    [
        ("apns", {"answer": "inv"}, "inv", "Unregistered"),
        ("apns", {"answer": "inv", "code": "BadDeviceToken"}, "inv", "BadDeviceToken"),
        ("apns", {"answer": "retry", "code": "503"}, "retry", "ServiceUnavailable"),
        ("apns", {"answer": "retry", "limited": True}, "retry", "TooManyRequests"),
        ("apns", {"answer": "cfg"}, "cfg", "InvalidProviderToken"),
        ("apns", {"answer": "drop"}, "drop", "BadExpirationDate"),
        ("fcm", {"answer": "inv"}, "inv", "UNREGISTERED"),
        ("fcm", {"answer": "inv", "code": "SENDER_ID_MISMATCH"}, "inv", "SENDER_ID_MISMATCH"),
        ("fcm", {"answer": "retry"}, "retry", "UNAVAILABLE"),
        ("fcm", {"answer": "retry", "status": 500, "code": "INTERNAL"}, "retry", "INTERNAL"),
        ("fcm", {"answer": "retry", "limited": True}, "retry", "QUOTA_EXCEEDED"),
        ("fcm", {"answer": "cfg"}, "cfg", "THIRD_PARTY_AUTH_ERROR"),
        ("fcm", {"answer": "drop"}, "drop", "INVALID_ARGUMENT"),
        ("ses", {"answer": "inv"}, "ok", ""),  # it takes them, and tells of a bounce
        ("ses", {"answer": "retry", "code": "503"}, "retry", "ServiceUnavailable"),
        ("ses", {"answer": "retry", "limited": True}, "retry", "TooManyRequests"),
        ("ses", {"answer": "cfg"}, "cfg", "SendingPaused"),
        ("ses", {"answer": "drop"}, "drop", "MessageRejected"),
        ("sendgrid", {"answer": "inv"}, "inv", "personalizations.0.to.0.email"),
        ("sendgrid", {"answer": "retry"}, "retry", "503"),
        ("sendgrid", {"answer": "retry", "limited": True}, "retry", "429"),
        ("sendgrid", {"answer": "cfg"}, "cfg", "401"),
        ("sendgrid", {"answer": "drop"}, "drop", "personalizations.0.headers"),
        ("twilio", {"answer": "inv"}, "inv", "21211"),
        ("twilio", {"answer": "inv", "code": "21614"}, "inv", "21614"),
        ("twilio", {"answer": "retry"}, "retry", "20503"),
        ("twilio", {"answer": "retry", "limited": True}, "retry", "20429"),
        ("twilio", {"answer": "cfg"}, "cfg", "20003"),
        ("twilio", {"answer": "drop"}, "drop", "21617"),
    ],
)
def test_the_answer_of_the_script_is_what_our_sender_understands(
    tmp_path: Path, kind: str, rule: dict[str, Any], verdict: str, code: str
) -> None:
    async def use(peer: Peer) -> None:
        answer = await peer.one(kind)
        assert (answer.verdict, answer.code) == (verdict, code)
        assert answer.limited == rule.get("limited", False)
        [kept] = peer.got()
        assert kept.accepted == (verdict == "ok")

    against(tmp_path, use, {"provider": kind, **rule})


@pytest.mark.parametrize("kind", ["apns", "fcm", "twilio", "sendgrid"])
def test_a_wait_that_is_asked_for_arrives(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> int:
        return (await peer.one(kind)).retry_after_ms

    rule = {"answer": "retry", "limited": True, "retry_after": "40s"}
    waited = against(tmp_path, use, rule)
    assert 38 * SECOND <= waited <= 41 * SECOND


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("by", "accepted"), [("silence", True), ("reset", False)])
def test_a_black_hole_and_a_reset_are_of_unknown_fate(
    tmp_path: Path, kind: str, by: str, accepted: bool
) -> None:
    async def use(peer: Peer) -> None:
        answer = await peer.one(kind, timeout="100ms", wait="200ms")
        assert answer.verdict is Verdict.AMB
        [kept] = peer.got()
        assert (kept.answer, kept.status, kept.accepted) == (Verdict.AMB, 0, accepted)

    against(tmp_path, use, {"answer": "amb", "by": by, "accepted": accepted})


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_attempt_fails_and_the_second_is_taken(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        first, second = a_send(kind, 1), a_send(kind, 1, attempt=2)
        answers = await peer.send(kind, [first], [second])
        assert [one.verdict for one in answers[first.send_id]] == [Verdict.RETRY, Verdict.OK]
        assert [(one.attempt, one.accepted) for one in peer.got()] == [(1, False), (2, True)]

    against(tmp_path, use, {"attempts": 1, "answer": "retry", "status": 503})


@pytest.mark.parametrize("kind", ["apns", "fcm"])
def test_a_dead_token_stays_dead_and_a_live_one_alive(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        sends = [a_send(kind, number) for number in range(40)]
        answers = await peer.send(kind, sends, sends)
        both = [tuple(one.verdict for one in found) for found in answers.values()]
        assert set(both) == {(Verdict.OK, Verdict.OK), (Verdict.INV, Verdict.INV)}
        assert 5 <= both.count((Verdict.INV, Verdict.INV)) <= 20

    against(tmp_path, use, {"share": 0.3, "draw": "address", "answer": "inv"})


def test_apple_says_since_when_a_token_is_dead(tmp_path: Path) -> None:
    """A device that has registered since is not removed."""

    async def use(peer: Peer) -> None:
        before = now_ms()
        old = a_send("apns", 1, registered_at=before - 7_200_000)
        new = a_send("apns", 2, registered_at=before - 60_000)
        answers = await peer.send("apns", [old, new])
        [gone], [stays] = answers[old.send_id], answers[new.send_id]
        assert gone.verdict is Verdict.INV
        assert 0 <= gone.since - (before - 3_600_000) < 60_000
        assert stays.verdict is Verdict.RETRY

    against(tmp_path, use, {"answer": "inv", "dead_for": "1h"})


def test_an_outage_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        assert (await peer.one("twilio")).verdict is Verdict.RETRY
        await asyncio.sleep(0.6)
        assert (await peer.one("twilio")).verdict is Verdict.OK

    against(tmp_path, use, {"until": "500ms", "answer": "retry"})


def test_of_a_bulk_of_ses_each_mail_has_its_own_answer(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        sends = [a_send("ses", number) for number in (1, 2, 3)]
        answers = await peer.send("ses", sends)
        found = [answers[one.send_id][0] for one in sends]
        assert [(one.verdict, one.code) for one in found] == [
            (Verdict.OK, ""),
            (Verdict.RETRY, "ACCOUNT_THROTTLED"),
            (Verdict.DROP, "MESSAGE_REJECTED"),
        ]
        got = peer.got()
        assert [one.accepted for one in got] == [True, False, False]
        assert len({one.call for one in got}) == 1

    against(
        tmp_path,
        use,
        {"address": "user-2@*", "answer": "retry", "limited": True},
        {"address": "user-3@*", "answer": "drop"},
    )


def test_sendgrid_names_who_is_to_blame_and_takes_the_others_at_the_second_call(
    tmp_path: Path,
) -> None:
    async def use(peer: Peer) -> None:
        sends = [a_send("sendgrid", number) for number in (1, 2, 3)]
        answers = await peer.send("sendgrid", sends)
        verdicts = [answers[one.send_id][0].verdict for one in sends]
        assert verdicts == [Verdict.OK, Verdict.INV, Verdict.OK]
        got = [(one.call, one.address[:6], one.accepted) for one in peer.got()]
        assert got == [
            (1, "user-1", False),
            (1, "user-2", False),
            (1, "user-3", False),
            (2, "user-1", True),
            (2, "user-3", True),
        ]

    against(tmp_path, use, {"address": "user-2@*", "answer": "inv"})


# ── Clients that do it wrong ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        ("apns", {"key_id": "ANOTHER000"}, "InvalidProviderToken"),
        ("fcm", {"project": "another"}, "PERMISSION_DENIED"),
        ("ses", {"access_key_id": "AKIAOTHER"}, "UnrecognizedClient"),
        ("twilio", {"account": "AC" + "0" * 32}, "20003"),
    ],
)
def test_who_comes_with_other_credentials_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any], code: str
) -> None:
    async def use(peer: Peer) -> None:
        answer = await peer.one(kind, **changes)
        assert (answer.verdict, answer.code) == (Verdict.CFG, code)
        [kept] = peer.got()
        assert (kept.answer, kept.accepted, kept.address) == (Verdict.CFG, False, "")

    against(tmp_path, use)


def test_a_key_that_is_not_sendgrids_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_text("SG.other")

    async def use(peer: Peer) -> None:
        answer = await peer.one("sendgrid", key=f"file:{other}")
        assert (answer.verdict, answer.code) == (Verdict.CFG, "401")

    against(tmp_path, use)


# ── The official libraries ────────────────────────────────────────────────────────────────────


def test_the_stock_library_for_apple_sends_and_reads_its_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(peer: Peer) -> None:
        given = peer.settings["apns"]
        monkeypatch.setattr(APNsProductionClientProtocol, "APNS_SERVER", given["host"])
        monkeypatch.setattr(APNsProductionClientProtocol, "APNS_PORT", given["port"])
        tls = ssl.create_default_context(cafile=given["ca"])
        tls.set_alpn_protocols(["h2"])
        client = aioapns.APNs(
            key=Secret(given["key"]).read(),
            key_id=given["key_id"],
            team_id=given["team_id"],
            topic=given["topic"],
            ssl_context=tls,
        )
        message = {"aps": {"alert": {"title": "Hello", "body": "There"}}}
        found = []
        for token in ("ab" * 32, "dead" * 16):
            request = aioapns.NotificationRequest(token, message)
            found.append(await client.send_notification(request))
        client.pool.close()
        assert [(one.status, one.description) for one in found] == [
            ("200", None),
            ("410", "Unregistered"),
        ]
        assert [(one.address, one.parts["title"], one.accepted) for one in peer.got()] == [
            ("ab" * 32, "Hello", True),
            ("dead" * 16, "Hello", False),
        ]

    against(tmp_path, use, {"address": "dead*", "answer": "inv"})


def test_amazons_library_sends_and_reads_its_errors(tmp_path: Path) -> None:
    def mail(peer: Peer, to: str) -> Any:
        given = peer.settings["ses"]
        client = boto3.client(
            "sesv2",
            region_name="us-east-1",
            endpoint_url=given["endpoint"],
            verify=given["ca"],
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
        )
        try:
            return client.send_email(
                FromEmailAddress="hello@example.com",
                Destination={"ToAddresses": [to]},
                Content={"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "You"}}}},
            )
        finally:
            client.close()

    async def use(peer: Peer) -> None:
        said = await asyncio.to_thread(mail, peer, "ana@example.org")
        assert said["MessageId"]
        with pytest.raises(ClientError) as refused:
            await asyncio.to_thread(mail, peer, "ben@example.org")
        assert refused.value.response["Error"]["Code"] == "TooManyRequestsException"
        assert [(one.address, one.accepted) for one in peer.got()] == [
            ("ana@example.org", True),
            ("ben@example.org", False),
        ]

    against(tmp_path, use, {"address": "ben@*", "answer": "retry", "limited": True})


def test_twilios_library_sends_calls_and_reads_its_errors(tmp_path: Path) -> None:
    def talk(peer: Peer) -> tuple[Any, Any, TwilioRestException]:
        token = Secret(peer.settings["twilio"]["auth_token"]).read().strip()
        http = TwilioHttpClient(timeout=10)
        client = Client(ACCOUNT, token, http_client=http)
        client.api.base_url = f"http://127.0.0.1:{peer.server.plain_port}"
        try:
            text = client.messages.create(to="+12025550100", from_=NUMBER, body="Hello")
            call = client.calls.create(to="+12025550100", from_=NUMBER, twiml="<Response/>")
            with pytest.raises(TwilioRestException) as refused:
                client.messages.create(to="+12025550101", from_=NUMBER, body="Hello")
            return text, call, refused.value
        finally:
            http.session.close()

    async def use(peer: Peer) -> None:
        text, call, refused = await asyncio.to_thread(talk, peer)
        assert (text.sid[:2], text.status, text.num_segments) == ("SM", "queued", "1")
        assert (call.sid[:2], call.status) == ("CA", "queued")
        assert (refused.status, refused.code) == (400, 21614)

    against(tmp_path, use, {"address": "*01", "answer": "inv", "code": "21614"})


# ── What is called back ───────────────────────────────────────────────────────────────────────


def read(peer: Peer, kind: str) -> list[Any]:
    """The receipts that our own parsers make of the callbacks, in the order of their coming."""
    desk = desks({kind: peer.settings[kind]})[kind]
    found = []
    for webhook in peer.webhooks():
        for receipt in desk.read(webhook):
            assert isinstance(receipt, Receipt)
            reference = Reference.read(receipt.reference, desk.keys) if receipt.reference else None
            found.append((receipt, reference))
    return found


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "twilio"])
def test_callbacks_are_signed_and_lead_back_to_the_send(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        await peer.send(kind, [a_send(kind, 7)])
        (receipt, reference), (opened, _) = read(peer, kind)
        assert (receipt.kind, opened.kind) == (Kind.DELIVERED, Kind.OPENED)
        assert receipt.address == ADDRESSES[kind].format(7)
        assert (reference.send_id, reference.recipient_id) == (a_send(kind, 7).send_id, "user-7")
        assert reference.origin.offset == 7

    events = [{"event": "opened", "after": "9s"}, {"event": "delivered", "after": "2s"}]
    against(tmp_path, use, receipts=events)


@pytest.mark.parametrize("kind", ["ses", "sendgrid", "twilio"])
def test_what_is_told_twice_happened_once(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        before = now_ms()
        await peer.send(kind, [a_send(kind, 1)])
        receipts = [receipt for receipt, _ in read(peer, kind)]
        assert len(receipts) == 3
        assert len({one.event_id for one in receipts}) == 1
        late = sorted(at - before for at, _ in peer.later)
        assert 2 * SECOND <= late[0] <= late[-1] <= 3_600 * SECOND + 5 * SECOND

    against(tmp_path, use, receipts=[{"event": "delivered", "times": 3, "after": ["2s", "1h"]}])


@pytest.mark.parametrize(
    ("kind", "event", "expected"),
    [
        ("ses", {"event": "bounced"}, {"kind": "bounced", "suppress": "hard_bounce"}),
        (
            "ses",
            {"event": "bounced", "code": "Transient/MailboxFull"},
            {"kind": "bounced", "suppress": "", "again_ms": 3_600_000},
        ),
        ("ses", {"event": "complained"}, {"kind": "complained", "suppress": "complaint"}),
        ("ses", {"event": "failed"}, {"kind": "failed", "alert": True}),
        ("sendgrid", {"event": "bounced"}, {"kind": "bounced", "suppress": "hard_bounce"}),
        (
            "sendgrid",
            {"event": "bounced", "code": "blocked"},
            {"kind": "bounced", "suppress": "", "again_ms": 3_600_000},
        ),
        ("sendgrid", {"event": "complained"}, {"kind": "complained", "suppress": "complaint"}),
        ("sendgrid", {"event": "unsubscribed"}, {"suppress": "unsubscribe"}),
        ("sendgrid", {"event": "failed"}, {"kind": "failed", "suppress": "hard_bounce"}),
        ("twilio", {"event": "failed", "code": "30005"}, {"kind": "failed", "gone": True}),
        ("twilio", {"event": "failed", "code": "30003"}, {"again_ms": 10_800_000, "tries": 2}),
        ("twilio", {"event": "unsubscribed"}, {"kind": "unsubscribed", "suppress": "stop"}),
        (
            "twilio",
            {"event": "unsubscribed", "code": "Quit"},
            {"kind": "unsubscribed", "suppress": "stop", "detail": "QUIT"},
        ),
    ],
)
def test_bad_news_is_what_our_parsers_take_it_for(
    tmp_path: Path, kind: str, event: dict[str, str], expected: dict[str, Any]
) -> None:
    async def use(peer: Peer) -> None:
        await peer.send(kind, [a_send(kind, 1)])
        [(receipt, _)] = read(peer, kind)
        assert {name: getattr(receipt, name) for name in expected} == expected
        assert receipt.address == ADDRESSES[kind].format(1)

    against(tmp_path, use, {"receipts": [event]})


SERVICE = "MG" + "0" * 32


@pytest.mark.parametrize("changes", [{}, {"from": "", "service": SERVICE}])
def test_what_people_text_back_comes_from_their_number_to_the_one_that_wrote_to_them(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    async def use(peer: Peer) -> None:
        callback = {**peer.settings["twilio"]["callback"]}
        callback["url"] += "?tenant=acme"
        await peer.send("twilio", [a_send("twilio", 1)], callback=callback, **changes)
        desk = desks({"twilio": peer.settings["twilio"]})["twilio"]
        hooks = peer.webhooks()
        assert {hook.url for hook in hooks} == {callback["url"]}
        forms = [dict(parse_qsl(hook.body.decode())) for hook in hooks]
        assert {form["To"] for form in forms} == {NUMBER}
        assert {form.get("MessagingServiceSid") for form in forms} == {changes.get("service")}
        found = [reply for hook in hooks for reply in desk.read(hook)]
        assert [(type(one), one.address, one.tenant) for one in found] == 3 * [
            (Reply, "+12025550101", "acme")
        ]
        assert [one.text for one in found if isinstance(one, Reply)] == ["Who?", "Here", "Here"]
        who, first, again = (one.event_id for one in found)
        assert who != first == again, "one text that Twilio told twice"

    events = [
        {"event": "replied", "text": "Here", "after": "9s", "times": 2},
        {"event": "replied", "text": "Who?", "after": "2s"},
    ]
    against(tmp_path, use, receipts=events)


@pytest.mark.parametrize("kind", ["ses", "sendgrid"])
def test_who_brings_no_texts_tells_of_none(tmp_path: Path, kind: str) -> None:
    async def use(peer: Peer) -> None:
        await peer.one(kind)
        assert peer.webhooks() == []

    against(tmp_path, use, receipts=[{"event": "replied", "text": "Yes"}])


def test_a_mail_to_a_dead_address_is_taken_and_bounces(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        assert (await peer.one("ses")).verdict is Verdict.OK
        [(receipt, _)] = read(peer, "ses")
        assert (receipt.kind, receipt.suppress) == (Kind.BOUNCED, "hard_bounce")

    against(tmp_path, use, {"answer": "inv"}, receipts=[{"event": "delivered"}])


def test_nothing_is_told_of_what_was_not_accepted(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        for kind in KINDS:
            await peer.one(kind)
        assert len(peer.got()) == len(KINDS)
        assert peer.later == []

    against(tmp_path, use, {"answer": "drop"}, receipts=[{"event": "delivered"}])


def test_apple_and_google_tell_nothing(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        for kind in ("apns", "fcm"):
            await peer.one(kind)
        assert peer.webhooks() == []

    against(tmp_path, use, receipts=[{"event": "delivered"}])


def test_a_provider_goes_by_its_name_in_the_settings(tmp_path: Path) -> None:
    async def use(peer: Peer) -> None:
        assert peer.settings["mail"]["kind"] == "ses"
        assert peer.settings["mail"]["callback"]["url"] == "https://hooks.example.com/ses"
        await peer.send("mail", [a_send("ses", 1)])
        [webhook] = peer.webhooks()
        assert (webhook.provider, webhook.url) == ("mail", "https://hooks.example.com/ses")
        assert json.loads(webhook.body)["Type"] == "Notification"

    against(
        tmp_path,
        use,
        names={"ses": "mail"},
        urls={"ses": "https://hooks.example.com/ses"},
        receipts=[{"event": "delivered"}],
    )
