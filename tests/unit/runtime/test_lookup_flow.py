"""A lookup in an intake: the batch waits for its answer, and what is found is written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import engine
from tests.engine import Tick, ground_of, plan_of, turn
from tests.paper_log import PaperLog
from tests.unit.runtime.one_intake import NOW
from tests.unit.runtime.test_intake import ENTRIES, LETTERS, SOURCE, event
from tidings.compile.units import Ground, intake
from tidings.log.port import Append
from tidings.plan import FlowPlan
from tidings.ports import LookupFailed, Query, Row, Unavailable
from tidings.records import decode_entry, encode

FLOW = """
flow: social
source: {topic: social.events, key: recipient_id}
steps:
  - lookup: {http: '/people/{key}', connection: api, fields: [zone]}
  - hold: {quiet: 22:00-08:00, zone: zone}
  - deliver: {to: push, template: t}
"""


class Slow:
    """Another system that answers when it is asked for the third time."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str | int]] = []

    def rows(self, query: Query, keys: Sequence[str | int]) -> list[Row | None]:
        self.asked.append(keys)
        if len(self.asked) == 1:
            raise Unavailable("it has not answered yet")
        if len(self.asked) == 2:
            raise LookupFailed("it hiccups")
        return [{"zone": f"Zone/{key}"} for key in keys]


def test_a_batch_waits_for_its_answer_and_its_entries_have_it(tmp_path: Path) -> None:
    clock, slow = Tick(NOW), Slow()
    log = PaperLog(clock, {SOURCE: 1, ENTRIES: 1, "notif_events": 1, LETTERS: 1})
    url = "https://people.example.com"
    ground = ground_of(tmp_path, log, clock, connections={"api": {"url": url}})
    plan = plan_of(tmp_path, FLOW)
    assert isinstance(plan, FlowPlan)
    unit = intake(plan, Ground(log, ground.io._replace(lookups=slow), ground.settings, "holder"))
    unit.start()
    consumer: Any = unit._consumer
    group = log.group("tidings.social.intake")
    group.share(dict.fromkeys(consumer.slots(), consumer))
    for each in (event(1), event(2, "bob")):
        log.write(Append(SOURCE, b"a key of theirs", encode(each), (), 0))

    for _ in range(20):
        clock.advance(100)
        turn(unit)

    entries = [decode_entry(one.value or b"") for one in engine.records(log, ENTRIES)]
    assert [(one.recipient_id, one.event["zone"]) for one in entries] == [
        ("ana", "Zone/ana"),
        ("bob", "Zone/bob"),
    ]
    assert slow.asked == [["ana", "bob"]] * 3
    assert list(engine.records(log, LETTERS)) == []
