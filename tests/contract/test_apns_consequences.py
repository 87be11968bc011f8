"""What Apple's answers lead to in a lane: each row of its error table, by what is left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.push_keys import apns_key
from tests.contract.push_lane import Left, PushLane
from tests.peers.h2_server import Exchange
from tidings.receipts import Reference

SECOND = 1_000


def a_lane(folder: Path, **changes: Any) -> PushLane:
    provider = {
        "kind": "apns",
        "key": f"file:{apns_key(folder)}",
        "key_id": "KEY1234567",
        "team_id": "TEAM123456",
        "topic": "com.example.app",
        "wait": "300ms",
        **changes,
    }
    return PushLane(folder, provider, lambda exchange: exchange.headers[":path"].split("/")[-1])


def refuses(status: int, reason: str, **more: Any) -> Callable[[Exchange], None]:
    body = json.dumps({"reason": reason, **more}).encode()
    return lambda exchange: exchange.respond(status, body)


def told(left: Left) -> set[tuple[str, str]]:
    return {(one.kind, one.code) for one in left.attempts}


def stopped(code: str) -> set[tuple[str, str, str]]:
    """The one alert that there is."""
    return {("provider_stopped", "open", code)}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (410, "Unregistered"),
        (410, "ExpiredToken"),
        (400, "BadDeviceToken"),
        (400, "DeviceTokenNotForTopic"),
    ],
)
def test_the_token_is_gone_and_only_it(tmp_path: Path, status: int, reason: str) -> None:
    left = a_lane(tmp_path).run(refuses(status, reason))
    assert left.devices == {"ana": {"good0"}, "ben": set()}
    assert left.asked == {"bad0": 1, "good0": 1, "bad1": 1}
    assert told(left) == {("failed", reason), ("sent", "")}
    assert left.ends["ana"].kind == "sent"
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("failed", "address_gone")
    assert left.unsettled == 0


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
def test_a_device_that_died_after_it_had_registered_is_gone(tmp_path: Path, reason: str) -> None:
    died = refuses(410, reason, timestamp=1_700_000_000_001)
    left = a_lane(tmp_path).run(died, registered_at=1_700_000_000_000)
    assert left.devices == {"ana": {"good0"}, "ben": set()}
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("failed", "address_gone")
    assert not left.delayed


@pytest.mark.parametrize("reason", ["BadDeviceToken", "DeviceTokenNotForTopic"])
def test_very_many_bad_tokens_stop_the_provider_and_the_devices_stay(
    tmp_path: Path, reason: str
) -> None:
    """Such as production's tokens at the sandbox: the 20th in a minute tells."""
    left = a_lane(tmp_path).run(refuses(400, reason), attempts=21, phones_of_ben=30)
    assert left.asked.total() == 21, "nothing more was sent"
    assert len(left.devices["ben"]) == 30 - 18
    assert left.devices["ana"] == {"good0"}
    assert told(left) == {("failed", reason), ("sent", ""), ("retried", reason)}
    assert left.ends.keys() == {"ana"}
    assert left.alerts == stopped(reason)
    assert not left.letters
    assert left.unsettled == 1


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
def test_a_device_that_has_registered_since_stays_and_is_tried_again(
    tmp_path: Path, reason: str
) -> None:
    left = a_lane(tmp_path).run(
        refuses(410, reason, timestamp=1_700_000_000_000), registered_at=1_700_000_000_001
    )
    assert left.devices == {"ana": {"bad0", "good0"}, "ben": {"bad1"}}
    assert left.delayed["30s"].keys() == {"ana", "ben"}
    assert not left.ends


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "BadCollapseId"),
        (400, "BadExpirationDate"),
        (400, "BadMessageId"),
        (400, "BadPriority"),
        (400, "InvalidPushType"),
        (400, "DuplicateHeaders"),
        (400, "PayloadEmpty"),
        (400, "MissingDeviceToken"),
        (413, "PayloadTooLarge"),
    ],
)
def test_the_message_is_dropped_with_a_reason_and_never_retried(
    tmp_path: Path, status: int, reason: str
) -> None:
    left = a_lane(tmp_path).run(refuses(status, reason))
    assert left.devices == {"ana": {"bad0", "good0"}, "ben": {"bad1"}}
    assert left.asked == {"bad0": 1, "good0": 1, "bad1": 1}
    assert left.ends["ana"].kind == "sent"
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("failed", "refused")
    assert left.ends["ben"].detail == reason
    assert left.letters == {"ben"}
    assert not left.delayed
    assert left.unsettled == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "BadTopic"),
        (400, "MissingTopic"),
        (400, "TopicDisallowed"),
        (404, "BadPath"),
        (405, "MethodNotAllowed"),
        (403, "InvalidProviderToken"),
        (403, "MissingProviderToken"),
        (403, "BadCertificate"),
        (403, "BadCertificateEnvironment"),
        (403, "Forbidden"),
        (403, "UnrelatedKeyIdInToken"),
        (403, "BadEnvironmentKeyIdInToken"),
    ],
)
def test_the_provider_is_stopped_and_the_messages_are_kept(
    tmp_path: Path, status: int, reason: str
) -> None:
    left = a_lane(tmp_path).run(refuses(status, reason), attempts=1)
    assert left.asked == {"bad0": 1}, "nothing more was sent"
    assert left.devices == {"ana": {"bad0", "good0"}, "ben": {"bad1"}}
    assert told(left) == {("retried", reason)}
    assert left.alerts == stopped(reason)
    assert not left.ends
    assert not left.letters
    assert left.unsettled == 2


