"""Callbacks of Twilio, signed as Twilio signs them, through the unit: outcomes and consequences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from tests.engine import outcomes, turn
from tests.unit.runtime.receipts_stage import (
    DELIVERIES,
    HOUR,
    MINUTE,
    NOW,
    NUMBER,
    URL,
    WATCH,
    Stage,
)
from tidings.log.port import Append, Slot
from tidings.receipts import PROVIDER_EVENTS, Receipt, Reference, Webhook
from tidings.records import Kind, Origin, Signal, decode_alert, encode
from tidings.runtime.signals import AGAIN
from tidings.topics import ALERTS


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


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("completed", "delivered"),
        ("busy", "failed"),
        ("no-answer", "failed"),
        ("failed", "failed"),
        ("canceled", "failed"),
    ],
)
def test_how_a_call_went_is_told_to_who_waits_for_it(stage: Stage, status: str, kind: str) -> None:
    origin = stage.delivered()
    for one in ("queued", "ringing", "in-progress", status):
        stage.callback(origin, reply_to=WATCH, MessageSid="", CallSid="CA1", CallStatus=one)
    stage.settle()

    [outcome] = outcomes(stage.log)
    assert (outcome.kind, outcome.provider_id) == (kind, "CA1")
    assert outcome.code == (status if kind == "failed" else "")
    assert stage.signals() == [(b"ana", Signal("w-1", kind, 1))]
    assert stage.numbers() == [NUMBER, "ana@example.com"]
    assert len(stage.deliveries()) == 1, "whoever did not answer is called by a flow's next round"


def test_callbacks_that_come_out_of_order_tell_what_became_of_it(stage: Stage) -> None:
    origin = stage.delivered()
    for status in ("read", "delivered", "sent", "sending", "queued"):
        stage.callback(origin, reply_to=WATCH, MessageStatus=status)
    stage.settle()

    assert [one.kind for one in outcomes(stage.log)] == ["opened", "delivered"]
    assert [one.kind for _, one in stage.signals() if one] == ["opened", "delivered"]


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


def test_a_landline_gets_no_more_texts_and_stays_for_a_voice(stage: Stage) -> None:
    stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode="30006")
    stage.settle()
    assert stage.numbers() == [NUMBER, "ana@example.com"]
    found = stage.suppressed()
    assert found is not None
    assert (found.channel, found.reason) == ("sms", "landline")
    [outcome] = outcomes(stage.log)
    assert (outcome.kind, outcome.code, outcome.reason) == ("failed", "30006", "landline")


@pytest.mark.parametrize("code", ["30004", "30005"])
def test_a_number_that_is_dead_is_taken_from_its_person(stage: Stage, code: str) -> None:
    stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode=code)
    stage.settle()
    assert stage.numbers() == ["ana@example.com"]
    found = stage.suppressed()
    assert found is not None
    assert (found.reason, found.source) == ("invalid", "twilio")
    [outcome] = outcomes(stage.log)
    assert (outcome.kind, outcome.code, outcome.reason) == ("failed", code, "invalid")


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


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_told_twice_is_tried_again_once(stage: Stage, killed: bool) -> None:
    origin = stage.delivered()
    for _ in range(2):
        stage.callback(origin, MessageStatus="undelivered", ErrorCode="30008")
        if killed:  # both may be read again: the first is still the first
            stage.settle()
            stage.group.evict(stage.consumer)  # type: ignore[arg-type]
            stage.group.positions.clear()
            stage.start()
        stage.clock.advance(MINUTE)
    stage.settle()

    assert len({encode(one) for one in stage.deliveries()[1:]}) == 1
    found = {encode(one) for one in outcomes(stage.log)}
    assert len(found) == 2  # that it failed, and that it is tried again


@pytest.mark.parametrize(
    ("code", "wait", "tries"),
    [
        ("30003", 3 * HOUR, 2),
        ("30008", 10 * MINUTE, 1),
        ("30022", 30 * MINUTE, 2),
        ("30001", 30 * MINUTE, 2),
    ],
    ids=["phone off", "nobody knows", "the carrier's day is full", "our queue is full"],
)
def test_what_may_do_better_later_is_tried_again_and_not_for_ever(
    stage: Stage, code: str, wait: int, tries: int
) -> None:
    origin = stage.delivered()
    for _ in range(3):
        stage.callback(origin, MessageStatus="undelivered", ErrorCode=code)
        stage.settle()
        latest = len(stage.deliveries()) - 1
        origin = Origin(DELIVERIES, 0, latest)
    first, *again = stage.deliveries()
    assert [one.round for one in again] == [AGAIN, 2 * AGAIN][:tries]
    for one in again:
        assert (one.notif_id, one.data, one.template) == (
            first.notif_id,
            first.data,
            first.template,
        )
        assert (one.attempt, one.answers) == (0, {})
        assert NOW + wait <= one.not_before < NOW + wait + MINUTE
    deferred = [one for one in outcomes(stage.log) if one.kind == "deferred"]
    assert [one.round for one in deferred] == [one.round for one in again]
    assert stage.numbers() == [NUMBER, "ana@example.com"]
    assert stage.suppressed() is None


@pytest.mark.parametrize("form", [{"MessageStatus": "canceled"}, {"ErrorCode": "99999"}])
def test_a_failure_that_nobody_can_do_anything_about_is_only_noted(
    stage: Stage, form: dict[str, str]
) -> None:
    stage.callback(stage.delivered(), **({"MessageStatus": "failed"} | form))
    stage.settle()
    assert [(one.kind, one.reason) for one in outcomes(stage.log)] == [("failed", "")]
    assert len(stage.deliveries()) == 1
    assert stage.numbers() == [NUMBER, "ana@example.com"]
    assert stage.suppressed() is None


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


@pytest.mark.parametrize("code", ["30007", "30034"])
def test_and_one_alert_is_written_however_many_of_them_come(stage: Stage, code: str) -> None:
    for _ in range(3):
        stage.callback(stage.delivered(), MessageStatus="undelivered", ErrorCode=code)
        stage.settle()
    assert len(stage.deliveries()) == 3, "none is tried again"
    alerts = [decode_alert(one.value or b"") for one in stage.log._records[Slot(ALERTS, 0)]]
    assert [(one.kind, one.state, one.provider, one.code) for one in alerts] == [
        ("receipts_need_people", "open", "twilio", code)
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


class Stumbling:
    """A parser, of a third party as it may be, that is not up to what it is given."""

    keys = (b"k",)

    def __init__(self, says: Any) -> None:
        self._says = says

    def read(self, webhook: Webhook) -> Sequence[Receipt]:
        if isinstance(self._says, Exception):
            raise self._says
        return [Receipt(kind=Kind.DELIVERED, event_id="e-1", **self._says)]


@pytest.mark.parametrize(
    "says",
    [
        AttributeError("'NoneType' object has no attribute 'get'"),
        IndexError("list index out of range"),
        OverflowError("cannot convert float infinity to integer"),
        RecursionError("maximum recursion depth exceeded"),
        {"address": 17},
        {"detail": None},
        {"code": ["x"]},
        {"reference": {}},
        {"at": "yesterday"},
    ],
    ids=repr,
)
def test_what_a_parser_stumbles_over_is_a_dead_letter_and_its_neighbours_go_on(
    stage: Stage, says: Any
) -> None:
    stage.unit._desks = {**stage.unit._desks, "odd": Stumbling(says)}  # type: ignore[dict-item]
    origin = stage.delivered()
    stage.log.write(Webhook(provider="odd", url=URL, headers={}, body=b"x").append())
    stage.callback(origin, MessageStatus="delivered")
    stage.settle()

    assert stage.reasons() == ["undecodable"]
    assert [one.kind for one in outcomes(stage.log)] == ["delivered"]


@pytest.mark.parametrize("at", [-5, 10**30, NOW + 10 * 86_400_000])
def test_a_time_that_can_be_none_is_that_of_the_callback(stage: Stage, at: int) -> None:
    reference = Reference(
        "default", "ana", "s-1", "n-1", "orders", "sms", "orders", "autumn", stage.delivered()
    )
    says = {"at": at, "reference": reference.signed(b"k")}
    stage.unit._desks = {"odd": Stumbling(says)}  # type: ignore[dict-item]
    stage.log.write(Webhook(provider="odd", url=URL, headers={}, body=b"x").append())
    stage.settle()

    assert [one.at for one in outcomes(stage.log)] == [NOW]


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


@pytest.mark.parametrize("killed", [False, True])
def test_while_claims_are_away_a_later_try_waits_and_is_made_once_when_they_are_back(
    stage: Stage, killed: bool
) -> None:
    stage.claims.away = True
    origin = stage.delivered()
    for _ in range(2):  # it is told twice
        stage.callback(origin, MessageStatus="undelivered", ErrorCode="30008")
    for _ in range(10):
        stage.clock.advance(100)
        turn(stage.unit)
    assert outcomes(stage.log) == []
    assert len(stage.deliveries()) == 1
    assert Slot(PROVIDER_EVENTS, 0) not in stage.group.positions, "they will be read again"
    if killed:
        stage.group.evict(stage.consumer)  # type: ignore[arg-type]
        stage.start()
    stage.claims.away = False
    stage.settle()
    [again] = stage.deliveries()[1:]
    assert again.round > 0
    assert sorted(one.kind for one in outcomes(stage.log)) == ["deferred", "failed"]
    assert stage.group.positions[Slot(PROVIDER_EVENTS, 0)].offset == 2


def test_claims_that_go_away_after_they_have_answered_change_nothing(stage: Stage) -> None:
    stage.suppressions.away = True  # the same batch has to be done again for another's sake
    origin = stage.delivered()
    stage.callback(origin, MessageStatus="undelivered", ErrorCode="30008")
    stage.callback(origin, MessageStatus="undelivered", ErrorCode="21610")
    for _ in range(10):
        stage.clock.advance(100)
        turn(stage.unit)
    stage.claims.away, stage.suppressions.away = True, False
    for _ in range(10):
        stage.clock.advance(100)
        turn(stage.unit)
    assert outcomes(stage.log) == [], "the claim is asked for anew, and has to be answered"
    stage.claims.away = False
    stage.settle()
    assert len(stage.deliveries()) == 2
    assert stage.suppressed() is not None


def test_what_asks_no_claim_is_read_while_they_are_away(stage: Stage) -> None:
    stage.claims.away = True
    stage.callback(stage.delivered(), MessageStatus="delivered")
    stage.settle()
    assert [one.kind for one in outcomes(stage.log)] == ["delivered"]
