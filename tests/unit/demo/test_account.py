"""The demo's account: what was emitted against what the log says became of it."""

from __future__ import annotations

from typing import Any

import pytest

from tidings.demo.account import Account, DeliveryKey, EventKey, Place
from tidings.demo.summary import summarise
from tidings.demo.upstreams import Listed
from tidings.log.port import Headers, Record
from tidings.records import Delivery, Kind, Origin, Outcome, Stage, encode

ORIGIN = Origin("tidings.social", 0, 0)


def record(topic: str, body: Any, offset: int = 0, headers: Headers = ()) -> Record:
    value = body if isinstance(body, bytes) else encode(body)
    return Record(topic, 0, offset, 1_000, b"ana", value, headers)


def outcome(stage: Stage, kind: Kind, **fields: Any) -> Record:
    given: dict[str, Any] = {
        "outcome_id": f"{stage}{kind}{sorted(fields.items())}",
        "at": 1_000,
        "recipient_id": "ana",
        "flow": "social",
        "step": "s",
        **fields,
    }
    return record("notif_events", Outcome(stage=stage, kind=kind, **given))


def queued(*members: str, notif_id: str = "n1", channel: str = "push", at: int = 1_000) -> Record:
    return outcome(
        Stage.DECISION,
        Kind.QUEUED,
        members=members,
        notif_id=notif_id,
        channel=channel,
        priority="normal",
        at=at,
        origin=ORIGIN,
    )


def end(notif_id: str = "n1", channel: str = "push", kind: Kind = Kind.SENT, at: int = 0) -> Record:
    return outcome(
        Stage.END, kind, notif_id=notif_id, channel=channel, priority="normal", at=at, origin=ORIGIN
    )


def delivery(notif_id: str, channel: str, topic: str = "deliveries.push.normal") -> Record:
    body = Delivery(
        notif_id=notif_id,
        recipient_id="ana",
        flow="social",
        step="s",
        version="v",
        channel=channel,
        template="t",
        category="social",
        created_at=0,
        origin=ORIGIN,
    )
    return record(topic, body, offset=7)


@pytest.fixture
def account() -> Account:
    """Two events for ana and one for ana and bob."""
    made = Account()
    made.emit(
        [
            Listed("social.events", "e1", ("ana",)),
            Listed("social.events", "e2", ("ana",)),
            Listed("promo.events", "p1", ("ana", "bob")),
        ]
    )
    return made


def everything_passed(topic: str, place: Place | None) -> bool:
    return True


def nothing_passed(topic: str, place: Place | None) -> bool:
    return False


def test_what_nothing_is_said_about_is_open(account: Account) -> None:
    assert account.events == 3
    assert account.open_events() == [
        EventKey("e1", "ana"),
        EventKey("e2", "ana"),
        EventKey("p1", "ana"),
        EventKey("p1", "bob"),
    ]
    assert account.balance(nothing_passed) == (4, 0)
    assert account.balance(everything_passed) == (0, 4)


def test_a_digest_answers_for_its_members_and_for_that_person_only(account: Account) -> None:
    account.read(queued("e1", "e2", "p1"))
    assert account.open_events() == [EventKey("p1", "bob")]


def test_a_delivery_is_open_until_it_has_an_end(account: Account) -> None:
    account.read(queued("e1", "e2"))
    assert account.open_deliveries() == [DeliveryKey("n1", "push", 0)]
    account.read(end())
    assert account.open_deliveries() == []


def test_a_delivery_of_the_next_channel_wants_an_end_of_its_own(account: Account) -> None:
    for each in (queued("e1"), end(kind=Kind.FAILED), delivery("n1", "email")):
        account.read(each)
    assert account.open_deliveries() == [DeliveryKey("n1", "email", 0)]
    account.read(end(channel="email"))
    assert account.open_deliveries() == []


def test_a_delivery_on_the_ladder_is_pending_and_one_that_all_have_passed_is_lost() -> None:
    account = Account()
    account.read(delivery("n1", "push", "deliveries.push.normal.retry.30s"))
    account.read(delivery("n2", "push"))
    waiting = {"deliveries.push.normal.retry.30s"}
    assert account.balance(lambda topic, place: topic not in waiting) == (1, 1)


def test_a_queued_delivery_that_was_never_written_is_lost(account: Account) -> None:
    account.read(queued("e1", "e2"))
    account.decided |= set(account.emitted)
    assert account.balance(everything_passed) == (0, 1)


@pytest.mark.parametrize(
    ("body", "answered"),
    [
        (b'{"event_id": "e1", "recipient_id": "ana"}', EventKey("e1", "ana")),
        (
            b'{"recipient_id":"ana","event_id":"e2","event":{"event_id":"e2","recipient_id":"ana"}}',
            EventKey("e2", "ana"),
        ),
        (b'{"campaign_id": "p1", "audience": ["bob"]}', EventKey("p1", "bob")),
    ],
)
def test_a_dead_letter_answers_for_its_event(
    account: Account, body: bytes, answered: EventKey
) -> None:
    account.read(record("notif_dlq.flow", body, headers=(("tidings-reason", b"expression"),)))
    assert answered not in account.open_events()
    assert account.letters == {"expression": 1}


def test_a_dead_letter_answers_for_its_delivery(account: Account) -> None:
    account.read(queued("e1"))
    account.read(record("notif_dlq.push", delivery("n1", "push").value or b""))
    assert account.open_deliveries() == []


def test_bytes_that_are_no_json_are_counted_and_answer_for_nothing(account: Account) -> None:
    account.read(record("notif_dlq.flow", b"\xff", headers=(("tidings-reason", b"undecodable"),)))
    assert account.letters == {"undecodable": 1}
    assert len(account.open_events()) == 4


def test_a_repeated_outcome_counts_once(account: Account) -> None:
    assert [one.at for one in account.read(end(at=5))] == [5]
    assert account.read(end(at=9)) == []
    assert [one.kind for one in account.read(queued("e1"))] == ["queued"]
    assert account.read(queued("e1")) == []


def test_the_summary_counts_what_the_account_holds(account: Account) -> None:
    for each in (
        queued("e1", "e2", notif_id="n1", at=6_000),
        queued("p1", notif_id="n2", channel="email", at=1_700),
        outcome(
            Stage.DECISION, Kind.SUPPRESSED, members=("p1",), recipient_id="bob", reason="limit"
        ),
        end("n1", at=6_100),
        end("n2", "email", at=2_000),
    ):
        account.read(each)
    summary = summarise(
        account,
        appended={"p1": 1_500},
        windowed={"other"},
        accepted=["s1", "s2", "s1"],
        balance=(0, 0),
        seconds=12.34,
        first=0.5,
        restarts=0,
    )
    assert (summary.events, summary.notifications) == (3, 2)
    assert (summary.digests, summary.digested_events) == (1, 2)
    assert summary.outcomes == {"suppressed": {"-": 1}, "sent": {"push": 1, "email": 1}}
    assert summary.held == {"limit": 1}
    assert summary.repeated == 1
    latency = summary.latency_ms["normal"]
    assert (latency.count, latency.p50, latency.p99) == (2, 500, 500)
