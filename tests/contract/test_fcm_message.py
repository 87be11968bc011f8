"""What FCM is told, held to the official library's encoder."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import pytest
from firebase_admin import messaging
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.fcm_desk import FID, NOW, SECOND, SEND_ID, TOKEN, a_send, on
from tidings.operators.senders.push.fcm_message import Composer, Label, TooLarge, target
from tidings.operators.senders.push.push_marks import Marks
from tidings.ports import Address
from tidings.sender import Content, Send


def composed(
    send: Send, *, label: Label = "category", dry_run: bool = False, store: bool = True
) -> dict[str, Any]:
    """The whole request, decoded."""
    composer = Composer(label=label, dry_run=dry_run, store=store)
    body = composer.compose(send, target(send.address.value), NOW, Marks().of(send))
    made: dict[str, Any] = json.loads(body)
    return made


def message(send: Send, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = composed(send, **settings)["message"]
    return found


# ── the official encoder ──────────────────────────────────────────────────────────────────────


def camel(tree: Any, *, free: tuple[str, ...] = ("data", "payload", "headers")) -> Any:
    """The library's snake_case as Google's camelCase; what people name themselves stays."""
    if not isinstance(tree, dict):
        return tree
    return {
        re.sub(r"_(\w)", lambda found: found[1].upper(), name): value
        if name in free
        else camel(value)
        for name, value in tree.items()
    }


def theirs(**fields: Any) -> dict[str, Any]:
    """The library's encoding of a message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of `token`, which devices still have
        encoded = json.loads(str(messaging.Message(**fields)))
    made: dict[str, Any] = camel(encoded)
    if "priority" in made.get("android", {}):
        made["android"]["priority"] = made["android"]["priority"].upper()  # the enum's own form
    return made


TEXTS = st.text(max_size=40)


@given(
    title=TEXTS,
    body=TEXTS,
    image=st.sampled_from(["", "https://cdn.example/7.jpg"]),
    link=st.sampled_from(["", "example://photo/7"]),
    sound=st.sampled_from(["", "ping"]),
    data=st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda n: n[0] != "g"), TEXTS),
    collapse_key=st.sampled_from(["", "photo-7", 'Füße"\\']),
    lasts=st.sampled_from([None, 0, 1, 90, 2_419_200]),
    priority=st.sampled_from(["high", "normal", "low"]),
    to=st.sampled_from([TOKEN, FID]),
)
def test_a_message_is_what_the_official_library_makes_of_it(
    title: str,
    body: str,
    image: str,
    link: str,
    sound: str,
    data: dict[str, str],
    collapse_key: str,
    lasts: int | None,
    priority: str,
    to: str,
) -> None:
    for reserved in ("from", "message_type", "aps", "android", "link", "send_id"):
        data.pop(reserved, None)
    parts = {"title": title, "body": body, "image": image, "link": link, "sound": sound}
    shown = bool(title or body or image)
    ours = message(
        a_send(
            Content(parts=parts, data=dict(data)),
            collapse_key=collapse_key,
            priority=priority,
            expires_at=0 if lasts is None else NOW + lasts * SECOND + 999,
            address=Address(kind="device", value=to, platform="android"),
        )
    )
    carried = data | {"send_id": SEND_ID} | ({"link": link} if link else {})
    own = messaging.AndroidNotification(sound=sound or None, tag=collapse_key or None)
    assert ours == theirs(
        **{"token" if to == TOKEN else "fid": to},
        data=carried,
        notification=messaging.Notification(title or None, body or None, image or None)
        if shown
        else None,
        android=messaging.AndroidConfig(
            collapse_key=collapse_key or None,
            priority="high" if priority == "high" or (priority == "normal" and shown) else "normal",
            ttl=lasts,
            notification=own if shown and (sound or collapse_key) else None,
        ),
        fcm_options=messaging.FCMOptions("social"),
    )


