"""A push lane in this process, on a real log and real stores, and what an answer leads to in it.

    left = PushLane(tmp_path, {"apns": {...}}).run(refuses(410, "Unregistered"), DELIVERIES)
    left.devices["ana"]                # what the people store holds now

Its provider is a strict HTTP/2 server that answers as the test says. Ana has two phones, `bad` and
`good`, Ben has `bad` alone. What the server did not answer well it got for a token that begins with
`bad`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.engine import alerts, append, create, outcomes, plan_of, records, turn
from tests.peers.h2_server import Exchange, H2Server
from tidings.compile.units import lane
from tidings.log.port import Append, Log, Position, Record, Slot
from tidings.plan import LanePlan
from tidings.ports import Person
from tidings.records import (
    Delivery,
    Origin,
    Outcome,
    Priority,
    decode_delivery,
    encode,
)
from tidings.running.ground import open_ground
from tidings.runtime.lane.lane import Lane
from tidings.settings import Settings
from tidings.topics import ALERTS, EVENTS, lane_topics

TOPIC = "deliveries.push.normal"
RUNGS = {"30s": 30_000, "5m": 300_000}
LANE = """
lane: push
steps:
  - addresses: {{kind: device, at_most: 50}}
  - render: {{max_bytes: 4096}}
  - send: {{default: {provider}, in_flight: 1, retry: {{in_place: [], ladder: [30s, 5m]}}}}
"""
PATIENCE = 30.0
MORE_TURNS = 30  # when all that is expected has come: to see what else does


class Left(NamedTuple):
    """What is left behind: at the server, in the stores, in the log."""

    asked: Counter[str]  # requests by token
    devices: dict[str, set[str]]  # of each person, in the people store
    ends: dict[str, Outcome]  # by person
    attempts: list[Outcome]
    delayed: dict[str, dict[str, Delivery]]  # by rung, by person
    letters: set[str]  # whose deliveries are among the dead letters
    alerts: set[tuple[str, str, str]]  # of each its kind, its state and its code
    unsettled: int  # deliveries that the lane's position has not passed
    exchanges: list[Exchange]


class PushLane:
    """One lane with one provider. ``device_of`` reads the token out of a request."""

    def __init__(
        self, folder: Path, provider: Mapping[str, Any], device_of: Callable[[Exchange], str]
    ) -> None:
        self._folder = folder
        self._provider = provider
        self._device_of = device_of
        for name in ("people", "suppressions", "templates/hello"):
            (folder / name).mkdir(parents=True)
        (folder / "templates/hello/push.en.j2").write_text("--- title\nHello\n--- body\nThere\n")

    def run(
        self,
        refuse: Callable[[Exchange], None],
        *,
        bad: str = "bad",
        good: str = "good",
        registered_at: int = 0,
        attempts: int = 3,
        phones_of_ben: int = 1,
    ) -> Left:
        """Deliver to Ana and Ben until so many attempts are told, and see what else comes.

        ``refuse`` answers for tokens that begin with ``bad``, Ben's all do.
        """
        of_ben = tuple(f"{bad}{number + 1}" for number in range(phones_of_ben))
        phones = {"ana": (bad + "0", good + "0"), "ben": of_ben}
        lines = [
            {
                "recipient_id": who,
                "addresses": [
                    {
                        "kind": "device",
                        "value": one,
                        "platform": "android",
                        "registered_at": registered_at,
                    }
                    for one in tokens
                ],
            }
            for who, tokens in phones.items()
        ]
        (self._folder / "people/people.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
        asked: Counter[str] = Counter()

        def answer(exchange: Exchange) -> None:
            token = self._device_of(exchange)
            asked[token] += 1
            if token.startswith(bad):
                refuse(exchange)
            else:
                exchange.respond(200, b'{"name":"projects/p/messages/m-1"}')

        async def whole() -> Left:
            async with H2Server(self._folder, answer) as server:
                settings = self._settings(server)
                left = await asyncio.to_thread(self._deliver, settings, tuple(phones), attempts)
                return left._replace(asked=asked, exchanges=server.exchanges)

        return asyncio.run(whole())

    def _settings(self, server: H2Server) -> Settings:
        place = {"host": "127.0.0.1", "port": server.port, "ca": str(server.ca), "connections": 1}
        return Settings(
            log=f"sqlite:{self._folder}/log",
            claims=f"sqlite:{self._folder}/claims.db",
            people=f"file:{self._folder}/people",
            suppressions=f"file:{self._folder}/suppressions",
            templates=str(self._folder / "templates"),
            providers={"provider": {**self._provider, **place}},
        )

    def _deliver(self, settings: Settings, people: tuple[str, ...], attempts: int) -> Left:
        plan = plan_of(self._folder, LANE.format(provider="provider"))
        assert isinstance(plan, LanePlan)
        with open_ground(settings) as ground:
            create(ground.log, *lane_topics("push", Priority.NORMAL), EVENTS, ALERTS)
            append(
                ground.log,
                *(Append(TOPIC, b"one partition", encode(_delivery(who))) for who in people),
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
            return Left(
                asked=Counter(),
                devices={
                    who: {one.value for one in profile.addresses}
                    for who in people
                    if (profile := ground.io.people.profiles([Person("default", who)])[0])
                },
                ends={one.recipient_id: one for one in said if one.stage == "end"},
                attempts=[one for one in said if one.stage == "attempt"],
                delayed={name: found for name, found in rungs.items() if found},
                letters={
                    one.recipient_id
                    for one in map(_delivery_in, records(ground.log, "notif_dlq.push"))
                },
                alerts={(one.kind, one.state, one.code) for one in alerts(ground.log)},
                unsettled=_unsettled(ground.log, len(people)),
                exchanges=[],
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


def _unsettled(log: Log, delivered: int) -> int:
    consumer = log.consumer("tidings.lane.push.normal")
    found = 0
    for number in range(log.admin().topics()[TOPIC].partitions):
        slot = Slot(TOPIC, number)
        position = consumer.committed([slot])[slot] or Position(0)
        reader = log.reader()
        found += reader.span(slot).end - position.offset
        reader.close()
    consumer.close()
    return min(found, delivered)


def _delivery_in(record: Record) -> Delivery:
    return decode_delivery(record.value or b"")


def _delivery(who: str) -> Delivery:
    return Delivery(
        notif_id=f"n-{who}",
        recipient_id=who,
        flow="social",
        step="social.deliver",
        version="v1",
        channel="push",
        template="hello",
        category="social",
        created_at=int(time.time() * 1000),
        origin=Origin("tidings.social", 0, 7),
    )
