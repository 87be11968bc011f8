"""What `render` does with a text that may be more than a push can carry: keep it, send a short one.

Whether it is too large its sender says, of what it would really send. Here it is only asked whether
it could be: then the whole is kept before anything is sent, and a short form goes along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidings.contract import Work
from tidings.ids import id_of
from tidings.ports import Payload
from tidings.records import encode
from tidings.sender import FETCH, Content

LATE_MS = 60_000
"""How much longer than its message a payload is kept: a phone may get it in the last second."""

_SHORT = {"title": 200, "subtitle": 200, "body": 600}  # bytes of JSON that are left of a part
_LONGEST_OTHER = 200  # of other parts, and of the platforms' own fields; what is longer waits
_FRAMES = ("aps", "android")


def could_exceed(content: Content, most: int) -> bool:
    """Whether what a push service is sent might be more than ``most`` bytes, its frame apart.

    FCM's data is text, in which JSON is escaped once more: so it is measured.
    """
    size = len(encode(content.parts))
    return size + len(encode(encode(content.data).decode())) > most if content.data else size > most


def payload(work: Work, content: Content, now: int, keep_ms: int) -> Payload:
    """The whole, as the app gets it: ``parts``, ``data``, ``locale`` and ``notif_id``.

    Its id is its delivery's: what is rendered again takes its place.
    """
    delivery = work.delivery
    whole = {
        "notif_id": delivery.notif_id,
        "locale": content.locale,
        "parts": content.parts,
        "data": content.data,
    }
    names = (delivery.notif_id, delivery.channel, str(delivery.round))
    ends = (delivery.expires_at or now + keep_ms) + LATE_MS
    return Payload(id_of("p", delivery.tenant, *names), encode(whole), ends)


def shortened(content: Content, address: str) -> Content:
    """The message with what is small enough of it, and where the whole is; without an ``address``
    it is all that there will be."""
    parts = {}
    for name, text in content.parts.items():
        if name in _SHORT:
            parts[name] = _cut(text, _SHORT[name])
        elif len(encode(text)) <= _LONGEST_OTHER:
            parts[name] = text
    data: dict[str, Any] = {FETCH: address} if address else {}
    data |= _small(content.data)
    return msgspec.structs.replace(content, parts=parts, data=data)


def _small(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: data[name]
        for name in _FRAMES
        if name in data and len(encode(data[name])) <= _LONGEST_OTHER
    }


def _cut(text: str, most: int) -> str:
    """The text, or its beginning and ``…``: so many bytes of JSON at most."""
    if len(encode(text)) <= most:
        return text
    fits, exceeds = 0, min(len(text), most)
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if len(encode(text[:middle] + "…")) > most:
            exceeds = middle
        else:
            fits = middle
    return text[:fits].rstrip() + "…"
