"""What FCM's answers lead to in a lane: each row of its error table, by what is left behind.

The lane signs with a service account's key; its tokens come from a token endpoint on loopback, by
the official library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.fcm_desk import error, violations
from tests.contract.push_keys import TokenServer, service_account, token_server
from tests.contract.push_lane import Left, PushLane
from tests.peers.h2_server import Exchange
from tidings.receipts import Reference

SECOND = 1_000
NOT_VALID = "The registration token is not a valid FCM registration token"


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


@pytest.fixture
def a_lane(tmp_path: Path, tokens: TokenServer) -> Callable[..., PushLane]:
    def make(**changes: Any) -> PushLane:
        key = service_account(tmp_path, tokens.uri)
        provider = {"kind": "fcm", "key": f"file:{key}", "wait": "20s", **changes}
        return PushLane(tmp_path, provider, device_of)

    return make


def device_of(exchange: Exchange) -> str:
    message = msgspec.json.decode(exchange.body)["message"]
    token: str = message.get("token") or message["fid"]
    return token


def answers(status: int, *arguments: Any, headers: Any = ()) -> Callable[[Exchange], None]:
    body = error(status, *arguments)
    return lambda exchange: exchange.respond(status, body, headers)


def told(left: Left) -> set[tuple[str, str]]:
    return {(one.kind, one.code) for one in left.attempts}


def stopped(code: str) -> set[tuple[str, str, str]]:
    """The one alert that there is."""
    return {("provider_stopped", "open", code)}


ALL = {"ana": {"bad0", "good0"}, "ben": {"bad1"}}
FIDS = {"bad": "d-baaaaaaaaaaaaaaaaad", "good": "d-goooooooooooooooood"}  # and a digit: 22


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answers(404, "UNREGISTERED"), "UNREGISTERED"),
        (answers(403, "SENDER_ID_MISMATCH"), "SENDER_ID_MISMATCH"),
        (answers(400, "INVALID_ARGUMENT", NOT_VALID), "INVALID_ARGUMENT"),
        (
            answers(400, "INVALID_ARGUMENT", "Wrong.", violations("message.token")),
            "INVALID_ARGUMENT",
        ),
    ],
    ids=["unregistered", "another project's", "no token", "no token, by its field"],
)
def test_the_token_is_gone_and_only_it(
    a_lane: Callable[..., PushLane], answer: Callable[[Exchange], None], code: str
) -> None:
    left = a_lane().run(answer)
    assert left.devices == {"ana": {"good0"}, "ben": set()}
    assert left.asked == {"bad0": 1, "good0": 1, "bad1": 1}
    assert told(left) == {("failed", code), ("sent", "")}
    assert left.ends["ana"].kind == "sent"
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("failed", "address_gone")
    assert left.unsettled == 0


def test_very_many_tokens_of_another_project_stop_the_provider_and_the_devices_stay(
    a_lane: Callable[..., PushLane],
) -> None:
    answer = answers(403, "SENDER_ID_MISMATCH")
    left = a_lane().run(answer, attempts=21, phones_of_ben=30)
    assert left.asked.total() == 21, "nothing more was sent"
    assert len(left.devices["ben"]) == 30 - 18
    mismatch = "SENDER_ID_MISMATCH"
    assert told(left) == {("failed", mismatch), ("sent", ""), ("retried", mismatch)}
    assert left.ends.keys() == {"ana"}
    assert left.alerts == stopped(mismatch)
    assert left.unsettled == 1


def test_an_installation_is_gone_like_a_token(a_lane: Callable[..., PushLane]) -> None:
    left = a_lane().run(answers(404, "UNREGISTERED"), bad=FIDS["bad"], good=FIDS["good"])
    assert left.devices == {"ana": {FIDS["good"] + "0"}, "ben": set()}
    messages = [msgspec.json.decode(one.body)["message"] for one in left.exchanges]
    assert all("token" not in one for one in messages)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answers(400, "INVALID_ARGUMENT", "Message too big"), "INVALID_ARGUMENT"),
        (
            answers(400, "INVALID_ARGUMENT", "Wrong.", violations("message.data[0].value")),
            "INVALID_ARGUMENT",
        ),
        (
            answers(
                400, "INVALID_ARGUMENT", "Wrong.", violations("message.token", "message.android")
            ),
            "INVALID_ARGUMENT",
        ),
        (answers(413), "UNKNOWN"),
    ],
    ids=["too large", "its data", "token and message", "too large for the front end"],
)
def test_the_message_is_dropped_with_a_reason_and_never_retried(
    a_lane: Callable[..., PushLane], answer: Callable[[Exchange], None], code: str
) -> None:
    left = a_lane().run(answer)
    assert left.devices == ALL
    assert left.asked == {"bad0": 1, "good0": 1, "bad1": 1}
    assert told(left) == {("failed", code), ("sent", "")}
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("failed", "refused")
    assert left.letters == {"ben"}
    assert not left.delayed
    assert left.unsettled == 0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answers(404), "NOT_FOUND"),
        (answers(403), "PERMISSION_DENIED"),
        (answers(401, "THIRD_PARTY_AUTH_ERROR"), "THIRD_PARTY_AUTH_ERROR"),
    ],
    ids=["no such project", "no permission", "Apple's or a browser's keys"],
)
def test_the_provider_is_stopped_and_the_messages_are_kept(
    a_lane: Callable[..., PushLane], answer: Callable[[Exchange], None], code: str
) -> None:
    left = a_lane().run(answer, attempts=1)
    assert left.asked == {"bad0": 1}, "nothing more was sent"
    assert left.devices == ALL
    assert told(left) == {("retried", code)}
    assert left.alerts == stopped(code)
    assert not left.ends
    assert not left.letters
    assert left.unsettled == 2


def test_our_token_refused_is_asked_for_once_more_and_then_stops_the_provider(
    a_lane: Callable[..., PushLane], tokens: TokenServer
) -> None:
    left = a_lane().run(answers(401), attempts=1)
    assert [one.headers["authorization"] for one in left.exchanges] == [
        "Bearer token-1",
        "Bearer token-2",
    ]
    assert len(tokens.asked) == 2
    assert told(left) == {("retried", "UNAUTHENTICATED")}
    assert left.alerts == stopped("UNAUTHENTICATED")
    assert not left.ends
    assert left.unsettled == 2


def test_what_our_old_token_did_not_send_the_new_one_sends(a_lane: Callable[..., PushLane]) -> None:
    def refuse(exchange: Exchange) -> None:
        if exchange.headers["authorization"] == "Bearer token-1":
            answers(401)(exchange)
        else:
            exchange.respond(200, b'{"name":"projects/p/messages/m-1"}')

    left = a_lane().run(refuse)
    assert left.asked == {"bad0": 2, "good0": 1, "bad1": 1}
    assert {who: end.kind for who, end in left.ends.items()} == {"ana": "sent", "ben": "sent"}
    assert told(left) == {("sent", "")}
    assert not left.alerts


def test_an_account_that_google_has_closed_stops_the_provider_before_anything_is_sent(
    a_lane: Callable[..., PushLane], tokens: TokenServer
) -> None:
    tokens.answers = [(400, {"error": "invalid_grant", "error_description": "no such account"})]
    left = a_lane().run(answers(404), attempts=1)
    assert not left.exchanges
    assert told(left) == {("retried", "NoAccessToken")}
    assert left.attempts[0].detail == "invalid_grant: no such account"
    assert left.alerts == stopped("NoAccessToken")
    assert left.unsettled == 2


def test_google_away_keeps_the_messages_in_the_delay_topic(
    a_lane: Callable[..., PushLane], tokens: TokenServer
) -> None:
    tokens.answers = [(503, {"error": "internal_failure"})]
    left = a_lane(wait="100ms").run(answers(404))
    assert not left.exchanges
    assert told(left) == {("retried", "NoAccessToken")}
    assert left.delayed["30s"].keys() == {"ana", "ben"}
    assert not left.ends


@pytest.mark.parametrize(
    ("headers", "least"),
    [((), 60 * SECOND), ([("retry-after", "40")], 40 * SECOND)],
    ids=["FCM's minute", "as it says"],
)
def test_the_quota_uses_up_no_retry_and_waits(
    a_lane: Callable[..., PushLane], headers: Any, least: int
) -> None:
    before = int(time.time() * 1000)
    left = a_lane().run(answers(429, "QUOTA_EXCEEDED", headers=headers))
    ben = left.delayed["30s"]["ben"]
    assert (ben.attempt, ben.spared) == (1, 1)
    assert least <= ben.not_before - before < least + 30 * SECOND
    assert [*left.delayed["30s"]["ana"].answers.values()] == ["ok"]
    assert left.devices == ALL
    assert not left.ends


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answers(500, "INTERNAL"), "INTERNAL"),
        (answers(500, "INTERNAL", NOT_VALID), "INTERNAL"),
        (answers(503, "UNAVAILABLE"), "UNAVAILABLE"),
        (answers(503, "UNAVAILABLE", headers=[("retry-after", "45")]), "UNAVAILABLE"),
        (lambda exchange: exchange.respond(502, b"<html>"), "502"),
    ],
    ids=[
        "internal",
        "internal, with words of a bad token",
        "unavailable",
        "unavailable for so long",
        "the front end",
    ],
)
def test_the_delivery_waits_in_the_delay_topic(
    a_lane: Callable[..., PushLane], answer: Callable[[Exchange], None], code: str
) -> None:
    left = a_lane().run(answer)
    assert told(left) == {("retried", code), ("sent", "")}
    assert (left.delayed["30s"]["ben"].attempt, left.delayed["30s"]["ben"].spared) == (1, 0)
    assert [*left.delayed["30s"]["ana"].answers.values()] == ["ok"]
    assert left.devices == ALL
    assert not left.ends
    assert left.unsettled == 0


@pytest.mark.parametrize(
    "answer",
    [lambda exchange: None, lambda exchange: exchange.peer.transport.abort()],
    ids=["no answer", "connection lost in mid-request"],
)
def test_what_was_written_and_not_answered_ends_as_unknown(
    a_lane: Callable[..., PushLane], answer: Callable[[Exchange], None]
) -> None:
    left = a_lane(timeout="300ms").run(answer)
    assert left.asked == {"bad0": 1, "good0": 1, "bad1": 1}
    assert told(left) == {("unknown", "NoAnswer"), ("sent", "")}
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("unknown", "no_answer")
    assert left.devices == ALL
    assert left.unsettled == 0


def test_a_push_carries_a_reference_to_its_send(
    a_lane: Callable[..., PushLane], tmp_path: Path
) -> None:
    key = tmp_path / "reference.key"
    key.write_text("k" * 32 + "\n")
    left = a_lane(reference_key=f"file:{key}").run(answers(404, "UNREGISTERED"))
    carried = [msgspec.json.decode(one.body)["message"]["data"] for one in left.exchanges]
    found = [Reference.read(one["reference"], [b"k" * 32]) for one in carried]
    assert [one.recipient_id for one in found] == ["ana", "ana", "ben"]
    assert [one.send_id for one in found] == [one["send_id"] for one in carried]
    assert {one.origin.topic for one in found} == {"deliveries.push.normal"}
