"""What receipts ask of the log: they wait while it is away, and what is gone stops nobody."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from tests import engine
from tests.engine import outcomes, turn
from tests.unit.runtime.receipts_stage import WATCH, Stage
from tidings.log.port import LogError, Slot
from tidings.receipts import PROVIDER_EVENTS
from tidings.records import Origin, Signal, decode_entry
from tidings.runtime.signals import AGAIN


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


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
