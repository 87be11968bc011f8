"""The sender of APNs on the wire: answers, and what they mean."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.apns_desk import (
    Clock,
    Desk,
    a_send,
    refuses,
    run,
    settings,
)
from tests.peers.h2_server import Exchange
from tidings.operators.senders import apns
from tidings.operators.senders.apns import Apns
from tidings.operators.senders.push.apns_answer import classify
from tidings.operators.senders.push.apns_message import apns_id
from tidings.registry import senders
from tidings.sender import Answer, Verdict
from tidings.services.process import free_port


def test_it_is_registered() -> None:
    assert senders()["apns"] is apns.SENDER


def test_accepted_gives_the_id_that_apple_knows_it_by(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        assert await desk.send(a_send(5)) == [
            Answer(verdict=Verdict.OK, provider_id="00000000-0000-0000-0000-000000000005")
        ]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("status", "reason", "verdict"),
    [
        (410, "Unregistered", Verdict.INV),
        (410, "ExpiredToken", Verdict.INV),
        (400, "BadDeviceToken", Verdict.INV),
        (400, "DeviceTokenNotForTopic", Verdict.INV),
        (400, "BadCollapseId", Verdict.DROP),
        (400, "BadExpirationDate", Verdict.DROP),
        (400, "BadMessageId", Verdict.DROP),
        (400, "BadPriority", Verdict.DROP),
        (400, "InvalidPushType", Verdict.DROP),
        (400, "DuplicateHeaders", Verdict.DROP),
        (400, "PayloadEmpty", Verdict.DROP),
        (400, "MissingDeviceToken", Verdict.DROP),
        (413, "PayloadTooLarge", Verdict.DROP),
        (400, "BadTopic", Verdict.CFG),
        (400, "MissingTopic", Verdict.CFG),
        (400, "TopicDisallowed", Verdict.CFG),
        (404, "BadPath", Verdict.CFG),
        (405, "MethodNotAllowed", Verdict.CFG),
        (400, "IdleTimeout", Verdict.RETRY),
        (403, "ExpiredProviderToken", Verdict.CFG),
        (403, "InvalidProviderToken", Verdict.CFG),
        (403, "MissingProviderToken", Verdict.CFG),
        (403, "BadCertificate", Verdict.CFG),
        (403, "BadCertificateEnvironment", Verdict.CFG),
        (403, "Forbidden", Verdict.CFG),
        (403, "UnrelatedKeyIdInToken", Verdict.CFG),
        (403, "BadEnvironmentKeyIdInToken", Verdict.CFG),
        (429, "TooManyRequests", Verdict.RETRY),
        (429, "TooManyProviderTokenUpdates", Verdict.RETRY),
        (500, "InternalServerError", Verdict.RETRY),
        (503, "ServiceUnavailable", Verdict.RETRY),
        (503, "Shutdown", Verdict.RETRY),
        # reasons that Apple has not told us of yet
        (400, "NewReason", Verdict.DROP),
        (403, "NewReason", Verdict.CFG),
        (404, "NewReason", Verdict.CFG),
        (410, "NewReason", Verdict.INV),
        (418, "NewReason", Verdict.DROP),
        (429, "NewReason", Verdict.RETRY),
        (504, "NewReason", Verdict.RETRY),
        (301, "NewReason", Verdict.CFG),
    ],
)
def test_each_reason_has_its_meaning(status: int, reason: str, verdict: Verdict) -> None:
    answer = classify(status, json.dumps({"reason": reason}).encode())
    assert (answer.verdict, answer.code) == (verdict, reason)
    assert answer.limited is (status == 429)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"reason":7}', b'{"reason":"\xff"}'])
def test_an_answer_without_a_reason_goes_by_its_status(body: bytes) -> None:
    assert classify(502, body) == Answer(verdict=Verdict.RETRY, code="502")
    assert classify(403, body) == Answer(verdict=Verdict.CFG, code="403")


@given(status=st.integers(201, 999), body=st.binary(max_size=80))
def test_whatever_is_answered_can_be_classified(status: int, body: bytes) -> None:
    assert classify(status, body).verdict is not Verdict.OK


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.respond(429, b'{"reason":"TooManyRequests"}', [("retry-after", "17")])

    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert (answer.verdict, answer.limited) == (Verdict.RETRY, True)
        assert answer.retry_after_ms == 17_000

    run(tmp_path, test, answer)


def test_a_device_that_registered_after_its_death_is_alive() -> None:
    body = b'{"reason":"Unregistered","timestamp":5000}'
    dead = classify(410, body, registered_at=4_999)
    assert (dead.verdict, dead.since) == (Verdict.INV, 5_000)
    alive = classify(410, body, registered_at=5_000)
    assert (alive.verdict, alive.detail) == (Verdict.RETRY, "the device has registered since")
    assert classify(410, body).verdict is Verdict.INV


def test_a_dead_device_is_told_with_the_time_of_its_death(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send(7))
        assert answer == Answer(
            verdict=Verdict.INV,
            code="Unregistered",
            since=1_700_000_000_000,
            provider_id=apns_id(f"{7:032x}"),
        )

    run(tmp_path, test, refuses(410, "Unregistered", timestamp=1_700_000_000_000))


def test_some_bad_tokens_among_more_good_ones_are_bad_tokens(tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        bad = exchange.headers["apns-id"].endswith(("1", "3", "5", "7"))
        exchange.respond(400 if bad else 200, b'{"reason":"BadDeviceToken"}' if bad else b"")

    async def test(desk: Desk) -> None:
        await desk.send(*(a_send(2 * number) for number in range(80)))  # all of them good
        answers = await desk.send(*(a_send(number) for number in range(160)))
        verdicts = [one.verdict for one in answers]
        assert (verdicts.count(Verdict.INV), verdicts.count(Verdict.OK)) == (40, 120)

    run(tmp_path, test, answer)


def test_bad_tokens_behind_good_ones_are_bad_tokens(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        desk.server.answer = Exchange.respond
        await desk.send(*(a_send(number) for number in range(60)))
        desk.server.answer = refuses(400, "BadDeviceToken")
        answers = await desk.send(*(a_send(number) for number in range(40)))
        assert {one.verdict for one in answers} == {Verdict.INV}

    run(tmp_path, test)


def test_a_mix_up_stops_the_provider_and_not_the_devices(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        answers = await desk.send(*(a_send(number) for number in range(40)))
        verdicts = [answer.verdict for answer in answers]
        assert verdicts.count(Verdict.INV) == 19
        assert verdicts.count(Verdict.CFG) == 21
        assert "another app's topic" in answers[-1].detail

    run(tmp_path, test, refuses(400, "BadDeviceToken"))


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "IdleTimeout"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (503, "Shutdown"),
        (502, "NewAtApple"),
    ],
)
def test_a_connection_that_is_unwell_is_replaced(tmp_path: Path, status: int, reason: str) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send(1))
        assert (answer.verdict, answer.code) == (Verdict.RETRY, reason)
        desk.server.answer = Exchange.respond
        [answer] = await desk.send(a_send(2))
        assert answer.verdict is Verdict.OK
        assert len(desk.server.peers) == 2

    run(tmp_path, test, refuses(status, reason), wait="20s")


def test_a_refusal_that_concerns_one_send_leaves_the_connection_alone(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.send(a_send(1))
        await desk.send(a_send(2))
        assert len(desk.server.peers) == 1

    run(tmp_path, test, refuses(400, "BadPriority"))


def test_an_answer_that_never_comes_is_ambiguous(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send(1))
        assert answer == Answer(
            verdict=Verdict.AMB,
            code="NoAnswer",
            detail="no answer within 0.3 s",
            provider_id=apns_id(f"{1:032x}"),
        )

    run(tmp_path, test, lambda exchange: None, timeout="300ms")


def test_what_was_never_written_may_be_tried_again(tmp_path: Path) -> None:
    async def whole() -> None:
        sender = Apns(settings(tmp_path, port=free_port(), wait="50ms"), Clock())
        await sender.open(asyncio.get_running_loop())
        [answer] = await Desk(sender).send(a_send(1))
        await sender.close()
        assert (answer.verdict, answer.code) == (Verdict.RETRY, "NotSent")
        assert "Connect call failed" in answer.detail

    asyncio.run(whole())
