"""What people text back, through the receipts: events that flows read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import engine
from tests.engine import outcomes, turn
from tests.unit.runtime.receipts_stage import HOME, LETTERS, NOW, NUMBER, Stage
from tidings.log.port import Slot
from tidings.receipts import PROVIDER_EVENTS


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


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
