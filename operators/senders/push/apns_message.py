"""What a push to Apple consists of, and the rules of each type of push.

Of a rendered message ``title``, ``subtitle`` and ``body`` are the alert, ``sound`` and ``thread``
what their names say, ``image`` the address of a picture that the app's service extension fetches,
``link`` what a tap opens. What is too large goes in short, with the address of the whole as
``fetch``. Its data goes beside ``aps``, and data called ``aps`` (badge, category,
a Live Activity's content-state) into it. Our own marks stand beside ``aps`` (`push_marks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from tidings.ids import id_of
from tidings.sender import FETCH, Content

LARGEST_COLLAPSE_ID = 64  # bytes

PushType = Literal[
    "alert",
    "background",
    "voip",
    "location",
    "complication",
    "fileprovider",
    "mdm",
    "liveactivity",
    "pushtotalk",
    "widgets",
    "controls",
]

_ALERT = ("title", "subtitle", "body")
_SHOWN = frozenset({"alert", "badge", "sound"})  # of these any makes it an alert
_ANDROID = "android"  # data of that name is for the other platform


class Rules(NamedTuple):
    """Apple's rules for one type of push.

    ``suffix`` of the app's bundle id in the topic. ``priority``: the only one, "" where the message
    has the choice. ``now_or_never``: Apple is not to keep it. ``fleeting``: nor is it to keep
    one that names no end, for a call rings now or not at all. ``largest``: bytes of payload.
    ``shows``: it can carry an alert. ``aps``: what is in its ``aps`` unless the data says
    otherwise; None for a payload without one.
    """

    suffix: str = ""
    priority: str = ""
    now_or_never: bool = False
    fleeting: bool = False
    largest: int = 4_096
    shows: bool = False
    aps: Mapping[str, Any] | None = {}


RULES: dict[PushType, Rules] = {
    "alert": Rules(shows=True),
    "background": Rules(priority="5", aps={"content-available": 1}),
    "voip": Rules(".voip", priority="10", fleeting=True, largest=5_120, shows=True),
    "location": Rules(".location-query"),
    "complication": Rules(".complication"),
    "fileprovider": Rules(".pushkit.fileprovider", aps=None),
    "mdm": Rules(aps=None),
    "liveactivity": Rules(".push-type.liveactivity", shows=True, aps={"event": "update"}),
    "pushtotalk": Rules(".voip-ptt", priority="10", now_or_never=True),
    "widgets": Rules(".push-type.widgets", aps={"content-changed": True}),
    "controls": Rules(".push-type.controls", aps={"content-changed": True}),
}


def payload(
    content: Content, fixed: PushType | None, marks: Mapping[str, str], now: int
) -> tuple[dict[str, Any], PushType]:
    """What the phone gets, and which type of push it is; ``now`` is epoch ms.

    Without a ``fixed`` type it is an alert, or a background push where there is nothing to show.
    Raises ValueError for an MDM push that does not carry the device's ``mdm``.
    """
    parts = content.parts
    data = dict(content.data)
    if fixed == "mdm":
        if not data.get("mdm"):
            raise ValueError("an MDM push carries `mdm`, the device's PushMagic, in its data")
        return {"mdm": data["mdm"]}, fixed
    aps = data.get("aps")
    aps = dict(aps) if isinstance(aps, dict) else {}
    if fixed is None or RULES[fixed].shows:
        _show(parts, aps, data)
    push_type = fixed or ("background" if _SHOWN.isdisjoint(aps) else "alert")
    if parts.get("link"):
        data["link"] = parts["link"]
    data |= marks
    data.pop(_ANDROID, None)
    usual = RULES[push_type].aps
    if usual is None:
        data.pop("aps", None)
        return data, push_type
    if push_type == "liveactivity":
        aps.setdefault("timestamp", now // 1000)  # Apple drops what is older than what is shown
    data["aps"] = {**usual, **aps} if usual else aps
    return data, push_type


def _show(parts: Mapping[str, str], aps: dict[str, Any], data: dict[str, Any]) -> None:
    alert = {name: parts[name] for name in _ALERT if parts.get(name)}
    if alert:
        aps["alert"] = alert
    if parts.get("sound"):
        aps["sound"] = parts["sound"]
    if parts.get("thread"):
        aps["thread-id"] = parts["thread"]
    if parts.get("image"):
        data["image"] = parts["image"]
        aps["mutable-content"] = 1
    if alert and FETCH in data:
        aps["mutable-content"] = 1  # the app's service extension puts the whole in its place


def topic(app: str, push_type: PushType) -> str:
    """The topic of an app's pushes of a type: its bundle id, and what Apple wants behind it."""
    suffix = RULES[push_type].suffix
    return app if not suffix or app.endswith(suffix) else app + suffix


def priority(wanted: str, push_type: PushType) -> str:
    """Apple's priority: 10 at once, 5 as the phone's battery allows."""
    return RULES[push_type].priority or ("5" if wanted == "low" else "10")


def apns_id(send_id: str) -> str:
    """The send's id, as Apple writes ids: what its answer and its console call the send."""
    return f"{send_id[:8]}-{send_id[8:12]}-{send_id[12:16]}-{send_id[16:20]}-{send_id[20:32]}"


def collapse_id(key: str) -> bytes:
    """Up to 64 bytes of printable ASCII: the key itself, or its hash where it is something else."""
    if len(key) <= LARGEST_COLLAPSE_ID and key.isascii() and key.isprintable():
        return key.encode()
    return id_of("collapse", key).encode()
