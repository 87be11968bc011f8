from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import aioapns
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.contract.push_keys import APNS as KEY
from tests.contract.push_keys import apns_key, pem_of
from tests.peers.h2_server import Exchange, H2Server
from tests.peers.pushy.peer import Pushy
from tidings.operators.senders import apns
from tidings.operators.senders.apns import Apns, Settings
from tidings.operators.senders.apns_answer import classify
from tidings.operators.senders.apns_message import RULES, PushType, apns_id, collapse_id, topic
from tidings.operators.senders.apns_token import ProviderToken
from tidings.operators.senders.mix_up import MixUp
from tidings.ports import Address
from tidings.registry import senders
from tidings.sender import Answer, Content, Send, Verdict
from tidings.services.nginx import Nginx
from tidings.services.process import ServiceError, free_port

MINUTE = 60_000
NOW = 1_800_000_000_000  # a full 20 minutes
TOPIC = "com.example.app"
DEVICE = "a1" * 32

PEM = pem_of(KEY)


class Clock:
    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


def settings(folder: Path, **changes: Any) -> Settings:
    given = {
        "key": f"file:{apns_key(folder)}",
        "key_id": "KEY1234567",
        "team_id": "TEAM123456",
        "topic": TOPIC,
        "connections": 1,
        "host": "127.0.0.1",
    }
    return Settings(**{**given, **changes})


def a_send(number: int = 1, *, address: Address | None = None, **changes: Any) -> Send:
    given: dict[str, Any] = {
        "send_id": f"{number:032x}",
        "channel": "push",
        "address": address or Address(kind="device", value=DEVICE, platform="ios"),
        "content": Content(parts={"title": "Hello", "body": "Alice and 49 others"}),
        "tenant": "default",
        "category": "social",
        "priority": "normal",
        "attempt": 1,
        "now": NOW,
    }
    return Send(**{**given, **changes})


class Desk:
    """A sender and what its sends were answered."""

    def __init__(self, sender: Apns, server: H2Server | None = None) -> None:
        self.sender = sender
        self._server = server
        self._answers: dict[int, Answer] = {}
        self._changed = asyncio.Event()

    @property
    def server(self) -> H2Server:
        assert self._server is not None
        return self._server

    async def send(self, *sends: Send) -> list[Answer]:
        """The answers, in the order of the sends."""

        def done(send: Send, answer: Answer) -> None:
            assert id(send) not in self._answers, "answered twice"
            self._answers[id(send)] = answer
            self._changed.set()

        self.sender.send(sends, done)
        async with asyncio.timeout(30):
            while any(id(send) not in self._answers for send in sends):
                self._changed.clear()
                await self._changed.wait()
        return [self._answers.pop(id(send)) for send in sends]


def run(
    folder: Path,
    test: Callable[[Desk], Awaitable[None]],
    answer: Callable[[Exchange], None] = Exchange.respond,
    *,
    clock: Clock | None = None,
    **changes: Any,
) -> None:
    """Runs ``test`` with a sender whose APNs is a strict HTTP/2 server."""

    async def whole() -> None:
        async with H2Server(folder, answer) as server:
            given = settings(folder, port=server.port, ca=server.ca, **changes)
            sender = Apns(given, clock or Clock(), random=lambda: 0.5)
            await sender.open(asyncio.get_running_loop())
            try:
                await test(Desk(sender, server))
            finally:
                await sender.close()

    asyncio.run(whole())


