"""The upstream: writes events in bursts, and keeps account of what it wrote.

    ▂▂▂█▂▂▂█▂▂▂█    a trickle, so that any pause of the parts can be seen, and bursts that leave a
                    backlog, so that a kill finds much in flight

Some events are the recipient's own (to be filtered), some are written twice (to be dropped once),
some are urgent, and some take back what the same actor did last for this person.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from random import Random
from typing import Any

from confluent_kafka import Producer

from tests.chaos import scene

TYPES = ("like", "like", "like", "comment", "comment", "follow")
TRICKLE = 0.3  # of the events, spread evenly; the others come in bursts
BURST_EVERY = 4.0  # seconds
OWN, TWICE = 0.01, 0.02
URGENT, UNDONE = 0.03, 0.08
STALLED = 0.5  # seconds without a confirmation


class Events:
    """Makes events as chance has it, for these people; each names so many ``followers``.

    ``own`` are those that the flow is to filter, ``followers`` tells whom an event names.
    """

    def __init__(self, random: Random, people: list[str], followers: int = 0) -> None:
        self.own: set[str] = set()
        self.followers: dict[str, list[str]] = {}
        self._random = random
        self._people = people
        self._count = followers
        self._last: dict[str, dict[str, Any]] = {}  # what each person was last told of

    def make(self, number: int) -> dict[str, Any]:
        """The event of this number."""
        random = self._random
        recipient, about = random.choice(self._people), random.choice(TYPES)
        event_id = f"e{number}"
        is_own = random.random() < OWN
        event: dict[str, Any] = {
            "event_id": event_id,
            "type": "call" if random.random() < URGENT else about,
            "about": about,
            "recipient_id": recipient,
            "actor_id": recipient if is_own else f"actor-{random.randrange(5_000)}",
            "photo_id": f"photo-{random.randrange(3)}",
        }
        if is_own:
            self.own.add(event_id)
        elif recipient in self._last and random.random() < UNDONE:
            event = {**self._last.pop(recipient), "event_id": event_id, "type": "undo"}
        else:
            self._last[recipient] = event
        if self._count:
            named = random.sample(self._people, self._count)
            event["followers"] = self.followers[event_id] = named
        return event


class Upstream:
    """Writes ``events`` events for ``people`` people over ``seconds``; a thread of its own.

    ``written`` is who each event is for, once its record is confirmed; ``own`` those that the flow
    is to filter. With ``followers`` each names so many people who are to hear of it: ``followers``
    tells whom.
    """

    def __init__(
        self, brokers: str, events: int, people: int, seconds: float, seed: int, followers: int = 0
    ) -> None:
        quiet = logging.getLogger("tests.chaos.upstream")
        quiet.setLevel(logging.CRITICAL)
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
                "queue.buffering.max.messages": 1_000_000,
                "partitioner": "random",  # any key: it is the intake that keys
            },
            logger=quiet,
        )
        self._random = Random(seed)
        self._events = events
        self._maker = Events(self._random, scene.recipients(people), followers)
        self.own, self.followers = self._maker.own, self._maker.followers
        self._seconds = seconds
        self.passed = 0.0  # seconds of the blast so far; stands still while the log is away
        self.written: dict[str, str] = {}
        self.repeated = 0
        self._failed: list[object] = []
        self._acked_at = 0.0
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written and confirmed."""
        self._thread.join()
        assert self._producer.flush(60) == 0, "the log did not take the upstream's events"
        assert not self._failed, self._failed[:3]

    def _run(self) -> None:
        looked = time.monotonic()
        number = 0
        while number < self._events:
            self._producer.poll(0.01)
            now = time.monotonic()
            if not self._stalled(now):
                self.passed += now - looked
            looked = now
            due = self._due(self.passed)
            while number < due:
                self._write(number)
                number += 1

    def _stalled(self, now: float) -> bool:
        if not len(self._producer):
            self._acked_at = now
        return now - self._acked_at > STALLED

    def _due(self, passed: float) -> int:
        if passed >= self._seconds:
            return self._events
        bursts = max(1, int(self._seconds / BURST_EVERY))
        done = min(bursts, int(passed / BURST_EVERY + 0.5))
        share = TRICKLE * passed / self._seconds + (1 - TRICKLE) * done / bursts
        return int(self._events * share)

    def _write(self, number: int) -> None:
        event = self._maker.make(number)
        event_id, recipient = event["event_id"], event["recipient_id"]
        value = json.dumps(event).encode()
        twice = self._random.random() < TWICE
        self.repeated += twice
        for _ in range(2 if twice else 1):
            self._producer.produce(
                scene.SOURCE,
                value,
                on_delivery=lambda error, message: self._ack(error, event_id, recipient),
            )

    def _ack(self, error: object, event_id: str, recipient: str) -> None:
        if error is not None:
            self._failed.append(error)
        self._acked_at = time.monotonic()
        self.written[event_id] = recipient