def test_a_browser_gets_what_the_official_library_makes_of_it() -> None:
    content = Content(parts={"title": "T", "body": "B", "link": "https://example.com/7"})
    send = a_send(content, address=on("web"), priority="low", expires_at=NOW + 90 * SECOND)
    assert message(send) == theirs(
        token=TOKEN,
        notification=messaging.Notification("T", "B"),
        data={"link": "https://example.com/7", "send_id": SEND_ID},
        webpush=messaging.WebpushConfig(
            headers={"Urgency": "low", "TTL": "90"},
            fcm_options=messaging.WebpushFCMOptions("https://example.com/7"),
        ),
        fcm_options=messaging.FCMOptions("social"),
    )


def test_an_iphone_behind_fcm_gets_what_it_would_get_from_apple() -> None:
    content = Content(
        parts={"title": "T", "body": "B", "link": "example://7"},
        data={"photo": 7, "aps": {"badge": 3}},
    )
    send = a_send(content, address=on("ios"), collapse_key="photo-7", expires_at=NOW + 90 * SECOND)
    alert = messaging.ApsAlert(title="T", body="B")
    assert message(send) == theirs(
        token=TOKEN,
        apns=messaging.APNSConfig(
            headers={
                "apns-push-type": "alert",
                "apns-priority": "10",
                "apns-expiration": str(NOW // 1000 + 90),
                "apns-collapse-id": "photo-7",
            },
            payload=messaging.APNSPayload(
                messaging.Aps(alert=alert, badge=3),
                photo=7,
                link="example://7",
                send_id=SEND_ID,
            ),
        ),
        fcm_options=messaging.FCMOptions("social"),
    )


def test_an_iphone_behind_fcm_that_is_shown_nothing_gets_a_background_push() -> None:
    content = Content(parts={}, data={"photo": 7})
    headers = message(a_send(content, address=on("ios"), priority="high"))["apns"]["headers"]
    assert headers == {"apns-push-type": "background", "apns-priority": "5"}


# ── the rest, by example ──────────────────────────────────────────────────────────────────────


def test_an_installations_id_is_a_fid_and_what_is_longer_is_a_token() -> None:
    assert target(FID) == b'"fid":"' + FID.encode()
    assert target(TOKEN) == b'"token":"' + TOKEN.encode()
    assert target("a" + FID[1:]).startswith(b'"token"'), "no installation's id begins so"


@pytest.mark.parametrize("address", ["", "a b", 'a"b', "a\\b", "ä", "a\nb", "x" * 2_049])
def test_what_can_be_no_address_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="neither an installation's id nor a registration token"):
        target(address)


def test_data_is_text_whatever_it_was() -> None:
    data = {"n": 7, "b": True, "none": None, "list": [1, "ä"], "text": "7"}
    sent = message(a_send(Content(parts={}, data=data)))
    assert sent["data"] == {
        "n": "7",
        "b": "true",
        "none": "null",
        "list": '[1,"ä"]',
        "text": "7",
        "send_id": SEND_ID,
    }
    assert "notification" not in sent
    assert sent["android"] == {"priority": "NORMAL"}, "what shows nothing is not urgent"


@pytest.mark.parametrize("name", ["from", "message_type", "google.x", "gcm.notification.title"])
def test_a_name_that_fcm_keeps_to_itself_is_told_and_not_sent(name: str) -> None:
    with pytest.raises(ValueError, match=f"FCM keeps the name `{re.escape(name)}` to itself"):
        message(a_send(Content(parts={}, data={name: "x"})))


def test_data_called_android_goes_into_its_notification_and_data_called_aps_nowhere() -> None:
    data = {"android": {"channelId": "likes", "tag": "own"}, "aps": {"badge": 3}}
    sent = message(a_send(Content(parts={"title": "T"}, data=data)))
    assert sent["data"] == {"send_id": SEND_ID}
    assert sent["android"]["notification"] == {"channelId": "likes", "tag": "own"}


