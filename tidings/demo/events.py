"""What the sample services say: a stream of events that is a function of a seed.

Likes come in bursts on a few photos, so that digests form; one person has more photos than the
social limit lets through, and a second promotion comes within a day, so that limits hold.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

SOCIAL, ORDERS, OTP = "social.events", "orders.events", "otp.events"
ALERTS, PROMO, NOTIFY = "alerts.events", "promo.events", "notifications.normal"


class Emitted(NamedTuple):
    """One event: when (seconds from the start), where, and whom it is for.

    ``id`` is what its flow knows it by; each of ``recipients`` is to get an answer to it.
    """

    at: float
    topic: str
    id: str
    recipients: tuple[str, ...]
    event: dict[str, Any]


PHOTOS = (
    "Sunset over the bay",
    "Two cats, one box",
    "First snow",
    "Our new kitchen",
    "The summit at last",
    "Birthday cake",
    "Old town at night",
    "Morning run",
)
COMMENTS = (
    "Lovely!",
    "Where is this?",
    "I want to be there too",
    "That light!",
    "Made my day",
    "Save me a piece",
)
ALERT_TEXTS = (
    ("New sign-in", "Firefox on Linux", "Lisbon"),
    ("Your password was changed", "Pixel 8", "Berlin"),
    ("New passkey added", "MacBook Air", "Toronto"),
)
OFFERS = (
    ("Summer sale", "Everything for the garden, a fifth off until Sunday."),
    ("Weekend deal", "Two for one on all coffee."),
    ("Last chance", "The sale ends tonight."),
)
STATUSES = ("placed", "paid", "shipped", "delivered")
APPS = ("Shop", "Bank", "Mail")
RATES = {  # a second
    "like": 30.0,
    "comment": 5.0,
    "order": 3.0,
    "otp": 2.0,
    "alert": 0.4,
    "notice": 0.5,
}
STAR = 6  # photos of the one whom everybody likes
FIRST_PROMO, NEXT_PROMO = 1.0, 12.0  # seconds


def events(seed: int, people: Sequence[str]) -> Iterator[Emitted]:
    """All events, in order of time, without end. ``people`` are the recipients' ids."""
    makers: dict[str, Callable[[Random, int], Emitted]] = {
        "like": lambda draw, n: _social(draw, people, "like", n),
        "comment": lambda draw, n: _social(draw, people, "comment", n),
        "order": lambda draw, n: _order(draw, people, n),
        "otp": lambda draw, n: _otp(draw, people, n),
        "alert": lambda draw, n: _alert(draw, people, n),
        "notice": lambda draw, n: _notice(draw, people, n),
    }
    streams = [
        _stream(Random(f"{seed}:{kind}"), RATES[kind], make) for kind, make in makers.items()
    ]
    return heapq.merge(*streams, _promos(people), key=lambda emitted: emitted.at)


def _stream(draw: Random, rate: float, make: Callable[[Random, int], Emitted]) -> Iterator[Emitted]:
    at, number = 0.0, 0
    while True:
        yield make(draw, number)._replace(at=at)
        at += draw.expovariate(rate)
        number += 1


def _social(draw: Random, people: Sequence[str], kind: str, number: int) -> Emitted:
    owner = people[0] if draw.random() < 0.15 else draw.choice(people[1:])
    photos = STAR if owner == people[0] else 2
    photo = draw.randrange(photos)
    actor = draw.choice([person for person in people if person != owner])
    event_id = f"{kind}-{number}"
    event = {
        "event_id": event_id,
        "type": kind,
        "recipient_id": owner,
        "actor_id": actor,
        "actor_name": actor.capitalize(),
        "photo_id": f"{owner}-{photo}",
        "photo_title": PHOTOS[(photo + len(owner)) % len(PHOTOS)],
        "text": draw.choice(COMMENTS) if kind == "comment" else "",
    }
    return Emitted(0.0, SOCIAL, event_id, (owner,), event)


def _order(draw: Random, people: Sequence[str], number: int) -> Emitted:
    person, event_id = draw.choice(people), f"order-{number}"
    event = {
        "event_id": event_id,
        "type": "order",
        "recipient_id": person,
        "order_id": f"A{1000 + number}",
        "status": draw.choice(STATUSES),
        "total": f"{draw.randrange(900, 19_000) / 100:.2f} €",
        "items": draw.randrange(1, 6),
        "eta": draw.choice(("tomorrow", "Friday", "next week")),
    }
    return Emitted(0.0, ORDERS, event_id, (person,), event)


def _otp(draw: Random, people: Sequence[str], number: int) -> Emitted:
    person, request_id = draw.choice(people), f"otp-{number}"
    event = {
        "request_id": request_id,
        "type": "otp",
        "recipient_id": person,
        "code": f"{draw.randrange(1_000_000):06}",
        "app": draw.choice(APPS),
    }
    return Emitted(0.0, OTP, request_id, (person,), event)


def _alert(draw: Random, people: Sequence[str], number: int) -> Emitted:
    person, event_id = draw.choice(people), f"alert-{number}"
    what, device, place = draw.choice(ALERT_TEXTS)
    event = {
        "event_id": event_id,
        "type": "security",
        "recipient_id": person,
        "what": what,
        "device": device,
        "place": place,
    }
    return Emitted(0.0, ALERTS, event_id, (person,), event)


def _notice(draw: Random, people: Sequence[str], number: int) -> Emitted:
    person, notif_id = draw.choice(people), f"notice-{number}"
    event = {
        "notif_id": notif_id,
        "type": "order",
        "recipient_id": person,
        "data": {"title": "Your parcel", "body": "It waits for you at the shop around the corner."},
    }
    return Emitted(0.0, NOTIFY, notif_id, (person,), event)


def _promos(people: Sequence[str]) -> Iterator[Emitted]:
    at, number = FIRST_PROMO, 0
    while True:
        title, text = OFFERS[number % len(OFFERS)]
        campaign = f"promo-{number}"
        event = {
            "campaign_id": campaign,
            "type": "promo",
            "audience": list(people),
            "title": title,
            "text": text,
            "link": "https://shop.example.com/sale",
        }
        yield Emitted(at, PROMO, campaign, tuple(people), event)
        at += NEXT_PROMO
        number += 1
