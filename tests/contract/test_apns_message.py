"""What Apple is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aioapns
import msgspec
import pytest

from tests.contract.apns_desk import (
    DEVICE,
    MINUTE,
    NOW,
    TOPIC,
    Desk,
    a_send,
    of_size,
    run,
    sent,
)
from tests.contract.push_keys import apns_certificate
from tidings.operators.senders.push.apns_message import RULES, collapse_id
from tidings.ports import Address
from tidings.sender import Content, Send, Verdict


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


@pytest.mark.parametrize(
    ("push_type", "priority"),
    [(name, "5") for name in sorted(RULES.keys() - {"voip", "pushtotalk", "mdm"})]
    + [("voip", "10"), ("pushtotalk", "10")],
)
def test_what_is_low_may_wait_for_the_battery_but_no_call(
    tmp_path: Path, push_type: str, priority: str
) -> None:
    headers, _ = sent(tmp_path, a_send(priority="low"), push_type=push_type)
    assert headers["apns-priority"] == priority


@pytest.mark.parametrize(
    ("push_type", "expiration"), [("voip", "0"), ("alert", None), ("liveactivity", None)]
)
def test_a_call_that_names_no_end_rings_now_or_never(
    tmp_path: Path, push_type: str, expiration: str | None
) -> None:
    headers, _ = sent(tmp_path, a_send(), push_type=push_type)
    assert headers.get("apns-expiration") == expiration


def test_data_that_calls_itself_as_our_marks_do_gives_way(tmp_path: Path) -> None:
    _, payload = sent(tmp_path, a_send(content=Content(parts={}, data={"send_id": "theirs"})))
    assert payload["send_id"] == f"{1:032x}"


def test_a_file_provider_gets_no_aps_even_where_the_data_has_one(tmp_path: Path) -> None:
    content = Content(parts={}, data={"container-identifier": "root", "aps": {"badge": 1}})
    _, payload = sent(tmp_path, a_send(content=content), push_type="fileprovider")
    assert payload == {"container-identifier": "root", "send_id": f"{1:032x}"}


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
    shown: dict[str, Any] = {"certificate": apns_certificate(tmp_path, TOPIC), "push_type": "mdm"}
    headers, payload = sent(tmp_path, a_send(content=content), **shown)
    assert (headers["apns-topic"], payload) == (TOPIC, {"mdm": "magic-of-this-phone"})
    assert "authorization" not in headers, "the certificate says who we are"

    async def test(desk: Desk) -> None:
        [answer] = await desk.send(a_send())
        assert (answer.verdict, answer.code) == (Verdict.DROP, "BadMessage")
        assert answer.detail == ("an MDM push carries `mdm`, the device's PushMagic, in its data")

    run(tmp_path, test, **shown)


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


@pytest.mark.parametrize(("push_type", "most"), [(None, 4_096), ("voip", 5_120)])
def test_what_is_a_byte_too_large_goes_in_short_and_says_where_the_whole_is(
    tmp_path: Path, push_type: str | None, most: int
) -> None:
    small = Content(parts={"body": "x…"}, data={"fetch": "https://push.example.com/p/r1"})

    def of(size: int, number: int) -> Send:
        send = of_size(size, send_id=f"{number:032x}")
        send.content = msgspec.structs.replace(send.content, small=small)
        return send

    async def test(desk: Desk) -> None:
        answers = await desk.send(of(most, 1), of(most + 1, 2))
        assert {one.verdict for one in answers} == {Verdict.OK}
        whole, short = (json.loads(exchange.body) for exchange in desk.server.exchanges)
        assert "fetch" not in whole
        assert short == {
            "fetch": "https://push.example.com/p/r1",
            "send_id": f"{2:032x}",
            "aps": {"alert": {"body": "x…"}, "mutable-content": 1},
        }

    run(tmp_path, test, push_type=push_type)