def test_what_is_not_stored_is_delivered_now_or_never() -> None:
    late = a_send(expires_at=NOW + 90 * SECOND)
    assert message(late, store=False)["android"]["ttl"] == "0s"
    assert message(a_send(expires_at=NOW - 1))["android"]["ttl"] == "0s"
    assert message(a_send(expires_at=NOW + 10**12))["android"]["ttl"] == "2419200s"
    web = message(a_send(address=on("web")), store=False)["webpush"]
    assert web["headers"]["TTL"] == "0"
    apple = message(a_send(address=on("ios")), store=False)["apns"]
    assert apple["headers"]["apns-expiration"] == "0"


def test_a_link_that_no_browser_may_open_goes_along_as_data_alone() -> None:
    content = Content(parts={"title": "T", "link": "example://photo/7"})
    sent = message(a_send(content, address=on("web"), collapse_key="k"))
    assert "fcmOptions" not in sent["webpush"]
    assert sent["data"]["link"] == "example://photo/7"
    assert re.fullmatch("[0-9a-f]{32}", sent["webpush"]["headers"]["Topic"])


@pytest.mark.parametrize(
    ("label", "category", "expected"),
    [
        ("category", "social", {"analyticsLabel": "social"}),
        ("category", "Füße & co", {"analyticsLabel": "F--e---co"}),
        ("category", "x" * 60, {"analyticsLabel": "x" * 50}),
        ("category", "", None),
        ("send_id", "social", {"analyticsLabel": SEND_ID}),
        ("none", "social", None),
    ],
)
def test_the_label_is_one_that_firebase_takes(
    label: Label, category: str, expected: dict[str, str] | None
) -> None:
    sent = message(a_send(category=category), label=label)
    assert sent.get("fcmOptions") == expected
    if expected:  # raises for one that it does not take
        theirs(token=TOKEN, fcm_options=messaging.FCMOptions(expected["analyticsLabel"]))


def test_a_dry_run_is_only_checked() -> None:
    assert composed(a_send(), dry_run=True)["validateOnly"] is True
    assert "validateOnly" not in composed(a_send())


OURS = f'"send_id":"{SEND_ID}"'
SHOWN = '{"notification":{"body":""},"data":{' + OURS + "}}"


@pytest.mark.parametrize(
    ("platform", "frame"),
    [
        *[("android", SHOWN), ("web", SHOWN), ("", SHOWN)],
        ("ios", "{" + OURS + ',"aps":{"alert":{"body":""}}}'),
    ],
)
def test_what_the_phone_gets_may_have_4096_bytes_and_not_one_more(
    platform: str, frame: str
) -> None:
    def of(size: int) -> Send:
        content = Content(parts={"body": "x" * (size - len(frame))})
        return a_send(content, address=on(platform))

    sent = message(of(4_096))
    assert "x" * (4_096 - len(frame)) in json.dumps(sent)
    with pytest.raises(TooLarge, match="4097 bytes; FCM takes 4096"):
        message(of(4_097))


@pytest.mark.parametrize("content", [{"parts": {"title": "\ud800"}}, {"data": {"x": object()}}])
def test_what_can_not_be_written_says_so(content: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        message(a_send(Content(**{"parts": {}, **content})))


@pytest.mark.parametrize("platform", ["android", "web", "ios"])
def test_what_is_too_large_goes_in_short_and_says_where_the_whole_is(platform: str) -> None:
    small = Content(parts={"body": "x…"}, data={"fetch": "https://push.example.com/p/r1"})
    large = Content(parts={"body": "x" * 4_096}, small=small)

    made = message(a_send(large, address=on(platform)))

    if platform == "ios":
        payload = made["apns"]["payload"]
        assert payload["aps"] == {"alert": {"body": "x…"}, "mutable-content": 1}
        assert payload["fetch"] == "https://push.example.com/p/r1"
    else:
        assert made["notification"] == {"body": "x…"}
        assert made["data"] == {"fetch": "https://push.example.com/p/r1", "send_id": SEND_ID}


def test_what_is_too_large_in_short_as_well_is_refused() -> None:
    with pytest.raises(TooLarge):
        message(
            a_send(Content(parts={"body": "x" * 5_000}, small=Content(parts={"body": "y" * 5_000})))
        )
