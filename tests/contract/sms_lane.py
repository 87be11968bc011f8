"""A lane of text messages in this process, on a real log and real stores, and what is left behind.

lane = SmsLane(tmp_path, {"default": "twilio"}, {"twilio": {…}})
left = lane.run({"ana": "+12025550100"}, lambda now: now.ends.keys() >= {"ana"})
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.engine import alerts, append, create, outcomes, plan_of, records, turn
from tidings.compile.units import Ground, lane
from tidings.log.port import Append, Position, Slot
from tidings.plan import LanePlan
from tidings.ports import Person, Question, Suppression
from tidings.records import (
    Delivery,
    Origin,
    Outcome,
    Priority,
    decode_delivery,
    encode,
)
from tidings.running.ground import open_ground
from tidings.settings import Settings
from tidings.topics import ALERTS, EVENTS, deliveries, lane_topics

HIGH = Priority.HIGH
TOPIC = deliveries("sms", HIGH)
RUNGS = ("30s", "5m")
LANE = """
lane: sms
steps:
  - expire
  - addresses: {kind: phone}
  - suppress
  - render
  - send: SEND
"""
PATIENCE = 30.0
MORE_TURNS = 30  # when all that is expected has come: to see what else does


class Left(NamedTuple):
    """What is left behind, by person where it is somebody's."""

    numbers: dict[str, list[str]]
    suppressed: dict[str, Suppression | None]
    ends: dict[str, Outcome]
    attempts: list[Outcome]
    delayed: dict[str, Delivery]
    """On the ladder."""
    voice: dict[str, Delivery]
    """Handed over to the next channel."""
    letters: set[str]
    alerts: set[tuple[str, str, str]]
    """Of each its kind, its state and its code."""
    unsettled: int
    """Deliveries that the lane's position has not passed."""


class SmsLane:
    """The lane ``sms`` at high priority; what it can't send goes on to ``voice``."""

    def __init__(
        self, folder: Path, send: Mapping[str, Any], providers: dict[str, dict[str, Any]]
    ) -> None:
        self._folder = folder
        self._send = {"retry": {"in_place": [], "ladder": list(RUNGS)}, **send}
        for name in ("people", "suppressions", "templates/otp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "templates/otp/sms.en.j2").write_text("--- body\n{{ code }} is your code\n")
        self._settings = Settings(
            log=f"sqlite:{folder}/log",
            claims=f"sqlite:{folder}/claims.db",
            people=f"file:{folder}/people",
            suppressions=f"file:{folder}/suppressions",
            templates=str(folder / "templates"),
            channels={"sms": "phone", "voice": "phone"},
            providers=providers,
        )

    def run(
        self,
        numbers: Mapping[str, str],
        enough: Callable[[Left], bool],
        life: int = 3_600_000,
        **fields: Any,
    ) -> Left:
        """Deliver a code to each of these people until there is enough, and see what else comes.

        ``life`` is that of the code in ms.
        """
        known = [
            {"recipient_id": who, "addresses": [{"kind": "phone", "value": number}]}
            for who, number in numbers.items()
        ]
        people = self._folder / "people/people.jsonl"
        people.write_text("\n".join(map(json.dumps, known)) + "\n")
        plan = plan_of(self._folder, LANE.replace("SEND", json.dumps(self._send)))
        assert isinstance(plan, LanePlan)
        with open_ground(self._settings) as ground:
            topics = [*lane_topics("sms", HIGH, RUNGS), EVENTS, ALERTS, deliveries("voice", HIGH)]
            create(ground.log, *topics)
            for who in numbers:
                append(ground.log, Append(TOPIC, b"one", encode(_delivery(who, life, fields))))
            made = lane(plan, HIGH, ground)
            made.start()
            deadline = time.monotonic() + PATIENCE
            try:
                while not enough(self._left(ground, numbers)):
                    assert time.monotonic() < deadline, "the lane has not got so far"
                    for _ in range(10):
                        turn(made)
                        time.sleep(made.pause())
                for _ in range(MORE_TURNS):
                    turn(made)
                    time.sleep(made.pause())
            finally:
                made.close()
            return self._left(ground, numbers)

    def _left(self, ground: Ground, numbers: Mapping[str, str]) -> Left:
        said = outcomes(ground.log)
        now = ground.io.clock.now()
        questions = [Question("default", "sms", number, "codes") for number in numbers.values()]
        profiles = ground.io.people.profiles([Person("default", who) for who in numbers])
        rungs = [_by_person(ground, f"{TOPIC}.retry.{name}") for name in RUNGS]
        return Left(
            numbers={
                who: [address.value for address in profile.addresses] if profile else []
                for who, profile in zip(numbers, profiles, strict=True)
            },
            suppressed=dict(
                zip(numbers, ground.io.suppressions.check(questions, now), strict=True)
            ),
            ends={one.recipient_id: one for one in said if one.stage == "end"},
            attempts=[one for one in said if one.stage == "attempt"],
            delayed={who: one for rung in rungs for who, one in rung.items()},
            voice=_by_person(ground, deliveries("voice", HIGH)),
            letters=set(_by_person(ground, "notif_dlq.sms")),
            alerts={(one.kind, one.state, one.code) for one in alerts(ground.log)},
            unsettled=_unsettled(ground),
        )


def _by_person(ground: Ground, topic: str) -> dict[str, Delivery]:
    found = (decode_delivery(record.value or b"") for record in records(ground.log, topic))
    return {one.recipient_id: one for one in found}


def _unsettled(ground: Ground) -> int:
    consumer, reader = ground.log.consumer("tidings.lane.sms.high"), ground.log.reader()
    found = 0
    for number in range(ground.log.admin().topics()[TOPIC].partitions):
        slot = Slot(TOPIC, number)
        position = consumer.committed([slot])[slot] or Position(0)
        found += reader.span(slot).end - position.offset
    reader.close()
    consumer.close()
    return found


def _delivery(who: str, life: int, fields: Mapping[str, Any]) -> Delivery:
    now = int(time.time() * 1000)
    given: dict[str, Any] = {
        "notif_id": f"n-{who}",
        "recipient_id": who,
        "flow": "otp",
        "step": "otp.deliver",
        "version": "v1",
        "channel": "sms",
        "priority": "high",
        "template": "otp",
        "category": "codes",
        "created_at": now,
        "origin": Origin("otp.events", 0, 7),
        "data": {"code": "481516"},
        "expires_at": now + life,
    }
    return Delivery(**{**given, **fields})
