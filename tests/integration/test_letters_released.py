"""A provider's outage that made dead letters, on real logs: when it is over the lanes send them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.simulated import Peer, simulated
from tests.engine import append, create, outcomes, plan_of, records, turn
from tidings.compile.units import Ground, lane
from tidings.log.port import Append
from tidings.plan import LanePlan
from tidings.records import Delivery, Origin, Priority, encode
from tidings.running.ground import open_ground
from tidings.runtime.lane.lane import Lane
from tidings.services.kafka import Kafka
from tidings.settings import Settings
from tidings.topics import EVENTS, RELEASED, dead_letters, deliveries, lane_topics

LOGS = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]
CLASSES = (Priority.HIGH, Priority.LOW)
COUNT = 24  # letters of each class; the breaker opens at the last of them
STALE = ("high-0", "low-0")  # what expires meanwhile
STALE_MS = 2_000
PATIENCE = 60.0
LANE = """
lane: sms
steps:
  - addresses: {kind: phone}
  - render
  - send:
      default: twilio
      retry: {in_place: [], ladder: []}
      breaker: {volume: 25, pause: 300ms, longest: 300ms, probes: 1}
"""


def delivery(name: str, priority: Priority, life: int) -> Append:
    now = int(time.time() * 1000)
    made = Delivery(
        notif_id=name,
        recipient_id=name,
        flow="otp",
        step="otp.deliver",
        version="v1",
        channel="sms",
        priority=priority,
        template="otp",
        category="codes",
        created_at=now,
        origin=Origin("otp.events", 0, 7),
        data={"code": "481516"},
        expires_at=now + life,
    )
    return Append(deliveries("sms", priority), name.encode(), encode(made))


class Rehearsal:
    """Two lanes in this process, over a simulator that is away at first."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder = folder
        self.log = log
        self.kinds: dict[str, list[str]] = {}
        self.released = 0

    async def __call__(self, peer: Peer) -> None:
        twilio = {**peer.settings["twilio"]}
        del twilio["callback"]  # it names the round, and the simulator tells messages by all of it
        await asyncio.to_thread(self.run, twilio)

    def run(self, twilio: dict[str, Any]) -> None:
        names = [f"{one}-{number}" for one in CLASSES for number in range(COUNT)]
        numbers = {name: f"+1202555{1000 + place}" for place, name in enumerate(names)}
        others = [f"{one}-{when}" for one in CLASSES for when in ("before", "after")]
        numbers |= {name: f"+1202555{2000 + place}" for place, name in enumerate(others)}
        settings = self._settings(numbers, twilio)
        plan = plan_of(self.folder, LANE)
        assert isinstance(plan, LanePlan)
        with open_ground(settings) as ground:
            create(ground.log, *{name for one in CLASSES for name in lane_topics("sms", one, ())})
            create(ground.log, EVENTS)
            lanes = [lane(plan, one, ground) for one in CLASSES]
            for one in lanes:
                one.start()
            try:
                self._deliver(ground, "before")
                self._until(lanes, lambda: self._ended(ground) == 2)  # they have joined
                lives = {name: STALE_MS if name in STALE else 600_000 for name in names}
                made = [delivery(who, Priority(who.split("-")[0]), lives[who]) for who in names]
                append(ground.log, *made)
                expired_at = time.monotonic() + STALE_MS / 1000
                self._until(lanes, lambda: self._letters(ground) == len(names))
                time.sleep(max(0.0, expired_at - time.monotonic()))
                self._deliver(ground, "after")
                self._until(lanes, lambda: self._ended(ground) == 2 * len(names) + 4)
                self.released = sum(1 for _ in records(ground.log, RELEASED))
            finally:
                for one in lanes:
                    one.close()
            for said in outcomes(ground.log):
                if said.stage == "end":
                    self.kinds.setdefault(said.notif_id, []).append(f"{said.kind}:{said.reason}")

    @staticmethod
    def _deliver(ground: Ground, when: str) -> None:
        """One to each class that the outage is not about."""
        append(ground.log, *(delivery(f"{one}-{when}", one, 600_000) for one in CLASSES))

    def _settings(self, numbers: dict[str, str], twilio: dict[str, Any]) -> Settings:
        for name in ("people", "suppressions", "templates/otp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "templates/otp/sms.en.j2").write_text("--- body\n{{ code }}\n")
        known = [
            {"recipient_id": who, "addresses": [{"kind": "phone", "value": number}]}
            for who, number in numbers.items()
        ]
        people = self.folder / "people/people.jsonl"
        people.write_text("\n".join(map(json.dumps, known)) + "\n")
        return Settings(
            log=self.log,
            claims=f"sqlite:{self.folder}/claims.db",
            people=f"file:{self.folder}/people",
            suppressions=f"file:{self.folder}/suppressions",
            templates=str(self.folder / "templates"),
            channels={"sms": "phone"},
            providers={"twilio": twilio},
        )

    @staticmethod
    def _until(lanes: list[Lane], enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < deadline, "the lanes have not got so far"
            for _ in range(20):
                for one in lanes:
                    turn(one)
                time.sleep(0.005)

    @staticmethod
    def _letters(ground: Ground) -> int:
        return sum(1 for _ in records(ground.log, dead_letters("sms")))

    @staticmethod
    def _ended(ground: Ground) -> int:
        return len({one.outcome_id for one in outcomes(ground.log) if one.stage == "end"})


@pytest.mark.parametrize("log", LOGS)
def test_letters_of_an_outage_go_out_when_it_is_over_each_once_and_high_before_low(
    log: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = f"sqlite:{tmp_path}/log"
    if log == "kafka":
        start_kafka: Callable[..., Kafka] = request.getfixturevalue("start_kafka")
        address = f"kafka:{start_kafka().bootstrap}"
    rehearsal = Rehearsal(tmp_path, address)
    away = {"address": "+12025551*", "attempts": 1, "answer": "retry", "status": 503}

    async def run() -> list[tuple[int, str]]:
        async with simulated(tmp_path, {"latency": "400ms", "script": [away]}) as peer:
            await rehearsal(peer)
            return [(one.at, one.address) for one in peer.got() if one.accepted]

    accepted = asyncio.run(run())
    kinds = rehearsal.kinds
    for one in CLASSES:
        assert kinds.pop(f"{one}-before") == kinds.pop(f"{one}-after") == ["sent:"]
    assert [kinds.pop(name) for name in STALE] == [
        ["failed:retries_exhausted", "expired:expired"]
    ] * 2
    assert {tuple(each) for each in kinds.values()} == {("failed:retries_exhausted", "sent:")}
    assert len(kinds) == 2 * (COUNT - 1), "nothing is lost"
    assert len(accepted) == len(set(accepted)) == 2 * (COUNT - 1) + 4, "none goes out twice"
    assert rehearsal.released == 2 * COUNT

    def last(of: range) -> int:
        own = {f"+1202555{1000 + place}" for place in of}
        return max(at for at, number in accepted if number in own)

    assert last(range(COUNT)) < last(range(COUNT, 2 * COUNT)), "high is out before low"
