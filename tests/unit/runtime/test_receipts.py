"""Callbacks of Twilio, signed as Twilio signs them, through the unit: outcomes and consequences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from tests import engine
from tests.engine import Tick, outcomes, turn
from tests.paper_log import PaperLog
from tidings.compile.units import Ground, receipts
from tidings.log.port import Append, LogError, Slot
from tidings.ports import Io, Person, Question, Suppression, Unavailable
from tidings.receipts import PROVIDER_EVENTS, REPLIES, Reference, Webhook
from tidings.records import (
    Delivery,
    Origin,
    Signal,
    decode_alert,
    decode_delivery,
    decode_entry,
    encode,
)
from tidings.runtime.signals import AGAIN
from tidings.settings import Settings
from tidings.stores.claims_local import LocalClaims
from tidings.stores.people import FilePeople
from tidings.stores.suppressions import FileSuppressions
from tidings.topics import ALERTS

NOW = 1_800_000_000_000
HOUR = 3_600_000
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
        io = Io(
            people=self.people,
            suppressions=self.suppressions,
            templates=None,  # type: ignore[arg-type]  # none of these is asked
            claims=LocalClaims(self.clock),
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


class FlakySuppressions(FileSuppressions):
    """The list; it can be away."""

    away = False

    def add(self, tenant: str, suppression: Suppression) -> None:
        if self.away:
            raise Unavailable("the list is away")
        super().add(tenant, suppression)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_message_that_arrived_is_an_outcome_of_its_send(stage: Stage) -> None:
    origin = stage.delivered()
    stage.callback(origin, MessageStatus="sent")
    stage.callback(origin, MessageStatus="delivered")
    stage.settle()
    [outcome] = outcomes(stage.log)
    assert (outcome.stage, outcome.kind, outcome.send_id) == ("receipt", "delivered", "s-1")
    assert (outcome.recipient_id, outcome.notif_id, outcome.flow) == ("ana", "n-1", "orders")
    assert (outcome.provider, outcome.provider_id) == ("twilio", "SM1")
    assert (outcome.campaign_id, outcome.origin) == ("autumn", origin)
    assert NUMBER not in encode(outcome).decode()
    assert stage.numbers() == [NUMBER, "ana@example.com"]
    assert stage.suppressed() is None
    assert stage.group.positions[Slot(PROVIDER_EVENTS, 0)].offset == 2


def test_what_a_provider_says_twice_has_one_id(stage: Stage) -> None:
    origin = stage.delivered()
    for _ in range(2):
        stage.callback(origin, MessageStatus="delivered")
    stage.settle()
    first, second = outcomes(stage.log)
    assert first.outcome_id == second.outcome_id


def test_a_flow_that_waits_for_it_is_told(stage: Stage) -> None:
    origin = stage.delivered()
    stage.callback(origin, reply_to=WATCH, MessageStatus="delivered")
    stage.callback(origin, MessageStatus="delivered")  # nobody waits for this one
    stage.callback(origin, reply_to=WATCH, MessageStatus="undelivered", ErrorCode="30005")
    stage.settle()

    assert stage.signals() == [
        (b"ana", Signal("w-1", "delivered", 1)),
        (b"ana", Signal("w-1", "failed", 1)),
    ]


def test_what_is_tried_again_has_not_failed_yet(stage: Stage) -> None:
    stage.callback(
        stage.delivered(), reply_to=WATCH, MessageStatus="undelivered", ErrorCode="30003"
    )
    stage.settle()

    assert stage.signals() == []
    assert len(stage.deliveries()) == 2


def test_a_flow_that_was_taken_away_stops_nobody(stage: Stage) -> None:
    origin = stage.delivered()
    stage.callback(origin, reply_to="tidings.gone", MessageStatus="delivered")
    stage.callback(origin, reply_to=WATCH, MessageStatus="delivered")
    stage.settle()

    assert [one.kind for one in outcomes(stage.log)] == ["delivered", "delivered"]
    assert len(stage.signals()) == 1
    assert stage.group.positions[Slot(PROVIDER_EVENTS, 0)].offset == 2


def test_a_number_that_does_not_exist_is_taken_from_its_person(stage: Stage) -> None:
    stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode="30005")
    stage.settle()
    assert stage.numbers() == ["ana@example.com"]
    found = stage.suppressed()
    assert found is not None
    assert (found.reason, found.source) == ("invalid", "twilio")
    [outcome] = outcomes(stage.log)
    assert (outcome.kind, outcome.code, outcome.reason) == ("failed", "30005", "invalid")


def test_who_says_stop_is_suppressed_keeps_the_number_and_may_start_again(stage: Stage) -> None:
    stage.callback(None, SmsStatus="received", From=NUMBER, To="+15005550006", Body="Stop")
    stage.settle()
    found = stage.suppressed()
    assert found is not None
    assert found.reason == "stop"
    assert stage.numbers() == [NUMBER, "ana@example.com"]
    stage.callback(None, SmsStatus="received", From=NUMBER, To="+15005550006", Body="START")
    stage.settle()
    assert stage.suppressed() is None


def test_a_phone_that_was_off_is_tried_again_hours_later_at_most_twice(stage: Stage) -> None:
    origin = stage.delivered()
    for _ in range(3):
        stage.callback(origin, MessageStatus="undelivered", ErrorCode="30003")
        stage.settle()
        latest = len(stage.deliveries()) - 1
        origin = Origin(DELIVERIES, 0, latest)
    first, *again = stage.deliveries()
    assert [one.round for one in again] == [AGAIN, 2 * AGAIN]
    for one in again:
        assert (one.notif_id, one.data, one.template) == (
            first.notif_id,
            first.data,
            first.template,
        )
        assert (one.attempt, one.answers) == (0, {})
        assert one.not_before >= NOW + 3 * HOUR
    deferred = [one for one in outcomes(stage.log) if one.kind == "deferred"]
    assert [one.round for one in deferred] == [AGAIN, 2 * AGAIN]


def test_what_would_come_too_late_is_not_tried_again(stage: Stage) -> None:
    origin = stage.delivered(expires_at=NOW + HOUR)
    stage.callback(origin, MessageStatus="undelivered", ErrorCode="30003")
    stage.settle()
    assert len(stage.deliveries()) == 1
    assert [one.kind for one in outcomes(stage.log)] == ["failed"]


def test_a_delivery_that_the_log_no_longer_holds_is_not_tried_again(stage: Stage) -> None:
    gone = Origin(DELIVERIES, 0, 99)
    stage.callback(gone, MessageStatus="undelivered", ErrorCode="30003")
    stage.settle()
    assert stage.deliveries() == []
    assert [one.kind for one in outcomes(stage.log)] == ["failed"]


def test_what_carriers_filter_is_said_with_its_content_and_without_its_secrets(
    stage: Stage,
) -> None:
    stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode="30007")
    stage.settle()
    [outcome] = outcomes(stage.log)
    assert (outcome.code, outcome.reason) == ("30007", "needs_people")
    assert '"template":"order_update"' in outcome.detail
    assert '"order":17' in outcome.detail
    assert "481516" not in outcome.detail
    assert len(stage.deliveries()) == 1, "not tried again"


def test_and_one_alert_is_written_however_many_of_them_come(stage: Stage) -> None:
    for _ in range(3):
        stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode="30007")
        stage.settle()
    alerts = [decode_alert(one.value or b"") for one in stage.log._records[Slot(ALERTS, 0)]]
    assert [(one.kind, one.state, one.provider, one.code) for one in alerts] == [
        ("receipts_need_people", "open", "twilio", "30007")
    ]


def test_forged_callbacks_are_dead_letters_and_change_nothing(stage: Stage) -> None:
    origin = stage.delivered()
    stage.callback(origin, token="guessed", MessageStatus="undelivered", ErrorCode="30005")
    forged = Webhook(provider="twilio", url=URL, headers={}, body=b"MessageStatus=delivered")
    nobody = Webhook(provider="sendgird", url=URL, headers={}, body=b"[]")
    for hook in (forged, nobody):
        stage.log.write(hook.append())
    stage.log.write(Append(PROVIDER_EVENTS, None, b"\xff"))
    stage.callback(origin, MessageStatus="delivered")
    stage.settle()
    assert stage.reasons() == ["forged", "forged", "undecodable", "undecodable"]
    assert [one.kind for one in outcomes(stage.log)] == ["delivered"]
    assert stage.numbers() == [NUMBER, "ana@example.com"]


def test_a_reference_of_somebody_elses_making_is_forged(stage: Stage) -> None:
    url = (
        URL
        + "?ref="
        + Reference(
            "default", "bob", "s-2", "n-2", "orders", "sms", "orders", "", Origin(DELIVERIES, 0, 0)
        ).signed(b"another key")
    )
    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "30005"}
    headers = {"x-twilio-signature": RequestValidator("12345").compute_signature(url, form)}
    body = urlencode(form).encode()
    stage.log.write(Webhook(provider="twilio", url=url, headers=headers, body=body).append())
    stage.settle()
    assert stage.reasons() == ["forged"]


def test_while_the_list_is_away_nothing_is_said_and_nothing_is_lost(stage: Stage) -> None:
    stage.suppressions.away = True
    stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode="21610")
    for _ in range(10):
        stage.clock.advance(100)
        turn(stage.unit)
    assert outcomes(stage.log) == []
    assert Slot(PROVIDER_EVENTS, 0) not in stage.group.positions
    stage.suppressions.away = False
    stage.settle()
    assert [one.reason for one in outcomes(stage.log)] == ["stop"]
    assert stage.suppressed() is not None


@pytest.mark.parametrize("part", ["admin", "reader"])
def test_while_the_log_does_not_answer_receipts_wait_and_nothing_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def away() -> NoReturn:
        raise LogError("Kafka is away")

    origin = stage.delivered()
    stage.callback(origin, MessageStatus="undelivered", ErrorCode="30003")
    stage.callback(origin, reply_to=WATCH, MessageStatus="delivered")
    with monkeypatch.context() as patched:
        patched.setattr(stage.log, part, away)
        for _ in range(10):
            stage.clock.advance(100)
            turn(stage.unit)
    assert outcomes(stage.log) == []
    assert Slot(PROVIDER_EVENTS, 0) not in stage.group.positions
    stage.settle()

    assert [one.round for one in stage.deliveries()] == [0, AGAIN]
    assert stage.signals() == [(b"ana", Signal("w-1", "delivered", 1))]
    assert [one.kind for one in outcomes(stage.log)] == ["failed", "deferred", "delivered"]


def test_a_log_that_lists_no_topics_is_not_believed(stage: Stage) -> None:
    stage.callback(stage.delivered(), reply_to=WATCH, MessageStatus="delivered")
    partitions = stage.log.partitions
    stage.log.partitions = {}
    for _ in range(5):
        stage.clock.advance(100)
        turn(stage.unit)
    stage.log.partitions = partitions
    assert outcomes(stage.log) == []
    stage.settle()

    assert stage.signals() == [(b"ana", Signal("w-1", "delivered", 1))]


def test_a_flow_that_was_made_after_the_first_look_is_told_at_once(stage: Stage) -> None:
    origin = stage.delivered()
    stage.callback(origin, reply_to="tidings.gone", MessageStatus="delivered")
    stage.settle()
    stage.log.partitions["tidings.new"] = 1
    stage.callback(origin, reply_to="tidings.new", MessageStatus="delivered")
    stage.settle()

    [record] = engine.records(stage.log, "tidings.new")
    assert decode_entry(record.value or b"").signal == Signal("w-1", "delivered", 1)


def test_a_delivery_whose_topic_was_taken_away_stops_nobody(stage: Stage) -> None:
    gone = Origin("deliveries.fax.normal", 0, 0)
    stage.callback(gone, MessageStatus="undelivered", ErrorCode="30003")
    stage.callback(stage.delivered(), MessageStatus="delivered")
    stage.settle()

    assert [one.kind for one in outcomes(stage.log)] == ["failed", "delivered"]
    assert stage.group.positions[Slot(PROVIDER_EVENTS, 0)].offset == 2


# ── Replies ───────────────────────────────────────────────────────────────────────────────────


def test_a_reply_is_an_event_of_whose_number_it_is(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.answered("  Yes, on Friday ")
    stage.settle()
    [(key, event)] = stage.replies()
    at = event.pop("at")
    assert NOW <= at <= stage.clock.now()
    assert (key, event) == (
        b"ana",
        {
            "event_id": "SM7",
            "type": "reply",
            "recipient_id": "ana",
            "tenant": "default",
            "channel": "sms",
            "text": "Yes, on Friday",
            "provider": "twilio",
        },
    )
    assert outcomes(stage.log) == []
    assert "Friday" not in "".join(capsys.readouterr())


def test_a_number_of_several_people_is_a_reply_of_each_and_of_no_other_tenants(
    stage: Stage,
) -> None:
    stage.answered("no", HOME, "SM7")
    stage.answered("maybe", HOME, "SM8", tenant="acme")
    stage.settle()
    assert [(key, one["tenant"], one["text"]) for key, one in stage.replies()] == [
        (b"bob", "default", "no"),
        (b"cy", "default", "no"),
        (b"acme\x1fzoe", "acme", "maybe"),
    ]
    assert stage.people.asked == 1, "one question a batch"


def test_a_reply_that_is_called_back_twice_is_one_event(stage: Stage) -> None:
    for _ in range(2):
        stage.answered("no")
        stage.settle()
    assert [(key, one["event_id"]) for key, one in stage.replies()] == 2 * [(b"ana", "SM7")]


def test_a_reply_that_a_killed_process_had_written_is_written_again_as_the_same_event(
    stage: Stage,
) -> None:
    stage.answered("no", HOME)
    while not stage.replies():
        stage.clock.advance(100)
        turn(stage.unit)
    assert Slot(PROVIDER_EVENTS, 0) not in stage.group.positions, "killed before it says so"
    stage.group.evict(stage.consumer)  # type: ignore[arg-type]
    stage.start()
    stage.settle()
    bob, cy, *again = stage.replies()
    assert again == [bob, cy]
    assert stage.group.positions[Slot(PROVIDER_EVENTS, 0)].offset == 1


def test_a_reply_of_nobody_we_know_is_a_dead_letter_and_no_line_has_it(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.answered("it is me", "+12025550199")
    stage.answered("and me", NUMBER, tenant="umbrella")
    stage.settle()
    assert stage.replies() == []
    assert stage.reasons() == ["unknown_sender", "unknown_sender"]
    assert stage.group.positions[Slot(PROVIDER_EVENTS, 0)].offset == 2
    said = "".join(capsys.readouterr())
    assert "a reply whose sender nobody knows" in said
    for secret in ("it is me", "0199", "and me", "0100"):
        assert secret not in said
    for letter in engine.records(stage.log, LETTERS):
        assert "0199" not in dict(letter.headers)["tidings-error"].decode()


def test_a_yes_is_a_reply_and_ends_a_stop(stage: Stage) -> None:
    stage.answered("STOP", sid="SM7")
    stage.answered("YES", sid="SM8")
    stage.settle()
    assert [one["text"] for _, one in stage.replies()] == ["YES"]
    assert stage.suppressed() is None


def test_while_people_are_away_no_reply_is_lost(stage: Stage) -> None:
    stage.people.away = True
    stage.answered("no")
    for _ in range(10):
        stage.clock.advance(100)
        turn(stage.unit)
    assert Slot(PROVIDER_EVENTS, 0) not in stage.group.positions
    stage.people.away = False
    stage.settle()
    assert [one["text"] for _, one in stage.replies()] == ["no"]
    assert stage.reasons() == []
