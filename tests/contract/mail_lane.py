"""A lane of e-mail in this process, on a real log and real stores: what an answer leads to in it.

    left = MailLane(tmp_path, {"kind": "ses", …}).run(attempts=2)
    left.addresses["bad"]                 # what the people store holds now

Bad and Good each have one address; the provider answers as the test says. Both deliveries come in
one batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.engine import alerts, append, create, outcomes, plan_of, records, turn
from tidings.compile.units import lane
from tidings.log.port import Append, Log, Position, Record, Slot
from tidings.plan import LanePlan
from tidings.ports import Person
from tidings.records import Delivery, Origin, Outcome, Priority, decode_delivery, encode
from tidings.running.ground import open_ground
from tidings.runtime.lane.lane import Lane
from tidings.settings import Settings
from tidings.topics import ALERTS, EVENTS, lane_topics

BAD, GOOD = "bad@example.org", "good@example.org"
TOPIC = "deliveries.email.normal"
RUNGS = {"30s": 30_000, "5m": 300_000}
LANE = """
lane: email
steps:
  - addresses: {kind: email}
  - suppress
  - render
  - send: {default: provider, retry: {in_place: [], ladder: [30s, 5m]}}
"""
PATIENCE = 30.0
MORE_TURNS = 30  # when all that is expected has come: to see what else does


class Left(NamedTuple):
    """What is left behind: in the stores and in the log."""

    addresses: dict[str, set[str]]  # of each person, in the people store
    ends: dict[str, Outcome]  # by person
    attempts: list[Outcome]
    delayed: dict[str, dict[str, Delivery]]  # by rung, by person
    letters: set[str]  # whose deliveries are among the dead letters
    alerts: set[tuple[str, str, str]]  # of each its kind, its state and its code
    unsettled: int  # deliveries that the lane's position has not passed

    @property
    def told(self) -> set[tuple[str, str, str]]:
        """Of each attempt: whose, its kind and its code."""
        return {(one.recipient_id, one.kind, one.code) for one in self.attempts}


class MailLane:
    """One lane with one provider."""

    def __init__(self, folder: Path, provider: Mapping[str, Any], **settings: Any) -> None:
        for name in ("people", "suppressions", "templates/hello"):
            (folder / name).mkdir(parents=True)
        (folder / "templates/hello/email.en.j2").write_text(
            "--- subject\nHello\n--- text\nHello\n--- html\n<p>Hello</p>\n"
        )
        lines = [
            {"recipient_id": who, "addresses": [{"kind": "email", "value": f"{who}@example.org"}]}
            for who in ("bad", "good")
        ]
        (folder / "people/people.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        self._folder = folder
        self._settings = Settings(
            log=f"sqlite:{folder}/log",
            claims=f"sqlite:{folder}/claims.db",
            people=f"file:{folder}/people",
            suppressions=f"file:{folder}/suppressions",
            templates=str(folder / "templates"),
            providers={"provider": dict(provider)},
            **settings,
        )

    def run(self, *, attempts: int = 2, **delivery: Any) -> Left:
        """Deliver to both until so many attempts are told, and see what else comes."""
        plan = plan_of(self._folder, LANE)
        assert isinstance(plan, LanePlan)
        with open_ground(self._settings) as ground:
            create(ground.log, *lane_topics("email", Priority.NORMAL), EVENTS, ALERTS)
            append(
                ground.log,
                *(
                    Append(TOPIC, b"one partition", encode(_delivery(who, **delivery)))
                    for who in ("bad", "good")
                ),
            )
            made = lane(plan, Priority.NORMAL, ground)
            made.start()
            try:
                _turn_until(made, lambda: _attempts(ground.log) >= attempts)
            finally:
                made.close()
            rungs = {
                name: {
                    one.recipient_id: one
                    for one in map(_delivery_in, records(ground.log, f"{TOPIC}.retry.{name}"))
                }
                for name in RUNGS
            }
            said = outcomes(ground.log)
            letters = map(_delivery_in, records(ground.log, "notif_dlq.email"))
            return Left(
                addresses={
                    who: {one.value for one in profile.addresses}
                    for who in ("bad", "good")
                    if (profile := ground.io.people.profiles([Person("default", who)])[0])
                },
                ends={one.recipient_id: one for one in said if one.stage == "end"},
                attempts=[one for one in said if one.stage == "attempt"],
                delayed={name: found for name, found in rungs.items() if found},
                letters={one.recipient_id for one in letters},
                alerts={(one.kind, one.state, one.code) for one in alerts(ground.log)},
                unsettled=_unsettled(ground.log),
            )


def _turn_until(made: Lane, enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not enough():
        assert time.monotonic() < deadline, "the lane has not got so far"
        turn(made)
        time.sleep(made.pause())
    for _ in range(MORE_TURNS):
        turn(made)
        time.sleep(made.pause())


def _attempts(log: Log) -> int:
    return sum(one.stage == "attempt" for one in outcomes(log))


def _unsettled(log: Log) -> int:
    consumer, reader, found = log.consumer("tidings.lane.email.normal"), log.reader(), 0
    for number in range(log.admin().topics()[TOPIC].partitions):
        slot = Slot(TOPIC, number)
        found += reader.span(slot).end - (consumer.committed([slot])[slot] or Position(0)).offset
    reader.close()
    consumer.close()
    return found


def _delivery_in(record: Record) -> Delivery:
    return decode_delivery(record.value or b"")


def _delivery(who: str, **changes: Any) -> Delivery:
    given: dict[str, Any] = {
        "notif_id": f"n-{who}",
        "recipient_id": who,
        "flow": "social",
        "step": "social.deliver",
        "version": "v1",
        "channel": "email",
        "template": "hello",
        "category": "social",
        "created_at": int(time.time() * 1000),
        "origin": Origin("tidings.social", 0, 7),
    }
    return Delivery(**(given | changes))
