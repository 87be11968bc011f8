"""What the events of SES and SendGrid lead to: each row of their tables, by what is left behind.

A sender of ours sends to the simulator, whose signed callbacks go through the unit that reads them,
on a log on paper and real stores.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.contract.simulated import ADDRESSES, a_send, now_ms, simulated
from tests.engine import Tick, outcomes, records, turn
from tests.paper_log import PaperLog
from tidings.compile.units import Ground, receipts
from tidings.log.port import Append
from tidings.ports import Io, Person, Question, Suppression
from tidings.receipts import PROVIDER_EVENTS, Webhook
from tidings.records import Delivery, Outcome, decode_delivery, encode
from tidings.settings import Settings
from tidings.stores.caps_sqlite import SqliteCaps
from tidings.stores.claims_local import LocalClaims
from tidings.stores.people import FilePeople
from tidings.stores.suppressions import FileSuppressions

HOUR, DAY = 3_600_000, 86_400_000
DELIVERIES, LETTERS = "deliveries.email.normal", "notif_dlq.flow"
MAIL = ADDRESSES["ses"].format(0)
PERSON = Person("default", "user-0")


class Left(NamedTuple):
    """What is left behind."""

    suppressed: Suppression | None
    addresses: list[str]
    again: list[Delivery]
    said: list[Outcome]
    letters: int


class Desk:
    """The unit that reads callbacks, and one delivery that was sent. ``at`` is its clock's now."""

    def __init__(self, folder: Path, providers: dict[str, dict[str, Any]]) -> None:
        (folder / "people").mkdir()
        line = {"recipient_id": "user-0", "addresses": [{"kind": "email", "value": MAIL}]}
        (folder / "people/people.jsonl").write_text(json.dumps(line) + "\n")
        self.clock = Tick(now_ms())  # the simulator's events are of just now
        partitions = dict.fromkeys(
            (PROVIDER_EVENTS, DELIVERIES, "notif_events", "notif_alerts", LETTERS), 1
        )
        self.log = PaperLog(self.clock, partitions)
        self.people = FilePeople(folder / "people", self.clock)
        self.suppressions = FileSuppressions(folder / "suppressions", self.clock)
        self.caps = SqliteCaps(folder / "caps.db")
        io = Io(
            people=self.people,
            suppressions=self.suppressions,
            templates=None,  # type: ignore[arg-type]  # not asked
            claims=LocalClaims(self.clock),
            caps=self.caps,
            clock=self.clock,
        )
        group = self.log.group("tidings.receipts")
        self.unit = receipts(Ground(self.log, io, Settings(providers=providers), "holder"))
        self.unit.start()
        consumer = self.unit._consumer
        group.share(dict.fromkeys(consumer.slots(), consumer))  # type: ignore[attr-defined, arg-type]
        delivery = a_send("ses", 0).delivery
        assert delivery is not None
        self.log.write(Append(DELIVERIES, b"user-0", encode(delivery)))

    def hear(self, webhooks: Sequence[Webhook]) -> None:
        for webhook in webhooks:
            self.log.write(webhook.append())
        quiet = 0
        while quiet < 5:
            self.clock.advance(100)
            quiet = 0 if turn(self.unit) else quiet + 1

    def left(self) -> Left:
        [profile] = self.people.profiles([PERSON])
        assert profile is not None
        found = [decode_delivery(one.value or b"") for one in records(self.log, DELIVERIES)]
        question = Question("default", "email", MAIL, "social")
        return Left(
            self.suppressions.check([question], self.clock.now())[0],
            [one.value for one in profile.addresses],
            found[1:],
            outcomes(self.log),
            len([*records(self.log, LETTERS)]),
        )


