"""The sender of FCM on the wire: requests, answers, and the token that it goes by."""

from __future__ import annotations

import asyncio
import json
import threading
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.fcm_desk import (
    HOUR,
    NOW,
    SECOND,
    SEND_ID,
    TOKEN,
    Clock,
    Desk,
    a_send,
    accepts,
    device,
    error,
    run,
    sends,
    violations,
)
from tests.peers.h2_server import Exchange
from tidings.operators.senders import fcm
from tidings.operators.senders.push.fcm_answer import classify, message_id
from tidings.operators.senders.push.fcm_token import Away, Refused
from tidings.operators.senders.retry_after import wait_ms
from tidings.ports import Address
from tidings.registry import senders
from tidings.sender import Answer, Content, Verdict

MINUTE = 60_000


def test_it_is_registered() -> None:
    assert senders()["fcm"] is fcm.SENDER


def test_a_send_is_one_request_as_google_wants_it(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send(expires_at=NOW + 90 * SECOND))
        assert answer == Answer(verdict=Verdict.OK, provider_id="0:1500415314455276%31bd1c96")
        [exchange] = desk.server.exchanges
        assert exchange.headers == {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"127.0.0.1:{desk.server.port}",
            ":path": "/v1/projects/example-app/messages:send",
            "content-type": "application/json",
            "authorization": "Bearer t1",
        }
        assert json.loads(exchange.body) == {
            "message": {
                "token": TOKEN,
                "notification": {"title": "Hello", "body": "Alice and 49 others"},
                "data": {"send_id": SEND_ID},
                "android": {"priority": "HIGH", "ttl": "90s"},
                "fcmOptions": {"analyticsLabel": "social"},
            }
        }

    run(tmp_path, test)


