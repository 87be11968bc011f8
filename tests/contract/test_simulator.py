"""Our senders, and the official libraries, against the simulator: what it answers as its scenario
says, and what its journal keeps."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

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
    against,
    now_ms,
)
from tidings.secret import Secret
from tidings.sender import Verdict
from tidings.simulator.credentials import ACCESS_KEY, ACCOUNT, NUMBER

SECOND = 1_000


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
        answer = await peer.one(kind, timeout="100ms", wait="1s")
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
            aws_secret_access_key=Secret(given["secret_access_key"]).read().strip(),
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