def told(folder: Path, kind: str, *events: dict[str, Any], **changes: Any) -> Left:
    """What is left when the first mail of a provider has had these events, one after the other.

    ``changes`` of the settings with which it was sent.
    """
    happen = [{**event, "after": f"{number + 1}s"} for number, event in enumerate(events)]

    async def run() -> tuple[dict[str, dict[str, Any]], list[Webhook]]:
        async with simulated(folder, {"receipts": happen}) as peer:
            await peer.send(kind, [a_send(kind, 0)], **changes)
            return {kind: peer.settings[kind]}, peer.webhooks()

    providers, webhooks = asyncio.run(run())
    desk = Desk(folder, providers)
    with closing(desk.caps):
        desk.hear(webhooks)
        desk.clock.advance(10_000)  # the last event is of a few seconds from now
        left = desk.left()
    assert left.letters == 0
    assert left.addresses == [MAIL], "it stays with its person, who may have it mended"
    return left


@pytest.mark.parametrize(
    ("kind", "event", "reason"),
    [
        ("ses", {"event": "bounced", "code": "Permanent/General"}, "hard_bounce"),
        ("ses", {"event": "bounced", "code": "Permanent/NoEmail"}, "hard_bounce"),
        ("ses", {"event": "complained"}, "complaint"),
        ("ses", {"event": "unsubscribed"}, "unsubscribe"),
        ("sendgrid", {"event": "bounced"}, "hard_bounce"),
        ("sendgrid", {"event": "complained"}, "complaint"),
        ("sendgrid", {"event": "unsubscribed"}, "unsubscribe"),
        ("sendgrid", {"event": "failed", "code": "Bounced Address"}, "hard_bounce"),
        ("sendgrid", {"event": "failed", "code": "Spam Reporting Address"}, "complaint"),
        ("sendgrid", {"event": "failed", "code": "Unsubscribed Address"}, "unsubscribe"),
        ("sendgrid", {"event": "failed", "code": "Invalid"}, "hard_bounce"),
    ],
)
def test_the_address_is_suppressed_for_good(
    tmp_path: Path, kind: str, event: dict[str, str], reason: str
) -> None:
    left = told(tmp_path, kind, event)
    assert left.suppressed == Suppression(channel="email", address=MAIL, reason=reason, source=kind)
    assert left.again == []
    [outcome] = left.said
    assert (outcome.stage, outcome.kind, outcome.reason) == ("receipt", event["event"], reason)
    assert (outcome.recipient_id, outcome.notif_id) == ("user-0", "n-0")


@pytest.mark.parametrize(
    ("kind", "event", "reason"),
    [
        ("ses", "bounced", "hard_bounce"),
        ("ses", "complained", "complaint"),
        ("sendgrid", "bounced", "hard_bounce"),
        ("sendgrid", "complained", "complaint"),
    ],
)
def test_an_address_is_suppressed_though_nothing_leads_back_to_its_send(
    tmp_path: Path, kind: str, event: str, reason: str
) -> None:
    """Such as a notification of an identity, which brings no tags, or a mail of another program."""
    left = told(tmp_path, kind, {"event": event}, callback=None)
    assert left.suppressed == Suppression(channel="email", address=MAIL, reason=reason, source=kind)
    assert (left.said, left.again) == ([], [])


GROUP = {"event": "unsubscribed", "code": "group_unsubscribe"}


def test_who_leaves_a_group_gets_no_more_of_that_category_until_they_come_back(
    tmp_path: Path,
) -> None:
    left = told(tmp_path, "sendgrid", GROUP)
    assert left.suppressed == Suppression(
        channel="email", address=MAIL, reason="unsubscribe", scope="social", source="sendgrid"
    )
    (tmp_path / "back").mkdir()
    back = told(tmp_path / "back", "sendgrid", GROUP, {**GROUP, "code": "group_resubscribe"})
    assert back.suppressed is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ses", "Transient/MailboxFull"),
        ("ses", "Transient/General"),
        ("sendgrid", "blocked"),
    ],
)
def test_what_may_pass_is_sent_once_more_after_an_hour(
    tmp_path: Path, kind: str, code: str
) -> None:
    left = told(tmp_path, kind, {"event": "bounced", "code": code})
    assert left.suppressed is None
    [again] = left.again
    assert (again.notif_id, again.attempt, again.answers) == ("n-0", 0, {})
    bounced, deferred = left.said
    assert (bounced.kind, deferred.kind) == ("bounced", "deferred")
    assert again.not_before - bounced.at == HOUR


