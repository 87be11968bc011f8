"""The people that every adapter of People is asked about, as profiles and as lines of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidings.ports import Address, People, Person, Profile

ANA, BOB, CY = Person("default", "ana"), Person("default", "bob"), Person("acme", "ana")
NOW = 1_760_000_000_000

PHONE = Address(kind="device", value="tok-1", platform="ios", app="shop", registered_at=1_000)
TABLET = Address(kind="device", value="tok-2", platform="android", zone="Asia/Tokyo", quiet="none")
MAIL = Address(kind="email", value="ana@example.com")
PROFILES = {
    ANA: Profile(
        locale="es-AR",
        zone="America/Argentina/Buenos_Aires",
        addresses=(PHONE, TABLET, MAIL),
        channels={"sms": False},
        categories={"promo": False},
        pairs={"social/email": True},
        types={"like": False},
        muted={"actor_id": frozenset({"bob", "7"})},
        quiet="21:00-07:30",
    ),
    BOB: Profile(erased=True),
    CY: Profile(locale="en"),
}
LINES: list[Mapping[str, Any]] = [
    {
        "recipient_id": "ana",
        "locale": "es-AR",
        "zone": "America/Argentina/Buenos_Aires",
        "addresses": [
            {
                "kind": "device",
                "value": "tok-1",
                "platform": "ios",
                "app": "shop",
                "registered_at": 1_000,
            },
            {
                "kind": "device",
                "value": "tok-2",
                "platform": "android",
                "zone": "Asia/Tokyo",
                "quiet": "none",
            },
            {"kind": "email", "value": "ana@example.com"},
        ],
        "channels": {"sms": False},
        "categories": {"promo": False},
        "pairs": {"social/email": True},
        "types": {"like": False},
        "muted": {"actor_id": ["bob", "7"]},
        "quiet": "21:00-07:30",
    },
    {"recipient_id": "bob", "erased": True},
    {"recipient_id": "ana", "tenant": "acme", "locale": "en"},
]


def write(folder: Path, *lines: Mapping[str, Any] | str) -> Path:
    path = folder / "people.jsonl"
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in text))
    return path


def devices(people: People) -> list[tuple[str, int, int]]:
    """Of Ana's addresses the value, when it registered, and its last success."""
    (ana,) = people.profiles([ANA])
    assert ana is not None
    return [(one.value, one.registered_at, one.last_success_at) for one in ana.addresses]


TOKENS = [("tok-1", 1_000, 0), ("tok-2", 0, 0), (MAIL.value, 0, 0)]


def a_device(value: str, registered_at: int) -> Address:
    return Address(kind="device", value=value, platform="ios", registered_at=registered_at)
