"""What a message to FCM consists of, as bytes.

Of a rendered message ``title``, ``body`` and ``image`` are the notification, ``sound`` what its
name says, ``link`` what a tap opens. Its data goes along as text, beside our own marks
(`push_marks`). Data called ``android`` goes into Android's notification (channelId, clickAction,
color), data called ``aps`` into Apple's.

The JSON is Google's own form (camelCase). FCM's limit counts what the phone gets of it alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tidings.ids import id_of
from tidings.operators.senders.push import apns_message
from tidings.operators.senders.push.push_marks import forms
from tidings.sender import Content, Send

LARGEST = 4_096  # bytes of what the phone gets
LONGEST_LIFE = 2_419_200  # seconds: FCM keeps nothing longer than four weeks

Label = Literal["category", "send_id", "none"]

_ADDRESS = re.compile(r"[A-Za-z0-9_:.~%+/=-]{1,2048}")  # so that it needs no escaping
_FID_LENGTH = 22
_FID = re.compile(r"[c-f][A-Za-z0-9_-]{21}")
_RESERVED = frozenset({"from", "message_type"})
_RESERVED_STARTS = ("google.", "gcm.notification.")
_NOTIFICATION = ("title", "body", "image")
_FRAMES = ("aps", "android")  # data that is no data: the platforms' own fields
_NO_LABEL = re.compile(r"[^a-zA-Z0-9_.~%-]")
_LONGEST_LABEL = 50  # characters

_encode = msgspec.json.Encoder().encode


class TooLarge(ValueError):
    """The phone would get more than FCM takes; the message says how much."""


def target(address: str) -> bytes:
    """What a device is addressed by: ``fid`` or ``token``. Raises ValueError for neither.

    An installation's id has 22 characters and begins with c to f (its first bits are 0111); the
    registration tokens that come before it are longer.
    """
    if len(address) == _FID_LENGTH and _FID.fullmatch(address):
        return b'"fid":"' + address.encode()
    if _ADDRESS.fullmatch(address):
        return b'"token":"' + address.encode()
    raise ValueError("neither an installation's id nor a registration token")


class Composer:
    """Makes messages of sends; ``label`` as in the settings."""

    def __init__(self, *, label: Label, dry_run: bool, store: bool) -> None:
        self._label = label
        self._store = store
        self._end = b',"validateOnly":true}' if dry_run else b"}"
        self._labels: dict[str, dict[str, str]] = {}

    def compose(self, send: Send, to: bytes, now: int, marks: Sequence[Mapping[str, str]]) -> bytes:
        """The body of the request; ``to`` is its `target`, ``now`` epoch ms.

        Of ``marks`` the first that leave room; where none do, the short form of the message. Raises
        TooLarge where that is too large, or where there is none, and ValueError or TypeError for
        what can't be written.
        """
        size = 0
        for content in forms(send.content):
            for mark in marks:
                message = self._message(send, content, mark, now)
                body = b"".join((b'{"message":{', to, b'",', _encode(message)[1:], self._end))
                # The whole request is larger than what the phone gets of it.
                if len(body) <= LARGEST or (size := _size(message)) <= LARGEST:
                    return body
        raise TooLarge(f"{size} bytes; FCM takes {LARGEST}")

    def _message(
        self, send: Send, content: Content, marks: Mapping[str, str], now: int
    ) -> dict[str, Any]:
        platform = send.address.platform
        if platform == "ios":
            message = self._apple(send, content, now, marks)
        else:
            message = _shown(content, marks)
            if platform == "web":
                message["webpush"] = self._web(send, content, now)
            else:
                message["android"] = self._android(send, content, "notification" in message, now)
        label = self._label_of(send)
        if label is not None:
            message["fcmOptions"] = label
        return message

    def _android(self, send: Send, content: Content, shows: bool, now: int) -> dict[str, Any]:
        # A message that shows nothing may wait: FCM slows apps down that call it urgent.
        urgent = send.priority == "high" or (send.priority != "low" and shows)
        android: dict[str, Any] = {"priority": "HIGH" if urgent else "NORMAL"}
        if (life := self._life(send, now)) >= 0:
            android["ttl"] = f"{life}s"
        if send.collapse_key:
            android["collapseKey"] = send.collapse_key
        if shows:
            given = content.data.get("android")
            own = dict(given) if isinstance(given, dict) else {}
            if content.parts.get("sound"):
                own["sound"] = content.parts["sound"]
            if send.collapse_key:
                own.setdefault("tag", send.collapse_key)  # replaces the one on the screen too
            if own:
                android["notification"] = own
        return android

    def _web(self, send: Send, content: Content, now: int) -> dict[str, Any]:
        headers = {"Urgency": send.priority if send.priority in ("high", "low") else "normal"}
        if (life := self._life(send, now)) >= 0:
            headers["TTL"] = str(life)
        if send.collapse_key:
            headers["Topic"] = id_of("collapse", send.collapse_key)  # 32 characters of base64url
        web: dict[str, Any] = {"headers": headers}
        link = content.parts.get("link", "")
        if link.startswith("https://"):
            web["fcmOptions"] = {"link": link}
        return web

    def _apple(
        self, send: Send, content: Content, now: int, marks: Mapping[str, str]
    ) -> dict[str, Any]:
        """What FCM hands on as it is to Apple's service."""
        payload, push_type = apns_message.payload(content, None, marks, now)
        headers = {
            "apns-push-type": push_type,  # Apple may hold back or drop what does not name its own
            "apns-priority": apns_message.priority(send.priority, push_type),
        }
        if not self._store:
            headers["apns-expiration"] = "0"
        elif send.expires_at:
            headers["apns-expiration"] = str(send.expires_at // 1000)
        if send.collapse_key:
            headers["apns-collapse-id"] = apns_message.collapse_id(send.collapse_key).decode()
        return {"apns": {"headers": headers, "payload": payload}}

    def _life(self, send: Send, now: int) -> int:
        """Seconds that FCM may keep it; -1 for as long as FCM likes."""
        if not self._store:
            return 0
        if not send.expires_at:
            return -1
        return min(max((send.expires_at - now) // 1000, 0), LONGEST_LIFE)

    def _label_of(self, send: Send) -> dict[str, str] | None:
        if self._label == "send_id":
            return {"analyticsLabel": send.send_id}
        if self._label == "none" or not send.category:
            return None
        label = self._labels.get(send.category)
        if label is None:
            text = _NO_LABEL.sub("-", send.category)[:_LONGEST_LABEL]
            label = self._labels[send.category] = {"analyticsLabel": text}
        return label


def _shown(content: Content, marks: Mapping[str, str]) -> dict[str, Any]:
    """Notification and data. Raises ValueError for data under a name that is FCM's own."""
    parts = content.parts
    notification = {}
    for name in _NOTIFICATION:
        if text := parts.get(name):
            notification[name] = text
    data = _texts(content) if content.data else {}
    if parts.get("link"):
        data["link"] = parts["link"]
    data |= marks
    return {"notification": notification, "data": data} if notification else {"data": data}


def _size(message: Mapping[str, Any]) -> int:
    """Bytes that the phone gets, by FCM's count: the notification and the data, or the payload for
    Apple's service."""
    apns = message.get("apns")
    shown = {name: message[name] for name in ("notification", "data") if name in message}
    return len(_encode(shown if apns is None else apns["payload"]))


def _texts(content: Content) -> dict[str, str]:
    """The data, all of it text: what is none as its JSON."""
    data = {}
    for name, value in content.data.items():
        if name in _RESERVED or name.startswith(_RESERVED_STARTS):
            raise ValueError(f"FCM keeps the name `{name}` to itself: call this data otherwise")
        if name not in _FRAMES:
            data[name] = value if type(value) is str else _encode(value).decode()
    return data