def test_a_project_of_its_own_and_a_dry_run(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.send(a_send())
        [exchange] = desk.server.exchanges
        assert exchange.headers[":path"] == "/v1/projects/other-app/messages:send"
        assert json.loads(exchange.body)["validateOnly"] is True

    run(tmp_path, test, project="other-app", dry_run=True)


def test_what_google_need_not_be_asked_is_answered_and_costs_no_neighbour(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        answers = await desk.send(
            a_send(address=Address(kind="device", value="no token")),
            a_send(Content(parts={"body": "x" * 5_000})),
            a_send(Content(parts={"body": "x"}, data={"from": "ana"})),
            a_send(),
        )
        assert [(one.verdict, one.code) for one in answers] == [
            (Verdict.INV, "INVALID_ARGUMENT"),
            (Verdict.DROP, "PayloadTooLarge"),
            (Verdict.DROP, "BadMessage"),
            (Verdict.OK, ""),
        ]
        assert len(desk.server.exchanges) == 1

    run(tmp_path, test)


def test_an_answer_that_never_comes_is_ambiguous(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert (answer.verdict, answer.code) == (Verdict.AMB, "NoAnswer")

    run(tmp_path, test, lambda exchange: None, timeout="300ms")


def test_what_is_on_its_way_when_the_sender_closes_is_answered(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        answers = desk.start(*sends(3))
        await desk.server.until(lambda: len(desk.server.exchanges) == 3)
        await desk.sender.close()
        assert {one.verdict for one in await answers} == {Verdict.AMB}

    run(tmp_path, test, lambda exchange: None)


# ── what an answer means ──────────────────────────────────────────────────────────────────────

NOT_VALID = "The registration token is not a valid FCM registration token"


@pytest.mark.parametrize(
    ("status", "body", "verdict", "code"),
    [
        (404, error(404, "UNREGISTERED"), Verdict.INV, "UNREGISTERED"),
        (404, error(404), Verdict.CFG, "NOT_FOUND"),
        (403, error(403, "SENDER_ID_MISMATCH"), Verdict.INV, "SENDER_ID_MISMATCH"),
        (403, error(403), Verdict.CFG, "PERMISSION_DENIED"),
        (401, error(401, "THIRD_PARTY_AUTH_ERROR"), Verdict.CFG, "THIRD_PARTY_AUTH_ERROR"),
        (401, error(401), Verdict.CFG, "UNAUTHENTICATED"),
        (400, error(400, "INVALID_ARGUMENT"), Verdict.DROP, "INVALID_ARGUMENT"),
        (400, error(400, "INVALID_ARGUMENT", NOT_VALID), Verdict.INV, "INVALID_ARGUMENT"),
        (
            400,
            error(400, "INVALID_ARGUMENT", "Wrong.", violations("message.token")),
            Verdict.INV,
            "INVALID_ARGUMENT",
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "Wrong.", violations("message.fid")),
            Verdict.INV,
            "INVALID_ARGUMENT",
        ),
        (  # it is the message too
            400,
            error(
                400, "INVALID_ARGUMENT", NOT_VALID, violations("message.token", "message.data[0]")
            ),
            Verdict.DROP,
            "INVALID_ARGUMENT",
        ),
        (
            400,
            error(400, "", "Invalid JSON payload received.", violations("message.android")),
            Verdict.DROP,
            "INVALID_ARGUMENT",
        ),
        (429, error(429, "QUOTA_EXCEEDED"), Verdict.RETRY, "QUOTA_EXCEEDED"),
        (500, error(500, "INTERNAL"), Verdict.RETRY, "INTERNAL"),
        (503, error(503, "UNAVAILABLE"), Verdict.RETRY, "UNAVAILABLE"),
        (413, b"<html>", Verdict.DROP, "413"),
        (502, b"<html>Bad gateway", Verdict.RETRY, "502"),
        (301, b"", Verdict.CFG, "301"),
        (400, b'{"error":{"code":400,"details":[7]}}', Verdict.DROP, "400"),
    ],
)
def test_each_error_has_its_meaning(status: int, body: bytes, verdict: Verdict, code: str) -> None:
    answer = classify(status, body)
    assert (answer.verdict, answer.code) == (verdict, code)
    assert answer.limited is (status == 429)


@given(status=st.integers(201, 999), body=st.binary(max_size=80))
def test_whatever_is_answered_can_be_classified(status: int, body: bytes) -> None:
    assert classify(status, body).verdict is not Verdict.OK


def test_the_official_librarys_kinds_of_error_are_all_known() -> None:
    from firebase_admin.messaging import _MessagingService

    for code in _MessagingService.FCM_ERROR_TYPES:
        assert classify(418, error(418, code)) != classify(418, error(418)), code


def test_a_quota_waits_for_what_it_says_else_for_a_minute() -> None:
    body = error(429, "QUOTA_EXCEEDED")
    assert classify(429, body).retry_after_ms == 60_000
    assert classify(429, body, wait=17_000).retry_after_ms == 17_000
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}
    assert classify(429, error(429, "QUOTA_EXCEEDED", "", info)).retry_after_ms == 3_500
    assert classify(503, error(503, "UNAVAILABLE")).retry_after_ms == -1
    assert classify(503, error(503, "UNAVAILABLE"), wait=5_000).retry_after_ms == 5_000


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (b"", -1),
        (b"17", 17_000),
        (b"0", 0),
        (b"99999999999999999999", 86_400_000),
        (b"soon", -1),
        (b"\xff", -1),
        (b"Fri, 15 Jan 2027 08:00:20 GMT", 20_000),
        (b"Fri, 15 Jan 2027 07:00:00 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: bytes, wait: int) -> None:
    assert wait_ms(value, NOW) == wait


@given(st.binary(max_size=40))
def test_no_retry_after_breaks_anything(value: bytes) -> None:
    assert -1 <= wait_ms(value, NOW) <= 86_400_000


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name":7}', b"\xff"])
def test_an_acceptance_without_a_name_is_one(body: bytes) -> None:
    assert message_id(body) == ""


def test_retry_after_reaches_the_lane(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.respond(429, error(429, "QUOTA_EXCEEDED"), [("retry-after", "40")])

    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert (answer.limited, answer.retry_after_ms) == (True, 40_000)

    run(tmp_path, test, answer)


@pytest.mark.parametrize(
    "body",
    [error(403, "SENDER_ID_MISMATCH"), error(400, "INVALID_ARGUMENT", NOT_VALID)],
    ids=["another project's", "no tokens"],
)
def test_a_mix_up_stops_the_provider_and_not_the_devices(tmp_path: Path, body: bytes) -> None:
    status = json.loads(body)["error"]["code"]

    async def test(desk: Desk) -> None:
        verdicts = [one.verdict for one in await desk.send(*sends(40))]
        assert (verdicts.count(Verdict.INV), verdicts.count(Verdict.CFG)) == (19, 21)

    run(tmp_path, test, lambda exchange: exchange.respond(status, body))


def test_some_bad_tokens_among_more_good_ones_are_bad_tokens(tmp_path: Path) -> None:
    numbers = count()

    def answer(exchange: Exchange) -> None:
        if next(numbers) % 4:
            accepts(exchange)
        else:
            exchange.respond(403, error(403, "SENDER_ID_MISMATCH"))

    async def test(desk: Desk) -> None:
        verdicts = [one.verdict for one in await desk.send(*sends(160))]
        assert (verdicts.count(Verdict.INV), verdicts.count(Verdict.OK)) == (40, 120)

    run(tmp_path, test, answer)


def test_bad_tokens_behind_more_good_ones_are_bad_tokens(tmp_path: Path) -> None:
    bad = error(403, "SENDER_ID_MISMATCH")

    async def test(desk: Desk) -> None:
        assert {one.verdict for one in await desk.send(*sends(60))} == {Verdict.OK}
        desk.server.answer = lambda exchange: exchange.respond(403, bad)
        assert {one.verdict for one in await desk.send(*sends(40))} == {Verdict.INV}

    run(tmp_path, test)


def test_many_messages_that_fcm_will_not_have_are_no_mix_up(tmp_path: Path) -> None:
    too_big = error(400, "INVALID_ARGUMENT", "Too big.", violations("message.data"))

    async def test(desk: Desk) -> None:
        assert {one.verdict for one in await desk.send(*sends(40))} == {Verdict.DROP}

    run(tmp_path, test, lambda exchange: exchange.respond(400, too_big))


def test_a_project_may_send_600000_a_minute_and_what_is_too_much_does_not_count() -> None:
    terms = fcm.SENDER.terms(fcm.Settings())
    assert terms.rate is not None
    assert (terms.rate.at_most, terms.rate.within) == (600_000, MINUTE)
    assert not terms.counts_limited


def test_many_who_have_removed_the_app_are_no_mix_up(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        assert {one.verdict for one in await desk.send(*sends(40))} == {Verdict.INV}

    run(tmp_path, test, lambda exchange: exchange.respond(404, error(404, "UNREGISTERED")))


# ── the token ─────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_used_until_ten_minutes_before_its_end(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        for minutes in (0, 30, 49):
            desk.clock.at = NOW + minutes * MINUTE
            await desk.send(a_send())
        assert desk.google.asked == 1
        desk.clock.at = NOW + 51 * MINUTE
        await desk.send(a_send())
        while desk.google.asked < 2:  # by a thread of its own, of which the server sees nothing
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        while desk.tokens()[-1] == "t1":
            await desk.send(a_send())
        assert set(desk.tokens()[:4]) == {"t1"}, "sends went on by the old one meanwhile"

    run(tmp_path, test)


def test_one_question_at_a_time_and_off_the_loop(tmp_path: Path) -> None:
    gate = threading.Event()
    threads: set[int] = set()

    def wait() -> None:
        threads.add(threading.get_ident())
        gate.wait()

    async def test(desk: Desk) -> None:
        desk.google.wait = wait
        desk.clock.at = NOW + 55 * MINUTE
        for _ in range(5):
            await desk.send(*sends(20))
        assert desk.tokens() == ["t1"] * 100
        gate.set()
        while desk.tokens()[-1] == "t1":
            await desk.send(a_send())
        assert (desk.google.asked, desk.google.most_at_once) == (2, 1)
        assert threading.get_ident() not in threads

    run(tmp_path, test)


def test_a_send_without_a_token_waits_for_the_one_that_is_asked_for(tmp_path: Path) -> None:
    gate = threading.Event()

    async def test(desk: Desk) -> None:
        desk.google.wait = gate.wait
        desk.clock.at = NOW + 2 * HOUR
        answers = desk.start(*sends(10))
        assert not answers.done()
        gate.set()
        assert {one.verdict for one in await answers} == {Verdict.OK}
        assert desk.tokens() == ["t2"] * 10

    run(tmp_path, test, wait="20s")


def test_a_send_is_given_back_when_the_token_takes_too_long(tmp_path: Path) -> None:
    gate = threading.Event()

    async def test(desk: Desk) -> None:
        desk.google.wait = gate.wait
        desk.clock.at = NOW + 2 * HOUR
        [answer] = await desk.send(a_send())
        assert (answer.verdict, answer.code) == (Verdict.RETRY, "NoAccessToken")
        gate.set()
        assert not desk.server.exchanges

    run(tmp_path, test, wait="50ms")


def refuses_token(*tokens: str) -> object:
    """A server that takes no such tokens."""

    def answer(exchange: Exchange) -> None:
        if exchange.headers["authorization"].removeprefix("Bearer ") in tokens:
            exchange.respond(401, error(401))
        else:
            accepts(exchange)

    return answer


def test_a_token_that_is_refused_is_asked_for_anew_and_its_sends_made_once_more(
    tmp_path: Path,
) -> None:
    async def test(desk: Desk) -> None:
        answers = await desk.send(*sends(10))
        assert {one.verdict for one in answers} == {Verdict.OK}
        assert desk.google.asked == 2
        assert sorted(desk.tokens()) == ["t1"] * 10 + ["t2"] * 10

    run(tmp_path, test, refuses_token("t1"), wait="20s")  # type: ignore[arg-type]


def test_a_token_that_is_refused_when_it_is_new_is_a_matter_for_people(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        first = await desk.send(*sends(3))
        assert {(one.verdict, one.code) for one in first} == {(Verdict.CFG, "UNAUTHENTICATED")}
        [second] = await desk.send(a_send())
        assert second.verdict is Verdict.CFG
        assert desk.google.asked == 2, "once"
        desk.clock.at = NOW + 6 * MINUTE
        await desk.send(a_send())
        assert desk.google.asked == 3, "and once more when it is tried later"

    run(tmp_path, test, refuses_token("t1", "t2", "t3"), wait="20s")  # type: ignore[arg-type]


def test_apples_or_a_browsers_refusal_of_our_keys_asks_for_no_token(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert (answer.verdict, answer.code) == (Verdict.CFG, "THIRD_PARTY_AUTH_ERROR")
        assert (desk.google.asked, len(desk.server.exchanges)) == (1, 1)

    run(
        tmp_path,
        test,
        lambda exchange: exchange.respond(401, error(401, "THIRD_PARTY_AUTH_ERROR")),
    )


def test_google_away_at_the_start_is_asked_again(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert answer == Answer(
            verdict=Verdict.RETRY, code="NoAccessToken", detail="no route to Google"
        )
        desk.clock.at += 999
        await desk.send(a_send())
        assert desk.google.asked == 1, "it gets a moment's rest"
        desk.clock.at += 1
        [answer] = await desk.send(a_send())
        assert answer.verdict is Verdict.OK
        assert desk.tokens() == ["t2"]

    run(tmp_path, test, accepts, Away("no route to Google"), wait="20s")


def test_credentials_that_google_refuses_stop_the_provider(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert answer == Answer(
            verdict=Verdict.CFG, code="NoAccessToken", detail="invalid_grant: account not found"
        )
        assert not desk.server.exchanges

    run(tmp_path, test, accepts, Refused("invalid_grant: account not found"))


def test_pauses_between_questions_grow(tmp_path: Path) -> None:
    clock = Clock()

    async def test(desk: Desk) -> None:
        asked_at = []
        for _ in range(120):
            before = desk.google.asked
            await desk.send(a_send())
            if desk.google.asked > before:
                asked_at.append((clock.at - NOW) // SECOND)
            clock.at += SECOND
        assert asked_at == [1, 3, 7, 15, 31, 61, 91]

    run(tmp_path, test, accepts, *(Away("away") for _ in range(50)), clock=clock, wait="20s")


@pytest.mark.parametrize("length", [1_000, 3_500, 7_000])
def test_a_token_may_be_long(tmp_path: Path, length: int) -> None:
    async def test(desk: Desk) -> None:
        desk.google.token = "t" * length
        desk.clock.at = NOW + 2 * HOUR
        answers = [await desk.send(a_send(address=device(number))) for number in range(3)]
        assert {one.verdict for [one] in answers} == {Verdict.OK}
        assert desk.tokens() == ["t" * length] * 3

    run(tmp_path, test, wait="20s")
