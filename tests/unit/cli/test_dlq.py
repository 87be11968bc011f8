"""`tidings dlq`: letters whose cause is over are sent once more, each once, and no others."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.command import Command
from tidings.log.address import open_log
from tidings.log.port import Append, Record, Slot
from tidings.records import DeadLetter, Delivery, Origin, decode_delivery, encode
from tidings.runtime.letters import dead_letter
from tidings.runtime.signals import AGAIN
from tidings.topics import settings

HOUR = 3_600_000


class Letters:
    """The dead letters of push, and what is in the topics of its lanes."""

    def __init__(self, here: Path) -> None:
        self.log = open_log(f"sqlite:{here}/data/log")
        self.now = int(time.time() * 1_000)
        lanes = [f"deliveries.push.{priority}" for priority in ("high", "normal", "low")]
        self.log.admin().create(settings(["notif_dlq.push", "notif_dlq.sms", *lanes]))

    def write(
        self,
        name: str,
        cause: str = "provider_down",
        provider: str = "apns",
        reason: str = "retries_exhausted",
        **fields: Any,
    ) -> None:
        """A letter of an hour ago."""
        given: dict[str, Any] = {"attempt": 9, "spared": 2, "answers": {"s1": "retry"}}
        delivery = Delivery(
            notif_id=name,
            recipient_id="ana",
            flow="social",
            step="social.deliver",
            version="1",
            channel="push",
            template="hello",
            category="social",
            created_at=self.now - HOUR,
            origin=Origin("tidings.social", 0, 7),
            awaits=("apns",),
            **given | fields,
        )
        topic = f"deliveries.push.{delivery.priority}"
        headers = (("traceparent", b"00-1"),)
        record = Record(topic, 3, 41, self.now, b"ana", encode(delivery), headers)
        dead = DeadLetter(
            reason=reason,
            error="503",
            step="push.send",
            flow="social",
            origin=Origin(topic, 3, 41),
            at=self.now - HOUR,
            cause=cause,
            provider=provider if cause else "",
        )
        self.append(dead_letter(record, dead, "push"))

    def append(self, append: Append) -> None:
        with closing(self.log.producer()) as producer:
            producer.append([append], lambda error, receipt: None)
            assert producer.flush(5.0)

    def sent(self, priority: str = "normal") -> list[Delivery]:
        return [decode_delivery(one.value or b"") for one in self.records(priority)]

    def records(self, priority: str = "normal") -> list[Record]:
        topic, reader, found = f"deliveries.push.{priority}", self.log.reader(), list[Record]()
        for number in range(8):
            slot = Slot(topic, number)
            for batch in reader.read(slot, *reader.span(slot)):
                found += batch
        return found


@pytest.fixture
def letters(here: Path) -> Letters:
    return Letters(here)


def test_what_a_provider_was_to_blame_for_is_sent_once_more_in_a_round_of_its_own(
    tidings: Command, letters: Letters
) -> None:
    letters.write("n1")
    assert tidings("dlq", "release") == (0, "released 1 normal\n", "")
    [delivery] = letters.sent()
    assert (delivery.notif_id, delivery.round) == ("n1", AGAIN)
    assert (delivery.attempt, delivery.spared, delivery.answers, delivery.awaits) == (0, 0, {}, ())
    [record] = letters.records()
    assert (record.key, record.headers) == (b"ana", (("traceparent", b"00-1"),))


def test_none_is_released_twice_and_a_letter_of_the_second_round_leads_to_a_third(
    tidings: Command, letters: Letters
) -> None:
    letters.write("n1")
    tidings("dlq", "release")
    assert tidings("dlq", "release").out == "released none\n"
    letters.write("n1", round=AGAIN)
    assert tidings("dlq", "release").out == "released 1 normal\n"
    assert [one.round for one in letters.sent()] == [AGAIN, 2 * AGAIN]


def test_other_letters_stay(tidings: Command, letters: Letters) -> None:
    letters.write("bad", cause="")
    letters.append(Append("notif_dlq.push", b"x", b"not ours"))
    assert tidings("dlq", "release").out == "released none\n"
    letters.write("n1")
    letters.write("n2", cause="rain", provider="fcm")
    for options in (
        ("--provider", "fcm"),
        ("--channel", "sms"),
        ("--since", "30m"),
        ("--cause", "rain", "--provider", "apns"),
    ):
        assert tidings("dlq", "release", *options).out == "released none\n", options
    which = ("--provider", "apns", "--channel", "push", "--since", "2h")
    assert tidings("dlq", "release", *which).out == "released 1 normal\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--cause", "provider-dwon"),
            "no letter has the cause `provider-dwon`: did you mean `provider_down`?",
        ),
        (("--cause", "rian"), "no letter has the cause `rian`: did you mean `rain`?"),
        (
            ("--cause", "retries_exhausted"),
            "`retries_exhausted` is a reason and no cause: say --reason",
        ),
        (
            ("--reason", "retries_exausted"),
            "no letter has the reason `retries_exausted`: did you mean `retries_exhausted`?",
        ),
        (("--provider", "apn"), "there is no provider `apn`: did you mean `apns`?"),
        (
            ("--provider", "x", "--dry-run"),
            "there is no provider `x`: there is `apns`, `fcm`, `sandbox` and `spare`",
        ),
    ],
    ids=["a cause", "a letter's cause", "a reason", "no reason", "a provider", "in a dry run"],
)
def test_a_cause_or_a_provider_that_nobody_knows_is_told_with_the_nearest(
    options: tuple[str, ...], told: str, tidings: Command, letters: Letters
) -> None:
    letters.write("n1")
    letters.write("n2", cause="rain", provider="fcm")
    code, out, error = tidings("dlq", "release", *options)
    assert (code, out) == (1, "")
    assert told in " ".join(error.split())
    assert letters.sent() == []


def test_letters_of_a_reason_are_sent_once_more_whatever_their_cause(
    tidings: Command, letters: Letters
) -> None:
    letters.write("n1", cause="", reason="missing_variable")
    letters.write("n2")
    letters.write("n3", cause="", reason="expression")
    release = ("dlq", "release", "--reason", "missing_variable")
    assert tidings(*release, "--cause", "provider_down").out == "released none\n"
    assert tidings(*release, "--dry-run").out == "would release 1 normal\n"
    assert tidings(*release).out == "released 1 normal\n"
    assert [one.notif_id for one in letters.sent()] == ["n1"]
    assert tidings(*release).out == "released none\n"


def test_a_dry_run_counts_by_priority_and_releases_none(tidings: Command, letters: Letters) -> None:
    for number, priority in enumerate(("low", "high", "low")):
        letters.write(f"n{number}", priority=priority)
    assert tidings("dlq", "release", "--dry-run").out == "would release 2 low, 1 high\n"
    assert letters.sent("low") == letters.sent("high") == []
    assert tidings("dlq", "release").out == "released 1 high, 2 low\n"
    assert len(letters.sent("low")) == 2


def test_what_has_expired_goes_to_its_lane_which_says_so(
    tidings: Command, letters: Letters
) -> None:
    letters.write("n1", expires_at=letters.now - 1)
    letters.write("n2", expires_at=letters.now + HOUR)
    assert tidings("dlq", "release").out == (
        "released 2 normal\n1 of them had expired: their lanes say so, and send none of these\n"
    )


def test_the_list_counts_them_by_cause(tidings: Command, letters: Letters) -> None:
    assert tidings("dlq", "list").out == "there are no letters\n"
    letters.write("n1")
    tidings("dlq", "release")
    letters.write("n2")
    letters.write("n3", cause="")
    lines = [line.split() for line in tidings("dlq", "list").out.splitlines()]
    assert lines == [
        ["channel", "reason", "cause", "provider", "letters"],
        ["push", "retries_exhausted", "1"],
        ["push", "retries_exhausted", "provider_down", "apns", "1"],
        ["push", "retries_exhausted", "provider_down", "apns", "released", "1"],
    ]


def test_the_list_counts_what_flows_could_not_handle(tidings: Command, letters: Letters) -> None:
    letters.log.admin().create(settings(["notif_dlq.flow"]))
    origin = Origin("social.events", 0, 5)
    record = Record("social.events", 0, 5, letters.now, None, b'{"at": "soon"}')
    dead = DeadLetter(
        reason="expression", error="?", step="s", flow="social", origin=origin, at=letters.now
    )
    letters.append(dead_letter(record, dead, "flow"))
    letters.write("n1")
    assert tidings("dlq", "list", "--channel", "flow").out.split() == [
        *("channel", "reason", "cause", "provider", "letters"),
        *("flow", "expression", "1"),
    ]
    assert "flow" in tidings("dlq", "list").out
    assert tidings("dlq", "release").out == "released 1 normal\n"


@pytest.mark.parametrize("value", [None, b"\x00", b'{"notif_id": "\xff"}', b"[" * 100_000])
def test_a_letter_that_never_was_a_delivery_is_counted_and_holds_up_none(
    tidings: Command, letters: Letters, value: bytes | None
) -> None:
    origin = Origin("deliveries.push.normal", 0, 5)
    record = Record("deliveries.push.normal", 0, 5, letters.now, None, value)
    dead = DeadLetter(
        reason="undecodable", error="?", step="push", flow="push", origin=origin, at=letters.now
    )
    letters.append(dead_letter(record, dead, "push"))
    letters.write("n1")

    assert "undecodable" in tidings("dlq", "list").out
    assert tidings("dlq", "release").out == "released 1 normal\n"


def test_a_mistake_in_what_is_wanted_is_told(tidings: Command, letters: Letters) -> None:
    since = tidings("dlq", "release", "--since", "5x")
    assert (since.code, since.err[:33]) == (1, "--since: `5x` is not a duration; ")
    for verb in ("list", "release"):
        said = tidings("dlq", verb, "--channel", "psh")
        assert said == (1, "", "there is no channel `psh`: did you mean `push`?\n")
