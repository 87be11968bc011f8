"""A hold, and two people whose clocks are twelve hours apart."""

from __future__ import annotations

from typing import Any

from tests.unit.operators.one_person import Event, play
from tests.unit.operators.support import HOUR, built
from tidings.contract import Part

MADRID = {"zone": "Europe/Madrid"}  # at the start it is 14:00 there
AUCKLAND = {"zone": "Pacific/Auckland"}  # and midnight here
TYPES = {"otp": "security", "like": "social", "sale": "promo"}
QUIET = "quiet: 22:00-08:00, zone: zone"


def held(fields: str) -> Any:
    return built(f"hold: {{{fields}}}", Part.KEYED, types=TYPES)


def passed(fields: str, *events: Event, until: int = 72 * HOUR) -> list[tuple[int, str]]:
    """When each event goes, in ms after the start."""
    gone = play(held(fields), events, until).passed
    return [(each.at, member) for each in gone for member in each.members]
