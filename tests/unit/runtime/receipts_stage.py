"""The receipts as a unit on a paper log, with callbacks that are signed as Twilio signs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from tests import engine
from tests.engine import Tick, turn
from tests.paper_log import PaperLog
from tidings.compile.units import Ground, receipts
from tidings.log.port import Append
from tidings.ports import Io, Person, Question, Suppression, Unavailable
from tidings.receipts import PROVIDER_EVENTS, REPLIES, Reference, Webhook
from tidings.records import (
    Delivery,
    Origin,
    Signal,
    decode_delivery,
    decode_entry,
    encode,
)
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.people import FilePeople
from tidings.stores.suppressions import FileSuppressions
from tidings.topics import ALERTS

NOW = 1_800_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
DELIVERIES, LETTERS = "deliveries.sms.normal", "notif_dlq.flow"
WATCH = "tidings.orders"
URL = "https://notify.example.com/twilio"
NUMBER, HOME = "+12025550100", "+12025550101"
KEY = b"k" * 32


class Stage:
    """The unit on a paper log, one delivery that was sent, and the people it knows."""

    def __init__(self, folder: Path) -> None:
        (folder / "token").write_text("12345")
        (folder / "key").write_bytes(KEY)
        (folder / "people").mkdir()
        phone = {"kind": "phone", "value": NUMBER}
        mail = {"kind": "email", "value": "ana@example.com"}
        ana = {"recipient_id": "ana", "addresses": [phone, mail]}
        home = {"kind": "phone", "value": HOME}
        bob, cy = ({"recipient_id": name, "addresses": [home]} for name in ("bob", "cy"))
        zoe = {"recipient_id": "zoe", "tenant": "acme", "addresses": [phone, home]}
        lines = [json.dumps(person) + "\n" for person in (ana, bob, cy, zoe)]
        (folder / "people/people.jsonl").write_text("".join(lines))
        self.clock = Tick(NOW)
        topics = (PROVIDER_EVENTS, REPLIES, DELIVERIES, "notif_events", ALERTS, LETTERS, WATCH)
        partitions = dict.fromkeys(topics, 1)
        self.log = PaperLog(self.clock, partitions)
        self.group = self.log.group("tidings.receipts")
        self.people = FlakyPeople(folder / "people", self.clock)
        self.suppressions = FlakySuppressions(folder / "suppressions", self.clock)
        self.claims = FlakyClaims(self.clock)
        io = Io(
            people=self.people,
            suppressions=self.suppressions,
            templates=None,  # type: ignore[arg-type]  # none of these is asked
            claims=self.claims,
            caps=None,  # type: ignore[arg-type]
            clock=self.clock,
        )
        provider = {
            "kind": "twilio",
            "account": "AC" + "0" * 32,
            "auth_token": f"file:{folder}/token",
            "from": "+15005550006",
            "callback": {"url": URL, "key": f"file:{folder}/key"},
        }
        settings = Settings(providers={"twilio": provider, "sandbox": {"kind": "sandbox"}})
        self.ground = Ground(self.log, io, settings, "holder")
        self.start()

    def start(self) -> None:
        """A process that has all to itself."""
        self.unit = receipts(self.ground)
        self.unit.start()
        self.consumer = self.unit._consumer
        self.group.share(dict.fromkeys(self.consumer.slots(), self.consumer))  # type: ignore[attr-defined, arg-type]

    def delivered(self, **fields: Any) -> Origin:
        """A delivery in the log; where it stands."""
        given: dict[str, Any] = {
            "notif_id": "n-1",
            "recipient_id": "ana",
            "flow": "orders",
            "step": "orders.deliver",
            "version": "v1",
            "channel": "sms",
            "template": "order_update",
            "category": "orders",
            "created_at": NOW,
            "origin": Origin("orders.events", 0, 1),
            "data": {"order": 17, "code": "481516"},
            "attempt": 2,
            "answers": {"s-1": "ok"},
        }
        self.log.write(Append(DELIVERIES, b"ana", encode(Delivery(**(given | fields)))))
        return Origin(DELIVERIES, 0, len(self.deliveries()) - 1)

    def callback(
        self, origin: Origin | None, *, token: str = "12345", reply_to: str = "", **form: str
    ) -> None:
        """Twilio calls."""
        url = URL
        if origin is not None:
            waits = (reply_to, "w-1", 1) if reply_to else ()
            reference = Reference(
                "default", "ana", "s-1", "n-1", "orders", "sms", "orders", "autumn", origin, *waits
            )
            url += f"?ref={reference.signed(KEY)}"
        form = {"MessageSid": "SM1", "To": NUMBER} | form
        headers = {"x-twilio-signature": RequestValidator(token).compute_signature(url, form)}
        hook = Webhook(provider="twilio", url=url, headers=headers, body=urlencode(form).encode())
        self.log.write(hook.append())

    def answered(self, text: str, sender: str = NUMBER, sid: str = "SM7", tenant: str = "") -> None:
        """A person texts, and Twilio calls."""
        url = f"{URL}?tenant={tenant}" if tenant else URL
        form = {"MessageSid": sid, "SmsStatus": "received", "From": sender, "Body": text}
        headers = {"x-twilio-signature": RequestValidator("12345").compute_signature(url, form)}
        hook = Webhook(provider="twilio", url=url, headers=headers, body=urlencode(form).encode())
        self.log.write(hook.append())

    def replies(self) -> list[tuple[bytes | None, dict[str, Any]]]:
        """The events that flows read."""
        found = engine.records(self.log, REPLIES)
        return [(one.key, json.loads(one.value or b"")) for one in found]

    def settle(self) -> None:
        quiet = 0
        while quiet < 5:
            self.clock.advance(100)
            quiet = 0 if turn(self.unit) else quiet + 1

    def deliveries(self) -> list[Delivery]:
        found = engine.records(self.log, DELIVERIES)
        return [decode_delivery(record.value or b"") for record in found]

    def signals(self) -> list[tuple[bytes | None, Signal | None]]:
        """What the flow that waits is told."""
        found = engine.records(self.log, WATCH)
        return [(one.key, decode_entry(one.value or b"").signal) for one in found]

    def reasons(self) -> list[str]:
        found = engine.records(self.log, LETTERS)
        return [dict(one.headers)["tidings-reason"].decode() for one in found]

    def suppressed(self) -> Suppression | None:
        question = Question("default", "sms", NUMBER, "orders")
        return self.suppressions.check([question], self.clock.now())[0]

    def numbers(self) -> list[str]:
        [profile] = self.people.profiles([Person("default", "ana")])
        assert profile is not None
        return [address.value for address in profile.addresses]


class FlakyPeople(FilePeople):
    """The people; they can be away."""

    away = False
    asked = 0

    def find(self, kind: str, values: Sequence[str]) -> list[tuple[Person, ...]]:
        self.asked += 1
        if self.away:
            raise Unavailable("the people are away")
        return super().find(kind, values)


class FlakyClaims(LocalClaims):
    """The claims; they can be away."""

    away = False

    def first(
        self, claims: Sequence[tuple[str, str]], ttl_ms: int, forgotten: Sequence[str] = ()
    ) -> list[str]:
        if self.away:
            raise Unavailable("the claims are away")
        return super().first(claims, ttl_ms, forgotten)


class FlakySuppressions(FileSuppressions):
    """The list; it can be away."""

    away = False

    def add(self, tenant: str, suppression: Suppression) -> None:
        if self.away:
            raise Unavailable("the list is away")
        super().add(tenant, suppression)