@pytest.mark.parametrize("code", ["Undetermined/Undetermined", "Transient/ContentRejected"])
def test_what_nobody_can_tell_and_what_is_the_mails_own_fault_is_only_noted(
    tmp_path: Path, code: str
) -> None:
    left = told(tmp_path, "ses", {"event": "bounced", "code": code})
    assert (left.suppressed, left.again) == (None, [])
    assert [(one.kind, one.code) for one in left.said] == [("bounced", code)]


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("ses", {"event": "failed", "code": "Bad content"}),
        ("ses", {"event": "failed", "code": "Rendering Failure"}),
        ("sendgrid", {"event": "failed", "code": "Spam Content"}),
    ],
)
def test_what_needs_people_says_so_with_its_content(
    tmp_path: Path, kind: str, event: dict[str, str]
) -> None:
    left = told(tmp_path, kind, event)
    assert (left.suppressed, left.again) == (None, [])
    [outcome] = left.said
    assert (outcome.kind, outcome.reason) == ("failed", "needs_people")
    assert '"template":"hello"' in outcome.detail


@pytest.mark.parametrize("kind", ["ses", "sendgrid"])
def test_good_news_and_what_is_on_its_way_change_nothing(tmp_path: Path, kind: str) -> None:
    events = [{"event": name} for name in ("sent", "deferred", "delivered", "opened", "clicked")]
    left = told(tmp_path, kind, *events)
    assert (left.suppressed, left.again) == (None, [])
    assert [one.kind for one in left.said] == ["delivered", "opened", "clicked"]


@pytest.mark.parametrize("kind", ["ses", "sendgrid"])
def test_what_is_told_three_times_is_one_outcome(tmp_path: Path, kind: str) -> None:
    left = told(tmp_path, kind, {"event": "bounced", "times": 3})
    assert len(left.said) == 3
    assert len({one.outcome_id for one in left.said}) == 1


SOFT = {"event": "bounced", "code": "Undetermined/Undetermined"}


@pytest.mark.parametrize(("times", "is_suppressed"), [(4, False), (5, True)])
def test_the_fifth_soft_bounce_in_a_fortnight_suppresses_for_30_days(
    tmp_path: Path, times: int, is_suppressed: bool
) -> None:
    left = told(tmp_path, "ses", *[SOFT] * times)
    if not is_suppressed:
        assert left.suppressed is None
        return
    assert left.suppressed is not None
    assert (left.suppressed.reason, left.suppressed.scope) == ("soft_bounce", "all")
    assert left.suppressed.until - left.said[-1].at == 30 * DAY


@pytest.mark.parametrize("kind", ["ses", "sendgrid"])
def test_hard_bounces_are_never_counted_as_soft_ones(tmp_path: Path, kind: str) -> None:
    """Else the address would be sent to again in 30 days."""
    left = told(tmp_path, kind, *[{"event": "bounced"}] * 6)
    assert left.suppressed is not None
    assert (left.suppressed.reason, left.suppressed.until) == ("hard_bounce", 0)


def test_a_soft_bounce_that_is_told_again_and_again_counts_once(tmp_path: Path) -> None:
    assert told(tmp_path, "ses", {**SOFT, "times": 9}).suppressed is None


def test_a_mail_that_arrives_ends_a_soft_suppression_and_no_other(tmp_path: Path) -> None:
    soft = told(tmp_path, "ses", *[SOFT] * 5, {"event": "delivered"})
    assert soft.suppressed is None
    (tmp_path / "other").mkdir()
    hard = told(tmp_path / "other", "ses", {"event": "complained"}, {"event": "delivered"})
    assert hard.suppressed is not None
    assert hard.suppressed.reason == "complaint"
