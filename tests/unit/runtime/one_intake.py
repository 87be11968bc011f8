"""One process of one flow's intake on a paper log, turned by hand.

flow = PaperIntake(tmp_path, FLOW, {"orders.events": 1, "notif_events": 1, …})
flow.emit({"event_id": "e1", "recipient_id": "ana"})
flow.turn()
flow.kill()
flow.start()
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.engine import Tick, ground_of, plan_of, turn
from tests.paper_log import PaperConsumer, PaperLog, PaperProducer
from tidings.compile.units import intake
from tidings.log.port import Append, Slot
from tidings.plan import FlowPlan
from tidings.ports import Unavailable
from tidings.runtime.intake import Intake
from tidings.stores.claims_local import LocalClaims

NOW = 1_782_907_200_000


class FlakyClaims(LocalClaims):
    """Claims that can be away, and count how often they were asked."""

    away = False
    asked = 0

    def first(self, *asked: Any) -> list[str]:
        self.asked += 1
        if self.away:
            raise Unavailable("the server is away")
        return super().first(*asked)

    def kept(self) -> int:
        return len(self._firsts)


class PaperIntake:
    """The intake of a flow, on these topics with so many partitions, the source's first; ``ports``
    are of the test."""

    unit: Intake
    consumer: PaperConsumer
    producer: PaperProducer

    def __init__(
        self, folder: Path, flow: str, topics: Mapping[str, int], ports: Any = (), **settings: Any
    ) -> None:
        self.clock = Tick(NOW)
        self.claims = FlakyClaims(self.clock)
        self.log = PaperLog(self.clock, topics)
        self.source = next(iter(topics))
        plan = plan_of(folder, flow)
        assert isinstance(plan, FlowPlan)
        self._plan = plan
        self.group = self.log.group(f"tidings.{plan.name}.intake")
        ground = ground_of(folder, self.log, self.clock, **settings)
        io = ground.io._replace(claims=self.claims, **dict(ports))
        self._ground = replace(ground, io=io)
        self.start()

    def start(self) -> None:
        """A process, which has all partitions."""
        self.unit = intake(self._plan, self._ground)
        self.unit.start()
        self.consumer = self.unit._consumer  # type: ignore[assignment]
        self.producer = self.unit._producer  # type: ignore[assignment]
        self.group.share(dict.fromkeys(self.consumer.slots(), self.consumer))

    def kill(self) -> None:
        """Kill -9: what was not confirmed never got there."""
        self.group.evict(self.consumer)
        self.producer.die()

    def emit(self, *events: Any, partition: int = 0) -> None:
        """Events as upstreams write them: values of JSON, or bytes as they are."""
        for event in events:
            value = event if event is None or type(event) is bytes else json.dumps(event).encode()
            self.log.write(Append(self.source, b"a key of theirs", value, (), partition))

    def turn(self, times: int = 1, *, pass_ms: int = 0) -> None:
        """Turns, before each of which a little time passes."""
        for _ in range(times):
            self.clock.advance(pass_ms)
            turn(self.unit)

    def committed(self, partition: int = 0) -> int | None:
        """The position of a partition of the source, None where it has none."""
        position = self.group.positions.get(Slot(self.source, partition))
        return None if position is None else position.offset