def test_an_expired_token_is_signed_anew_once_and_then_stops_the_provider(tmp_path: Path) -> None:
    left = a_lane(tmp_path).run(refuses(403, "ExpiredProviderToken"), attempts=1)
    assert left.asked == {"bad0": 2}
    assert len({one.headers["authorization"] for one in left.exchanges}) == 2
    assert left.alerts == stopped("ExpiredProviderToken")
    assert not left.ends
    assert left.unsettled == 2


def test_what_an_expired_token_refused_goes_out_with_the_new_one(tmp_path: Path) -> None:
    seen: list[str] = []

    def refuse(exchange: Exchange) -> None:
        seen.append(exchange.headers["authorization"])
        if seen[-1] == seen[0]:
            refuses(403, "ExpiredProviderToken")(exchange)
        else:
            exchange.respond(200)

    left = a_lane(tmp_path).run(refuse)
    assert left.asked == {"bad0": 2, "good0": 1, "bad1": 1}
    assert {who: end.kind for who, end in left.ends.items()} == {"ana": "sent", "ben": "sent"}
    assert told(left) == {("sent", "")}
    assert not left.alerts
    assert left.unsettled == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "IdleTimeout"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (503, "Shutdown"),
    ],
)
def test_the_delivery_waits_in_the_delay_topic_and_goes_on_by_a_new_connection(
    tmp_path: Path, status: int, reason: str
) -> None:
    left = a_lane(tmp_path, wait="20s").run(refuses(status, reason))
    assert left.delayed.keys() == {"30s"}
    assert left.delayed["30s"]["ben"].attempt == 1
    assert left.delayed["30s"]["ben"].spared == 0
    ana = left.delayed["30s"]["ana"]
    assert [*ana.answers.values()] == ["ok"], "her other phone has it, and is not asked again"
    assert not left.ends
    assert left.unsettled == 0
    assert len({id(one.peer) for one in left.exchanges}) > 1


def test_a_rate_limit_uses_up_no_retry_and_waits_as_long_as_apple_says(tmp_path: Path) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.respond(429, b'{"reason":"TooManyRequests"}', [("retry-after", "40")])

    before = int(time.time() * 1000)
    left = a_lane(tmp_path).run(refuse)
    ben = left.delayed["30s"]["ben"]
    assert (ben.attempt, ben.spared) == (1, 1)
    assert ben.not_before - before >= 40 * SECOND
    assert left.devices["ben"] == {"bad1"}


def test_too_many_tokens_rest_the_connection(tmp_path: Path) -> None:
    before = int(time.time() * 1000)
    left = a_lane(tmp_path).run(refuses(429, "TooManyProviderTokenUpdates"))
    assert left.asked == {"bad0": 1}, "the one connection rests"
    assert told(left) == {("retried", "TooManyProviderTokenUpdates"), ("retried", "NotSent")}
    assert left.delayed["30s"]["ana"].not_before - before >= 60 * SECOND
    assert not left.ends


def test_what_was_written_and_not_answered_ends_as_unknown(tmp_path: Path) -> None:
    left = a_lane(tmp_path, timeout="200ms").run(lambda exchange: None)
    assert left.asked == {"bad0": 1, "good0": 1, "bad1": 1}
    assert (left.ends["ben"].kind, left.ends["ben"].reason) == ("unknown", "no_answer")
    assert left.ends["ana"].kind == "sent"
    assert left.devices == {"ana": {"bad0", "good0"}, "ben": {"bad1"}}
    assert left.unsettled == 0


def test_a_push_carries_a_reference_to_its_send(tmp_path: Path) -> None:
    key = tmp_path / "reference.key"
    key.write_text("k" * 32 + "\n")
    left = a_lane(tmp_path, reference_key=f"file:{key}").run(refuses(410, "Unregistered"))
    carried = [json.loads(one.body) for one in left.exchanges]
    found = [Reference.read(one["reference"], [b"k" * 32]) for one in carried]
    assert [one.recipient_id for one in found] == ["ana", "ana", "ben"]
    assert [one.send_id for one in found] == [one["send_id"] for one in carried]