def sent(folder: Path, send: Send, **changes: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The headers and the payload that APNs gets for a send."""
    got: list[Exchange] = []

    async def test(desk: Desk) -> None:
        [answer] = await desk.send(send)
        assert answer.verdict is Verdict.OK
        got.extend(desk.server.exchanges)

    run(folder, test, **changes)
    [exchange] = got
    return exchange.headers, json.loads(exchange.body)


def of_size(size: int, **changes: Any) -> Send:
    """A send whose payload has so many bytes."""
    frame = len('{"send_id":"","aps":{"alert":{"body":""}}}') + 32
    return a_send(content=Content(parts={"body": "x" * (size - frame)}), **changes)


def refuses(status: int, reason: str, **more: Any) -> Callable[[Exchange], None]:
    body = json.dumps({"reason": reason, **more}).encode()
    return lambda exchange: exchange.respond(status, body)


def test_it_is_registered() -> None:
    assert senders()["apns"] is apns.SENDER


# ── what is sent ──────────────────────────────────────────────────────────────────────────────


def test_a_send_is_one_request_as_apple_wants_it(tmp_path: Path) -> None:
    headers, payload = sent(
        tmp_path,
        a_send(0xABC, expires_at=NOW + 90_500, collapse_key="photo-7"),
    )
    token = headers.pop("authorization")
    assert token.startswith("bearer ey")
    assert headers == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": headers[":authority"],
        ":path": f"/3/device/{DEVICE}",
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-id": "00000000-0000-0000-0000-000000000abc",
        "apns-expiration": str(NOW // 1000 + 90),
        "apns-collapse-id": "photo-7",
    }
    assert payload == {
        "aps": {"alert": {"title": "Hello", "body": "Alice and 49 others"}},
        "send_id": f"{0xABC:032x}",
    }


def test_what_never_expires_says_nothing_of_it_and_what_is_not_stored_says_0(
    tmp_path: Path,
) -> None:
    headers, _ = sent(tmp_path, a_send())
    assert "apns-expiration" not in headers
    headers, _ = sent(tmp_path, a_send(expires_at=NOW + MINUTE), store=False)
    assert headers["apns-expiration"] == "0"


@pytest.mark.parametrize(("priority", "apple"), [("high", "10"), ("normal", "10"), ("low", "5")])
def test_priority_becomes_apples(tmp_path: Path, priority: str, apple: str) -> None:
    headers, _ = sent(tmp_path, a_send(priority=priority))
    assert headers["apns-priority"] == apple


def test_without_anything_to_show_it_is_a_background_push_and_not_urgent(tmp_path: Path) -> None:
    content = Content(parts={}, data={"sync": [1, 2]})
    headers, payload = sent(tmp_path, a_send(content=content, priority="high"))
    assert (headers["apns-push-type"], headers["apns-priority"]) == ("background", "5")
    assert payload == {"aps": {"content-available": 1}, "sync": [1, 2], "send_id": f"{1:032x}"}


def test_parts_and_data_find_their_places(tmp_path: Path) -> None:
    content = Content(
        parts={
            "title": "T",
            "subtitle": "S",
            "body": "B",
            "sound": "x.caf",
            "thread": "photo-7",
            "image": "https://cdn.example/7.jpg",
            "link": "example://photo/7",
        },
        data={"photo": 7, "aps": {"badge": 3, "category": "PHOTO"}, "android": {"channelId": "c"}},
    )
    _, payload = sent(tmp_path, a_send(content=content))
    assert payload == {
        "photo": 7,
        "image": "https://cdn.example/7.jpg",
        "link": "example://photo/7",
        "send_id": f"{1:032x}",
        "aps": {
            "alert": {"title": "T", "subtitle": "S", "body": "B"},
            "sound": "x.caf",
            "thread-id": "photo-7",
            "badge": 3,
            "category": "PHOTO",
            "mutable-content": 1,
        },
    }
    assert content.data["aps"] == {"badge": 3, "category": "PHOTO"}


def test_a_badge_alone_is_something_to_show(tmp_path: Path) -> None:
    content = Content(parts={}, data={"aps": {"badge": 3}})
    headers, payload = sent(tmp_path, a_send(content=content))
    assert (headers["apns-push-type"], payload["aps"]) == ("alert", {"badge": 3})


# The types as Apple's "Sending notification requests to APNs" has them.
@pytest.mark.parametrize(
    ("push_type", "topic", "priority", "expiration", "aps"),
    [
        ("alert", TOPIC, "10", "1800000060", {"alert": {"title": "Hi"}}),
        ("background", TOPIC, "5", "1800000060", {"content-available": 1}),
        ("voip", f"{TOPIC}.voip", "10", "1800000060", {"alert": {"title": "Hi"}}),
        ("location", f"{TOPIC}.location-query", "10", "1800000060", {}),
        ("complication", f"{TOPIC}.complication", "10", "1800000060", {}),
        ("fileprovider", f"{TOPIC}.pushkit.fileprovider", "10", "1800000060", None),
        ("pushtotalk", f"{TOPIC}.voip-ptt", "10", "0", {}),
        ("widgets", f"{TOPIC}.push-type.widgets", "10", "1800000060", {"content-changed": True}),
        ("controls", f"{TOPIC}.push-type.controls", "10", "1800000060", {"content-changed": True}),
        (
            "liveactivity",
            f"{TOPIC}.push-type.liveactivity",
            "10",
            "1800000060",
            {"event": "update", "timestamp": 1_800_000_000, "alert": {"title": "Hi"}},
        ),
    ],
)
def test_each_type_of_push_has_its_topic_priority_and_frame(
    tmp_path: Path,
    push_type: str,
    topic: str,
    priority: str,
    expiration: str,
    aps: dict[str, Any] | None,
) -> None:
    send = a_send(
        content=Content(parts={"title": "Hi"}, data={"order": 7}), expires_at=NOW + MINUTE
    )
    headers, payload = sent(tmp_path, send, push_type=push_type)
    assert headers["apns-push-type"] == push_type
    assert headers["apns-topic"] == topic
    assert headers["apns-priority"] == priority
    assert headers["apns-expiration"] == expiration
    framed = {} if aps is None else {"aps": aps}
    assert payload == {"order": 7, "send_id": f"{1:032x}", **framed}


def test_a_live_activity_says_what_has_changed(tmp_path: Path) -> None:
    activity = {"event": "end", "timestamp": 1_800_000_005, "content-state": {"minutes": 3}}
    content = Content(parts={}, data={"aps": activity})
    headers, payload = sent(
        tmp_path, a_send(content=content, priority="low"), push_type="liveactivity"
    )
    assert payload["aps"] == activity
    assert headers["apns-priority"] == "5"


def test_an_mdm_push_carries_the_devices_magic_and_nothing_else(tmp_path: Path) -> None:
    content = Content(parts={"title": "Hi"}, data={"mdm": "magic-of-this-phone", "x": 1})
    headers, payload = sent(tmp_path, a_send(content=content), push_type="mdm")
    assert (headers["apns-topic"], payload) == (TOPIC, {"mdm": "magic-of-this-phone"})

    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert (answer.verdict, answer.code) == (Verdict.DROP, "BadMessage")
        assert answer.detail == ("an MDM push carries `mdm`, the device's PushMagic, in its data")

    run(tmp_path, test, push_type="mdm")


def test_a_topic_that_has_its_suffix_gets_no_second_one(tmp_path: Path) -> None:
    headers, _ = sent(tmp_path, a_send(), push_type="voip", topic=f"{TOPIC}.voip")
    assert headers["apns-topic"] == f"{TOPIC}.voip"


def test_aioapns_types_are_all_known() -> None:
    assert {one.value for one in aioapns.PushType} <= RULES.keys()


def test_a_device_that_names_its_app_gets_its_topic(tmp_path: Path) -> None:
    address = Address(kind="device", value=DEVICE, app="com.example.other")
    headers, _ = sent(tmp_path, a_send(address=address))
    assert headers["apns-topic"] == "com.example.other"


@pytest.mark.parametrize(
    "key", ["k" * 65, "Füße", "a\r\nb: c", "\N{PARTY POPPER}" * 20, "k" * 10_000]
)
def test_a_collapse_key_that_apple_would_refuse_is_hashed(key: str) -> None:
    made = collapse_id(key)
    assert len(made) == 32
    assert made == collapse_id(key)
    assert made != collapse_id(key + "x")


@pytest.mark.parametrize(("push_type", "most"), [(None, 4_096), ("voip", 5_120)])
def test_what_fits_is_sent_and_a_byte_more_is_not_even_asked(
    tmp_path: Path, push_type: str | None, most: int
) -> None:
    async def test(desk: Desk) -> None:
        fits, does_not = await desk.send(of_size(most), of_size(most + 1))
        assert fits.verdict is Verdict.OK
        assert (does_not.verdict, does_not.code) == (Verdict.DROP, "PayloadTooLarge")
        assert does_not.detail == f"{most + 1} bytes; APNs takes {most}"
        assert [len(exchange.body) for exchange in desk.server.exchanges] == [most]

    run(tmp_path, test, push_type=push_type)


@pytest.mark.parametrize("token", ["", "a/b", "a b", "ä1", "a\r\n", "a" * 201, "?x=1"])
def test_a_token_that_can_be_none_is_invalid_without_being_sent(tmp_path: Path, token: str) -> None:
    async def test(desk: Desk) -> None:
        [bad, good] = await desk.send(
            a_send(1, address=Address(kind="device", value=token)), a_send(2)
        )
        assert (bad.verdict, bad.code) == (Verdict.INV, "BadDeviceToken")
        assert good.verdict is Verdict.OK
        assert len(desk.server.exchanges) == 1

    run(tmp_path, test)


@pytest.mark.parametrize(
    "send",
    [
        a_send(content=Content(parts={"title": "\ud800"})),
        a_send(content=Content(parts={"title": "x"}, data={"x": object()})),
        a_send(address=Address(kind="device", value=DEVICE, app="com.example\napns-x: y")),
        a_send(address=Address(kind="device", value=DEVICE, app="com.exämple")),
        a_send(address=Address(kind="device", value=DEVICE, app="x" * 9_000)),
    ],
    ids=["half a character", "an object", "a control character", "not ASCII", "too long"],
)
def test_a_message_that_can_not_be_written_is_dropped_and_costs_no_neighbour(
    tmp_path: Path, send: Send
) -> None:
    async def test(desk: Desk) -> None:
        bad, good = await desk.send(send, a_send(2))
        assert (bad.verdict, bad.code) == (Verdict.DROP, "BadMessage")
        assert good.verdict is Verdict.OK

    run(tmp_path, test)


# ── what is answered ──────────────────────────────────────────────────────────────────────────


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


def test_some_bad_tokens_are_bad_tokens_and_very_many_are_a_mix_up() -> None:
    mix_up = MixUp()
    assert [mix_up.bad(NOW) for _ in range(25)] == [False] * 19 + [True] * 6
    mix_up.good += 25
    assert mix_up.bad(NOW) is True  # 26 of 51
    mix_up.good += 5
    assert mix_up.bad(NOW) is False
    assert mix_up.bad(NOW + 2 * MINUTE) is False  # all that is long ago


def test_a_mix_up_is_seen_over_half_minutes() -> None:
    mix_up = MixUp()
    for number in range(15):
        assert mix_up.bad(NOW + MixUp.HALF - 1) is False, number
    assert [mix_up.bad(NOW + 2 * MixUp.HALF - 2) for _ in range(6)] == [False] * 4 + [True] * 2


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


# ── the token ─────────────────────────────────────────────────────────────────────────────────


def claims(token: str) -> dict[str, Any]:
    return dict(json.loads(_unbase64(token.removeprefix("bearer ").split(".")[1])))


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_token_is_signed_as_the_standard_says() -> None:
    token = ProviderToken(PEM, "KEY", "TEAM").current(NOW)
    header, content, signature = token.split(".")
    assert json.loads(_unbase64(header)) == {"alg": "ES256", "kid": "KEY"}
    assert json.loads(_unbase64(content)) == {"iss": "TEAM", "iat": NOW // 1000 - 20 * 60}
    raw = _unbase64(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    KEY.public_key().verify(der, f"{header}.{content}".encode(), ec.ECDSA(hashes.SHA256()))


def test_processes_of_a_team_send_the_same_token() -> None:
    first, second = (ProviderToken(PEM, "KEY", "TEAM") for _ in range(2))
    assert first.current(NOW + 5 * MINUTE) == second.current(NOW + 20 * MINUTE)


def test_a_token_lives_20_to_60_minutes_whenever_the_process_starts() -> None:
    for start in range(NOW, NOW + 20 * MINUTE, MINUTE):
        token = ProviderToken(PEM, "KEY", "TEAM")
        changes: list[int] = []
        current = ""
        for now in range(start, start + 300 * MINUTE, MINUTE):
            if token.current(now) != current:
                current = token.current(now)
                changes.append(now)
            assert MINUTE <= now - claims(current)["iat"] * 1000 < 60 * MINUTE
        gaps = [after - before for before, after in pairwise(changes)]
        assert min(gaps) >= 20 * MINUTE


def test_all_connections_and_sends_share_a_token_until_it_is_time(tmp_path: Path) -> None:
    clock = Clock()

    async def test(desk: Desk) -> None:
        for minutes in (0, 10, 24, 26, 40):
            clock.at = NOW + minutes * MINUTE
            await desk.send(*(a_send(minutes * 100 + n) for n in range(5)))
        tokens = [exchange.headers["authorization"] for exchange in desk.server.exchanges]
        assert tokens == [tokens[0]] * 15 + [tokens[15]] * 10
        assert tokens[0] != tokens[15]

    run(tmp_path, test, clock=clock, connections=2)


def test_an_expired_token_is_signed_anew_and_its_sends_made_once_more(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange.headers["authorization"])
        if exchange.headers["authorization"] == seen[0]:
            refuses(403, "ExpiredProviderToken")(exchange)
        else:
            exchange.respond()

    async def test(desk: Desk) -> None:
        answers = await desk.send(*(a_send(number) for number in range(10)))
        assert {answer.verdict for answer in answers} == {Verdict.OK}
        first, second = (claims(token)["iat"] for token in sorted(set(seen), key=seen.index))
        assert (first, second) == (NOW // 1000 - 20 * 60, NOW // 1000)
        paths = [exchange.headers["apns-id"] for exchange in desk.server.exchanges]
        assert len(paths) - len(set(paths)) <= 10

    run(tmp_path, test, answer, wait="20s")


def test_a_token_that_expires_as_soon_as_it_is_signed_is_a_matter_for_people(
    tmp_path: Path,
) -> None:
    async def test(desk: Desk) -> None:
        answers = await desk.send(a_send(1), a_send(2))
        assert {answer.verdict for answer in answers} == {Verdict.CFG}
        assert {answer.detail for answer in answers} == {
            "signed anew and expired all the same: is this machine's clock right?"
        }
        tokens = {exchange.headers["authorization"] for exchange in desk.server.exchanges}
        assert len(tokens) == 2

    run(tmp_path, test, refuses(403, "ExpiredProviderToken"), wait="20s")


def test_too_many_tokens_keep_the_old_one_and_rest_the_connection(tmp_path: Path) -> None:
    clock = Clock()
    tokens: list[str] = []

    def answer(exchange: Exchange) -> None:
        token = exchange.headers["authorization"]
        if tokens and token not in tokens and len(tokens) == 1:
            tokens.append(token)
            refuses(429, "TooManyProviderTokenUpdates")(exchange)
            return
        tokens.append(token)
        exchange.respond()

    async def test(desk: Desk) -> None:
        await desk.send(a_send(1))
        clock.at = NOW + 26 * MINUTE
        [refused] = await desk.send(a_send(2))
        assert (refused.verdict, refused.limited) == (Verdict.RETRY, True)
        assert refused.retry_after_ms == 60_000
        [resting] = await desk.send(a_send(3))
        assert (resting.verdict, resting.code) == (Verdict.RETRY, "NotSent")

    run(tmp_path, test, answer, clock=clock, wait="100ms")
    token = ProviderToken(PEM, "KEY", "TEAM")
    old = token.current(NOW)
    new = token.current(NOW + 26 * MINUTE)
    token.keep_old(new, NOW + 26 * MINUTE)
    assert token.current(NOW + 27 * MINUTE) == old
    assert token.current(NOW + 37 * MINUTE) == old
    assert token.current(NOW + 38 * MINUTE) != old  # it would expire


def test_before_the_token_is_accepted_there_is_one_stream(tmp_path: Path) -> None:
    at_once: list[int] = []

    def answer(exchange: Exchange) -> None:
        open_streams = exchange.peer.h2.open_inbound_streams
        at_once.append(open_streams)
        exchange.respond()

    async def test(desk: Desk) -> None:
        await desk.send(*(a_send(number) for number in range(100)))
        assert at_once[0] == 1
        assert len(at_once) == 100

    run(tmp_path, test, answer, wait="20s")


# ── secrets and settings ──────────────────────────────────────────────────────────────────────


def test_the_key_shows_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APNS_KEY", PEM)
    made = settings(tmp_path, key="env:APNS_KEY")
    secret = PEM.splitlines()[1][:20]
    sender = Apns(made, Clock())
    asyncio.run(_open(sender))
    shown = f"{made!r} {made} {made.model_dump_json()} {sender!r} {sender.__dict__!r}"
    assert "env:APNS_KEY" in shown
    assert secret not in shown


async def _open(sender: Apns) -> None:
    await sender.open(asyncio.get_running_loop())
    await sender.close()


def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="a secret is named here, not written") as caught:
        settings(tmp_path, key=PEM)
    assert PEM.splitlines()[1][:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("env:NO_SUCH_VARIABLE", "the environment variable NO_SUCH_VARIABLE is not set"),
        ("file:/no/such/file", "can't read the secret in /no/such/file: No such file"),
    ],
)
def test_a_key_that_is_not_there_is_named(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asyncio.run(_open(Apns(settings(tmp_path, key=key), Clock())))


@pytest.mark.parametrize(
    "pem",
    [
        "not a key",
        ec.generate_private_key(ec.SECP384R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode(),
        KEY.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    ],
    ids=["text", "another curve", "a public key"],
)
def test_a_key_of_another_kind_is_refused_with_a_hint(pem: str) -> None:
    with pytest.raises(ValueError, match=r"take the \.p8 file as Apple gave it"):
        ProviderToken(pem, "KEY", "TEAM")


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't use the CA file"):
        asyncio.run(_open(Apns(settings(tmp_path, ca=tmp_path / "none.pem"), Clock())))


# ── servers that are not ours ─────────────────────────────────────────────────────────────────


def test_nginx_gets_every_send(tmp_path: Path, start_nginx: Callable[..., Nginx]) -> None:
    nginx = start_nginx(
        """
        location /3/device/ { return 200; }
        location /3/device/dead { return 410 '{"reason":"Unregistered","timestamp":1700000}'; }
        """
    )

    async def whole() -> list[Answer]:
        given = settings(tmp_path, port=nginx.port, ca=nginx.certificate.certificate, wait="20s")
        sender = Apns(given, Clock())
        await sender.open(asyncio.get_running_loop())
        dead = Address(kind="device", value="dead")
        sends = [a_send(n, address=dead if n % 100 == 7 else None) for n in range(3_000)]
        answers = await Desk(sender).send(*sends)
        await sender.close()
        return answers

    verdicts = [answer.verdict for answer in asyncio.run(whole())]
    assert verdicts == [Verdict.INV if n % 100 == 7 else Verdict.OK for n in range(3_000)]


class DerToken(ProviderToken):
    """Pushy wants the signature in DER, where the standard and Apple want it raw."""

    def _signature(self, data: bytes) -> bytes:
        raw = super()._signature(data)
        return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


class SystemClock:
    """Pushy goes by the time of day."""

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset

    def now(self) -> int:
        return int(time.time() * 1000) + self._offset


DEVICES = [f"{number:064x}" for number in range(20)]
EXPIRED = f"{99:064x}"


@pytest.fixture(scope="module")
def pushy() -> Iterator[Pushy]:
    public = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    server = Pushy(
        public.decode(),
        key_id="KEY1234567",
        team_id="TEAM123456",
        topics=[TOPIC, *(topic(TOPIC, one) for one in RULES)],
        devices=DEVICES,
        expired=[EXPIRED],
    )
    try:
        with server:
            yield server
    except ServiceError as error:
        pytest.fail(str(error), pytrace=False)


def ask_pushy(
    pushy: Pushy,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    sends: Sequence[Send],
    *,
    clock: Any = None,
    **changes: Any,
) -> list[Answer]:
    monkeypatch.setattr(apns, "ProviderToken", DerToken)

    async def whole() -> list[Answer]:
        given = settings(
            folder, port=pushy.port, ca=pushy.certificate.certificate, wait="20s", **changes
        )
        sender = Apns(given, clock or SystemClock())
        await sender.open(asyncio.get_running_loop())
        answers = await Desk(sender).send(*sends)
        await sender.close()
        return answers

    return asyncio.run(whole())


def to(device: str, number: int = 1, **changes: Any) -> Send:
    return a_send(number, address=Address(kind="device", value=device), **changes)


def test_pushys_apns_accepts_what_we_send(
    pushy: Pushy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = [
        to(device, number, expires_at=1_900_000_000_000, collapse_key="k" * 64, priority="low")
        for number, device in enumerate(DEVICES)
    ]
    address = Address(kind="device", value=DEVICES[0])
    sends.append(of_size(4_096, send_id=f"{900:032x}", address=address))
    sends.append(to(DEVICES[1], 901, content=Content(parts={})))
    answers = ask_pushy(pushy, tmp_path, monkeypatch, sends)
    assert {answer.verdict for answer in answers} == {Verdict.OK}
    accepted = pushy.accepted()
    assert accepted.keys() == {answer.provider_id for answer in answers}
    seventh = accepted[answers[7].provider_id]
    assert json.loads(seventh.pop("payload"))["aps"]["alert"]["title"] == "Hello"
    assert seventh.pop("authorization").startswith("bearer ey")
    assert seventh == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": f"127.0.0.1:{pushy.port}",
        ":path": f"/3/device/{DEVICES[7]}",
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        "apns-priority": "5",
        "apns-id": "00000000-0000-0000-0000-000000000007",
        "apns-expiration": "1900000000",
        "apns-collapse-id": "k" * 64,
    }
    assert accepted[answers[-1].provider_id]["apns-push-type"] == "background"


@pytest.mark.parametrize("push_type", sorted(RULES.keys() - {"widgets", "controls"}))
def test_pushys_apns_accepts_every_type_that_it_knows(
    pushy: Pushy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, push_type: PushType
) -> None:
    content = Content(parts={"title": "Hi"}, data={"mdm": "magic"})
    number = 800 + sorted(RULES).index(push_type)
    send = to(DEVICES[3], number, content=content, expires_at=1_900_000_000_000)
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [send], push_type=push_type)
    assert answer.verdict is Verdict.OK
    accepted = pushy.accepted()[answer.provider_id]
    assert accepted["apns-push-type"] == push_type
    assert accepted["apns-topic"] == topic(TOPIC, push_type)


@pytest.mark.parametrize(
    ("send", "changes", "verdict", "code"),
    [
        (to(EXPIRED), {}, Verdict.INV, "Unregistered"),
        (to("ff" * 32), {}, Verdict.INV, "DeviceTokenNotForTopic"),
        (to("nothexadecimal"), {}, Verdict.INV, "BadDeviceToken"),
        (to(DEVICES[0]), {"key_id": "UNKNOWN"}, Verdict.CFG, "InvalidProviderToken"),
        (to(DEVICES[0]), {"topic": "com.other"}, Verdict.INV, "DeviceTokenNotForTopic"),
    ],
    ids=["dead", "another app's", "no token", "unknown key", "another topic"],
)
def test_pushys_apns_refuses_and_we_understand(
    pushy: Pushy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    send: Send,
    changes: dict[str, str],
    verdict: Verdict,
    code: str,
) -> None:
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [send], **changes)
    assert (answer.verdict, answer.code) == (verdict, code)
    if code == "Unregistered":
        assert answer.since == 1_700_000_000_000


def test_pushys_apns_finds_our_token_expired_when_our_clock_is_slow(
    pushy: Pushy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SystemClock(-50 * MINUTE)  # signed 51 to 71 minutes ago: anew, 50 minutes ago
    answers = ask_pushy(pushy, tmp_path, monkeypatch, [to(DEVICES[0])], clock=slow)
    assert [answer.verdict for answer in answers] == [Verdict.OK]
    very_slow = SystemClock(-120 * MINUTE)
    [answer] = ask_pushy(pushy, tmp_path, monkeypatch, [to(DEVICES[0])], clock=very_slow)
    assert (answer.verdict, answer.code) == (Verdict.CFG, "ExpiredProviderToken")
    assert "clock" in answer.detail
